"""Type stubs of `lazulite.core.linalg`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def cholesky(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The lower (or upper) triangular L with `a = L L^H` of a positive definite matrix.
   
    Shapes: `(..., n, n) -> (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError. A matrix that is not positive definite is a
    RuntimeError when it is evaluated.
   
    >>> mx.linalg.cholesky(mx.array([[4.0, 0.0], [0.0, 9.0]]))
    array([[2, 0],
           [0, 3]], dtype=float32)"""

def cholesky_inv(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The inverse of the matrix whose Cholesky factor is `a`.
   
    Shapes: `(..., n, n) -> (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.cholesky_inv(mx.array([[2.0, 0.0], [0.0, 1.0]]))
    array([[0.25, 0],
           [0, 1]], dtype=float32)"""

def cross(a: array, b: array, axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """The cross product of vectors of three elements (or two, of which the third is 0).
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.linalg.cross(mx.array([1.0, 0.0, 0.0]), mx.array([0.0, 1.0, 0.0]))
    array([0, 0, 1], dtype=float32)"""

def det(a: array, *, stream: StreamOrDevice = None) -> array:
    """The determinant: `(..., n, n) -> (...)`.
   
    Shapes: `(..., n, n) -> (...)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.det(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array(8, dtype=float32)"""

def eig(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Eigenvalues, in no order that one may rely on, and eigenvectors as columns.
   
    Shapes: `(..., n, n) -> (..., n), (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.eig(mx.array([[2.0, 0.0], [0.0, 1.0]]))[0].dtype
    mlx.core.complex64"""

def eigh(a: array, UPLO: str = 'L', *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Eigenvalues in increasing order, and eigenvectors as columns, of a Hermitian matrix, of which
    one triangle is read.
   
    Shapes: `(..., n, n) -> (..., n), (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.eigh(mx.array([[2.0, 0.0], [0.0, 1.0]]))[0]
    array([1, 2], dtype=float32)"""

def eigvals(a: array, *, stream: StreamOrDevice = None) -> array:
    """The eigenvalues, in no order that one may rely on: `(..., n, n) -> (..., n)`.
   
    Shapes: `(..., n, n) -> (..., n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.eigvals(mx.array([[2.0, 0.0], [0.0, 1.0]])).shape
    (2,)"""

def eigvalsh(a: array, UPLO: str = 'L', *, stream: StreamOrDevice = None) -> array:
    """The eigenvalues of `eigh` alone.
   
    Shapes: `(..., n, n) -> (..., n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.eigvalsh(mx.array([[2.0, 0.0], [0.0, 1.0]]))
    array([1, 2], dtype=float32)"""

def inv(a: array, *, stream: StreamOrDevice = None) -> array:
    """The inverse: `(..., n, n) -> (..., n, n)`.
   
    Shapes: `(..., n, n) -> (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError. A singular matrix raises RuntimeError when it
    is evaluated.
   
    >>> mx.linalg.inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5, 0],
           [0, 0.25]], dtype=float32)"""

def lu(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """An order of rows P, and L and U with `a = L[P] U`.
   
    Shapes: `(..., m, n) -> (..., m), (..., m, k), (..., k, n)` with k = min(m, n).
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> [a.shape for a in mx.linalg.lu(mx.eye(3))]
    [(3,), (3, 3), (3, 3)]"""

def lu_factor(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """The factors of `lu` in one matrix, and for each step the row with which it swapped its own.
   
    Shapes: `(..., m, n) -> (..., m, n), (..., k)` with k = min(m, n).
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> [a.shape for a in mx.linalg.lu_factor(mx.eye(3))]
    [(3, 3), (3,)]"""

def norm(a: array, /, ord: None | int | float | str = None, axis: None | int | list[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.linalg.norm(mx.array([3.0, 4.0]))
    array(5, dtype=float32)"""

def pinv(a: array, *, stream: StreamOrDevice = None) -> array:
    """The Moore-Penrose inverse: `(..., m, n) -> (..., n, m)`.
   
    Shapes: `(..., m, n) -> (..., n, m)`.
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> mx.linalg.pinv(mx.array([[2.0, 0.0]]))
    array([[0.5],
           [0]], dtype=float32)"""

def qr(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Q with orthonormal columns and upper triangular R with `a = Q R`.
   
    Shapes: `(..., m, n) -> (..., m, k), (..., k, n)` with k = min(m, n).
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> [a.shape for a in mx.linalg.qr(mx.ones((3, 2)))]
    [(3, 2), (2, 2)]"""

def slogdet(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """The sign of the determinant and the logarithm of its size.
   
    Shapes: `(..., n, n) -> (...)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.slogdet(mx.array([[2.0, 0.0], [0.0, -4.0]]))
    (array(-1, dtype=float32), array(2.07944, dtype=float32))"""

def solve(a: array, b: array, *, stream: StreamOrDevice = None) -> array:
    """X with `a X = b`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.linalg.solve(mx.array([[2.0, 0.0], [0.0, 4.0]]), mx.array([2.0, 2.0]))
    array([1, 0.5], dtype=float32)"""

def solve_triangular(a: array, b: array, *, upper: bool = False, stream: StreamOrDevice = None) -> array:
    """X with `a X = b`, where only the lower (or upper) triangle of `a` is read.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.linalg.solve_triangular(mx.array([[2.0, 0.0], [1.0, 1.0]]), mx.array([2.0, 3.0]))
    array([1, 2], dtype=float32)"""

def svd(a: array, compute_uv: bool = True, *, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """U, s and V^H with `a = U diag(s) V^H`, s in decreasing order; s alone without `compute_uv`.
   
    Shapes: `(..., m, n) -> (..., m, m), (..., k), (..., n, n)` with k = min(m, n).
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> mx.linalg.svd(mx.array([[3.0, 0.0], [0.0, 2.0]]), compute_uv=False)
    array([3, 2], dtype=float32)"""

def tri_inv(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The inverse of a lower (or upper) triangular matrix.
   
    Shapes: `(..., n, n) -> (..., n, n)`.
    Dtypes: all.
    Matrices that are not square raise ValueError.
   
    >>> mx.linalg.tri_inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5, 0],
           [0, 0.25]], dtype=float32)"""
