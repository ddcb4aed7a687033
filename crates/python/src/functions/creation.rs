//! Functions that make arrays from nothing or from Python values.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, Operand, Scalar, Sizes, array_from, optional_size};
use crate::device::{On, on};
use crate::dlpack;
use crate::dtype::PyDtype;
use crate::errors::{Answer, type_error, value_error};
use lazulite::{Array, Category, Dtype, Literal};
use pyo3::prelude::*;

fn or_float(dtype: Option<PyDtype>) -> Dtype {
    dtype.map_or(Dtype::F32, |d| d.0)
}

/// Zeros.
///
/// Shapes: the one that is asked for.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
///
/// >>> mx.zeros((2, 2))
/// array([[0, 0],
///        [0, 0]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, stream = None))]
fn zeros(shape: Sizes, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let shape = shape.shape("zeros")?;
    on(stream, || wrap(Array::zeros(&shape, or_float(dtype))))
}

/// Ones.
///
/// Shapes: the one that is asked for.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
///
/// >>> mx.ones((2, 2), mx.int32)
/// array([[1, 1],
///        [1, 1]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, stream = None))]
fn ones(shape: Sizes, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let shape = shape.shape("ones")?;
    on(stream, || wrap(Array::ones(&shape, or_float(dtype))))
}

/// An array whose values do not matter; here, zeros.
///
/// Shapes: the one that is asked for.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
///
/// >>> mx.empty((2, 3)).shape
/// (2, 3)
#[pyfunction]
#[pyo3(signature = (shape, dtype = None, *, stream = None))]
fn empty(shape: Sizes, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    zeros(shape, dtype, stream)
}

/// `value` at every place of an array's shape, also where the array has another shape later.
fn constant_like(a: &Array, value: f64, dtype: Option<PyDtype>) -> lazulite::Result<Array> {
    let dtype = dtype.map_or(a.dtype(), |d| d.0);
    Array::literal(Literal::from_f64(value, dtype)).broadcast_like(a)
}

/// Zeros of an array's shape, and of its dtype unless another is given.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.zeros_like(mx.array([3, 4]))
/// array([0, 0], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, dtype = None, *, stream = None))]
fn zeros_like(a: Arr, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(constant_like(&a.0, 0.0, dtype)))
}

/// Ones of an array's shape, and of its dtype unless another is given.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.ones_like(mx.array([3.0]))
/// array([1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, dtype = None, *, stream = None))]
fn ones_like(a: Arr, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(constant_like(&a.0, 1.0, dtype)))
}

/// An array of an array's shape whose values do not matter; here, zeros.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.empty_like(mx.ones((2, 3))).dtype
/// mlx.core.float32
#[pyfunction]
#[pyo3(signature = (a, /, dtype = None, *, stream = None))]
fn empty_like(a: Arr, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    zeros_like(a, dtype, stream)
}

fn values(vals: Operand, dtype: Option<Dtype>) -> Answer<Array> {
    match (vals, dtype) {
        (Operand::Scalar(s), _) => Ok(Array::literal(s.fit(dtype.unwrap_or_else(|| s.dtype()))?)),
        (Operand::Array(a) | Operand::Foreign(a), Some(dtype)) => Ok(a.astype(dtype)?),
        (Operand::Array(a) | Operand::Foreign(a), None) => Ok(a),
    }
}

/// A value, or values that broadcast, at every place of a shape.
///
/// Shapes: the one that is asked for.
/// Dtypes: all.
/// A negative size, and values that do not broadcast to the shape, raise ValueError.
///
/// >>> mx.full((2, 2), 3.0)
/// array([[3, 3],
///        [3, 3]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (shape, vals, dtype = None, *, stream = None))]
fn full(shape: Sizes, vals: Operand, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let shape = shape.shape("full")?;
    on(stream, || wrap(values(vals, dtype.map(|d| d.0))?.broadcast_to(&shape)))
}

/// A value at every place of an array's shape, of its dtype unless another is given.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// Values that do not broadcast to it raise ValueError.
///
/// >>> mx.full_like(mx.array([1, 2]), 7)
/// array([7, 7], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, vals, dtype = None, *, stream = None))]
fn full_like(a: Arr, vals: Operand, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let dtype = dtype.map_or(a.0.dtype(), |d| d.0);
    on(stream, || wrap(values(vals, Some(dtype))?.broadcast_like(&a.0)))
}

/// Ones on the `k`-th diagonal of an `n` by `m` matrix.
///
/// Shapes: `(n, m)`, m being n unless given.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError.
///
/// >>> mx.eye(2)
/// array([[1, 0],
///        [0, 1]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (n, m = None, k = 0, dtype = None, *, stream = None))]
fn eye(n: Count, m: Option<Count>, k: i64, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let (n, m) = (n.size("eye", "n")?, optional_size(m, "eye", "m")?);
    on(stream, || wrap(Array::eye(n, m.unwrap_or(n), k, or_float(dtype))))
}

/// The identity matrix.
///
/// Shapes: `(n, n)`.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError.
///
/// >>> mx.identity(2)
/// array([[1, 0],
///        [0, 1]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (n, dtype = None, *, stream = None))]
fn identity(n: Count, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let n = n.size("identity", "n")?;
    on(stream, || wrap(Array::identity(n, or_float(dtype))))
}

/// Ones on and below the `k`-th diagonal.
///
/// Shapes: `(n, m)`, m being n unless given.
/// Dtypes: any, float32 unless one is asked for.
/// A negative size raises ValueError.
///
/// >>> mx.tri(2)
/// array([[1, 0],
///        [1, 1]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (n, m = None, k = 0, dtype = None, *, stream = None))]
fn tri(n: Count, m: Option<Count>, k: i64, dtype: Option<PyDtype>, stream: On) -> Answer<PyArray> {
    let (n, m) = (n.size("tri", "n")?, optional_size(m, "tri", "m")?);
    on(stream, || wrap(Array::tri(n, m.unwrap_or(n), k, or_float(dtype))))
}

/// The array with zeros above the `k`-th diagonal.
///
/// Shapes: `(..., m, n)`, which the result has.
/// Dtypes: all.
/// Fewer than two axes raise ValueError.
///
/// >>> mx.tril(mx.ones((2, 2)))
/// array([[1, 0],
///        [1, 1]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, k = 0, *, stream = None))]
fn tril(x: Arr, k: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(x.0.tril(k)))
}

/// The array with zeros below the `k`-th diagonal.
///
/// Shapes: `(..., m, n)`, which the result has.
/// Dtypes: all.
/// Fewer than two axes raise ValueError.
///
/// >>> mx.triu(mx.ones((2, 2)))
/// array([[1, 1],
///        [0, 1]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, k = 0, *, stream = None))]
fn triu(x: Arr, k: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(x.0.triu(k)))
}

/// The diagonal of a matrix, or the matrix with this diagonal.
///
/// Shapes: `(n) -> (n + |k|, n + |k|)`, `(m, n) -> (l)` with the length l of the diagonal.
/// Dtypes: all.
/// Other numbers of axes raise ValueError.
///
/// >>> mx.diag(mx.array([1, 2]))
/// array([[1, 0],
///        [0, 2]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, k = 0, *, stream = None))]
fn diag(a: Arr, k: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.diag(k)))
}

/// The diagonals of the matrices on two axes, as the last axis.
///
/// Shapes: the two axes are left out, and the length of the diagonal is the last axis.
/// Dtypes: all.
/// An axis out of range raises IndexError; the same axis twice raises ValueError.
///
/// >>> mx.diagonal(mx.arange(4).reshape(2, 2))
/// array([0, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, offset = 0, axis1 = 0, axis2 = 1, stream = None))]
fn diagonal(a: Arr, offset: i64, axis1: i64, axis2: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.diagonal(offset, axis1, axis2)))
}

/// A bound of a range: a number, or an array of one.
fn bound(py: Python<'_>, value: Operand) -> Answer<Scalar> {
    match value {
        Operand::Scalar(scalar) => Ok(scalar),
        Operand::Array(array) | Operand::Foreign(array) => {
            let number = crate::convert::item(py, &array)?;
            Scalar::of(number.bind(py))?.ok_or_else(|| type_error("[arange] not a number"))
        }
    }
}

/// Evenly spaced values: `arange(stop)`, `arange(start, stop)` or `arange(start, stop, step)`.
///
/// Shapes: `(n)`, the number of steps before `stop`.
/// Dtypes: that of the bounds (int32 or float32 for Python's numbers), unless one is asked for.
/// Bounds that are not finite and a step of 0 raise ValueError.
///
/// >>> mx.arange(1, 7, 2)
/// array([1, 3, 5], dtype=int32)
#[pyfunction]
#[pyo3(
    signature = (start = None, stop = None, step = None, dtype = None, *, stream = None),
    text_signature = "(start, stop, step=None, dtype=None, *, stream=None)"
)]
fn arange(
    py: Python<'_>,
    start: Option<Operand>,
    stop: Option<Operand>,
    step: Option<Operand>,
    dtype: Option<PyDtype>,
    stream: On,
) -> Answer<PyArray> {
    let (start, stop) = match (start, stop) {
        (Some(stop), None) => (Operand::Scalar(Scalar::Int(0)), stop),
        (Some(start), Some(stop)) => (start, stop),
        (None, Some(stop)) => (Operand::Scalar(Scalar::Int(0)), stop),
        (None, None) => return Err(type_error("arange() needs at least one argument")),
    };
    let (start, stop) = (bound(py, start)?, bound(py, stop)?);
    let step = step.map_or(Ok(Scalar::Int(1)), |s| bound(py, s))?;
    let all = [start, stop, step];
    if all.iter().any(|s| matches!(s, Scalar::Bool(_) | Scalar::Complex(_))) {
        return Err(type_error("arange() takes integers and floats"));
    }
    let floating = all.iter().any(|s| matches!(s, Scalar::Float(_)));
    let wide = all.iter().any(|s| s.dtype() == Dtype::I64);
    let natural = if wide && !floating { Some(Dtype::I64) } else { None };
    let category = if floating { Category::Floating } else { Category::SignedInteger };
    let dtype = dtype.map(|d| d.0).or(natural);
    let number = |s: Scalar| s.literal(Dtype::F64).to_f64();
    let (start, stop, step) = (number(start), number(stop), number(step));
    if [start, stop, step].iter().any(|x| x.is_nan()) {
        return Err(value_error("[arange] Cannot compute length."));
    }
    on(stream, || wrap(Array::arange(start, stop, step, dtype, category)))
}

/// `num` evenly spaced values from `start` to `stop`, the latter included unless `endpoint` says
/// otherwise.
///
/// Shapes: `(num)`.
/// Dtypes: any, float32 unless one is asked for.
/// A negative number raises ValueError.
///
/// >>> mx.linspace(0, 1, 3)
/// array([0, 0.5, 1], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (start, stop, num = None, endpoint = true, dtype = None, stream = None),
    text_signature = "(start, stop, num=50, endpoint=True, dtype=None, stream=None)"
)]
fn linspace(
    py: Python<'_>,
    start: Operand,
    stop: Operand,
    num: Option<Count>,
    endpoint: bool,
    dtype: Option<PyDtype>,
    stream: On,
) -> Answer<PyArray> {
    let number = |x| -> Answer<f64> { Ok(bound(py, x)?.literal(Dtype::F64).to_f64()) };
    let (start, mut stop) = (number(start)?, number(stop)?);
    let num = optional_size(num, "linspace", "num")?.unwrap_or(50);
    if !endpoint && num > 0 {
        stop -= (stop - start) / num as f64;
    }
    on(stream, || wrap(Array::linspace(start, stop, num, or_float(dtype))))
}

/// The value as an array; an array of the asked dtype is returned as it is.
///
/// Shapes: that of the nested sequence or the array.
/// Dtypes: all.
/// Ragged sequences and values that are not numbers raise ValueError.
///
/// >>> mx.asarray([1, 2])
/// array([1, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, dtype = None, *, copy = None))]
fn asarray(a: &Bound<'_, PyAny>, dtype: Option<PyDtype>, copy: Option<bool>) -> Answer<PyArray> {
    if copy == Some(false) && !a.is_instance_of::<PyArray>() {
        return Err(value_error("[asarray] foreign memory is always copied"));
    }
    Ok(array_from(a, dtype.map(|d| d.0))?.into())
}

/// An array with a copy of another library's tensor.
///
/// Shapes: that of the other array.
/// Dtypes: all.
/// An object without `__dlpack__` raises AttributeError; memory on another device raises
/// BufferError or ValueError.
///
/// >>> mx.from_dlpack(mx.ones(2))
/// array([1, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, /, *, copy = None))]
fn from_dlpack(x: &Bound<'_, PyAny>, copy: Option<bool>) -> Answer<PyArray> {
    Ok(dlpack::import(x, copy)?.into())
}

/// `w(i)` for `i` in `0..m`, where `w` gets the angle `2 pi i / (m - 1)`.
fn window(m: i64, stream: On, w: impl Fn(f64) -> f64) -> Answer<PyArray> {
    let m = m.max(0);
    let step = std::f64::consts::TAU / (m - 1).max(1) as f64;
    let values: Vec<f32> = match m {
        1 => vec![1.0],
        _ => (0..m).map(|i| w(i as f64 * step) as f32).collect(),
    };
    on(stream, || wrap(Array::from_slice(&values, &[values.len()])))
}

/// The Bartlett window, a triangle.
///
/// Shapes: `(M)`.
/// Dtypes: float32.
/// A value that is not an integer raises TypeError.
///
/// >>> mx.bartlett(3)
/// array([0, 1, 0], dtype=float32)
#[pyfunction]
#[pyo3(signature = (M, *, stream = None))]
#[allow(non_snake_case)]
fn bartlett(M: i64, stream: On) -> Answer<PyArray> {
    window(M, stream, |t| 1.0 - (t / std::f64::consts::PI - 1.0).abs())
}

/// The Blackman window, `0.42 - 0.5 cos(t) + 0.08 cos(2t)`.
///
/// Shapes: `(M)`.
/// Dtypes: float32.
/// A value that is not an integer raises TypeError.
///
/// >>> mx.blackman(3)
/// array([-1.38778e-17, 1, -1.38778e-17], dtype=float32)
#[pyfunction]
#[pyo3(signature = (M, *, stream = None))]
#[allow(non_snake_case)]
fn blackman(M: i64, stream: On) -> Answer<PyArray> {
    window(M, stream, |t| 0.42 - 0.5 * t.cos() + 0.08 * (2.0 * t).cos())
}

/// The Hamming window, `0.54 - 0.46 cos(t)`.
///
/// Shapes: `(M)`.
/// Dtypes: float32.
/// A value that is not an integer raises TypeError.
///
/// >>> mx.hamming(3)
/// array([0.08, 1, 0.08], dtype=float32)
#[pyfunction]
#[pyo3(signature = (M, *, stream = None))]
#[allow(non_snake_case)]
fn hamming(M: i64, stream: On) -> Answer<PyArray> {
    window(M, stream, |t| 0.54 - 0.46 * t.cos())
}

/// The Hann window, `0.5 - 0.5 cos(t)`.
///
/// Shapes: `(M)`.
/// Dtypes: float32.
/// A value that is not an integer raises TypeError.
///
/// >>> mx.hanning(3)
/// array([0, 1, 0], dtype=float32)
#[pyfunction]
#[pyo3(signature = (M, *, stream = None))]
#[allow(non_snake_case)]
fn hanning(M: i64, stream: On) -> Answer<PyArray> {
    window(M, stream, |t| 0.5 - 0.5 * t.cos())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, zeros, ones, empty, zeros_like, ones_like, empty_like, full, full_like, eye);
    add_functions!(m, identity, tri, tril, triu, diag, diagonal, arange, linspace, asarray);
    add_functions!(m, from_dlpack, bartlett, blackman, hamming, hanning);
    Ok(())
}
