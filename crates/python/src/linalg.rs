//! `lazulite.core.linalg`: factorisations, solutions, eigenvalues, norms.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Axes, extract_one_of};
use crate::device::{On, on};
use crate::errors::Answer;
use crate::functions::add_functions;
use lazulite::op::linalg as engine;
use pyo3::prelude::*;

/// The order of a norm: a number or a name.
pub enum Order {
    Number(f64),
    Name(String),
}
extract_one_of!(Order, "a number, \"fro\" or \"nuc\"": Number, Name);

impl Order {
    fn engine(self) -> Answer<engine::Order> {
        Ok(match self {
            Order::Number(p) => engine::Order::Number(p),
            Order::Name(name) => engine::Order::from_name(&name)?,
        })
    }
}

/// The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise.
///
/// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.linalg.norm(mx.array([3.0, 4.0]))
/// array(5, dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, ord = None, axis = None, keepdims = false, *, stream = None))]
pub fn norm(
    a: Arr,
    ord: Option<Order>,
    axis: Option<Axes>,
    keepdims: bool,
    stream: On,
) -> Answer<PyArray> {
    let ord = ord.map(Order::engine).transpose()?;
    on(stream, || wrap(engine::norm(&a.0, ord, axis.as_deref(), keepdims)))
}

/// The cross product of vectors of three elements (or two, of which the third is 0).
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.linalg.cross(mx.array([1.0, 0.0, 0.0]), mx.array([0.0, 1.0, 0.0]))
/// array([0, 0, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, axis = -1, *, stream = None))]
fn cross(a: Arr, b: Arr, axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::cross(&a.0, &b.0, axis)))
}

macro_rules! of_a_matrix {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, *, stream = None))]
        fn $name(a: Arr, stream: On) -> Answer<PyArray> {
            on(stream, || wrap(engine::$name(&a.0)))
        }
    )*};
}
of_a_matrix! {
    /// The determinant: `(..., n, n) -> (...)`.
    ///
    /// Shapes: `(..., n, n) -> (...)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.det(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    /// array(8, dtype=float32)
    det;
    /// The eigenvalues, in no order that one may rely on: `(..., n, n) -> (..., n)`.
    ///
    /// Shapes: `(..., n, n) -> (..., n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.eigvals(mx.array([[2.0, 0.0], [0.0, 1.0]])).shape
    /// (2,)
    eigvals;
    /// The inverse: `(..., n, n) -> (..., n, n)`.
    ///
    /// Shapes: `(..., n, n) -> (..., n, n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError. A singular matrix raises RuntimeError when it
    /// is evaluated.
    ///
    /// >>> mx.linalg.inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    /// array([[0.5, 0],
    ///        [0, 0.25]], dtype=float32)
    inv;
    /// The Moore-Penrose inverse: `(..., m, n) -> (..., n, m)`.
    ///
    /// Shapes: `(..., m, n) -> (..., n, m)`.
    /// Dtypes: all.
    /// Fewer than two axes raise ValueError.
    ///
    /// >>> mx.linalg.pinv(mx.array([[2.0, 0.0]]))
    /// array([[0.5],
    ///        [0]], dtype=float32)
    pinv;
}

macro_rules! of_a_triangle {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, upper = false, *, stream = None))]
        fn $name(a: Arr, upper: bool, stream: On) -> Answer<PyArray> {
            on(stream, || wrap(engine::$name(&a.0, upper)))
        }
    )*};
}
of_a_triangle! {
    /// The lower (or upper) triangular L with `a = L L^H` of a positive definite matrix.
    ///
    /// Shapes: `(..., n, n) -> (..., n, n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError. A matrix that is not positive definite is a
    /// RuntimeError when it is evaluated.
    ///
    /// >>> mx.linalg.cholesky(mx.array([[4.0, 0.0], [0.0, 9.0]]))
    /// array([[2, 0],
    ///        [0, 3]], dtype=float32)
    cholesky;
    /// The inverse of the matrix whose Cholesky factor is `a`.
    ///
    /// Shapes: `(..., n, n) -> (..., n, n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.cholesky_inv(mx.array([[2.0, 0.0], [0.0, 1.0]]))
    /// array([[0.25, 0],
    ///        [0, 1]], dtype=float32)
    cholesky_inv;
    /// The inverse of a lower (or upper) triangular matrix.
    ///
    /// Shapes: `(..., n, n) -> (..., n, n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.tri_inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    /// array([[0.5, 0],
    ///        [0, 0.25]], dtype=float32)
    tri_inv;
}

macro_rules! in_two_parts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, *, stream = None))]
        fn $name(a: Arr, stream: On) -> Answer<(PyArray, PyArray)> {
            on(stream, || {
                let (first, second) = engine::$name(&a.0)?;
                Ok((first.into(), second.into()))
            })
        }
    )*};
}
in_two_parts! {
    /// Eigenvalues, in no order that one may rely on, and eigenvectors as columns.
    ///
    /// Shapes: `(..., n, n) -> (..., n), (..., n, n)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.eig(mx.array([[2.0, 0.0], [0.0, 1.0]]))[0].dtype
    /// mlx.core.complex64
    eig;
    /// The factors of `lu` in one matrix, and for each step the row with which it swapped its own.
    ///
    /// Shapes: `(..., m, n) -> (..., m, n), (..., k)` with k = min(m, n).
    /// Dtypes: all.
    /// Fewer than two axes raise ValueError.
    ///
    /// >>> [a.shape for a in mx.linalg.lu_factor(mx.eye(3))]
    /// [(3, 3), (3,)]
    lu_factor;
    /// Q with orthonormal columns and upper triangular R with `a = Q R`.
    ///
    /// Shapes: `(..., m, n) -> (..., m, k), (..., k, n)` with k = min(m, n).
    /// Dtypes: all.
    /// Fewer than two axes raise ValueError.
    ///
    /// >>> [a.shape for a in mx.linalg.qr(mx.ones((3, 2)))]
    /// [(3, 2), (2, 2)]
    qr;
    /// The sign of the determinant and the logarithm of its size.
    ///
    /// Shapes: `(..., n, n) -> (...)`.
    /// Dtypes: all.
    /// Matrices that are not square raise ValueError.
    ///
    /// >>> mx.linalg.slogdet(mx.array([[2.0, 0.0], [0.0, -4.0]]))
    /// (array(-1, dtype=float32), array(2.07944, dtype=float32))
    slogdet;
}

/// An order of rows P, and L and U with `a = L[P] U`.
///
/// Shapes: `(..., m, n) -> (..., m), (..., m, k), (..., k, n)` with k = min(m, n).
/// Dtypes: all.
/// Fewer than two axes raise ValueError.
///
/// >>> [a.shape for a in mx.linalg.lu(mx.eye(3))]
/// [(3,), (3, 3), (3, 3)]
#[pyfunction]
#[pyo3(signature = (a, *, stream = None))]
fn lu(a: Arr, stream: On) -> Answer<(PyArray, PyArray, PyArray)> {
    on(stream, || {
        let (p, l, u) = engine::lu(&a.0)?;
        Ok((p.into(), l.into(), u.into()))
    })
}

/// U, s and V^H with `a = U diag(s) V^H`, s in decreasing order; s alone without `compute_uv`.
///
/// Shapes: `(..., m, n) -> (..., m, m), (..., k), (..., n, n)` with k = min(m, n).
/// Dtypes: all.
/// Fewer than two axes raise ValueError.
///
/// >>> mx.linalg.svd(mx.array([[3.0, 0.0], [0.0, 2.0]]), compute_uv=False)
/// array([3, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, compute_uv = true, *, stream = None))]
fn svd(py: Python<'_>, a: Arr, compute_uv: bool, stream: On) -> Answer<Py<PyAny>> {
    if !compute_uv {
        let s = on(stream, || wrap(engine::svdvals(&a.0)))?;
        return Ok(Py::new(py, s)?.into_any());
    }
    let (u, s, v) = on(stream, || Ok(engine::svd(&a.0)?))?;
    let parts = (PyArray::from(u), PyArray::from(s), PyArray::from(v));
    Ok(parts.into_pyobject(py)?.into_any().unbind())
}

/// Eigenvalues in increasing order, and eigenvectors as columns, of a Hermitian matrix, of which
/// one triangle is read.
///
/// Shapes: `(..., n, n) -> (..., n), (..., n, n)`.
/// Dtypes: all.
/// Matrices that are not square raise ValueError.
///
/// >>> mx.linalg.eigh(mx.array([[2.0, 0.0], [0.0, 1.0]]))[0]
/// array([1, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, UPLO = "L", *, stream = None))]
#[allow(non_snake_case)]
fn eigh(a: Arr, UPLO: &str, stream: On) -> Answer<(PyArray, PyArray)> {
    on(stream, || {
        let (values, vectors) = engine::eigh(&a.0, UPLO)?;
        Ok((values.into(), vectors.into()))
    })
}

/// The eigenvalues of `eigh` alone.
///
/// Shapes: `(..., n, n) -> (..., n)`.
/// Dtypes: all.
/// Matrices that are not square raise ValueError.
///
/// >>> mx.linalg.eigvalsh(mx.array([[2.0, 0.0], [0.0, 1.0]]))
/// array([1, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, UPLO = "L", *, stream = None))]
#[allow(non_snake_case)]
fn eigvalsh(a: Arr, UPLO: &str, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::eigvalsh(&a.0, UPLO)))
}

/// X with `a X = b`.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
///
/// >>> mx.linalg.solve(mx.array([[2.0, 0.0], [0.0, 4.0]]), mx.array([2.0, 2.0]))
/// array([1, 0.5], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, *, stream = None))]
fn solve(a: Arr, b: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::solve(&a.0, &b.0)))
}

/// X with `a X = b`, where only the lower (or upper) triangle of `a` is read.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
///
/// >>> mx.linalg.solve_triangular(mx.array([[2.0, 0.0], [1.0, 1.0]]), mx.array([2.0, 3.0]))
/// array([1, 2], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, b, *, upper = false, stream = None))]
fn solve_triangular(a: Arr, b: Arr, upper: bool, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(engine::solve_triangular(&a.0, &b.0, upper)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, norm, cross, det, eigvals, inv, pinv, cholesky, cholesky_inv, tri_inv);
    add_functions!(m, eig, lu_factor, qr, slogdet, lu, svd, eigh, eigvalsh, solve);
    add_functions!(m, solve_triangular);
    Ok(())
}
