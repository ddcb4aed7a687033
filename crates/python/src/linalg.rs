//! `lazulite.core.linalg`: norms and products of vectors.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Axes};
use crate::device::{On, on};
use crate::errors::{Answer, value_error};
use crate::functions::add_functions;
use lazulite::{Array, Dtype, Literal, Result};
use pyo3::prelude::*;

/// The order of a norm: a number or a name.
#[derive(FromPyObject)]
enum Order {
    Number(f64),
    Name(String),
}

fn number(value: f64, dtype: Dtype) -> Array {
    Array::literal(Literal::from_f64(value, dtype))
}

/// `(sum |x|^p)^(1/p)`, and its limits.
fn vector_norm(x: &Array, p: f64, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
    let size = x.abs()?;
    if p == f64::INFINITY {
        return size.max(axes, keepdims);
    }
    if p == f64::NEG_INFINITY {
        return size.min(axes, keepdims);
    }
    if p == 0.0 {
        let zero = number(0.0, size.dtype());
        return size.not_equal(&zero)?.astype(size.dtype())?.sum(axes, keepdims);
    }
    if p == 1.0 {
        return size.sum(axes, keepdims);
    }
    if p == 2.0 {
        return size.square()?.sum(axes, keepdims)?.sqrt();
    }
    let sum = size.power(&number(p, size.dtype()))?.sum(axes, keepdims)?;
    sum.power(&number(1.0 / p, size.dtype()))
}

fn norm_of(a: Array, ord: Option<Order>, axis: Option<Axes>, keepdims: bool) -> Answer<PyArray> {
    let a = a.astype(a.dtype().to_inexact())?;
    let Some(ord) = ord else {
        return wrap(vector_norm(&a, 2.0, axis.as_deref(), keepdims));
    };
    let all: Vec<i64>;
    let axes: &[i64] = match &axis {
        Some(axes) => axes,
        None => {
            all = (0..a.ndim() as i64).collect();
            &all
        }
    };
    match (axes.len(), ord) {
        (1, Order::Number(p)) => wrap(vector_norm(&a, p, Some(axes), keepdims)),
        (1, Order::Name(name)) => {
            Err(value_error(format!("[linalg.norm] Norm '{name}' is not defined for vectors.")))
        }
        (2, Order::Name(name)) if matches!(name.as_str(), "f" | "fro") => {
            wrap(vector_norm(&a, 2.0, Some(axes), keepdims))
        }
        (2, Order::Number(p)) if p.abs() == 1.0 || p.is_infinite() => {
            let column = if p.abs() == 1.0 { (axes[0], axes[1]) } else { (axes[1], axes[0]) };
            let sums = a.abs()?.sum(Some(&[column.0]), true)?;
            let most = if p > 0.0 {
                sums.max(Some(&[column.1]), true)?
            } else {
                sums.min(Some(&[column.1]), true)?
            };
            wrap(if keepdims { Ok(most) } else { most.squeeze(Some(axes)) })
        }
        (2, _) => Err(value_error("[linalg.norm] this order needs singular values")),
        _ => Err(value_error("[linalg.norm] Received too many axes for norm.")),
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
    on(stream, || norm_of(a.0, ord, axis, keepdims))
}

/// The cross product of vectors of three elements (or two, of which the third is 0).
#[pyfunction]
#[pyo3(signature = (a, b, axis = -1, *, stream = None))]
fn cross(a: Arr, b: Arr, axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let dtype = a.0.dtype().promote(b.0.dtype());
        let parts = |x: &Array| -> Answer<Vec<Array>> {
            let x = x.astype(dtype)?;
            let n = x.size(axis)?;
            if n != 2 && n != 3 {
                let message = "[linalg.cross] The specified axis must have size 2 or 3.";
                return Err(value_error(message));
            }
            Ok(x.split(n, axis)?)
        };
        let (a, b) = (parts(&a.0)?, parts(&b.0)?);
        let product = |i: usize, j: usize| -> Answer<Option<Array>> {
            match (a.get(i), b.get(j)) {
                (Some(x), Some(y)) => Ok(Some(x.multiply(y)?)),
                _ => Ok(None),
            }
        };
        let mut out = Vec::new();
        for (i, j) in [(1, 2), (2, 0), (0, 1)] {
            let term = match (product(i, j)?, product(j, i)?) {
                (Some(x), Some(y)) => x.subtract(&y)?,
                (Some(x), None) => x,
                (None, Some(y)) => y.negative()?,
                (None, None) => a[0].zeros_like()?,
            };
            out.push(term);
        }
        if a.len() == 2 && b.len() == 2 {
            return wrap(out.swap_remove(2).squeeze(Some(&[axis])));
        }
        let out = Array::broadcast_arrays(&out)?;
        wrap(Array::concatenate(&out, axis))
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, norm, cross);
    Ok(())
}
