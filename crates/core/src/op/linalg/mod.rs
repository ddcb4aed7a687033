//! Linear algebra: factorisations and solutions of systems of the matrices in the last two axes.
//!
//! [`Linalg`] holds what a backend must run; its derivatives are in `derivative`, and everything
//! else is composed in `solve`, `spectral` and `norms`. All derivatives are written with other ops,
//! so that they have derivatives.

mod derivative;
mod norms;
mod solve;
mod spectral;

pub use norms::{Order, cross, matrix_norm, norm, vector_norm};
pub use solve::{
    cholesky, cholesky_inv, det, inv, lu, lu_factor, matrix_power, multi_dot, slogdet, solve,
    solve_triangular, tri_inv,
};
pub use spectral::{eig, eigh, eigvals, eigvalsh, lstsq, pinv, qr, svd, svdvals};

use super::{Aval, Avals, Batched, Derivative, Rules, with_batch};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, show};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A factorisation of, or a solution with, each matrix of the last two axes. All inputs have the
/// same leading axes and one type of `float32`, `float64` and `complex64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Linalg {
    /// `A = L L^H`: `(n, n) -> L (n, n)`; only the lower triangle of A is read.
    Cholesky,
    /// `A[perm] = L U`: `(m, n) ->` both factors in one matrix `(m, n)`, without L's diagonal of
    /// ones; the rows swapped at each step, in order, `(min(m, n))`; `perm (m)`.
    Lu,
    /// `A X = B`, or `A^H X = B` if `adjoint`: inputs A, its factors and `perm` as [`Linalg::Lu`]
    /// gives them, B `(n, r)`. Derivatives with respect to A take the factors for constants.
    LuSolve {
        /// Whether the matrix is `A^H`.
        adjoint: bool,
    },
    /// `T X = B`, with the named triangle of T `(n, n)`; the other one is not read.
    SolveTriangular {
        /// The upper triangle, else the lower.
        upper: bool,
        /// Ones are taken for the diagonal, which is not read.
        unit: bool,
    },
    /// `A = Q R`: `(m, n) -> Q (m, k), R (k, n)`, `k = min(m, n)`.
    Qr,
    /// `A = U diag(s) V^H`: `(m, n) -> U (m, m), s (k), V^H (n, n)`, or s alone.
    Svd {
        /// Whether there are U and V.
        vectors: bool,
    },
    /// The Moore-Penrose inverse, `(m, n) -> (n, m)`.
    Pinv,
    /// `A = V diag(w) V^H`: `(n, n) -> w (n), V (n, n)`, or w alone, of the lower triangle of A.
    Eigh {
        /// Whether there is V.
        vectors: bool,
    },
    /// `A V = V diag(w)`: `(n, n) -> w (n), V (n, n)`, or w alone, in `complex64`.
    Eig {
        /// Whether there is V.
        vectors: bool,
    },
}

/// The real type of the size of numbers of `dtype`.
fn real(dtype: Dtype) -> Dtype {
    if dtype.is_complex() { Dtype::F32 } else { dtype }
}

/// Sizes of the last two axes.
fn matrix(op: &'static str, x: &Array) -> Result<(usize, usize)> {
    match *x.shape() {
        [.., m, n] => Ok((m, n)),
        _ => {
            let message = format!("a matrix is needed, got shape {}", show(x.shape()));
            Err(Error::shape(op, &[x.shape()], message))
        }
    }
}

/// The size of the square matrices of the last two axes.
fn square(op: &'static str, x: &Array) -> Result<usize> {
    match matrix(op, x)? {
        (m, n) if m == n => Ok(n),
        _ => {
            let message = format!("a square matrix is needed, got shape {}", show(x.shape()));
            Err(Error::shape(op, &[x.shape()], message))
        }
    }
}

/// Converted to a type that matrices are factored in: `float32` for narrower types and integers.
fn floating(x: &Array) -> Result<Array> {
    x.astype(x.dtype().to_inexact().compute())
}

impl Rules for Linalg {
    fn name(&self) -> &'static str {
        match self {
            Linalg::Cholesky => "cholesky",
            Linalg::Lu => "lu_factor",
            Linalg::LuSolve { .. } => "solve",
            Linalg::SolveTriangular { .. } => "solve_triangular",
            Linalg::Qr => "qr",
            Linalg::Svd { .. } => "svd",
            Linalg::Pinv => "pinv",
            Linalg::Eigh { .. } => "eigh",
            Linalg::Eig { .. } => "eig",
        }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (name, a) = (self.name(), &inputs[0]);
        let dtype = a.dtype();
        if !matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::C64) {
            return Err(Error::dtype(name, &[dtype], "float32, float64 or complex64"));
        }
        let (m, n) = matrix(name, a)?;
        let k = m.min(n);
        let lead = &a.shape()[..a.ndim() - 2];
        let aval = |sizes: &[usize], dtype: Dtype| {
            let mut shape = Shape::from(lead);
            shape.extend_from_slice(sizes);
            Aval::new(shape, dtype)
        };
        if !matches!(self, Linalg::Lu | Linalg::Qr | Linalg::Svd { .. } | Linalg::Pinv) {
            square(name, a)?;
        }
        if matches!(self, Linalg::LuSolve { .. } | Linalg::SolveTriangular { .. }) {
            let b = &inputs[inputs.len() - 1];
            let fits = b.ndim() == a.ndim()
                && b.shape()[..a.ndim() - 2] == *lead
                && b.shape()[a.ndim() - 2] == n;
            if !fits || b.dtype() != dtype {
                let message =
                    format!("a right side of {} for {}", show(b.shape()), show(a.shape()));
                return Err(Error::shape(name, &[a.shape(), b.shape()], message));
            }
        }
        Ok(match *self {
            Linalg::Cholesky => SmallVec::from_iter([a.aval()]),
            Linalg::Lu => {
                SmallVec::from_iter([a.aval(), aval(&[k], Dtype::U32), aval(&[m], Dtype::U32)])
            }
            Linalg::LuSolve { .. } | Linalg::SolveTriangular { .. } => {
                SmallVec::from_iter([inputs[inputs.len() - 1].aval()])
            }
            Linalg::Qr => SmallVec::from_iter([aval(&[m, k], dtype), aval(&[k, n], dtype)]),
            Linalg::Svd { vectors: true } => SmallVec::from_iter([
                aval(&[m, m], dtype),
                aval(&[k], real(dtype)),
                aval(&[n, n], dtype),
            ]),
            Linalg::Svd { vectors: false } => SmallVec::from_iter([aval(&[k], real(dtype))]),
            Linalg::Pinv => SmallVec::from_iter([aval(&[n, m], dtype)]),
            Linalg::Eigh { vectors: true } => {
                SmallVec::from_iter([aval(&[n], real(dtype)), a.aval()])
            }
            Linalg::Eigh { vectors: false } => SmallVec::from_iter([aval(&[n], real(dtype))]),
            Linalg::Eig { vectors: true } => {
                SmallVec::from_iter([aval(&[n], Dtype::C64), aval(&[n, n], Dtype::C64)])
            }
            Linalg::Eig { vectors: false } => SmallVec::from_iter([aval(&[n], Dtype::C64)]),
        })
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn jvp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        derivative::jvp(*self, inputs, outputs, tangents)
    }

    fn vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        derivative::vjp(*self, inputs, outputs, cotangents)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let all = (inputs.iter().zip(axes))
            .map(|(x, &axis)| with_batch(x, axis, batch))
            .collect::<Result<Vec<_>>>()?;
        let outputs = Array::apply_all(*self, &all)?;
        let count = outputs.len();
        Ok((outputs, vec![Some(0); count]))
    }
}
