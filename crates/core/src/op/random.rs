//! Random numbers: a counter-based generator with explicit keys, and a default state.
//!
//! Words come from Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3", 2011), in the layout that MLX uses, so that equal keys give equal numbers.

use super::{Avals, Batched, Derivative, Primitive, Rules, batch_first, like, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes, checked_len, normalize_axis, show};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// Input `key (..., 2)` of `uint32`; output `(...) + shape` of `width`-byte unsigned integers. For
/// `n` words and `h = n / 2`: words `i` and `i + h + n % 2` are the two halves of the hash of the
/// counters `(i, i + h + n % 2)`, and the middle word of an odd number is the first half of
/// `(h, 0)`. Narrow widths truncate the byte stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct RandomBits {
    /// The shape for one key.
    pub shape: Shape,
    /// 1, 2 or 4.
    pub width: usize,
}

impl Rules for RandomBits {
    fn name(&self) -> &'static str {
        "random_bits"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let key = inputs[0].shape();
        if inputs[0].dtype() != Dtype::U32 || key.last() != Some(&2) {
            let message = format!(
                "a key has two elements of uint32 along its last axis, got {} of {}",
                show(key),
                inputs[0].dtype()
            );
            return Err(Error::argument("random_bits", message));
        }
        let mut shape: Shape = key[..key.len() - 1].into();
        shape.extend_from_slice(&self.shape);
        let dtype = match self.width {
            1 => Dtype::U8,
            2 => Dtype::U16,
            _ => Dtype::U32,
        };
        one(shape, dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let key = batch_first(&inputs[0], axes[0])?;
        Ok((vec![Array::apply(self.clone(), &[key])?], vec![axes[0].map(|_| 0)]))
    }

    fn key(&self, state: &mut impl Hasher) {
        self.width.hash(state);
    }
}

thread_local! {
    /// The key from which the calling thread's next draws come.
    static STATE: RefCell<Option<Array>> = const { RefCell::new(None) };
}

/// The calling thread's default key: the first of a thread comes from the time, unless [`seed`]
/// set it. Functions compiled by `transform::compile` have it as a hidden input and output; a
/// recording made by `transform::trace` must be given it.
///
/// # Errors
/// None today; the signature leaves room.
pub fn state() -> Result<Array> {
    if let Some(state) = STATE.with_borrow(Clone::clone) {
        return Ok(state);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let state = key(now.as_nanos() as u64)?;
    set_state(state.clone());
    Ok(state)
}

/// Replaces the calling thread's default key.
pub fn set_state(key: Array) {
    STATE.set(Some(key));
}

/// Runs `f` with `key` as the default key; returns what `f` made of it too, and restores the former
/// one afterwards, also when `f` fails.
pub(crate) fn with_state<R>(key: &Array, f: impl FnOnce() -> R) -> (R, Array) {
    struct Restore(Option<Array>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STATE.set(self.0.take());
        }
    }
    let _restore = Restore(STATE.replace(Some(key.clone())));
    let result = f();
    (result, STATE.with_borrow(Clone::clone).unwrap_or_else(|| key.clone()))
}

/// Starts the calling thread's default key from `seed`.
///
/// # Errors
/// As [`key`].
pub fn seed(seed: u64) -> Result<()> {
    set_state(key(seed)?);
    Ok(())
}

/// The key of a seed: its upper and lower 32 bits.
///
/// # Errors
/// Kind `OutOfMemory`.
pub fn key(seed: u64) -> Result<Array> {
    Array::from_slice(&[(seed >> 32) as u32, seed as u32], &[2])
}

/// `count` keys, as rows, that are independent of each other and of `key`.
///
/// # Errors
/// Kind `Argument` if `key` is not a key.
pub fn split(key: &Array, count: usize) -> Result<Array> {
    bits(&[count, 2], 4, Some(key))
}

/// `key`, or the next one of the default state.
fn key_or_next(key: Option<&Array>) -> Result<Array> {
    if let Some(key) = key {
        return Ok(key.clone());
    }
    let pair = split(&state()?, 2)?;
    set_state(pair.at_axis(0, 0)?);
    pair.at_axis(0, 1)
}

/// Random unsigned integers of `width` bytes (1, 2 or 4), every value equally likely.
///
/// # Errors
/// Kind `Argument` for another width or if `key` is not a key, `Shape` if there are too many
/// elements.
pub fn bits(shape: &[usize], width: usize, key: Option<&Array>) -> Result<Array> {
    if ![1, 2, 4].contains(&width) {
        let message = format!("a width of {width} bytes; 1, 2 and 4 are possible");
        return Err(Error::argument("random_bits", message));
    }
    checked_len("random_bits", shape)?;
    Array::apply(RandomBits { shape: shape.into(), width }, &[key_or_next(key)?])
}

fn floating(op: &'static str, dtype: Dtype) -> Result<()> {
    if dtype.is_floating() { Ok(()) } else { Err(Error::dtype(op, &[dtype], "a floating type")) }
}

/// The shape of a draw: `shape`, to which the parameters must broadcast, or theirs.
fn draw_shape(op: &'static str, shape: Option<&[usize]>, params: &[&Array]) -> Result<Shape> {
    let common =
        params.iter().try_fold(Shape::new(), |s, p| broadcast_shapes(op, &s, p.shape()))?;
    let Some(shape) = shape else { return Ok(common) };
    if broadcast_shapes(op, &common, shape)?.as_slice() == shape {
        return Ok(shape.into());
    }
    let message = format!("parameters of {} do not broadcast to {}", show(&common), show(shape));
    Err(Error::shape(op, &[&common, shape], message))
}

/// Uniform numbers from `low` to below `high`, which broadcast to `shape` (their own common shape
/// if `None`): `low + (high - low) * u` with `u = word / (2^32 - 1)`, at most the number before 1.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating, `Shape` if the bounds do not broadcast.
pub fn uniform(
    low: &Array,
    high: &Array,
    shape: Option<&[usize]>,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    floating("uniform", dtype)?;
    let shape = draw_shape("uniform", shape, &[low, high])?;
    let compute = if dtype == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
    let below_one = match dtype {
        Dtype::F16 => 1.0 - 1.0 / 2048.0,
        Dtype::BF16 => 1.0 - 1.0 / 256.0,
        Dtype::F64 => 1.0 - f64::EPSILON / 2.0,
        _ => 1.0 - f64::from(f32::EPSILON) / 2.0,
    };
    let words = bits(&shape, 4, key)?.astype(compute)?;
    let unit = words.divide(&like(&words, f64::from(u32::MAX)))?;
    let unit = unit.minimum(&like(&unit, below_one))?.astype(dtype)?;
    let (low, high) = (low.astype(dtype)?, high.astype(dtype)?);
    unit.multiply(&width(&low, &high)?)?.add(&low)
}

/// `high - low`, without a step where both are literals of a type in which the difference is made here with
/// the same rounding.
fn width(low: &Array, high: &Array) -> Result<Array> {
    let literal = |x: &Array| match x.node.op {
        Primitive::Scalar(value) => Some(value.to_f64()),
        _ => None,
    };
    let wide = match low.dtype() {
        Dtype::F32 => literal(low).zip(literal(high)).map(|(l, h)| f64::from(h as f32 - l as f32)),
        Dtype::F64 => literal(low).zip(literal(high)).map(|(l, h)| h - l),
        _ => None,
    };
    match wide {
        Some(difference) => Ok(like(low, difference)),
        None => high.subtract(low),
    }
}

/// Uniform numbers in `[0, 1)`.
///
/// # Errors
/// As [`uniform`].
pub fn unit_uniform(shape: &[usize], dtype: Dtype, key: Option<&Array>) -> Result<Array> {
    uniform(&Array::scalar(0.0f32), &Array::scalar(1.0f32), Some(shape), dtype, key)
}

/// Uniform `float32` or `float64` numbers between -1 and 1, neither included.
fn symmetric(shape: &[usize], dtype: Dtype, key: Option<&Array>) -> Result<Array> {
    let low = Array::scalar(-1.0f32 + f32::EPSILON / 2.0);
    let compute = if dtype == Dtype::F64 { dtype } else { Dtype::F32 };
    uniform(&low, &Array::scalar(1.0f32), Some(shape), compute, key)
}

/// Normally distributed numbers, `loc + scale * sqrt(2) * erfinv(u)`. Complex numbers have a real
/// and an imaginary part `erfinv(u)` each, so that their absolute square is 1 on average.
///
/// # Errors
/// Kind `Dtype` if `dtype` is neither floating nor complex, `Shape` if `loc` or `scale` do not
/// broadcast to `shape`.
pub fn normal(
    shape: &[usize],
    dtype: Dtype,
    loc: Option<&Array>,
    scale: Option<&Array>,
    key: Option<&Array>,
) -> Result<Array> {
    let params: Vec<&Array> = loc.into_iter().chain(scale).collect();
    draw_shape("normal", Some(shape), &params)?;
    let mut x = if dtype.is_complex() {
        let mut pairs: Shape = shape.into();
        pairs.push(2);
        symmetric(&pairs, Dtype::F32, key)?.erfinv()?.view(Dtype::C64)?.reshape(shape)?
    } else {
        floating("normal", dtype)?;
        let x = symmetric(shape, dtype, key)?.erfinv()?.astype(dtype)?;
        x.multiply(&like(&x, std::f64::consts::SQRT_2))?
    };
    if let Some(scale) = scale {
        x = x.multiply(&scale.astype(dtype)?)?;
    }
    if let Some(loc) = loc {
        x = x.add(&loc.astype(dtype)?)?;
    }
    Ok(x)
}

/// Integers from `low` to below `high`, which broadcast to `shape` (their own common shape if
/// `None`). They come from `float32` numbers, so ranges over 2^24 leave gaps.
///
/// # Errors
/// Kind `Dtype` if `dtype` is neither an integer type nor bool, `Shape` if the bounds do not broadcast.
pub fn randint(
    low: &Array,
    high: &Array,
    shape: Option<&[usize]>,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    if !dtype.is_integer() && dtype != Dtype::Bool {
        return Err(Error::dtype("randint", &[dtype], "an integer type or bool"));
    }
    let x = uniform(low, high, shape, Dtype::F32, key)?.floor()?;
    x.maximum(&low.astype(Dtype::F32)?)?.astype(dtype)
}

/// True with probability `p`, which broadcasts to `shape` (its own if `None`).
///
/// # Errors
/// Kind `Shape` if `p` does not broadcast.
pub fn bernoulli(p: &Array, shape: Option<&[usize]>, key: Option<&Array>) -> Result<Array> {
    let shape = draw_shape("bernoulli", shape, &[p])?;
    unit_uniform(&shape, Dtype::F32, key)?.less(p)
}

/// Normally distributed numbers given that they lie between `lower` and `upper`.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating, `Shape` if the bounds do not broadcast.
pub fn truncated_normal(
    lower: &Array,
    upper: &Array,
    shape: Option<&[usize]>,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    floating("truncated_normal", dtype)?;
    let shape = draw_shape("truncated_normal", shape, &[lower, upper])?;
    let (lower, upper) = (lower.astype(dtype)?, upper.astype(dtype)?);
    let root = like(&lower, std::f64::consts::SQRT_2);
    let (a, b) = (lower.divide(&root)?.erf()?, upper.divide(&root)?.erf()?);
    let x = uniform(&a, &b, Some(&shape), dtype, key)?.erfinv()?.multiply(&root)?;
    upper.minimum(&x)?.maximum(&lower)
}

/// Numbers of the standard Gumbel distribution, `-log(-log(u))`.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating.
pub fn gumbel(shape: &[usize], dtype: Dtype, key: Option<&Array>) -> Result<Array> {
    unit_uniform(shape, dtype, key)?.log()?.negative()?.log()?.negative()
}

/// Numbers of the Laplace distribution, `loc + scale * sign(u) * log(1 - |u|)` with `u` between -1
/// and 1.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating.
pub fn laplace(
    shape: &[usize],
    dtype: Dtype,
    loc: f64,
    scale: f64,
    key: Option<&Array>,
) -> Result<Array> {
    floating("laplace", dtype)?;
    let u = symmetric(shape, dtype, key)?.astype(dtype)?;
    let mut x = u.sign()?.multiply(&u.abs()?.negative()?.log1p()?)?;
    if scale != 1.0 {
        x = x.multiply(&like(&x, scale))?;
    }
    if loc == 0.0 { Ok(x) } else { x.add(&like(&x, loc)) }
}

/// Places (`uint32`) along `axis`, drawn with probabilities `softmax(logits)`: one for each
/// distribution.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn categorical(logits: &Array, axis: i64, key: Option<&Array>) -> Result<Array> {
    let axis = normalize_axis("categorical", axis, logits.ndim())?;
    let noise = gumbel(logits.shape(), Dtype::F32, key)?;
    logits.add(&noise)?.argmax(Some(axis as i64), false)
}

/// As [`categorical`], `count` draws for each distribution, along a new last axis. Draws from a
/// single distribution invert its cumulative sum.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn categorical_samples(
    logits: &Array,
    axis: i64,
    count: usize,
    key: Option<&Array>,
) -> Result<Array> {
    let axis = normalize_axis("categorical", axis, logits.ndim())?;
    if logits.ndim() == 1 {
        let sums = logits.softmax(Some(&[0]), true)?.cumsum(0, false, true)?;
        let u = unit_uniform(&[count, 1], Dtype::F32, key)?;
        let place = sums.less(&u)?.astype(Dtype::U32)?.sum(Some(&[-1]), false)?;
        // Rounding may leave the last sum below 1.
        let last = (logits.len().max(1) - 1) as f64;
        return place.minimum(&like(&place, last));
    }
    let logits = logits.expand_dims(&[-1])?;
    let mut shape: Shape = logits.shape().into();
    shape[logits.ndim() - 1] = count;
    let noise = gumbel(&shape, Dtype::F32, key)?;
    logits.add(&noise)?.argmax(Some(axis as i64), false)
}

/// A random order of the numbers below `n`, as `uint32`.
///
/// # Errors
/// Kind `Shape` if there are too many.
pub fn permutation(n: usize, key: Option<&Array>) -> Result<Array> {
    bits(&[n], 4, key)?.argsort(Some(0))
}

/// The parts of `x` along `axis` in a random order.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn shuffle(x: &Array, axis: i64, key: Option<&Array>) -> Result<Array> {
    let size = x.shape()[normalize_axis("permutation", axis, x.ndim())?];
    let order = permutation(size, key)?;
    x.take(&order, Some(axis))
}

/// Numbers of the normal distribution with the given means and covariances: `mean + z S`, with
/// independent normal z and the symmetric root S of the covariance, which must be positive
/// semi-definite.
///
/// # Shapes
/// `mean (..., n)`, `cov (..., n, n) -> (*shape, n)`, where `shape` is that to which the leading
/// axes broadcast if it is empty, and must be broadcast from them otherwise.
///
/// # Errors
/// Kind `Shape` if the shapes do not fit, `Dtype` if `dtype` is not floating.
pub fn multivariate_normal(
    mean: &Array,
    cov: &Array,
    shape: &[usize],
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    const OP: &str = "multivariate_normal";
    floating(OP, dtype)?;
    let ([lead @ .., n], [lead_cov @ .., rows, columns]) = (mean.shape(), cov.shape()) else {
        let message = "means (..., n) and covariances (..., n, n) are needed";
        return Err(Error::shape(OP, &[mean.shape(), cov.shape()], message));
    };
    if rows != n || columns != n {
        let message =
            format!("covariances of {} for means of {}", show(cov.shape()), show(mean.shape()));
        return Err(Error::shape(OP, &[mean.shape(), cov.shape()], message));
    }
    let own = broadcast_shapes(OP, lead, lead_cov)?;
    let mut all = if shape.is_empty() { own.clone() } else { broadcast_shapes(OP, shape, &own)? };
    if !shape.is_empty() && all.as_slice() != shape {
        let message = format!("{} does not broadcast to {}", show(&own), show(shape));
        return Err(Error::shape(OP, &[&own, shape], message));
    }
    all.push(*n);
    let (u, s, vh) = super::linalg::svd(&cov.astype(Dtype::F32)?)?;
    let root = u.multiply(&s.sqrt()?.expand_dims(&[-2])?)?.matmul(&vh)?;
    let z = normal(&all, Dtype::F32, None, None, key)?.expand_dims(&[-2])?;
    let spread = z.matmul(&root)?.squeeze(Some(&[-2]))?;
    spread.add(&mean.astype(Dtype::F32)?)?.astype(dtype)
}
