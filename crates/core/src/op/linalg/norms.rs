//! Norms of vectors and matrices, and the cross product.

use super::super::like;
use super::svdvals;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::shape::{broadcast_shapes, normalize_axis};

/// The order of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// Of vectors: `(sum |x|^p)^(1/p)` and its limits. Of matrices: 1 and -1 are the greatest and
    /// least sum of a column, the infinities those of a row, 2 and -2 the greatest and least
    /// singular value.
    Number(f64),
    /// The root of the sum of the squares of a matrix.
    Frobenius,
    /// The sum of the singular values of a matrix.
    Nuclear,
}

impl Order {
    /// The order of this name: `f`, `fro` or `nuc`.
    ///
    /// # Errors
    /// Kind `Argument` for other names.
    pub fn from_name(name: &str) -> Result<Order> {
        match name {
            "f" | "fro" => Ok(Order::Frobenius),
            "nuc" => Ok(Order::Nuclear),
            _ => {
                let message = format!("order {name:?} is not a number, \"fro\" or \"nuc\"");
                Err(Error::argument("norm", message))
            }
        }
    }
}

fn sizes(x: &Array) -> Result<Array> {
    if x.dtype().is_complex() { x.modulus() } else { x.astype(x.dtype().to_inexact())?.abs() }
}

/// `(sum |x|^p)^(1/p)` over `axes`, all if `None`, and its limits: the greatest size for infinity,
/// the least for minus infinity, the number of elements that are not 0 for 0.
///
/// # Dtypes
/// Floating types stay, `complex64` gives `float32`, others give `float32`.
///
/// # Errors
/// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
pub fn vector_norm(x: &Array, p: f64, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
    let size = sizes(x)?;
    if p == f64::INFINITY {
        return size.max(axes, keepdims);
    }
    if p == f64::NEG_INFINITY {
        return size.min(axes, keepdims);
    }
    if p == 0.0 {
        return size.not_equal(&like(&size, 0.0))?.astype(size.dtype())?.sum(axes, keepdims);
    }
    if p == 1.0 {
        return size.sum(axes, keepdims);
    }
    if p == 2.0 {
        return size.square()?.sum(axes, keepdims)?.sqrt();
    }
    let sum = size.power(&like(&size, p))?.sum(axes, keepdims)?;
    sum.power(&like(&sum, 1.0 / p))
}

/// A norm of the matrices in two axes, the rows first; see [`Order`].
///
/// # Dtypes
/// As [`vector_norm`].
///
/// # Errors
/// Kind `Axis` if an axis is out of range, `Argument` for the same axis twice or another order.
pub fn matrix_norm(x: &Array, order: Order, axes: [i64; 2], keepdims: bool) -> Result<Array> {
    const OP: &str = "matrix_norm";
    let row = normalize_axis(OP, axes[0], x.ndim())? as i64;
    let column = normalize_axis(OP, axes[1], x.ndim())? as i64;
    if row == column {
        return Err(Error::argument(OP, format!("axis {row} is named twice")));
    }
    let singular = |f: &dyn Fn(&Array) -> Result<Array>| -> Result<Array> {
        let order: Vec<i64> = (0..x.ndim() as i64)
            .filter(|&a| a != row && a != column)
            .chain([row, column])
            .collect();
        let out = f(&svdvals(&x.transpose(Some(&order))?)?)?;
        if keepdims { out.expand_dims(&[row, column]) } else { Ok(out) }
    };
    let sums = |over: i64, of: i64, most: bool| -> Result<Array> {
        let sums = sizes(x)?.sum(Some(&[over]), true)?;
        let out = if most { sums.max(Some(&[of]), true)? } else { sums.min(Some(&[of]), true)? };
        if keepdims { Ok(out) } else { out.squeeze(Some(&[row, column])) }
    };
    match order {
        Order::Frobenius => vector_norm(x, 2.0, Some(&[row, column]), keepdims),
        Order::Nuclear => singular(&|s| s.sum(Some(&[-1]), false)),
        Order::Number(p) if p.abs() == 1.0 => sums(row, column, p > 0.0),
        Order::Number(p) if p.is_infinite() => sums(column, row, p > 0.0),
        Order::Number(2.0) => singular(&|s| s.max(Some(&[-1]), false)),
        Order::Number(-2.0) => singular(&|s| s.min(Some(&[-1]), false)),
        Order::Number(p) => {
            let message = format!("order {p} of a matrix; 1, 2, inf, their negatives are defined");
            Err(Error::argument(OP, message))
        }
    }
}

/// The norm of vectors (one axis) or matrices (two axes, the rows first). Without an order it is
/// the root of the sum of squares over all of `axes`, or over all elements if `None`.
///
/// # Dtypes
/// As [`vector_norm`].
///
/// # Errors
/// Kind `Axis` if an axis is out of range, `Argument` if the order is not defined for as many axes.
///
/// ```no_run
/// use lazulite_core::{Array, op::linalg};
/// let x = Array::from_slice(&[3.0f32, 4.0], &[2])?;
/// assert_eq!(linalg::norm(&x, None, None, false)?.item::<f32>()?, 5.0);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn norm(
    x: &Array,
    order: Option<Order>,
    axes: Option<&[i64]>,
    keepdims: bool,
) -> Result<Array> {
    let Some(order) = order else { return vector_norm(x, 2.0, axes, keepdims) };
    let all: Vec<i64> = (0..x.ndim() as i64).collect();
    match (axes.unwrap_or(&all), order) {
        (&[axis], Order::Number(p)) => vector_norm(x, p, Some(&[axis]), keepdims),
        (&[row, column], order) => matrix_norm(x, order, [row, column], keepdims),
        (axes, order) => {
            let message = format!("order {order:?} over {} axes is not defined", axes.len());
            Err(Error::argument("norm", message))
        }
    }
}

/// The cross product of vectors of three elements along `axis`; the third element of a vector of
/// two is 0. For two vectors of two elements the result is the third element alone. The other axes
/// broadcast.
///
/// # Dtypes
/// The promoted type.
///
/// # Errors
/// Kind `Axis` if the axis is out of range, `Shape` if it has another size.
pub fn cross(a: &Array, b: &Array, axis: i64) -> Result<Array> {
    let dtype = a.dtype().promote(b.dtype());
    let parts = |x: &Array| -> Result<Vec<Array>> {
        let x = x.astype(dtype)?;
        match x.size(axis)? {
            n @ (2 | 3) => x.split(n, axis),
            n => {
                let message = format!("axis {axis} has {n} elements; 2 or 3 are needed");
                Err(Error::shape("cross", &[x.shape()], message))
            }
        }
    };
    let (a, b) = (parts(a)?, parts(b)?);
    broadcast_shapes("cross", a[0].shape(), b[0].shape())?;
    let product = |i: usize, j: usize| -> Result<Option<Array>> {
        match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => x.multiply(y).map(Some),
            _ => Ok(None),
        }
    };
    let mut out = Vec::with_capacity(3);
    for (i, j) in [(1, 2), (2, 0), (0, 1)] {
        out.push(match (product(i, j)?, product(j, i)?) {
            (Some(x), Some(y)) => x.subtract(&y)?,
            (Some(x), None) => x,
            (None, Some(y)) => y.negative()?,
            (None, None) => a[0].zeros_like()?,
        });
    }
    if a.len() == 2 && b.len() == 2 {
        return out.swap_remove(2).squeeze(Some(&[axis]));
    }
    Array::concatenate(&Array::broadcast_arrays(&out)?, axis)
}
