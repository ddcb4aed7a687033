//! Orthogonal factors, singular values and eigenvalues.

use super::derivative::h;
use super::{Linalg, floating, matrix, square};
use crate::array::Array;
use crate::error::{Error, Result};

fn two(mut outputs: Vec<Array>) -> Result<(Array, Array)> {
    match (outputs.pop(), outputs.pop()) {
        (Some(second), Some(first)) => Ok((first, second)),
        _ => Err(Error::argument("linalg", "two outputs")),
    }
}

/// Q with orthonormal columns and upper triangular R with `a = Q R`.
///
/// # Shapes
/// `a (..., m, n) -> Q (..., m, k), R (..., k, n)`, `k = min(m, n)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64`; other types become `float32`.
///
/// The diagonal of R is real; its signs are those of LAPACK's Householder reflections. The
/// derivative needs the first k columns of `a` to be linearly independent.
///
/// # Errors
/// Kind `Shape` if there are fewer than two axes.
pub fn qr(a: &Array) -> Result<(Array, Array)> {
    matrix("qr", a)?;
    two(Array::apply_all(Linalg::Qr, &[floating(a)?])?)
}

/// U, s and V^H with `a = U diag(s) V^H`: unitary U and V, and singular values s in decreasing
/// order.
///
/// # Shapes
/// `a (..., m, n) -> U (..., m, m), s (..., k), V^H (..., n, n)`, `k = min(m, n)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64` (with real s); other types become `float32`. Computed in
/// `float64` by the processor, in the type itself by a GPU.
///
/// Derivatives of the vectors of equal singular values do not exist, nor do those of the vectors
/// beyond k; the terms that they would need are left out, so that derivatives of results that do
/// not depend on the choice are right.
///
/// # Errors
/// Kind `Shape` if there are fewer than two axes. A matrix that is not finite gives NaN.
pub fn svd(a: &Array) -> Result<(Array, Array, Array)> {
    matrix("svd", a)?;
    let mut outputs = Array::apply_all(Linalg::Svd { vectors: true }, &[floating(a)?])?;
    let vh = outputs.pop();
    let (u, s) = two(outputs)?;
    vh.map(|vh| (u, s, vh)).ok_or_else(|| Error::argument("svd", "three outputs"))
}

/// The singular values alone, in decreasing order.
///
/// # Shapes
/// `a (..., m, n) -> (..., min(m, n))`.
///
/// # Errors
/// As [`svd`].
pub fn svdvals(a: &Array) -> Result<Array> {
    matrix("svd", a)?;
    Array::apply(Linalg::Svd { vectors: false }, &[floating(a)?])
}

/// The Moore-Penrose inverse. Singular values up to the rounding error of the greatest are taken
/// for 0.
///
/// # Shapes
/// `a (..., m, n) -> (..., n, m)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64`; other types become `float32`.
///
/// The derivative holds where the rank does not change.
///
/// # Errors
/// As [`svd`].
pub fn pinv(a: &Array) -> Result<Array> {
    matrix("pinv", a)?;
    Array::apply(Linalg::Pinv, &[floating(a)?])
}

/// The least x with the least `|a x - b|`, by the pseudo-inverse.
///
/// # Shapes
/// `a (..., m, n)`, `b (..., m, r)` or `(m) -> (..., n, r)` or `(n)`.
///
/// # Errors
/// As [`pinv`], and kind `Shape` if the sizes differ.
pub fn lstsq(a: &Array, b: &Array) -> Result<Array> {
    pinv(a)?.matmul(&b.astype(a.dtype().promote(b.dtype()).to_inexact().compute())?)
}

/// The triangle that is read, as the lower one of a Hermitian matrix.
fn lower(op: &'static str, a: &Array, uplo: &str) -> Result<Array> {
    square(op, a)?;
    match uplo {
        "L" | "l" => floating(a),
        "U" | "u" => h(&floating(a)?),
        _ => {
            let message = format!("UPLO is {uplo:?}, not \"L\" or \"U\"");
            Err(Error::argument(op, message))
        }
    }
}

/// The eigenvalues in increasing order and orthonormal eigenvectors, as columns, of a Hermitian
/// matrix, of which only the triangle `uplo` (`"L"` or `"U"`) is read.
///
/// # Shapes
/// `a (..., n, n) -> w (..., n), V (..., n, n)`.
///
/// # Dtypes
/// `float32`, `float64`, `complex64` (with real w); other types become `float32`. Computed in
/// `float64` by the processor, in the type itself by a GPU.
///
/// Derivatives of the vectors of equal eigenvalues do not exist; the terms that they would need are
/// left out.
///
/// # Errors
/// Kind `Shape` if the matrices are not square, `Argument` for another `uplo`. A matrix that is not
/// finite gives NaN.
pub fn eigh(a: &Array, uplo: &str) -> Result<(Array, Array)> {
    two(Array::apply_all(Linalg::Eigh { vectors: true }, &[lower("eigh", a, uplo)?])?)
}

/// The eigenvalues of [`eigh`] alone.
///
/// # Errors
/// As [`eigh`].
pub fn eigvalsh(a: &Array, uplo: &str) -> Result<Array> {
    Array::apply(Linalg::Eigh { vectors: false }, &[lower("eigvalsh", a, uplo)?])
}

/// The eigenvalues, in no order that one may rely on, and eigenvectors of length 1, as columns.
///
/// # Shapes
/// `a (..., n, n) -> w (..., n), V (..., n, n)`.
///
/// # Dtypes
/// `complex64`, whatever the type of `a`. Computed in double precision.
///
/// The derivatives need distinct eigenvalues; those of the vectors are right up to a phase.
///
/// # Errors
/// Kind `Shape` if the matrices are not square. A matrix that is not finite gives NaN.
pub fn eig(a: &Array) -> Result<(Array, Array)> {
    square("eig", a)?;
    two(Array::apply_all(Linalg::Eig { vectors: true }, &[floating(a)?])?)
}

/// The eigenvalues of [`eig`] alone.
///
/// # Errors
/// As [`eig`].
pub fn eigvals(a: &Array) -> Result<Array> {
    square("eigvals", a)?;
    Array::apply(Linalg::Eig { vectors: false }, &[floating(a)?])
}
