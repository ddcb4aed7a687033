//! Einstein summation.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::Arr;
use crate::device::{On, on};
use crate::errors::Answer;
use lazulite::Array;
use lazulite::einsum;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Sums of products that letters describe: `einsum("ik,kj->ij", a, b)` is the matrix product.
///
/// Shapes: a letter of an operand names an axis; those of the result are kept, others summed over.
/// Dtypes: all.
/// One letter with two sizes, and letters that do not fit the operands, raise ValueError.
///
/// >>> mx.einsum("ij,j->i", mx.ones((2, 3)), mx.arange(3.0))
/// array([3, 3], dtype=float32)
#[pyfunction]
#[pyo3(name = "einsum", signature = (subscripts, *operands, stream = None))]
fn contract(subscripts: &str, operands: Vec<Arr>, stream: On) -> Answer<PyArray> {
    let operands: Vec<Array> = operands.into_iter().map(|a| a.0).collect();
    on(stream, || wrap(einsum::einsum(subscripts, &operands)))
}

/// The order in which `einsum` contracts its operands, and a report of what it costs.
///
/// Shapes: as in `einsum`.
/// Dtypes: all.
/// Subscripts that do not fit the operands raise ValueError.
///
/// >>> mx.einsum_path("ij,jk->ik", mx.ones((2, 3)), mx.ones((3, 4)))[0]
/// [(0, 1)]
#[pyfunction]
#[pyo3(signature = (subscripts, *operands))]
fn einsum_path<'py>(
    py: Python<'py>,
    subscripts: &str,
    operands: Vec<Arr>,
) -> Answer<(Vec<Bound<'py, PyTuple>>, String)> {
    let shapes: Vec<&[usize]> = operands.iter().map(|a| a.0.shape()).collect();
    let path = einsum::einsum_path(subscripts, &shapes)?;
    let steps = path.steps.iter().map(|step| PyTuple::new(py, step));
    Ok((steps.collect::<PyResult<Vec<_>>>()?, path.report()))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, contract, einsum_path);
    Ok(())
}
