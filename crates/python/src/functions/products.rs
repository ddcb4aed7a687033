//! Products of matrices and tensors.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, sequence};
use crate::device::{On, on};
use crate::errors::{Answer, value_error};
use lazulite::op::blocks::{self, BlockMasks};
use lazulite::op::signal;
use pyo3::prelude::*;

/// Matrix product; leading axes broadcast, a vector is a row on the left and a column on the right.
///
/// Shapes: `a (..., m, k)`, `b (..., k, n)`, whose leading axes broadcast, the result `(..., m,
/// n)`; an operand of one axis is a row or a column; others raise ValueError.
/// Dtypes: all.
///
/// >>> mx.matmul(mx.ones((2, 3)), mx.arange(3.0))
/// array([3, 3], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, stream = None))]
fn matmul(a: Arr, b: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.matmul(&b.0)))
}

/// `alpha * (a @ b) + beta * c`.
///
/// Shapes: `c` broadcasts to the product `(..., m, n)` of `a (..., m, k)` and `b (..., k, n)`;
/// others raise ValueError.
/// Dtypes: all.
///
/// >>> mx.addmm(mx.array([1.0, 2.0]), mx.ones((1, 3)), mx.ones((3, 2)))
/// array([[4, 5]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (c, a, b, /, alpha = 1.0, beta = 1.0, *, stream = None))]
fn addmm(c: Arr, a: Arr, b: Arr, alpha: f64, beta: f64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(c.0.addmm(&a.0, &b.0, alpha, beta)))
}

/// The sum of products along both last axes.
///
/// Shapes: `(..., k), (..., k)`: the other axes of `a`, then those of `b`.
/// Dtypes: all.
/// Last axes of different sizes raise ValueError.
///
/// >>> mx.inner(mx.array([1, 2]), mx.array([3, 4]))
/// array(11, dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, stream = None))]
fn inner(a: Arr, b: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.inner(&b.0)))
}

/// All products of an element of one flattened array and one of the other.
///
/// Shapes: `(m), (n) -> (m, n)`; others are flattened first.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.outer(mx.array([1, 2]), mx.array([3, 4]))
/// array([[3, 4],
///        [6, 8]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, stream = None))]
fn outer(a: Arr, b: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.outer(&b.0)))
}

/// The Kronecker product.
///
/// Shapes: the sizes of each axis multiplied; the operand of fewer axes gets axes of 1 in front.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.kron(mx.array([1, 2]), mx.array([1, 1]))
/// array([1, 1, 2, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, b, *, stream = None))]
fn kron(a: Arr, b: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.kron(&b.0)))
}

/// The sum of products of the first array's conjugate and the second along an axis.
///
/// Shapes: those of both without the axis, broadcast.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Axes of different sizes raise ValueError.
///
/// >>> mx.vecdot(mx.array([1, 2]), mx.array([3, 4]))
/// array(11, dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, axis = -1, stream = None))]
fn vecdot(a: Arr, b: Arr, axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.vecdot(&b.0, axis)))
}

/// The sum of products over several axes: the last `axes` of `a` and the first of `b`, or two
/// lists of axes.
///
/// Shapes: the axes that are not summed over, of `a`, then of `b`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Axes of different sizes raise ValueError.
///
/// >>> mx.tensordot(mx.ones((2, 3)), mx.ones((3, 4)), axes=1).shape
/// (2, 4)
#[pyfunction]
#[pyo3(
    signature = (a, b, /, axes = None, *, stream = None),
    text_signature = "(a, b, /, axes=2, *, stream=None)"
)]
fn tensordot(a: Arr, b: Arr, axes: Option<&Bound<'_, PyAny>>, stream: On) -> Answer<PyArray> {
    let count = match axes {
        None => Some(2),
        Some(axes) => axes.extract::<i64>().ok(),
    };
    let (left, right): (Vec<i64>, Vec<i64>) = match (count, axes) {
        (Some(n), _) if n < 0 => {
            return Err(value_error("[tensordot] the number of axes must not be negative"));
        }
        (Some(n), _) => ((-n..0).collect(), (0..n).collect()),
        (None, Some(axes)) => {
            let pair = sequence(axes)?;
            let [left, right] = &pair[..] else {
                return Err(value_error("[tensordot] axes must be two lists of axes"));
            };
            let axes = |x: &Bound<'_, PyAny>| -> PyResult<Vec<i64>> {
                Ok(x.extract::<crate::convert::Axes>()?.to_vec())
            };
            (axes(left)?, axes(right)?)
        }
        (None, None) => return Err(value_error("[tensordot] axes are missing")),
    };
    on(stream, || wrap(a.0.tensordot(&b.0, &left, &right)))
}

/// `a @ b`, where blocks of `block_size` by `block_size` elements of the operands and of the result
/// are masked. `(..., m, k), (..., k, n) -> (..., m, n)`.
///
/// Shapes: `a (..., m, k)`, `b (..., k, n)`, masks with an element for each block; others raise
/// ValueError.
/// Dtypes: all.
///
/// >>> mx.block_masked_mm(mx.ones((64, 32)), mx.ones((32, 32)), 32, mx.array([[True],
/// ...     [False]])).sum(axis=1)[30:34]
/// array([1024, 1024, 0, 0], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (
        a, b, /, block_size = Count::new(64), mask_out = None, mask_lhs = None, mask_rhs = None, *,
        stream = None
    ),
    text_signature = "(a, b, /, block_size=64, mask_out=None, mask_lhs=None, mask_rhs=None, *, \
        stream=None)"
)]
fn block_masked_mm(
    a: Arr,
    b: Arr,
    block_size: Count,
    mask_out: Option<Arr>,
    mask_lhs: Option<Arr>,
    mask_rhs: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let block_size = block_size.size("block_masked_mm", "block_size")?;
    let [out, lhs, rhs] = [mask_out, mask_lhs, mask_rhs].map(|mask| mask.map(|m| m.0));
    let masks = BlockMasks { out: out.as_ref(), lhs: lhs.as_ref(), rhs: rhs.as_ref() };
    on(stream, || wrap(blocks::block_masked_mm(&a.0, &b.0, block_size, masks)))
}

/// The product over each range of the inner axis; `segments` holds the ends of the ranges:
/// `(m, k), (k, n), (..., 2) -> (..., m, n)`.
///
/// Shapes: `a (m, k)`, `b (k, n)`, `segments (..., 2)`, the result `(..., m, n)`; others raise
/// ValueError.
/// Dtypes: all.
///
/// >>> mx.segmented_mm(mx.ones((1, 4)), mx.ones((4, 1)), mx.array([[0, 1], [1, 4]],
/// ...     mx.uint32)).reshape(-1)
/// array([1, 3], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, /, segments, *, stream = None))]
fn segmented_mm(a: Arr, b: Arr, segments: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(blocks::segmented_mm(&a.0, &b.0, &segments.0)))
}

/// `scale * H a` over the last axis with a Hadamard matrix H; `1 / sqrt(n)` is the scale if None.
///
/// Shapes: The last axis has `m * 2^k` elements, for m of 1, 12, 20 or 28; others raise ValueError.
/// Dtypes: bool, integers, floats; others raise ValueError.
///
/// >>> mx.hadamard_transform(mx.array([1.0, 0.0]), scale=1.0)
/// array([1, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, scale = None, stream = None))]
fn hadamard_transform(a: Arr, scale: Option<f64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(signal::hadamard_transform(&a.0, scale)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, matmul, addmm, inner, outer, kron, vecdot, tensordot);
    add_functions!(m, block_masked_mm, segmented_mm, hadamard_transform);
    Ok(())
}
