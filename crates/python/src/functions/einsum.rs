//! Einstein summation.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::Arr;
use crate::device::{On, on};
use crate::errors::Answer;
use lazulite::Array;
use lazulite::einsum;
use pyo3::prelude::*;

/// Sums of products that letters describe: `einsum("ik,kj->ij", a, b)` is the matrix product.
#[pyfunction]
#[pyo3(name = "einsum", signature = (subscripts, *operands, stream = None))]
fn contract(subscripts: &str, operands: Vec<Arr>, stream: On) -> Answer<PyArray> {
    let operands: Vec<Array> = operands.into_iter().map(|a| a.0).collect();
    on(stream, || wrap(einsum::einsum(subscripts, &operands)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, contract);
    Ok(())
}
