//! Products with both sides quantised: activations on the way, weights before or on the way.
//!
//! What is multiplied is what the quantised numbers stand for. Derivatives take the rounding for the
//! identity (the straight-through estimator of Bengio, Léonard and Courville, "Estimating or
//! Propagating Gradients Through Stochastic Neurons", 2013): the cotangent of x is `ct w` and that
//! of weights that came unquantised `ct^T x`, with the rounded values of the other side.

use super::like;
use super::quantized::{FLOATS, QuantFormat, QuantMode, takes};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;
use crate::transform::custom_function;

/// The largest number that an NVFP4 block holds: the greatest E4M3 scale times the greatest element.
const LARGEST: f64 = 448.0 * 6.0;

/// The right side of a product: `(..., n, k)`.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Quantised on the way.
    Plain(&'a Array),
    /// Packed words and scales.
    Packed(&'a Array, &'a Array),
}

/// The largest magnitudes of both sides, `float32` of one element each, by which NVFP4 scales
/// numbers to its range before it rounds them.
#[derive(Clone, Copy, Debug)]
pub struct GlobalScales<'a> {
    /// Of x.
    pub x: &'a Array,
    /// Of the weights.
    pub w: &'a Array,
}

impl QuantFormat {
    /// What numbers are multiplied by before they are rounded, given the largest magnitude: a 0-d
    /// array of `float32`.
    ///
    /// # Errors
    /// Kind `Argument` unless the format is NVFP4 and `global` one element of `float32`.
    pub fn range_factor(self, op: &'static str, global: &Array) -> Result<Array> {
        if self.mode != QuantMode::Nvfp4 {
            let message = format!("a global scale is for nvfp4, not for {}", self.mode.name());
            return Err(Error::argument(op, message));
        }
        if global.len() != 1 || global.dtype() != Dtype::F32 {
            let message = format!(
                "a global scale has one element of float32, got {} of {}",
                show(global.shape()),
                global.dtype()
            );
            return Err(Error::argument(op, message));
        }
        let global = global.reshape(&[])?;
        like(&global, LARGEST).divide(&global)
    }
}

impl Array {
    /// As [`Array::quantize`], of numbers scaled so that `global`, the largest magnitude, becomes the
    /// largest number of the format.
    ///
    /// # Errors
    /// As [`Array::quantize`], and kind `Argument` unless the format is NVFP4 and `global` one element of
    /// `float32`.
    pub fn quantize_scaled(&self, format: QuantFormat, global: &Array) -> Result<Vec<Array>> {
        let factor = format.range_factor("quantize", global)?;
        self.astype(Dtype::F32)?.multiply(&factor)?.quantize(format)
    }

    /// The inverse of [`Array::quantize_scaled`], in `dtype` (`bfloat16` if `None`).
    ///
    /// # Errors
    /// As [`Array::dequantize`] and [`Array::quantize_scaled`].
    pub fn dequantize_scaled(
        &self,
        scales: &Array,
        format: QuantFormat,
        dtype: Option<Dtype>,
        global: &Array,
    ) -> Result<Array> {
        let factor = format.range_factor("dequantize", global)?;
        let scaled = self.dequantize(scales, None, format, Some(Dtype::F32))?;
        scaled.divide(&factor)?.astype(dtype.unwrap_or(Dtype::BF16))
    }
}

/// `x` rounded to the format and back, for derivatives the identity.
fn rounded(x: &Array, format: QuantFormat) -> Result<Array> {
    let dtype = x.dtype();
    custom_function(move |x: Array| {
        let parts = x.quantize(format)?;
        parts[0].dequantize(&parts[1], None, format, Some(dtype))
    })
    .with_vjp(|_x: &Array, _y: &Array, ct: &Array| Ok(ct.clone()))
    .with_jvp(|_x: &Array, t: &Array| Ok(t.clone()))
    .call(x.clone())
}

/// Both sides ready to be multiplied, and what the product is divided by.
struct Sides<'a> {
    x: Array,
    w: Right<'a>,
    factor: Option<Array>,
}

/// The right side: `(..., k, n)`, rounded, or as it came.
enum Right<'a> {
    Rounded(Array),
    Packed(&'a Array, &'a Array),
}

fn sides<'a>(
    op: &'static str,
    x: &Array,
    weights: Weights<'a>,
    format: QuantFormat,
    global: Option<GlobalScales<'_>>,
) -> Result<Sides<'a>> {
    if format.mode == QuantMode::Affine {
        let message = "affine quantisation of both sides; mxfp4, nvfp4 and mxfp8 are supported";
        return Err(Error::unsupported(op, message));
    }
    let plain = match weights {
        Weights::Plain(w) => Some(w),
        Weights::Packed(..) => None,
    };
    for side in [Some(x), plain].into_iter().flatten() {
        if !takes(side.dtype()) {
            return Err(Error::dtype(op, &[side.dtype()], FLOATS));
        }
        if side.shape().last().is_none_or(|k| k % format.group != 0) {
            let message = format!(
                "the last axis of {} does not have whole groups of {} elements",
                show(side.shape()),
                format.group
            );
            return Err(Error::shape(op, &[side.shape()], message));
        }
    }
    let factors = match global {
        Some(global) => {
            Some([format.range_factor(op, global.x)?, format.range_factor(op, global.w)?])
        }
        None => None,
    };
    let ready = |side: &Array, place: usize| match &factors {
        // Scaled numbers reach 2688, whose products a half type does not hold.
        Some(by) => rounded(&side.astype(Dtype::F32)?.multiply(&by[place])?, format),
        None => rounded(side, format),
    };
    let w = match weights {
        Weights::Plain(w) => Right::Rounded(ready(w, 1)?.swapaxes(-1, -2)?),
        Weights::Packed(w, scales) => Right::Packed(w, scales),
    };
    let x = ready(x, 0)?;
    let factor = factors.map(|[by_x, by_w]| by_x.multiply(&by_w)).transpose()?;
    Ok(Sides { x, w, factor })
}

/// `out` divided by the factor, in the type of the product.
fn finish(out: Array, factor: Option<Array>, x: &Array, weights: Weights<'_>) -> Result<Array> {
    let dtype = match weights {
        Weights::Plain(w) => x.dtype().promote(w.dtype()),
        Weights::Packed(..) => x.dtype(),
    };
    let out = match factor {
        Some(factor) => out.divide(&factor)?,
        None => out,
    };
    out.astype(dtype)
}

/// `x w^T` of what both are when rounded to `format`.
///
/// # Shapes
/// `x (..., m, k)` or `(k,)`, `w (..., n, k)` `-> (..., m, n)` or `(n,)`.
///
/// # Dtypes
/// `float16`, `bfloat16` and `float32`; the type of x, or the promoted one of x and unquantised w.
///
/// # Errors
/// Kind `Unsupported` for affine formats, `Dtype` for other types, `Shape` if an axis does not have
/// whole groups or the sizes do not fit, `Argument` for global scales of another format than NVFP4.
pub fn qqmm(
    x: &Array,
    w: Weights<'_>,
    format: QuantFormat,
    global: Option<GlobalScales<'_>>,
) -> Result<Array> {
    let sides = sides("qqmm", x, w, format, global)?;
    let out = match &sides.w {
        Right::Packed(w, scales) => sides.x.quantized_matmul(w, scales, None, true, format)?,
        Right::Rounded(w) => sides.x.matmul(w)?,
    };
    finish(out, sides.factor, x, w)
}

/// [`qqmm`] of the blocks of rows and the matrices that indices pick, as
/// [`gather_mm`](Array::gather_mm) does.
///
/// # Shapes
/// `x (..., m, k)`, `w (..., n, k)`, indices that broadcast to `I` `-> I + (m, n)`.
///
/// # Errors
/// Those of [`qqmm`] and of [`Array::gather_qmm`].
pub fn gather_qqmm(
    x: &Array,
    w: Weights<'_>,
    lhs: Option<&Array>,
    rhs: Option<&Array>,
    format: QuantFormat,
    global: Option<GlobalScales<'_>>,
) -> Result<Array> {
    let sides = sides("gather_qqmm", x, w, format, global)?;
    let out = match &sides.w {
        Right::Packed(w, scales) => sides.x.gather_qmm(w, scales, None, lhs, rhs, true, format)?,
        Right::Rounded(w) => sides.x.gather_mm(w, lhs, rhs)?,
    };
    finish(out, sides.factor, x, w)
}
