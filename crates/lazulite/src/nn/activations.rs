//! Activation functions. Evaluation fuses them; unless one says otherwise its result has the shape
//! and the dtype of `x`.

use super::sequential::Layer;
use crate::operators::weak_scalar;
use crate::{Array, Dtype, Literal, Result};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// `value` as a bare number beside `x`.
fn like(x: &Array, value: f64) -> Array {
    weak_scalar(value, x.dtype())
}

fn below(x: &Array, limit: f64) -> Result<Array> {
    x.minimum(&like(x, limit))
}

fn above(x: &Array, limit: f64) -> Result<Array> {
    x.maximum(&like(x, limit))
}

/// The logistic function, `1 / (1 + exp(-x))`.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn sigmoid(x: &Array) -> Result<Array> {
    x.sigmoid()
}

/// The hyperbolic tangent.
///
/// # Errors
/// None today; the signature leaves room.
pub fn tanh(x: &Array) -> Result<Array> {
    x.tanh()
}

/// `max(x, 0)`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn relu(x: &Array) -> Result<Array> {
    above(x, 0.0)
}

/// `max(x, 0)^2` (So et al., "Primer", 2021).
///
/// # Errors
/// None today; the signature leaves room.
pub fn relu2(x: &Array) -> Result<Array> {
    relu(x)?.square()
}

/// `min(max(x, 0), 6)`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn relu6(x: &Array) -> Result<Array> {
    below(&relu(x)?, 6.0)
}

/// `max(slope x, x)`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn leaky_relu(x: &Array, slope: f64) -> Result<Array> {
    (x * slope).maximum(x)
}

/// `max(x, 0) + alpha min(x, 0)` with an `alpha` that broadcasts against `x` (He et al., 2015).
///
/// # Errors
/// Kind `Shape` if `alpha` does not broadcast.
pub fn prelu(x: &Array, alpha: &Array) -> Result<Array> {
    relu(x)?.add(&alpha.multiply(&below(x, 0.0)?)?)
}

/// `x` where `x > 0` and `alpha (exp(x) - 1)` elsewhere (Clevert et al., 2015).
///
/// # Errors
/// None today; the signature leaves room.
pub fn elu(x: &Array, alpha: f64) -> Result<Array> {
    let zero = like(x, 0.0);
    let positive = x.greater(&zero)?;
    // The inner choice keeps the derivative of the branch that is not taken finite.
    let low = positive.select(&zero, x)?.exp()? - 1.0;
    positive.select(x, &(low * alpha))
}

/// `max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)` (Barron, 2017).
///
/// # Errors
/// None today; the signature leaves room.
pub fn celu(x: &Array, alpha: f64) -> Result<Array> {
    let low = (below(x, 0.0)? / alpha).exp()? - 1.0;
    relu(x)?.add(&(low * alpha))
}

/// `1.0507 elu(x, 1.67326)` (Klambauer et al., 2017), with MLX's digits.
///
/// # Errors
/// None today; the signature leaves room.
pub fn selu(x: &Array) -> Result<Array> {
    Ok(elu(x, 1.67326)? * 1.0507)
}

/// `x sigmoid(x)`, also called swish.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn silu(x: &Array) -> Result<Array> {
    x.multiply(&x.sigmoid()?)
}

/// `x (1 + erf(x / sqrt(2))) / 2` (Hendrycks and Gimpel, 2016).
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn gelu(x: &Array) -> Result<Array> {
    Ok(x.multiply(&((x * FRAC_1_SQRT_2).erf()? + 1.0))? * 0.5)
}

/// GELU by `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`; the error is below 5e-4.
///
/// # Errors
/// None today; the signature leaves room.
pub fn gelu_approx(x: &Array) -> Result<Array> {
    let inner = x.add(&(x.square()?.multiply(x)? * 0.044715))? * (2.0 / PI).sqrt();
    Ok(x.multiply(&(inner.tanh()? + 1.0))? * 0.5)
}

/// GELU by `x sigmoid(1.702 x)`; the error is below 0.021.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn gelu_fast_approx(x: &Array) -> Result<Array> {
    x.multiply(&(x * 1.702).sigmoid()?)
}

/// `x tanh(softplus(x))` (Misra, 2019).
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn mish(x: &Array) -> Result<Array> {
    x.multiply(&softplus(x)?.tanh()?)
}

/// `x min(max(x + 3, 0), 6) / 6` (Howard et al., 2019).
///
/// # Errors
/// None today; the signature leaves room.
pub fn hardswish(x: &Array) -> Result<Array> {
    Ok(x.multiply(&relu6(&(x + 3.0))?)? / 6.0)
}

/// `x` held between `low` and `high`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn hard_tanh(x: &Array, low: f64, high: f64) -> Result<Array> {
    below(&above(x, low)?, high)
}

/// `x` where `|x| > lambda` and 0 elsewhere.
///
/// # Errors
/// None today; the signature leaves room.
pub fn hard_shrink(x: &Array, lambda: f64) -> Result<Array> {
    x.abs()?.greater(&like(x, lambda))?.select(x, &like(x, 0.0))
}

/// `x` moved by `lambda` towards 0, and 0 where `|x| <= lambda`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn softshrink(x: &Array, lambda: f64) -> Result<Array> {
    let moved = x.subtract(&(x.sign()? * lambda))?;
    x.abs()?.greater(&like(x, lambda))?.select(&moved, &like(x, 0.0))
}

/// `log(1 + exp(x))`, which does not overflow.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn softplus(x: &Array) -> Result<Array> {
    x.logaddexp(&like(x, 0.0))
}

/// `x / (1 + |x|)`.
///
/// # Errors
/// None today; the signature leaves room.
pub fn softsign(x: &Array) -> Result<Array> {
    x.divide(&(x.abs()? + 1.0))
}

/// `log(sigmoid(x))`.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn log_sigmoid(x: &Array) -> Result<Array> {
    softplus(&x.negative()?)?.negative()
}

/// `exp(x) / sum(exp(x))` along `axis`.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn softmax(x: &Array, axis: i64) -> Result<Array> {
    x.softmax(Some(&[axis]), false)
}

/// `softmax(-x)` along `axis`.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn softmin(x: &Array, axis: i64) -> Result<Array> {
    softmax(&x.negative()?, axis)
}

/// `x - logsumexp(x)` along `axis`.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn log_softmax(x: &Array, axis: i64) -> Result<Array> {
    x.subtract(&x.logsumexp(Some(&[axis]), true)?)
}

/// `a sigmoid(b)` for the two halves of `x` along `axis` (Dauphin et al., 2016).
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Argument` or `Shape` if its size is odd.
pub fn glu(x: &Array, axis: i64) -> Result<Array> {
    let halves = x.split(2, axis)?;
    halves[0].multiply(&halves[1].sigmoid()?)
}

/// 1 where `x >= threshold` and 0 elsewhere, in `int32`.
///
/// # Errors
/// Kind `Dtype` if x is complex.
pub fn step(x: &Array, threshold: f64) -> Result<Array> {
    x.greater_equal(&Array::literal(Literal::from_f64(threshold, x.dtype())))?.astype(Dtype::I32)
}

/// An activation as a part of a model, which compares equal to another if both are the same
/// function.
#[derive(Clone, Copy, Debug)]
pub struct Activation(pub fn(&Array) -> Result<Array>);

impl PartialEq for Activation {
    fn eq(&self, other: &Activation) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

/// No arrays of its own.
#[derive(Clone, Copy, Debug, PartialEq, super::Module)]
pub struct Apply {
    /// The function.
    #[module(skip)]
    pub activation: Activation,
}

impl Layer for Apply {
    fn call(&mut self, x: &Array) -> Result<Array> {
        (self.activation.0)(x)
    }
}
