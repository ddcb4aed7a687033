//! Sorting, partitions and search.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, Operand};
use crate::device::{On, on};
use crate::errors::{Answer, value_error};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The elements in ascending order along an axis, or of the flattened array.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.sort(mx.array([3, 1, 2]))
/// array([1, 2, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, axis = Some(-1), *, stream = None))]
fn sort(a: Arr, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.sort(axis)))
}

/// The places of the elements in ascending order.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.argsort(mx.array([3, 1, 2]))
/// array([1, 2, 0], dtype=uint32)
#[pyfunction]
#[pyo3(signature = (a, /, axis = Some(-1), *, stream = None))]
fn argsort(a: Arr, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.argsort(axis)))
}

/// The elements with the `kth` at its place in the order, lesser ones before and greater ones
/// behind it.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.partition(mx.array([3, 1, 2]), 1)[1]
/// array(2, dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, kth, axis = Some(-1), *, stream = None))]
fn partition(a: Arr, kth: i64, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.partition(kth, axis)))
}

/// The places of the elements of `partition`.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.argpartition(mx.array([3, 1, 2]), 1)[:1]
/// array([1], dtype=uint32)
#[pyfunction]
#[pyo3(signature = (a, /, kth, axis = Some(-1), *, stream = None))]
fn argpartition(a: Arr, kth: i64, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.argpartition(kth, axis)))
}

/// The `k` greatest elements along an axis.
///
/// Shapes: the axis has `k` elements.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// A `k` greater than the axis raises ValueError.
///
/// >>> mx.sort(mx.topk(mx.array([3, 1, 2]), 2))
/// array([2, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, k, axis = Some(-1), *, stream = None))]
fn topk(a: Arr, k: Count, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    let k = k.size("topk", "k")?;
    on(stream, || wrap(a.0.topk(k, axis)))
}

/// Where values could be put into a sorted vector: before equal elements, or behind them if `side`
/// is "right". `(n), (...) -> (...)`.
///
/// Shapes: `sorted_sequence (n)`; the result has the shape of `values`.
/// Dtypes: bool, integers, floats; others raise ValueError.
/// A sequence that is not a vector and an unknown `side` raise ValueError.
///
/// >>> mx.searchsorted(mx.array([1, 3, 5]), mx.array([0, 3, 9]))
/// array([0, 1, 3], dtype=uint32)
#[pyfunction]
#[pyo3(signature = (sorted_sequence, values, /, side = "left", *, stream = None))]
fn searchsorted(sorted_sequence: Arr, values: Operand, side: &str, stream: On) -> Answer<PyArray> {
    let right = match side {
        "left" => false,
        "right" => true,
        _ => {
            let message = format!("[searchsorted] side is {side:?}, expected 'left' or 'right'");
            return Err(value_error(message));
        }
    };
    let sorted = sorted_sequence.0;
    let values = values.beside(sorted.dtype())?;
    on(stream, || wrap(sorted.searchsorted(&values, right)))
}

/// The `size` least unique elements, in order, followed by `fill_value` (the least element, by
/// default); with them, if asked for, the places of first occurrences, the place of each element
/// among the unique ones, and the counts.
///
/// Shapes: any; each result has `size` elements, the inverse those of `a`.
/// Dtypes: all.
/// A negative size raises ValueError.
///
/// >>> mx.unique(mx.array([2, 1, 2]), 2)
/// array([1, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (
    a, /, size, return_index = false, return_inverse = false, return_counts = false,
    fill_value = None, *, stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn unique(
    py: Python<'_>,
    a: Arr,
    size: Count,
    return_index: bool,
    return_inverse: bool,
    return_counts: bool,
    fill_value: Option<Operand>,
    stream: On,
) -> Answer<Py<PyAny>> {
    let (a, size) = (a.0, size.size("unique", "size")?);
    let fill = fill_value.map(|x| x.beside(a.dtype())).transpose()?;
    let found = on(stream, || Ok(a.unique(size, fill.as_ref())?))?;
    let mut parts = vec![PyArray::from(found.values)];
    let more = [
        (return_index, found.index),
        (return_inverse, found.inverse),
        (return_counts, found.counts),
    ];
    parts.extend(more.into_iter().filter(|(wanted, _)| *wanted).map(|(_, part)| part.into()));
    match parts.len() {
        1 => Ok(Py::new(py, parts.swap_remove(0))?.into_any()),
        _ => Ok(PyTuple::new(py, parts)?.into_any().unbind()),
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, sort, argsort, partition, argpartition, topk, searchsorted, unique);
    Ok(())
}
