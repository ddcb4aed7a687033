"""Type stubs of `lazulite.core.linalg`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def cholesky(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The lower (or upper) triangular L with `a = L L^H` of a positive definite matrix."""

def cholesky_inv(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The inverse of the matrix whose Cholesky factor is `a`."""

def cross(a: array, b: array, axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """The cross product of vectors of three elements (or two, of which the third is 0)."""

def det(a: array, *, stream: StreamOrDevice = None) -> array:
    """The determinant: `(..., n, n) -> (...)`."""

def eig(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Eigenvalues, in no order that one may rely on, and eigenvectors as columns."""

def eigh(a: array, UPLO: str = 'L', *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Eigenvalues in increasing order, and eigenvectors as columns, of a Hermitian matrix, of which
    one triangle is read."""

def eigvals(a: array, *, stream: StreamOrDevice = None) -> array:
    """The eigenvalues, in no order that one may rely on: `(..., n, n) -> (..., n)`."""

def eigvalsh(a: array, UPLO: str = 'L', *, stream: StreamOrDevice = None) -> array:
    """The eigenvalues of `eigh` alone."""

def inv(a: array, *, stream: StreamOrDevice = None) -> array:
    """The inverse: `(..., n, n) -> (..., n, n)`."""

def lu(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """An order of rows P, and L and U with `a = L[P] U`."""

def lu_factor(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """The factors of `lu` in one matrix, and for each step the row with which it swapped its own."""

def norm(a: array, /, ord: None | int | float | str = None, axis: None | int | list[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise."""

def pinv(a: array, *, stream: StreamOrDevice = None) -> array:
    """The Moore-Penrose inverse: `(..., m, n) -> (..., n, m)`."""

def qr(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Q with orthonormal columns and upper triangular R with `a = Q R`."""

def slogdet(a: array, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """The sign of the determinant and the logarithm of its size."""

def solve(a: array, b: array, *, stream: StreamOrDevice = None) -> array:
    """X with `a X = b`."""

def solve_triangular(a: array, b: array, *, upper: bool = False, stream: StreamOrDevice = None) -> array:
    """X with `a X = b`, where only the lower (or upper) triangle of `a` is read."""

def svd(a: array, compute_uv: bool = True, *, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """U, s and V^H with `a = U diag(s) V^H`, s in decreasing order; s alone without `compute_uv`."""

def tri_inv(a: array, upper: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The inverse of a lower (or upper) triangular matrix."""
