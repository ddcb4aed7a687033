//! Singular values and eigenvalues of finite matrices in double precision, by the `faer` crate.

use faer::{MatRef, Side};
use num_complex::Complex64;

use super::field::Field;

/// The numbers of which `faer` has decompositions.
pub(crate) trait Wide: Field + faer::traits::ComplexField<Real = f64> {}

impl Wide for f64 {}
impl Wide for Complex64 {}

/// U, s and V^H.
pub(crate) struct Factors<T> {
    pub u: Vec<T>,
    pub s: Vec<f64>,
    pub vh: Vec<T>,
}

/// The elements row by row.
fn rows<T: Copy>(x: MatRef<'_, T>) -> Vec<T> {
    (0..x.nrows()).flat_map(|i| x.row(i).iter().copied()).collect()
}

/// The singular values of `a (m, n)` in decreasing order and, if asked for, the vectors: U `(m, m)`,
/// V^H `(n, n)`. `None` if the iteration does not converge.
pub(crate) fn svd<T: Wide>(a: &[T], m: usize, n: usize, vectors: bool) -> Option<Factors<T>> {
    let a = MatRef::from_row_major_slice(a, m, n);
    if !vectors {
        return Some(Factors { u: Vec::new(), s: a.singular_values().ok()?, vh: Vec::new() });
    }
    let found = a.svd().ok()?;
    let s = found.S().column_vector().iter().map(|&x| Field::real(x)).collect();
    let mut vh = rows(found.V().transpose());
    vh.iter_mut().for_each(|x| *x = Field::conj(*x));
    Some(Factors { u: rows(found.U()), s, vh })
}

/// The eigenvalues of the Hermitian matrix whose lower triangle is that of `a (n, n)`, in
/// increasing order, and, if asked for, the vectors as columns `(n, n)`. `None` if the iteration
/// does not converge.
pub(crate) fn eigh<T: Wide>(a: &[T], n: usize, vectors: bool) -> Option<(Vec<f64>, Vec<T>)> {
    let a = MatRef::from_row_major_slice(a, n, n);
    if !vectors {
        return Some((a.self_adjoint_eigenvalues(Side::Lower).ok()?, Vec::new()));
    }
    let found = a.self_adjoint_eigen(Side::Lower).ok()?;
    let values = found.S().column_vector().iter().map(|&x| Field::real(x)).collect();
    Some((values, rows(found.U())))
}

/// The eigenvalues of `a (n, n)` and, if asked for, vectors of length 1 as columns `(n, n)`, whose
/// greatest elements are real. Those of a real matrix that are real have no imaginary part.
/// `None` if the iteration does not converge.
pub(crate) fn eig<T: Wide>(
    a: &[T],
    n: usize,
    vectors: bool,
) -> Option<(Vec<Complex64>, Vec<Complex64>)> {
    let a = MatRef::from_row_major_slice(a, n, n);
    if !vectors {
        return Some((a.eigenvalues().ok()?, Vec::new()));
    }
    let found = a.eigen().ok()?;
    let values = found.S().column_vector().iter().copied().collect();
    let mut columns = found.U().to_owned();
    for column in columns.col_iter_mut() {
        let mut column: Vec<&mut Complex64> = column.iter_mut().collect();
        let length = column.iter().map(|x| x.norm_sqr()).sum::<f64>().sqrt();
        let greatest = column.iter().fold(Complex64::ZERO, |most, x| {
            if x.norm_sqr() > most.norm_sqr() { **x } else { most }
        });
        let factor = greatest.conj() / (greatest.norm() * length).max(f64::MIN_POSITIVE);
        column.iter_mut().for_each(|x| **x *= factor);
    }
    Some((values, rows(columns.as_ref())))
}
