//! Sorting, partitions and search.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::Arr;
use crate::device::{On, on};
use crate::errors::Answer;
use pyo3::prelude::*;

/// The elements in ascending order along an axis, or of the flattened array.
#[pyfunction]
#[pyo3(signature = (a, /, axis = Some(-1), *, stream = None))]
fn sort(a: Arr, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.sort(axis)))
}

/// The places of the elements in ascending order.
#[pyfunction]
#[pyo3(signature = (a, /, axis = Some(-1), *, stream = None))]
fn argsort(a: Arr, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.argsort(axis)))
}

/// The elements with the `kth` at its place in the order, lesser ones before and greater ones
/// behind it.
#[pyfunction]
#[pyo3(signature = (a, /, kth, axis = Some(-1), *, stream = None))]
fn partition(a: Arr, kth: i64, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.partition(kth, axis)))
}

/// The places of the elements of `partition`.
#[pyfunction]
#[pyo3(signature = (a, /, kth, axis = Some(-1), *, stream = None))]
fn argpartition(a: Arr, kth: i64, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.argpartition(kth, axis)))
}

/// The `k` greatest elements along an axis.
#[pyfunction]
#[pyo3(signature = (a, /, k, axis = Some(-1), *, stream = None))]
fn topk(a: Arr, k: usize, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.topk(k, axis)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, sort, argsort, partition, argpartition, topk);
    Ok(())
}
