//! Initialisers: new arrays of a shape, drawn from `key` or, without one, from the thread's default
//! key. The fans of a weight `(out, *spatial, in)` are `in` and `out` times the spatial size.

use crate::{Array, Dtype, Error, Literal, Result, linalg, random};

/// The fan by which He's initialisers divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// Keeps the variance of values.
    #[default]
    In,
    /// Keeps the variance of gradients.
    Out,
}

/// The fans in and out.
fn fans(shape: &[usize]) -> Result<(f64, f64)> {
    let (&[out, ref spatial @ .., fan_in], true) = (shape, shape.len() > 1) else {
        let message = format!("a shape of {shape:?}; a fan needs at least 2 axes");
        return Err(Error::shape("init", &[shape], message));
    };
    let field: usize = spatial.iter().product();
    Ok(((fan_in * field).max(1) as f64, (out * field).max(1) as f64))
}

fn fan(shape: &[usize], fan: Fan) -> Result<f64> {
    let (fan_in, fan_out) = fans(shape)?;
    Ok(if fan == Fan::In { fan_in } else { fan_out })
}

fn number(value: f64, dtype: Dtype) -> Array {
    Array::literal(Literal::from_f64(value, dtype))
}

/// The same number everywhere.
///
/// # Errors
/// Kind `Shape` if there are too many elements.
pub fn constant(shape: &[usize], value: f64, dtype: Dtype) -> Result<Array> {
    Array::full(shape, Literal::from_f64(value, dtype))
}

/// Uniform numbers in `[low, high)`.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating.
pub fn uniform(
    shape: &[usize],
    low: f64,
    high: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    random::uniform(&number(low, dtype), &number(high, dtype), Some(shape), dtype, key)
}

/// Normal numbers.
///
/// # Errors
/// Kind `Dtype` if `dtype` is not floating.
pub fn normal(
    shape: &[usize],
    mean: f64,
    std: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    let (mean, std) = (number(mean, dtype), number(std, dtype));
    random::normal(shape, dtype, Some(&mean), Some(&std), key)
}

/// An identity matrix of `n` rows.
///
/// # Errors
/// Kind `Shape` if there are too many elements.
pub fn identity(n: usize, dtype: Dtype) -> Result<Array> {
    Array::identity(n, dtype)
}

/// Normal numbers with `std = gain sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
///
/// # Errors
/// Kind `Shape` if there are fewer than 2 axes, `Dtype` if `dtype` is not floating.
pub fn glorot_normal(
    shape: &[usize],
    gain: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    let (a, b) = fans(shape)?;
    normal(shape, 0.0, gain * (2.0 / (a + b)).sqrt(), dtype, key)
}

/// Uniform numbers in `[-b, b)` with `b = gain sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio,
/// 2010).
///
/// # Errors
/// As [`glorot_normal`].
pub fn glorot_uniform(
    shape: &[usize],
    gain: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    let (a, b) = fans(shape)?;
    let bound = gain * (6.0 / (a + b)).sqrt();
    uniform(shape, -bound, bound, dtype, key)
}

/// Normal numbers with `std = gain / sqrt(fan)` (He et al., 2015); a gain of `sqrt(2)` suits ReLU.
///
/// # Errors
/// As [`glorot_normal`].
pub fn he_normal(
    shape: &[usize],
    mode: Fan,
    gain: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    normal(shape, 0.0, gain / fan(shape, mode)?.sqrt(), dtype, key)
}

/// Uniform numbers in `[-b, b)` with `b = gain sqrt(3 / fan)` (He et al., 2015).
///
/// # Errors
/// As [`glorot_normal`].
pub fn he_uniform(
    shape: &[usize],
    mode: Fan,
    gain: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    let bound = gain * (3.0 / fan(shape, mode)?).sqrt();
    uniform(shape, -bound, bound, dtype, key)
}

fn matrix(op: &'static str, shape: &[usize]) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(shape)
        .map_err(|_| Error::shape(op, &[shape], format!("a shape of {shape:?}, expected a matrix")))
}

/// Normal numbers, except that `ceil(sparsity n)` in each row of `n`, at random places, are 0.
///
/// # Errors
/// Kind `Shape` if it is not a matrix, `Argument` if `sparsity` is not in `[0, 1]`.
pub fn sparse(
    shape: &[usize],
    sparsity: f64,
    std: f64,
    dtype: Dtype,
    key: Option<&Array>,
) -> Result<Array> {
    let [_, columns] = matrix("sparse", shape)?;
    if !(0.0..=1.0).contains(&sparsity) {
        return Err(Error::argument("sparse", format!("a share of {sparsity}; it is in [0, 1]")));
    }
    let keys = key.map(|key| random::split(key, 2)?.split(2, 0)).transpose()?;
    let key = |i: usize| keys.as_ref().map(|keys| keys[i].flatten(0, -1)).transpose();
    let order = random::unit_uniform(shape, Dtype::F32, key(0)?.as_ref())?.argsort(Some(1))?;
    // A place's rank among its row's draws is below the number of zeros for as many places.
    let zeros = Array::scalar((sparsity * columns as f64).ceil() as u32);
    let rank = order.argsort(Some(1))?.astype(Dtype::U32)?;
    let values = normal(shape, 0.0, std, dtype, key(1)?.as_ref())?;
    rank.less(&zeros)?.select(&number(0.0, dtype), &values)
}

/// `gain` times a matrix with orthonormal rows or columns, whichever are fewer (Saxe et al., 2014).
///
/// # Errors
/// Kind `Shape` if it is not a matrix, `Dtype` if `dtype` is not floating.
pub fn orthogonal(shape: &[usize], gain: f64, dtype: Dtype, key: Option<&Array>) -> Result<Array> {
    let [rows, columns] = matrix("orthogonal", shape)?;
    let n = rows.max(columns);
    // The signs of the diagonal of R make the distribution uniform (Mezzadri, 2007).
    let (q, r) = linalg::qr(&random::normal(&[n, n], Dtype::F32, None, None, key)?)?;
    let q = q.multiply(&r.diag(0)?.sign()?)? * gain;
    q.slice(&[0, 0], &[rows as i64, columns as i64], &[1, 1])?.astype(dtype)
}
