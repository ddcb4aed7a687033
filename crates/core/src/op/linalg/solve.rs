//! Systems of equations: Cholesky and LU factors, and what follows from them.

use super::derivative::h;
use super::{Linalg, floating, matrix, square};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::op::like;
use crate::shape::{Shape, broadcast_shapes, show};
use crate::transform::{self, custom_function};

/// Both converted to a common type, with their leading axes broadcast.
fn together(op: &'static str, a: &Array, b: &Array) -> Result<(Array, Array)> {
    let dtype = a.dtype().promote(b.dtype()).to_inexact().compute();
    let lead = broadcast_shapes(op, &a.shape()[..a.ndim() - 2], &b.shape()[..b.ndim() - 2])?;
    let spread = |x: &Array| -> Result<Array> {
        let mut shape: Shape = lead.clone();
        shape.extend_from_slice(&x.shape()[x.ndim() - 2..]);
        x.astype(dtype)?.broadcast_to(&shape)
    };
    Ok((spread(a)?, spread(b)?))
}

/// Calls `f` on the matrix and the right side, a vector as a matrix of one column.
fn with_right(
    op: &'static str,
    a: &Array,
    b: &Array,
    f: impl FnOnce(&Array, &Array) -> Result<Array>,
) -> Result<Array> {
    let n = square(op, a)?;
    let vector = b.ndim() == 1;
    let b = if vector { b.expand_dims(&[-1])? } else { b.clone() };
    if b.ndim() < 2 || b.shape()[b.ndim() - 2] != n {
        let message = format!(
            "a right side of {} for matrices of {}; its axis {} must have {n} elements",
            show(b.shape()),
            show(a.shape()),
            if vector { -1 } else { -2 }
        );
        return Err(Error::shape(op, &[a.shape(), b.shape()], message));
    }
    let (a, b) = together(op, a, &b)?;
    let x = f(&a, &b)?;
    if vector { x.squeeze(Some(&[-1])) } else { Ok(x) }
}

fn identity_like(a: &Array) -> Result<Array> {
    Array::identity(a.shape()[a.ndim() - 1], a.dtype())?.broadcast_to(a.shape())
}

/// The lower triangular L with `a = L L^H`, or with `upper` the upper triangular U with
/// `a = U^H U`. Only that triangle of `a` is read.
///
/// # Shapes
/// `a (..., n, n) -> (..., n, n)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64`; other types become `float32`.
///
/// # Errors
/// Kind `Shape` if the matrices are not square. A matrix that is not positive definite is an error
/// of evaluation.
///
/// ```no_run
/// use lazulite_core::{Array, op::linalg};
/// let a = Array::from_slice(&[4.0f32, 2.0, 2.0, 5.0], &[2, 2])?;
/// assert_eq!(linalg::cholesky(&a, false)?.to_vec::<f32>()?, [2.0, 0.0, 1.0, 2.0]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn cholesky(a: &Array, upper: bool) -> Result<Array> {
    square("cholesky", a)?;
    let a = floating(a)?;
    if upper {
        return h(&Array::apply(Linalg::Cholesky, &[h(&a)?])?);
    }
    Array::apply(Linalg::Cholesky, &[a])
}

/// The inverse of the matrix whose Cholesky factor is `l` (with `upper`, the upper one).
///
/// # Shapes
/// `l (..., n, n) -> (..., n, n)`.
///
/// # Errors
/// Kind `Shape` if the matrices are not square.
pub fn cholesky_inv(l: &Array, upper: bool) -> Result<Array> {
    square("cholesky_inv", l)?;
    let inverse = tri_inv(l, upper)?;
    let adjoint = h(&inverse)?;
    if upper { inverse.matmul(&adjoint) } else { adjoint.matmul(&inverse) }
}

/// X with `a X = b`, where only the lower triangle of `a` (with `upper`, the upper one) is read.
///
/// # Shapes
/// `a (..., n, n)`, `b (..., n, r)` or `(n) ->` as b; leading axes broadcast.
///
/// # Dtypes
/// The promoted type, `float32` at least.
///
/// # Errors
/// Kind `Shape` if shapes do not fit. A zero on the diagonal gives infinities and NaN.
pub fn solve_triangular(a: &Array, b: &Array, upper: bool) -> Result<Array> {
    with_right("solve_triangular", a, b, |a, b| {
        let op = Linalg::SolveTriangular { upper, unit: false };
        Array::apply(op, &[a.clone(), b.clone()])
    })
}

/// The inverse of a triangular matrix; the other triangle is not read.
///
/// # Shapes
/// `a (..., n, n) -> (..., n, n)`.
///
/// # Errors
/// As [`solve_triangular`].
pub fn tri_inv(a: &Array, upper: bool) -> Result<Array> {
    square("tri_inv", a)?;
    let a = floating(a)?;
    let eye = identity_like(&a)?;
    solve_triangular(&a, &eye, upper)
}

/// The factors, the rows swapped (`uint32`), and the order of rows.
fn factor(a: &Array) -> Result<[Array; 3]> {
    let outputs = Array::apply_all(Linalg::Lu, &[floating(a)?])?;
    <[Array; 3]>::try_from(outputs).map_err(|_| Error::argument("lu_factor", "three outputs"))
}

/// X with `a X = b`, by LU factors.
///
/// # Shapes
/// `a (..., n, n)`, `b (..., n, r)` or `(n) ->` as b; leading axes broadcast.
///
/// # Dtypes
/// The promoted type, `float32` at least.
///
/// # Errors
/// Kind `Shape` if shapes do not fit. A singular matrix is an error of evaluation.
///
/// ```no_run
/// use lazulite_core::{Array, op::linalg};
/// let a = Array::from_slice(&[2.0f32, 0.0, 0.0, 4.0], &[2, 2])?;
/// let b = Array::from_slice(&[2.0f32, 8.0], &[2])?;
/// assert_eq!(linalg::solve(&a, &b)?.to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn solve(a: &Array, b: &Array) -> Result<Array> {
    with_right("solve", a, b, |a, b| {
        // Derivatives go through the matrix itself, so that they use the same factors.
        let [lu, _, perm] = factor(&a.stop_gradient()?)?;
        Array::apply(Linalg::LuSolve { adjoint: false }, &[a.clone(), lu, perm, b.clone()])
    })
}

/// The inverse.
///
/// # Shapes
/// `a (..., n, n) -> (..., n, n)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64`; other types become `float32`.
///
/// # Errors
/// As [`solve`].
pub fn inv(a: &Array) -> Result<Array> {
    square("inv", a)?;
    let a = floating(a)?;
    solve(&a, &identity_like(&a)?)
}

/// The factors of [`lu`] in one matrix, without the ones on L's diagonal, and for each step the row
/// (`uint32`) with which it swapped its own.
///
/// # Shapes
/// `a (..., m, n) -> (..., m, n), (..., min(m, n))`.
///
/// # Errors
/// Kind `Shape` if there are fewer than two axes.
pub fn lu_factor(a: &Array) -> Result<(Array, Array)> {
    matrix("lu_factor", a)?;
    let [lu, pivots, _] = factor(a)?;
    Ok((lu, pivots))
}

/// P, L and U with `a = L[P] U`: L lower triangular with ones on its diagonal, U upper triangular, P
/// an order of rows (`uint32`).
///
/// # Shapes
/// `a (..., m, n) -> P (..., m), L (..., m, k), U (..., k, n)`, `k = min(m, n)`.
///
/// # Errors
/// Kind `Shape` if there are fewer than two axes.
pub fn lu(a: &Array) -> Result<(Array, Array, Array)> {
    let (m, n) = matrix("lu", a)?;
    let k = m.min(n);
    let [lu, _, perm] = factor(a)?;
    let axis = lu.ndim() - 2;
    let lower = lu.pinned_range(axis + 1, 0, k)?.tril(-1)?;
    let lower = lower.add(&Array::eye(m, k, 0, lu.dtype())?)?;
    let upper = lu.pinned_range(axis, 0, k)?.triu(0)?;
    Ok((perm.argsort(Some(-1))?, lower, upper))
}

/// The sign of the permutation that the swapped rows make, as a number of `x`'s type.
fn parity(pivots: &Array, x: &Array) -> Result<Array> {
    let n = pivots.shape()[pivots.ndim() - 1];
    let own = Array::iota(0.0, 1.0, n, pivots.dtype())?;
    let swaps = pivots.not_equal(&own)?.sum(Some(&[-1]), false)?;
    let odd = swaps.remainder(&like(&swaps, 2.0))?.astype(x.dtype())?;
    like(&odd, 1.0).subtract(&odd.add(&odd)?)
}

/// The determinant.
///
/// # Shapes
/// `a (..., n, n) -> (...)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64`; other types become `float32`.
///
/// The derivative is the adjugate, of singular matrices, too. Matrices of up to three rows have
/// all derivatives; of larger singular ones the first has an error of 1e-9 of its size (1e-5 if
/// complex) and the second one of 1e-6 (1e-2).
///
/// # Errors
/// Kind `Shape` if the matrices are not square.
pub fn det(a: &Array) -> Result<Array> {
    let n = square("det", a)?;
    let a = floating(a)?;
    if (1..=3).contains(&n) {
        return det_by_cofactors(&a, n);
    }
    custom_function(|a: Array| det_by_factors(&a))
        .with_vjp(|a, _, ct| {
            let regular = regular(a)?;
            let ct = ct.astype(regular.dtype())?;
            let (_, back) = transform::vjp(|x: Array| det_by_factors(&x), &regular, &ct)?;
            back.astype(a.dtype())
        })
        .with_jvp(|a, t| {
            let regular = regular(a)?;
            let t = t.astype(regular.dtype())?;
            let (_, change) = transform::jvp(|x: Array| det_by_factors(&x), &regular, &t)?;
            change.astype(a.dtype())
        })
        .with_vmap(|a, axes| {
            let a = axes[0].map_or_else(|| Ok(a.clone()), |axis| a.moveaxis(axis as i64, 0))?;
            Ok((det(&a)?, vec![axes[0].map(|_| 0)]))
        })
        .call(a)
}

/// The determinant of matrices of one to three rows, as a polynomial.
fn det_by_cofactors(a: &Array, n: usize) -> Result<Array> {
    let rows = a.ndim() - 2;
    let at = |i, j| a.at_axis(rows, i)?.at_axis(rows, j);
    let minor = |i: usize, j: usize, k: usize, l: usize| {
        at(i, k)?.multiply(&at(j, l)?)?.subtract(&at(i, l)?.multiply(&at(j, k)?)?)
    };
    match n {
        1 => at(0, 0),
        2 => minor(0, 1, 0, 1),
        _ => {
            let first = at(0, 0)?.multiply(&minor(1, 2, 1, 2)?)?;
            let second = at(0, 1)?.multiply(&minor(1, 2, 0, 2)?)?;
            first.subtract(&second)?.add(&at(0, 2)?.multiply(&minor(1, 2, 0, 1)?)?)
        }
    }
}

/// The determinant by factors, whose derivative `det(a) a^-H` is not finite if it is 0.
fn det_by_factors(a: &Array) -> Result<Array> {
    let [lu, pivots, _] = factor(a)?;
    let product = lu.diagonal(0, -2, -1)?.prod(Some(&[-1]), false)?;
    parity(&pivots, &product)?.multiply(&product)
}

/// `a` in the widest type, and where its determinant is 0, with a small multiple of a matrix R
/// added that is far from every simple one.
///
/// The adjugate of `a + e R` differs from that of `a` by a polynomial in e without a constant, so
/// that e is its error; its derivative cancels numbers of size 1 / e, so that the error there is
/// that of the type by e. A full R makes every singular value of the sum at least of the order of
/// e: what is 0 in the adjugate of a matrix of lower rank comes out as a power of e.
fn regular(a: &Array) -> Result<Array> {
    let n = a.shape()[a.ndim() - 1];
    let (wide, e) = match a.dtype().is_complex() {
        true => (Dtype::C64, f64::powi(2.0, -16)),
        false => (Dtype::F64, f64::powi(2.0, -30)),
    };
    let k = Array::iota(1.0, 1.0, n * n, Dtype::F64)?.reshape(&[n, n])?;
    let r = k.square()?.multiply(&like(&k, std::f64::consts::SQRT_2))?.sin()?;
    let a = a.astype(wide)?;
    let fixed = a.stop_gradient()?;
    let size = if a.dtype().is_complex() { fixed.modulus()? } else { fixed.abs()? };
    let size = size.max(Some(&[-2, -1]), true)?.astype(Dtype::F64)?;
    let size = size.equal(&like(&size, 0.0))?.select(&like(&size, 1.0), &size)?;
    let shift = r.multiply(&size.multiply(&like(&size, e))?)?;
    let det = det_by_factors(&fixed)?.expand_dims(&[-2, -1])?;
    let shift = det.equal(&like(&det, 0.0))?.select(&shift, &like(&shift, 0.0))?;
    a.add(&shift.astype(wide)?)
}

/// The sign of the determinant (for complex matrices a number of size 1) and the logarithm of its
/// size; 0 and minus infinity where it is 0.
///
/// # Shapes
/// `a (..., n, n) -> (...), (...)`.
///
/// # Errors
/// As [`det`].
pub fn slogdet(a: &Array) -> Result<(Array, Array)> {
    square("slogdet", a)?;
    let [lu, pivots, _] = factor(a)?;
    let diagonal = lu.diagonal(0, -2, -1)?;
    let complex = diagonal.dtype().is_complex();
    let size = if complex { diagonal.modulus()? } else { diagonal.abs()? };
    let sign = if complex {
        let zero = size.equal(&like(&size, 0.0))?;
        let safe = zero.select(&like(&size, 1.0), &size)?;
        diagonal.divide(&safe)?
    } else {
        diagonal.sign()?
    };
    let sign = sign.prod(Some(&[-1]), false)?;
    Ok((parity(&pivots, &sign)?.multiply(&sign)?, size.log()?.sum(Some(&[-1]), false)?))
}

/// `a` multiplied by itself, `n` factors in all, by repeated squaring; for negative `n` the inverse
/// is, and for 0 the result is the identity.
///
/// # Shapes
/// `a (..., n, n) -> (..., n, n)`.
///
/// # Errors
/// As [`inv`].
pub fn matrix_power(a: &Array, n: i64) -> Result<Array> {
    square("matrix_power", a)?;
    if n == 0 {
        return identity_like(a);
    }
    let mut square = if n < 0 { inv(a)? } else { a.clone() };
    let mut left = n.unsigned_abs();
    let mut product: Option<Array> = None;
    loop {
        if left % 2 == 1 {
            product = Some(match product {
                Some(p) => p.matmul(&square)?,
                None => square.clone(),
            });
        }
        left /= 2;
        if left == 0 {
            return Ok(product.unwrap_or(square));
        }
        square = square.matmul(&square)?;
    }
}

/// The product of matrices in the order of multiplication that takes the fewest operations
/// (Cormen et al., "Introduction to Algorithms", matrix-chain multiplication). The first and the
/// last may be vectors.
///
/// # Errors
/// Kind `Argument` if there are no matrices, `Shape` if neighbours do not fit.
pub fn multi_dot(arrays: &[Array]) -> Result<Array> {
    let count = arrays.len();
    if count < 2 {
        return arrays
            .first()
            .cloned()
            .ok_or_else(|| Error::argument("multi_dot", "there are no matrices to multiply"));
    }
    let mut all = arrays.to_vec();
    let (row, column) = (all[0].ndim() == 1, all[count - 1].ndim() == 1);
    if row {
        all[0] = all[0].expand_dims(&[0])?;
    }
    if column {
        all[count - 1] = all[count - 1].expand_dims(&[1])?;
    }
    let mut sizes = vec![matrix("multi_dot", &all[0])?.0];
    for x in &all {
        sizes.push(matrix("multi_dot", x)?.1);
    }
    // cost[i][j]: of the product of matrices i to j; cut[i][j]: where it is divided.
    let mut cost = vec![vec![0u128; count]; count];
    let mut cut = vec![vec![0; count]; count];
    for length in 1..count {
        for i in 0..count - length {
            let j = i + length;
            let whole = |k: usize| {
                let ends = sizes[i] as u128 * sizes[k + 1] as u128 * sizes[j + 1] as u128;
                cost[i][k] + cost[k + 1][j] + ends
            };
            let best = (i..j).min_by_key(|&k| whole(k)).unwrap_or(i);
            (cost[i][j], cut[i][j]) = (whole(best), best);
        }
    }
    fn product(all: &[Array], cut: &[Vec<usize>], i: usize, j: usize) -> Result<Array> {
        if i == j {
            return Ok(all[i].clone());
        }
        let k = cut[i][j];
        product(all, cut, i, k)?.matmul(&product(all, cut, k + 1, j)?)
    }
    let out = product(&all, &cut, 0, count - 1)?;
    let out = if column { out.squeeze(Some(&[-1]))? } else { out };
    match (row, column) {
        (true, true) => out.squeeze(Some(&[-1])),
        (true, false) => out.squeeze(Some(&[-2])),
        _ => Ok(out),
    }
}
