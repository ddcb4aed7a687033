//! `lazulite.core.fft`: Fourier transforms.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Axes, Count, Sizes, optional_size};
use crate::device::{On, on};
use crate::errors::Answer;
use crate::functions::add_functions;
use lazulite::op::fft::{self as engine, Norm};
use lazulite::op::join::PadMode;
use lazulite::op::stft::{self as frames, Frames};
use lazulite::{Array, Literal};
use pyo3::prelude::*;

macro_rules! along_an_axis {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, n = None, axis = -1, norm = "backward", stream = None))]
        fn $name(a: Arr, n: Option<Count>, axis: i64, norm: &str, stream: On) -> Answer<PyArray> {
            let n = optional_size(n, stringify!($name), "n")?;
            let norm = Norm::from_name(norm)?;
            on(stream, || wrap(engine::$name(&a.0, n, axis, norm)))
        }
    )*};
}
along_an_axis! {
    /// Fourier transform along an axis, cut or filled with zeros to `n` elements.
    ///
    /// Shapes: that of `a`, with `n` elements along the axis.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// A length of 0 and an unknown `norm` raise ValueError.
    ///
    /// >>> mx.fft.fft(mx.array([1.0, 0.0, 0.0, 0.0]))
    /// array([1+0j, 1+0j, 1+0j, 1+0j], dtype=complex64)
    fft;
    /// The inverse of `fft`.
    ///
    /// Shapes: that of `a`, with `n` elements along the axis.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// A length of 0 and an unknown `norm` raise ValueError.
    ///
    /// >>> mx.fft.ifft(mx.ones(2))
    /// array([1+0j, 0+0j], dtype=complex64)
    ifft;
    /// The first `n / 2 + 1` frequencies of a real signal.
    ///
    /// Shapes: that of `a`, with `n / 2 + 1` elements along the axis.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    /// An axis out of range raises IndexError.
    /// A length of 0 and an unknown `norm` raise ValueError.
    ///
    /// >>> mx.fft.rfft(mx.ones(4)).shape
    /// (3,)
    rfft;
    /// The inverse of `rfft`: a real signal of `n` elements.
    ///
    /// Shapes: that of `a`, with `n` elements along the axis, `2 (m - 1)` for m unless given.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// A length of 0 and an unknown `norm` raise ValueError.
    ///
    /// >>> mx.fft.irfft(mx.ones(3))
    /// array([1, 0, 0, 0], dtype=float32)
    irfft;
}

macro_rules! over_axes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, s = None, axes = None, norm = "backward", stream = None))]
        fn $name(
            a: Arr,
            s: Option<Sizes>,
            axes: Option<Axes>,
            norm: &str,
            stream: On,
        ) -> Answer<PyArray> {
            let (norm, s) = (Norm::from_name(norm)?, lengths(stringify!($name), s)?);
            on(stream, || wrap(engine::$name(&a.0, s.as_deref(), axes.as_deref(), norm)))
        }
    )*};
}
over_axes! {
    /// Fourier transform over axes, all by default, of the lengths `s`.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.fftn(mx.ones((2, 2)))
    /// array([[4+0j, 0+0j],
    ///        [0+0j, 0+0j]], dtype=complex64)
    fftn;
    /// The inverse of `fftn`.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.ifftn(mx.ones((2, 2)))
    /// array([[1+0j, 0+0j],
    ///        [0+0j, 0+0j]], dtype=complex64)
    ifftn;
    /// `rfft` over the last axis, then `fft` over the others.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes, of which the last one becomes `s / 2 +
    /// 1`.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.rfftn(mx.ones((2, 4))).shape
    /// (2, 3)
    rfftn;
    /// The inverse of `rfftn`.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes, `2 (m - 1)` for m on the last one unless
    /// given.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.irfftn(mx.ones((2, 3))).shape
    /// (2, 4)
    irfftn;
}

macro_rules! over_two_axes {
    ($($(#[$doc:meta])* $name:ident: $all:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(
            signature = (a, s = None, axes = Some(LAST_TWO.into()), norm = "backward", stream = None),
            text_signature = "(a, s=None, axes=[-2, -1], norm='backward', stream=None)"
        )]
        fn $name(
            a: Arr,
            s: Option<Sizes>,
            axes: Option<Vec<i64>>,
            norm: &str,
            stream: On,
        ) -> Answer<PyArray> {
            let (norm, s) = (Norm::from_name(norm)?, lengths(stringify!($name), s)?);
            on(stream, || wrap(engine::$all(&a.0, s.as_deref(), axes.as_deref(), norm)))
        }
    )*};
}
/// The axes of transforms over two.
const LAST_TWO: [i64; 2] = [-2, -1];
over_two_axes! {
    /// Fourier transform over two axes.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.fft2(mx.ones((2, 2)))
    /// array([[4+0j, 0+0j],
    ///        [0+0j, 0+0j]], dtype=complex64)
    fft2: fftn;
    /// The inverse of `fft2`.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.ifft2(mx.ones((2, 2)))
    /// array([[1+0j, 0+0j],
    ///        [0+0j, 0+0j]], dtype=complex64)
    ifft2: ifftn;
    /// `rfft` over the last of two axes, then `fft` over the other.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes, of which the last one becomes `s / 2 +
    /// 1`.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.rfft2(mx.ones((2, 4))).shape
    /// (2, 3)
    rfft2: rfftn;
    /// The inverse of `rfft2`.
    ///
    /// Shapes: that of `a`, with the sizes `s` on the axes, `2 (m - 1)` for m on the last one unless
    /// given.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// `s` and `axes` of different lengths raise ValueError.
    ///
    /// >>> mx.fft.irfft2(mx.ones((2, 3))).shape
    /// (2, 4)
    irfft2: irfftn;
}

fn lengths(op: &str, s: Option<Sizes>) -> Answer<Option<Vec<usize>>> {
    Ok(s.map(|s| s.shape(op)).transpose()?.map(|s| s.to_vec()))
}

/// The frequencies of `fft` of `n` samples that are `d` apart.
///
/// Shapes: `(n)`.
/// Dtypes: float32.
/// A negative number raises ValueError.
///
/// >>> mx.fft.fftfreq(4)
/// array([0, 0.25, -0.5, -0.25], dtype=float32)
#[pyfunction]
#[pyo3(signature = (n, d = 1.0, stream = None))]
fn fftfreq(n: Count, d: f64, stream: On) -> Answer<PyArray> {
    let n = n.size("fftfreq", "n")?;
    on(stream, || wrap(engine::fftfreq(n, d)))
}

/// The frequencies of `rfft` of `n` samples that are `d` apart.
///
/// Shapes: `(n / 2 + 1)`.
/// Dtypes: float32.
/// A negative number raises ValueError.
///
/// >>> mx.fft.rfftfreq(4)
/// array([0, 0.25, 0.5], dtype=float32)
#[pyfunction]
#[pyo3(signature = (n, d = 1.0, stream = None))]
fn rfftfreq(n: Count, d: f64, stream: On) -> Answer<PyArray> {
    let n = n.size("rfftfreq", "n")?;
    on(stream, || wrap(engine::rfftfreq(n, d)))
}

/// The array rolled so that the frequency 0 is in the middle of axes, all by default.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.fft.fftshift(mx.arange(4))
/// array([2, 3, 0, 1], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, axes = None, stream = None))]
fn fftshift(a: Arr, axes: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::fftshift(&a.0, axes.as_deref())))
}

/// The inverse of `fftshift`.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.fft.ifftshift(mx.arange(5))
/// array([2, 3, 4, 0, 1], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, axes = None, stream = None))]
fn ifftshift(a: Arr, axes: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::ifftshift(&a.0, axes.as_deref())))
}

/// The Fourier transforms of overlapping frames of a signal: `(..., n) -> (..., f, t)`.
///
/// Shapes: `(..., n) -> (..., n_fft / 2 + 1, frames)`, `n_fft` frequencies for complex signals.
/// Dtypes: all.
/// A signal too short to be padded, and a window of another length, raise ValueError.
///
/// >>> mx.fft.stft(mx.ones(32), n_fft=16).shape
/// (9, 9)
#[pyfunction]
#[pyo3(
    signature = (
        x, n_fft = Count::new(2048), hop_length = None, win_length = None, window = None,
        center = true, pad_mode = "reflect", norm = "backward", onesided = None, stream = None
    ),
    text_signature = "(x, n_fft=2048, hop_length=None, win_length=None, window=None, center=True, \
        pad_mode=\"reflect\", norm=\"backward\", onesided=None, stream=None)"
)]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn stft(
    x: Arr,
    n_fft: Count,
    hop_length: Option<Count>,
    win_length: Option<Count>,
    window: Option<Arr>,
    center: bool,
    pad_mode: &str,
    norm: &str,
    onesided: Option<bool>,
    stream: On,
) -> Answer<PyArray> {
    let n_fft = n_fft.size("stft", "n_fft")?;
    let hop_length = optional_size(hop_length, "stft", "hop_length")?;
    let win_length = optional_size(win_length, "stft", "win_length")?;
    let pad_mode = match pad_mode {
        "constant" => PadMode::Constant(Array::literal(Literal::from_i64(0, x.0.dtype()))),
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        "symmetric" => PadMode::Symmetric,
        other => return Err(crate::functions::shaping::unknown_mode("stft", other)),
    };
    let window = window.map(|w| w.0);
    let norm = Norm::from_name(norm)?;
    let cut = Frames {
        hop_length,
        win_length,
        window: window.as_ref(),
        center,
        pad_mode,
        norm,
        onesided,
        ..Frames::new(n_fft)
    };
    on(stream, || wrap(frames::stft(&x.0, &cut)))
}

/// The inverse of `stft`: the signal of `length` elements.
///
/// Shapes: `(..., f, frames) -> (..., length)`.
/// Dtypes: all.
/// Other numbers of frequencies raise ValueError.
///
/// >>> mx.fft.istft(mx.fft.stft(mx.ones(32), n_fft=16), length=32).shape
/// (32,)
#[pyfunction]
#[pyo3(signature = (
    stft_matrix, n_fft = None, hop_length = None, win_length = None, window = None, center = true,
    norm = "backward", onesided = None, length = None, stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn istft(
    stft_matrix: Arr,
    n_fft: Option<Count>,
    hop_length: Option<Count>,
    win_length: Option<Count>,
    window: Option<Arr>,
    center: bool,
    norm: &str,
    onesided: Option<bool>,
    length: Option<Count>,
    stream: On,
) -> Answer<PyArray> {
    let x = stft_matrix.0;
    // As many frequencies as a one-sided transform has, or as a frame has elements.
    let frequencies = if x.ndim() < 2 { 0 } else { x.size(-2)? };
    let hop_length = optional_size(hop_length, "istft", "hop_length")?;
    let win_length = optional_size(win_length, "istft", "win_length")?;
    let length = optional_size(length, "istft", "length")?;
    let n_fft = optional_size(n_fft, "istft", "n_fft")?.unwrap_or(match onesided {
        Some(false) => frequencies,
        _ => 2 * frequencies.saturating_sub(1),
    });
    let window = window.map(|w| w.0);
    let norm = Norm::from_name(norm)?;
    let cut = Frames {
        hop_length,
        win_length,
        window: window.as_ref(),
        center,
        norm,
        onesided,
        ..Frames::new(n_fft)
    };
    on(stream, || wrap(frames::istft(&x, &cut, length)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, fft, ifft, rfft, irfft, fftn, ifftn, rfftn, irfftn, fft2, ifft2, rfft2);
    add_functions!(m, irfft2, fftfreq, rfftfreq, fftshift, ifftshift, stft, istft);
    Ok(())
}
