//! Blocked Cholesky and LU factors and triangular systems, row-major, in the precision of the
//! elements. Most of the work is in packed products.

use super::field::{Factor, Field, add_product, axpy, dot_conj, two_rows};

/// Columns that are factored at a time.
const BLOCK: usize = 48;
/// Rows of the part of a symmetric update that is one product.
const STRIP: usize = 192;

fn negated<T: Field>(a: &[T], ld: usize, rows: usize, columns: usize) -> Vec<T> {
    a.chunks(ld).take(rows).flat_map(|row| row[..columns].iter().map(|x| -*x)).collect()
}

/// The lower factor of a Hermitian matrix in place, with zeros above; only the lower triangle is
/// read. False if the matrix is not positive definite.
pub(crate) fn cholesky<T: Field>(a: &mut [T], n: usize) -> bool {
    for j0 in (0..n).step_by(BLOCK) {
        let j1 = (j0 + BLOCK).min(n);
        for i in j0..n {
            for j in j0..j1.min(i + 1) {
                if i == j {
                    let row = &a[i * n..];
                    let left = row[i].real() - dot_conj(&row[j0..i], &row[j0..i]).real();
                    if left.is_nan() || left <= 0.0 {
                        return false;
                    }
                    a[i * n + i] = T::from_real(left.sqrt());
                } else {
                    let (above, row) = two_rows(a, n, j, i);
                    let sum = dot_conj(&row[j0..j], &above[j0..j]);
                    row[j] = (row[j] - sum).scale(1.0 / above[j].real());
                }
            }
        }
        let width = j1 - j0;
        let panel: Vec<T> = (j1..n).flat_map(|i| a[i * n + j0..i * n + j1].to_vec()).collect();
        let adjoint: Vec<T> = panel.iter().map(|x| -x.conj()).collect();
        for r0 in (j1..n).step_by(STRIP) {
            let r1 = (r0 + STRIP).min(n);
            let left = Factor::rows(&panel[(r0 - j1) * width..], width);
            let right = Factor::rows(&adjoint, width);
            add_product(&mut a[r0 * n + j1..], n, [r1 - r0, r1 - j1, width], left, right);
        }
    }
    for i in 0..n {
        a[i * n + i + 1..(i + 1) * n].fill(T::default());
    }
    true
}

/// The factors of `a (m, n)` in place, the row swapped with each, and the order of the rows.
pub(crate) fn lu<T: Field>(a: &mut [T], m: usize, n: usize, pivots: &mut [u32], perm: &mut [u32]) {
    let k = m.min(n);
    perm.iter_mut().zip(0..).for_each(|(p, i)| *p = i);
    for j0 in (0..k).step_by(BLOCK) {
        let j1 = (j0 + BLOCK).min(k);
        for j in j0..j1 {
            let mut best = j;
            for i in j + 1..m {
                if a[i * n + j].size2() > a[best * n + j].size2() {
                    best = i;
                }
            }
            pivots[j] = best as u32;
            if best != j {
                let (x, y) = two_rows(a, n, j, best);
                x.swap_with_slice(y);
                perm.swap(j, best);
            }
            let pivot = a[j * n + j];
            if pivot.size2() == 0.0 {
                continue;
            }
            for i in j + 1..m {
                let (above, row) = two_rows(a, n, j, i);
                let factor = row[j] / pivot;
                row[j] = factor;
                axpy(&mut row[j + 1..j1], -factor, &above[j + 1..j1]);
            }
        }
        if j1 == n {
            continue;
        }
        for i in j0 + 1..j1 {
            for p in j0..i {
                let (above, row) = two_rows(a, n, p, i);
                let factor = -row[p];
                axpy(&mut row[j1..], factor, &above[j1..]);
            }
        }
        let width = j1 - j0;
        let left = negated(&a[(j1 * n + j0).min(a.len())..], n, m - j1, width);
        let (above, below) = a.split_at_mut(j1 * n);
        if m > j1 {
            let right = Factor::columns(&above[j0 * n + j1..], n);
            let left = Factor::rows(&left, width);
            add_product(&mut below[j1..], n, [m - j1, n - j1, width], left, right);
        }
    }
}

/// `X` with `T X = B` in place of B `(n, r)`, for a triangle of T `(n, n)`.
pub(crate) fn solve<T: Field>(t: &[T], n: usize, upper: bool, unit: bool, b: &mut [T], r: usize) {
    if n == 0 || r == 0 {
        return;
    }
    let blocks = n.div_ceil(BLOCK);
    for step in 0..blocks {
        let i0 = if upper { blocks - 1 - step } else { step } * BLOCK;
        let i1 = (i0 + BLOCK).min(n);
        let (from, to) = if upper { (i1, n) } else { (0, i0) };
        let left = negated(&t[(i0 * n + from).min(t.len())..], n, i1 - i0, to - from);
        let known: &[T];
        let rows: &mut [T];
        if upper {
            let (above, below) = b.split_at_mut(i1 * r);
            (rows, known) = (&mut above[i0 * r..], below);
        } else {
            let (above, below) = b.split_at_mut(i0 * r);
            (rows, known) = (below, above);
        }
        let sizes = [i1 - i0, r, to - from];
        add_product(rows, r, sizes, Factor::rows(&left, to - from), Factor::columns(known, r));
        for place in 0..i1 - i0 {
            let i = if upper { i1 - 1 - place } else { i0 + place };
            let solved = if upper { i + 1..i1 } else { i0..i };
            for p in solved {
                let factor = -t[i * n + p];
                let (first, second) = two_rows(rows, r, p.min(i) - i0, p.max(i) - i0);
                let (row, known) = if p > i { (first, second) } else { (second, first) };
                axpy(row, factor, known);
            }
            if !unit {
                let diagonal = t[i * n + i];
                rows[(i - i0) * r..(i - i0 + 1) * r].iter_mut().for_each(|x| *x = *x / diagonal);
            }
        }
    }
}
