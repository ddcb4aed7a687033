//! `lazulite.core.linalg`: norms and products of vectors.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Axes};
use crate::device::{On, on};
use crate::errors::Answer;
use crate::functions::add_functions;
use lazulite::linalg;
use pyo3::prelude::*;

/// The order of a norm: a number or a name.
#[derive(FromPyObject)]
enum Order {
    Number(f64),
    Name(String),
}

impl Order {
    fn resolve(self) -> Answer<linalg::Order> {
        Ok(match self {
            Order::Number(p) => linalg::Order::Number(p),
            Order::Name(name) => linalg::Order::from_name(&name)?,
        })
    }
}

/// The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise.
#[pyfunction]
#[pyo3(signature = (a, /, ord = None, axis = None, keepdims = false, *, stream = None))]
fn norm(
    a: Arr,
    ord: Option<Order>,
    axis: Option<Axes>,
    keepdims: bool,
    stream: On,
) -> Answer<PyArray> {
    let order = ord.map(Order::resolve).transpose()?;
    on(stream, || wrap(linalg::norm(&a.0, order, axis.as_deref(), keepdims)))
}

/// The cross product of vectors of three elements (or two, of which the third is 0).
#[pyfunction]
#[pyo3(signature = (a, b, axis = -1, *, stream = None))]
fn cross(a: Arr, b: Arr, axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(linalg::cross(&a.0, &b.0, axis)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, norm, cross);
    Ok(())
}
