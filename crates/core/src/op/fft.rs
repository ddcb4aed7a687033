//! Discrete Fourier transforms along one axis; those over several are compositions.
//!
//! The transforms are linear, and each is the transpose of another one of the family, so that
//! derivatives of any order stay inside it. They are computed in `complex64`.

use super::gather::distinct_axes;
use super::join::PadMode;
use super::{Aval, Avals, Batched, Derivative, Rules, beside_batch, like, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Axes, normalize_axis, show};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Which transform. With `w = exp(2 pi i / n)`, and `m = n / 2 + 1` frequencies of a real signal:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum FftKind {
    /// `y[k] = sum_j x[j] w^(-j k)`, complex to complex.
    Forward,
    /// `y[k] = sum_j x[j] w^(j k)`, complex to complex.
    Inverse,
    /// The first `m` frequencies of a real signal. With `mirrored`, those that stand for two,
    /// themselves and their conjugate, are doubled.
    FromReal {
        /// Whether paired frequencies are doubled.
        mirrored: bool,
    },
    /// `y[j] = Re sum_k x[k] w^(j k)` over `m` frequencies. With `mirrored`, those that stand for
    /// two count twice: the real signal with these frequencies.
    ToReal {
        /// Whether paired frequencies count twice.
        mirrored: bool,
    },
}

/// What the sums are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum FftScale {
    /// 1.
    One,
    /// `1 / sqrt(n)`.
    Root,
    /// `1 / n`.
    Whole,
}

/// A transform along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Fft {
    /// Which.
    pub kind: FftKind,
    /// The axis.
    pub axis: usize,
    /// The length `n` of the signal.
    pub len: usize,
    /// The factor.
    pub scale: FftScale,
}

impl Fft {
    /// The factor as a number.
    pub fn factor(&self) -> f64 {
        match self.scale {
            FftScale::One => 1.0,
            FftScale::Root => 1.0 / (self.len as f64).sqrt(),
            FftScale::Whole => 1.0 / self.len as f64,
        }
    }

    /// The sizes along the axis that the input and the output must have.
    fn sizes(&self) -> (usize, usize) {
        let half = self.len / 2 + 1;
        match self.kind {
            FftKind::Forward | FftKind::Inverse => (self.len, self.len),
            FftKind::FromReal { .. } => (self.len, half),
            FftKind::ToReal { .. } => (half, self.len),
        }
    }
}

impl Rules for Fft {
    fn name(&self) -> &'static str {
        match self.kind {
            FftKind::Forward => "fft",
            FftKind::Inverse => "ifft",
            FftKind::FromReal { .. } => "rfft",
            FftKind::ToReal { .. } => "irfft",
        }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let x = &inputs[0];
        let (from, to) = self.sizes();
        let mut shape: crate::shape::Shape = x.shape().into();
        if self.len == 0 || shape[self.axis] != from {
            let message = format!(
                "a signal of {} along axis {} of {}; {from} elements are needed",
                self.len,
                self.axis,
                show(x.shape())
            );
            return Err(Error::shape(self.name(), &[x.shape()], message));
        }
        shape[self.axis] = to;
        let real = matches!(self.kind, FftKind::ToReal { .. });
        one(shape, if real { Dtype::F32 } else { Dtype::C64 })
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    /// The conjugate transpose: for complex signals the transform with the other sign. For a real
    /// one, `<c, R x> = Re sum_k conj(c[k]) w_k sum_j x[j] w^(-j k)` is the inner product of `x`
    /// and `Re sum_k w_k c[k] w^(j k)`, in which the weights `w_k` stay.
    fn transpose(
        &self,
        _place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let kind = match self.kind {
            FftKind::Forward => FftKind::Inverse,
            FftKind::Inverse => FftKind::Forward,
            FftKind::FromReal { mirrored } => FftKind::ToReal { mirrored },
            FftKind::ToReal { mirrored } => FftKind::FromReal { mirrored },
        };
        Array::apply(Fft { kind, ..*self }, std::slice::from_ref(ct)).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let op = Fft { axis: beside_batch(self.axis, axes[0]), ..*self };
        Ok((vec![Array::apply(op, inputs)?], vec![axes[0]]))
    }

    /// A real signal made from frequencies stays of an even or odd length.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Fft> {
        let (now, before) = (inputs[0].shape()[self.axis], old[0].shape[self.axis]);
        let len = match self.kind {
            _ if now == before => self.len,
            FftKind::ToReal { .. } => (2 * now).saturating_sub(2) + self.len % 2,
            _ => now,
        };
        Ok(Fft { len, ..*self })
    }

    fn key(&self, state: &mut impl Hasher) {
        (self.kind, self.axis, self.scale).hash(state);
    }
}

/// Which of the two directions is divided by the number of elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norm {
    /// The inverse one.
    #[default]
    Backward,
    /// Both, by its root.
    Ortho,
    /// The forward one.
    Forward,
}

impl Norm {
    /// The norm of this name: `backward`, `ortho` or `forward`.
    ///
    /// # Errors
    /// Kind `Argument` for other names.
    pub fn from_name(name: &str) -> Result<Norm> {
        match name {
            "backward" => Ok(Norm::Backward),
            "ortho" => Ok(Norm::Ortho),
            "forward" => Ok(Norm::Forward),
            _ => {
                let message = format!("norm is {name:?}, not \"backward\", \"ortho\", \"forward\"");
                Err(Error::argument("fft", message))
            }
        }
    }

    fn scale(self, inverse: bool) -> FftScale {
        match (self, inverse) {
            (Norm::Ortho, _) => FftScale::Root,
            (Norm::Backward, true) | (Norm::Forward, false) => FftScale::Whole,
            _ => FftScale::One,
        }
    }
}

/// `x` cut or filled with zeros at the end to `n` elements along `axis`.
fn resize(op: &'static str, x: &Array, axis: usize, n: usize) -> Result<Array> {
    let have = x.shape()[axis];
    if n == 0 {
        return Err(Error::shape(op, &[x.shape()], "a transform of no elements is not defined"));
    }
    if n < have {
        return x.slice_axis(axis, Some(0), Some(n as i64), 1);
    }
    if n == have {
        return Ok(x.clone());
    }
    let mut widths = vec![(0, 0); x.ndim()];
    widths[axis].1 = n - have;
    x.pad(&widths, &PadMode::Constant(like(x, 0.0)))
}

/// One transform of `x` along `axis`, of a signal of `n` elements.
fn along(x: &Array, kind: FftKind, n: Option<usize>, axis: usize, norm: Norm) -> Result<Array> {
    let mut op = Fft { kind, axis, len: 0, scale: FftScale::One };
    let name = op.name();
    let have = x.shape()[axis];
    let (dtype, inverse) = match kind {
        FftKind::FromReal { .. } if x.dtype().is_complex() => {
            return Err(Error::dtype(name, &[x.dtype()], "a real type"));
        }
        FftKind::FromReal { .. } => (Dtype::F32, false),
        FftKind::Forward => (Dtype::C64, false),
        FftKind::Inverse | FftKind::ToReal { .. } => (Dtype::C64, true),
    };
    op.len = match kind {
        FftKind::ToReal { .. } => n.unwrap_or((2 * have).saturating_sub(2)),
        _ => n.unwrap_or(have),
    };
    op.scale = norm.scale(inverse);
    // Where no length is given none is looked at, so that a recording works for every size.
    let x = match n {
        None if op.len > 0 => x.clone(),
        _ if op.len == 0 => resize(name, x, axis, 0)?,
        _ => resize(name, x, axis, op.sizes().0)?,
    };
    Array::apply(op, &[x.astype(dtype)?])
}

const REAL: FftKind = FftKind::FromReal { mirrored: false };
const TO_REAL: FftKind = FftKind::ToReal { mirrored: true };

/// An axis, and the length of its signal if one was given.
type Along = (usize, Option<usize>);

/// The axes of a transform over several: those given, or the last ones for which there are
/// lengths, or all.
fn resolve(
    op: &'static str,
    x: &Array,
    s: Option<&[usize]>,
    axes: Option<&[i64]>,
) -> Result<Vec<Along>> {
    let axes: Axes = match (axes, s) {
        (Some(axes), _) => distinct_axes(op, axes, x.ndim())?,
        (None, Some(s)) if s.len() <= x.ndim() => (x.ndim() - s.len()..x.ndim()).collect(),
        (None, _) => (0..x.ndim()).collect(),
    };
    if s.is_some_and(|s| s.len() != axes.len()) {
        let message = format!("{} lengths for {} axes", s.map_or(0, <[usize]>::len), axes.len());
        return Err(Error::argument(op, message));
    }
    if axes.is_empty() {
        return Err(Error::argument(op, "there is no axis to transform"));
    }
    Ok(axes.iter().enumerate().map(|(i, &a)| (a, s.map(|s| s[i]))).collect())
}

/// Transforms of one kind over all of `axes`, the last one first.
fn over(x: &Array, kind: FftKind, axes: &[Along], norm: Norm) -> Result<Array> {
    axes.iter().rev().try_fold(x.clone(), |x, &(axis, n)| along(&x, kind, n, axis, norm))
}

/// The last axis apart from the others, which have no part in the real transform.
fn apart(axes: &[Along]) -> (&[Along], Along) {
    let last = axes.len() - 1;
    (&axes[..last], axes[last])
}

/// `y[k] = sum_j x[j] exp(-2 pi i j k / n)` along `axis`, of the first `n` elements or as many as
/// there are; zeros follow if there are fewer than `n`.
///
/// # Dtypes
/// `complex64`, to which every type is converted.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if there is no element.
///
/// ```no_run
/// use lazulite_core::{Array, Complex32, op::fft};
/// let x = Array::from_slice(&[1.0f32, 0.0, 0.0, 0.0], &[4])?;
/// let y = fft::fft(&x, None, -1, fft::Norm::Backward)?;
/// assert_eq!(y.to_vec::<Complex32>()?, [Complex32::new(1.0, 0.0); 4]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn fft(x: &Array, n: Option<usize>, axis: i64, norm: Norm) -> Result<Array> {
    along(x, FftKind::Forward, n, normalize_axis("fft", axis, x.ndim())?, norm)
}

/// The inverse of [`fft`]: `y[j] = 1/n sum_k x[k] exp(2 pi i j k / n)`.
///
/// # Errors
/// As [`fft`].
pub fn ifft(x: &Array, n: Option<usize>, axis: i64, norm: Norm) -> Result<Array> {
    along(x, FftKind::Inverse, n, normalize_axis("ifft", axis, x.ndim())?, norm)
}

/// The first `n / 2 + 1` elements of the [`fft`] of a real signal; the others are their conjugates.
///
/// # Dtypes
/// Real types, taken as `float32`, give `complex64`.
///
/// # Errors
/// As [`fft`], and kind `Dtype` for complex types.
pub fn rfft(x: &Array, n: Option<usize>, axis: i64, norm: Norm) -> Result<Array> {
    along(x, REAL, n, normalize_axis("rfft", axis, x.ndim())?, norm)
}

/// The inverse of [`rfft`]: a real signal of `n` elements, `2 (m - 1)` by default, from its first
/// `m = n / 2 + 1` frequencies. Imaginary parts that a real signal cannot have are not looked at.
///
/// # Dtypes
/// `complex64`, to which every type is converted, gives `float32`.
///
/// # Errors
/// As [`fft`].
pub fn irfft(x: &Array, n: Option<usize>, axis: i64, norm: Norm) -> Result<Array> {
    along(x, TO_REAL, n, normalize_axis("irfft", axis, x.ndim())?, norm)
}

/// [`fft`] over `axes`, of the lengths `s`: by default over as many of the last axes as there are
/// lengths, or over all.
///
/// # Errors
/// As [`fft`]; kind `Argument` if there are not as many lengths as axes.
pub fn fftn(x: &Array, s: Option<&[usize]>, axes: Option<&[i64]>, norm: Norm) -> Result<Array> {
    over(x, FftKind::Forward, &resolve("fftn", x, s, axes)?, norm)
}

/// The inverse of [`fftn`].
///
/// # Errors
/// As [`fftn`].
pub fn ifftn(x: &Array, s: Option<&[usize]>, axes: Option<&[i64]>, norm: Norm) -> Result<Array> {
    over(x, FftKind::Inverse, &resolve("ifftn", x, s, axes)?, norm)
}

/// [`rfft`] over the last of `axes`, then [`fft`] over the others.
///
/// # Errors
/// As [`fftn`], and kind `Dtype` for complex types.
pub fn rfftn(x: &Array, s: Option<&[usize]>, axes: Option<&[i64]>, norm: Norm) -> Result<Array> {
    let axes = resolve("rfftn", x, s, axes)?;
    let (others, (last, n)) = apart(&axes);
    over(&along(x, REAL, n, last, norm)?, FftKind::Forward, others, norm)
}

/// The inverse of [`rfftn`]: [`ifft`] over all but the last of `axes`, then [`irfft`] over it.
///
/// # Errors
/// As [`fftn`].
pub fn irfftn(x: &Array, s: Option<&[usize]>, axes: Option<&[i64]>, norm: Norm) -> Result<Array> {
    let axes = resolve("irfftn", x, s, axes)?;
    let (others, (last, n)) = apart(&axes);
    along(&over(x, FftKind::Inverse, others, norm)?, TO_REAL, n, last, norm)
}

/// [`fftn`] over two axes.
///
/// # Errors
/// As [`fftn`].
pub fn fft2(x: &Array, s: Option<&[usize]>, axes: &[i64], norm: Norm) -> Result<Array> {
    fftn(x, s, Some(axes), norm)
}

/// [`ifftn`] over two axes.
///
/// # Errors
/// As [`fftn`].
pub fn ifft2(x: &Array, s: Option<&[usize]>, axes: &[i64], norm: Norm) -> Result<Array> {
    ifftn(x, s, Some(axes), norm)
}

/// [`rfftn`] over two axes.
///
/// # Errors
/// As [`rfftn`].
pub fn rfft2(x: &Array, s: Option<&[usize]>, axes: &[i64], norm: Norm) -> Result<Array> {
    rfftn(x, s, Some(axes), norm)
}

/// [`irfftn`] over two axes.
///
/// # Errors
/// As [`irfftn`].
pub fn irfft2(x: &Array, s: Option<&[usize]>, axes: &[i64], norm: Norm) -> Result<Array> {
    irfftn(x, s, Some(axes), norm)
}

/// `x` rolled by `shift(n)` along each of `axes` of `n` elements, all if `None`.
fn shifted(
    op: &'static str,
    x: &Array,
    axes: Option<&[i64]>,
    shift: impl Fn(usize) -> usize,
) -> Result<Array> {
    let axes: Axes = match axes {
        Some(axes) => distinct_axes(op, axes, x.ndim())?,
        None => (0..x.ndim()).collect(),
    };
    let shifts: Vec<i64> = axes.iter().map(|&a| shift(x.shape()[a]) as i64).collect();
    let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
    if axes.is_empty() { Ok(x.clone()) } else { x.roll(&shifts, Some(&axes)) }
}

/// The frequency 0 moved to the middle along `axes`, all if `None`.
///
/// # Errors
/// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
pub fn fftshift(x: &Array, axes: Option<&[i64]>) -> Result<Array> {
    shifted("fftshift", x, axes, |n| n / 2)
}

/// The inverse of [`fftshift`].
///
/// # Errors
/// As [`fftshift`].
pub fn ifftshift(x: &Array, axes: Option<&[i64]>) -> Result<Array> {
    shifted("ifftshift", x, axes, |n| n.div_ceil(2))
}

fn frequency_step(op: &'static str, n: usize, d: f64) -> Result<f64> {
    if n == 0 {
        return Err(Error::argument(op, "there is no frequency of 0 samples"));
    }
    Ok(1.0 / (n as f64 * d))
}

/// The frequencies (`float32`) of [`fft`] of `n` samples that are `d` apart:
/// `0, 1, ..., -2, -1`, divided by `n d`.
///
/// # Errors
/// Kind `Argument` if `n` is 0.
pub fn fftfreq(n: usize, d: f64) -> Result<Array> {
    let step = frequency_step("fftfreq", n, d)?;
    let k = (0..n).map(|k| if k < n.div_ceil(2) { k as f64 } else { k as f64 - n as f64 });
    Array::from_slice(&k.map(|k| (k * step) as f32).collect::<Vec<_>>(), &[n])
}

/// The frequencies (`float32`) of [`rfft`] of `n` samples that are `d` apart.
///
/// # Errors
/// Kind `Argument` if `n` is 0.
pub fn rfftfreq(n: usize, d: f64) -> Result<Array> {
    let step = frequency_step("rfftfreq", n, d)?;
    let data: Vec<f32> = (0..=n / 2).map(|k| (k as f64 * step) as f32).collect();
    Array::from_slice(&data, &[data.len()])
}
