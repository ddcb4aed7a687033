//! Short-time Fourier transforms, composed of views of the signal and [`super::fft`].

use super::fft::{Norm, fft, ifft, irfft, rfft};
use super::join::PadMode;
use super::like;
use super::scatter::UpdateMode;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, Strides, contiguous_strides, show};

/// How a signal is cut into frames.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    /// The length of a frame, and of its transform.
    pub n_fft: usize,
    /// The distance of two frames; a quarter of `n_fft` if `None`.
    pub hop_length: Option<usize>,
    /// The length of the window, which is centred in the frame; `n_fft` if `None`.
    pub win_length: Option<usize>,
    /// The window (1-d); ones if `None`.
    pub window: Option<&'a Array>,
    /// Whether half a frame is put before and after the signal, so that frame `t` is centred at
    /// `t * hop_length`.
    pub center: bool,
    /// What is put there.
    pub pad_mode: PadMode,
    /// The norm of the transforms.
    pub norm: Norm,
    /// Whether there are the frequencies of a real signal only; if `None`, iff it is real.
    pub onesided: Option<bool>,
}

impl Frames<'_> {
    /// Frames of `n_fft` elements, with everything else at its default.
    pub fn new(n_fft: usize) -> Frames<'static> {
        Frames {
            n_fft,
            hop_length: None,
            win_length: None,
            window: None,
            center: true,
            pad_mode: PadMode::Reflect,
            norm: Norm::Backward,
            onesided: None,
        }
    }

    fn hop(&self, op: &'static str) -> Result<usize> {
        let hop = self.hop_length.unwrap_or(self.n_fft / 4);
        if self.n_fft == 0 || hop == 0 {
            let message = format!("frames of {} that are {hop} apart", self.n_fft);
            return Err(Error::argument(op, message + "; both must be positive"));
        }
        Ok(hop)
    }

    /// The window, filled with zeros on both sides to a frame.
    fn window(&self, op: &'static str) -> Result<Array> {
        let length = self.win_length.unwrap_or(self.n_fft);
        let window = match self.window {
            Some(window) => window.astype(Dtype::F32)?,
            None => Array::ones(&[length], Dtype::F32)?,
        };
        if window.shape() != [length] || length > self.n_fft {
            let message = format!(
                "a window of {}; one of ({length}), at most {}, is needed",
                show(window.shape()),
                self.n_fft
            );
            return Err(Error::shape(op, &[window.shape()], message));
        }
        let before = (self.n_fft - length) / 2;
        window
            .pad(&[(before, self.n_fft - length - before)], &PadMode::Constant(like(&window, 0.0)))
    }
}

/// The Fourier transforms of overlapping frames of the last axis, each multiplied by the window:
/// `(..., t) -> (..., frequencies, frames)`.
///
/// # Dtypes
/// `complex64`.
///
/// # Errors
/// Kind `Argument` if a length is 0 or a complex signal is to be one-sided; `Shape` if the signal
/// is shorter than a frame or than its padding, or the window does not fit.
pub fn stft(x: &Array, frames: &Frames<'_>) -> Result<Array> {
    const OP: &str = "stft";
    let (n, hop) = (frames.n_fft, frames.hop(OP)?);
    let complex = x.dtype().is_complex();
    let onesided = frames.onesided.unwrap_or(!complex);
    if x.ndim() == 0 {
        return Err(Error::shape(OP, &[x.shape()], "a signal of at least one axis is needed"));
    }
    if complex && onesided {
        return Err(Error::argument(OP, "the frequencies of a complex signal are not one-sided"));
    }
    let mut x = x.astype(if complex { Dtype::C64 } else { Dtype::F32 })?;
    if frames.center {
        let mut widths = vec![(0, 0); x.ndim()];
        widths[x.ndim() - 1] = (n / 2, n / 2);
        x = x.pad(&widths, &frames.pad_mode)?;
    }
    let length = x.shape()[x.ndim() - 1];
    if length < n {
        let message = format!("a signal of {length} is shorter than a frame of {n}");
        return Err(Error::shape(OP, &[x.shape()], message));
    }
    let mut shape = Shape::from(&x.shape()[..x.ndim() - 1]);
    let mut strides: Strides = contiguous_strides(x.shape());
    strides.pop();
    shape.extend([(length - n) / hop + 1, n]);
    strides.extend([hop as isize, 1]);
    let cut = x.as_strided(Some(&shape), Some(&strides), 0)?;
    let cut = cut.multiply(&frames.window(OP)?)?;
    let transform = if onesided { rfft } else { fft };
    transform(&cut, None, -1, frames.norm)?.swapaxes(-1, -2)
}

/// The signal whose [`stft`] with the same frames is `x`, by adding the windowed inverse transforms
/// and dividing by the sum of the squared windows: `(..., frequencies, frames) -> (..., t)`.
/// Where no window reaches, the result is 0. It is cut or filled with zeros to `length` elements.
///
/// # Dtypes
/// `float32`, or `complex64` if `onesided` is false.
///
/// # Errors
/// Kind `Argument` if a length is 0; `Shape` if the frequencies do not fit the frames.
pub fn istft(x: &Array, frames: &Frames<'_>, length: Option<usize>) -> Result<Array> {
    const OP: &str = "istft";
    let (n, hop) = (frames.n_fft, frames.hop(OP)?);
    let onesided = frames.onesided.unwrap_or(true);
    let frequencies = if onesided { n / 2 + 1 } else { n };
    let [.., have, count] = *x.shape() else {
        return Err(Error::shape(OP, &[x.shape()], "frequencies and frames are needed"));
    };
    if have != frequencies || count == 0 {
        let message = format!(
            "{} holds {have} frequencies of {count} frames; {frequencies} of at least one are \
             needed for frames of {n}",
            show(x.shape())
        );
        return Err(Error::shape(OP, &[x.shape()], message));
    }
    let x = x.swapaxes(-1, -2)?;
    let parts = if onesided {
        irfft(&x, Some(n), -1, frames.norm)?
    } else {
        ifft(&x, None, -1, frames.norm)?
    };
    let window = frames.window(OP)?;
    let total = (count - 1) * hop + n;
    let starts = Array::iota(0.0, hop as f64, count, super::index_dtype(total))?;
    let places = Array::iota(0.0, 1.0, n, super::index_dtype(total))?;
    let places = starts.expand_dims(&[1])?.add(&places)?;
    let sum = |parts: &Array| -> Result<Array> {
        let lead = &parts.shape()[..parts.ndim() - 2];
        let batch: usize = lead.iter().product();
        let parts = parts.reshape(&[batch, count, n])?.transpose(Some(&[1, 2, 0]))?;
        let none = Array::zeros(&[total, batch], parts.dtype())?;
        let updates = parts.expand_dims(&[2])?;
        let out = none.scatter(std::slice::from_ref(&places), &updates, &[0], UpdateMode::Add)?;
        let mut shape = Shape::from(lead);
        shape.push(total);
        out.transpose(None)?.reshape(&shape)
    };
    let signal = sum(&parts.multiply(&window)?)?;
    let weight = sum(&window.square()?.broadcast_to(&[count, n])?)?;
    let reached = weight.greater(&like(&weight, 1e-11))?;
    let weight = reached.select(&weight, &like(&weight, 1.0))?;
    let signal = signal.divide(&weight)?;
    let last = signal.ndim() - 1;
    let start = if frames.center { n / 2 } else { 0 };
    let stop = match length {
        Some(length) => (start + length).min(total),
        None => total - start,
    };
    let signal = signal.pinned_range(last, start, stop.saturating_sub(start))?;
    let missing = length.map_or(0, |length| length - (stop - start));
    if missing == 0 {
        return Ok(signal);
    }
    let mut widths = vec![(0, 0); last + 1];
    widths[last].1 = missing;
    signal.pad(&widths, &PadMode::Constant(like(&signal, 0.0)))
}
