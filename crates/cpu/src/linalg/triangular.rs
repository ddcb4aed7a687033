//! Cholesky and LU factors and triangular systems, row-major, in the precision of the elements. All are
//! cut in halves (Toledo, "Locality of reference in LU decomposition with partial pivoting", 1997), so
//! that most of the work is in packed products; what is left runs row by row in vectors.

use super::field::{Factor, Field, add_product, axpy, dot_conj, two_rows};
use crate::pool;
use crate::strided::{Plain, Target};

/// Columns of a panel that is factored column by column: a row of it is one or two vectors.
const WIDTH: usize = 16;
/// Rows of a triangle that is solved row by row.
const BASE: usize = 32;
/// Columns of a right side that one task solves, for all rows.
const COLUMNS: usize = 128;
/// Columns of a symmetric matrix that are factored at a time.
const BLOCK: usize = 64;
/// Rows of the part of a symmetric update that is one product.
const STRIP: usize = 192;

/// Columns `from..to` of `rows` rows without gaps.
fn gathered<T: Copy>(a: &[T], ld: usize, rows: usize, [from, to]: [usize; 2]) -> Vec<T> {
    let mut out = Vec::with_capacity(rows * (to - from));
    for row in a.chunks(ld).take(rows) {
        out.extend_from_slice(&row[from..to]);
    }
    out
}

crate::multiversion! {
    /// The lower factor of a Hermitian `a (n, n)` in place, of which the lower triangle is read and
    /// written. False if the matrix is not positive definite.
    fn cholesky_rows, cholesky_rows_for<const FMA: bool, T: Field>(a: &mut [T], n: usize) -> bool {
        let _ = FMA;
        for i in 0..n {
            for j in 0..i {
                let (above, row) = two_rows(a, n, j, i);
                let sum = dot_conj(&row[..j], &above[..j]);
                row[j] = (row[j] - sum).scale(1.0 / above[j].real());
            }
            let row = &a[i * n..];
            let left = row[i].real() - dot_conj(&row[..i], &row[..i]).real();
            if left.is_nan() || left <= 0.0 {
                return false;
            }
            a[i * n + i] = T::from_real(left.sqrt());
        }
        true
    }

    /// The factors of a panel of `width` columns in place, whose other columns are zeros, and for each
    /// column the row that was swapped with the one of its number.
    fn panel_rows, panel_rows_for<const FMA: bool, T: Field>(
        panel: &mut [[T; WIDTH]],
        pivots: &mut [usize],
    ) {
        let _ = FMA;
        for (j, place) in pivots.iter_mut().enumerate() {
            let (mut best, mut most) = (j, panel[j][j].size2());
            for (i, row) in panel.iter().enumerate().skip(j + 1) {
                let size = row[j].size2();
                if size > most {
                    (best, most) = (i, size);
                }
            }
            *place = best;
            panel.swap(j, best);
            let mut above = panel[j];
            let pivot = above[j];
            if pivot.size2() == 0.0 {
                continue;
            }
            // Whole rows are vectors: columns up to j lose nothing.
            above[..=j].fill(T::default());
            for row in &mut panel[j + 1..] {
                let factor = row[j] / pivot;
                axpy(row, -factor, &above);
                row[j] = factor;
            }
        }
    }

    /// `-X` with `T X = B` in place of B, row by row: `lds` are the elements between rows of T and of B,
    /// `sizes` the rows of B and its columns, `kind` whether T is upper and has ones on its diagonal.
    fn solve_rows, solve_rows_for<const FMA: bool, T: Field>(
        t: &[T],
        b: &mut [T],
        lds: [usize; 2],
        sizes: [usize; 2],
        kind: [bool; 2],
    ) {
        let _ = FMA;
        let ([ldt, ldb], [n, r], [upper, unit]) = (lds, sizes, kind);
        for place in 0..n {
            let i = if upper { n - 1 - place } else { place };
            let solved = if upper { i + 1..n } else { 0..i };
            for p in solved {
                let factor = t[i * ldt + p];
                let (first, second) = two_rows(b, ldb, p.min(i), p.max(i));
                let (row, known) = if p > i { (first, second) } else { (second, first) };
                axpy(&mut row[..r], factor, &known[..r]);
            }
            let row = b[i * ldb..i * ldb + r].iter_mut();
            if unit {
                row.for_each(|x| *x = -*x);
            } else {
                let diagonal = -t[i * ldt + i];
                row.for_each(|x| *x = *x / diagonal);
            }
        }
    }
}

/// The lower factor of a Hermitian matrix in place, with zeros above; only the lower triangle is
/// read. False if the matrix is not positive definite.
pub(crate) fn cholesky<T: Field + Plain>(a: &mut [T], n: usize) -> bool {
    for j0 in (0..n).step_by(BLOCK) {
        let j1 = (j0 + BLOCK).min(n);
        let (width, below) = (j1 - j0, n - j1);
        let mut corner = gathered(&a[j0 * n..], n, width, [j0, j1]);
        if !cholesky_rows(&mut corner, width) {
            return false;
        }
        for (row, own) in a[j0 * n..].chunks_mut(n).zip(corner.chunks(width)) {
            row[j0..j1].copy_from_slice(own);
        }
        if below == 0 {
            break;
        }
        // The rows below are `X` with `X L^H = A`, so that `L X^H = A^H`.
        let mut turned = vec![T::default(); width * below];
        for (i, row) in a[j1 * n..].chunks(n).enumerate() {
            for (p, x) in row[j0..j1].iter().enumerate() {
                turned[p * below + i] = x.conj();
            }
        }
        let lower = Triangle { t: &corner, upper: false, unit: false };
        negative(&[lower], width, &mut turned, below);
        let mut panel = Vec::with_capacity(width * below);
        for i in 0..below {
            panel.extend((0..width).map(|p| -turned[p * below + i].conj()));
        }
        for (row, own) in a[j1 * n..].chunks_mut(n).zip(panel.chunks(width)) {
            row[j0..j1].copy_from_slice(own);
        }
        for r0 in (j1..n).step_by(STRIP) {
            let r1 = (r0 + STRIP).min(n);
            let left = Factor::rows(&panel[(r0 - j1) * width..], width);
            let right = Factor::columns(&turned, below);
            add_product(&mut a[r0 * n + j1..], n, [r1 - r0, r1 - j1, width], left, right);
        }
    }
    for i in 0..n {
        a[i * n + i + 1..(i + 1) * n].fill(T::default());
    }
    true
}

/// The factors of `a (m, n)` in place, the row swapped with each, and the order of the rows.
pub(crate) fn lu<T: Field + Plain>(
    a: &mut [T],
    m: usize,
    n: usize,
    pivots: &mut [u32],
    perm: &mut [u32],
) {
    perm.iter_mut().zip(0..).for_each(|(p, i)| *p = i);
    let k = m.min(n);
    let mut rows = Rows { a, m, ld: n, pivots, perm };
    rows.factor(0, k);
    rows.eliminate([0, k, n]);
}

/// A matrix that is being factored.
struct Rows<'a, T> {
    a: &'a mut [T],
    m: usize,
    ld: usize,
    pivots: &'a mut [u32],
    perm: &'a mut [u32],
}

impl<T: Field + Plain> Rows<'_, T> {
    /// Factors columns `from..to`, from which those before them are eliminated.
    fn factor(&mut self, from: usize, to: usize) {
        if to - from > WIDTH {
            let middle = from + ((to - from) / 2).next_multiple_of(WIDTH);
            self.factor(from, middle);
            self.eliminate([from, middle, to]);
            self.factor(middle, to);
        } else if from < to {
            self.panel(from, to);
        }
    }

    /// As [`Rows::factor`] for a few columns.
    fn panel(&mut self, from: usize, to: usize) {
        let ld = self.ld;
        let mut panel: Vec<[T; WIDTH]> = Vec::with_capacity(self.m - from);
        for row in self.a[from * ld..].chunks(ld) {
            let mut own = [T::default(); WIDTH];
            own[..to - from].copy_from_slice(&row[from..to]);
            panel.push(own);
        }
        let mut swapped = [0; WIDTH];
        panel_rows(&mut panel, &mut swapped[..to - from]);
        for (j, best) in (from..to).zip(swapped) {
            let best = from + best;
            self.pivots[j] = best as u32;
            if best != j {
                let (x, y) = two_rows(self.a, ld, j, best);
                x.swap_with_slice(y);
                self.perm.swap(j, best);
            }
        }
        for (row, own) in self.a[from * ld..].chunks_mut(ld).zip(&panel) {
            row[from..to].copy_from_slice(&own[..to - from]);
        }
    }

    /// Eliminates the factored columns `from..middle` from columns `middle..to`.
    fn eliminate(&mut self, [from, middle, to]: [usize; 3]) {
        let (ld, width, columns) = (self.ld, middle - from, to - middle);
        if width == 0 || columns == 0 {
            return;
        }
        let top = &self.a[from * ld..];
        let triangle = gathered(top, ld, width, [from, middle]);
        let mut right = gathered(top, ld, width, [middle, to]);
        let lower = Triangle { t: &triangle, upper: false, unit: true };
        negative(&[lower], width, &mut right, columns);
        for (row, own) in self.a[from * ld..].chunks_mut(ld).zip(right.chunks(columns)) {
            row[middle..to].iter_mut().zip(own).for_each(|(x, own)| *x = -*own);
        }
        if self.m > middle {
            let rows = self.m - middle;
            let left = gathered(&self.a[middle * ld..], ld, rows, [from, middle]);
            let (left, right) = (Factor::rows(&left, width), Factor::columns(&right, columns));
            let to = &mut self.a[middle * ld + middle..];
            add_product(to, ld, [rows, columns, width], left, right);
        }
    }
}

/// A triangle of a matrix `(n, n)`.
#[derive(Clone, Copy)]
pub(crate) struct Triangle<'a, T> {
    pub t: &'a [T],
    pub upper: bool,
    /// True iff there are ones on the diagonal, whatever the matrix has there.
    pub unit: bool,
}

/// `X` with `S T X = B` in place of B `(n, r)`, for triangles T and S, the last one first, or any number
/// of them.
pub(crate) fn solve<T: Field + Plain>(triangles: &[Triangle<T>], n: usize, b: &mut [T], r: usize) {
    negative(triangles, n, b, r);
    // What is zero has no sign then.
    let zero = T::default();
    match triangles.len().is_multiple_of(2) {
        true => b.iter_mut().for_each(|x| *x += zero),
        false => b.iter_mut().for_each(|x| *x = zero - *x),
    }
}

/// As [`solve`], negated for each triangle: so what is solved is added to what is not, times the triangle
/// as it lies.
fn negative<T: Field + Plain>(triangles: &[Triangle<T>], n: usize, b: &mut [T], r: usize) {
    if n == 0 || r == 0 {
        return;
    }
    let all = |b: &mut [T], r: usize| triangles.iter().for_each(|t| t.solve(n, [0, n], b, r));
    if r <= COLUMNS || n <= BASE {
        return all(b, r);
    }
    let parts = r.div_ceil(COLUMNS);
    let target = Target::of(b);
    pool::run(parts, &|part: usize| {
        let (from, to) = (part * r / parts, (part + 1) * r / parts);
        // SAFETY: tasks have columns of their own.
        let piece = |i: usize| unsafe { target.part(i * r + from..i * r + to) };
        let mut own = Vec::with_capacity(n * (to - from));
        (0..n).for_each(|i| own.extend_from_slice(piece(i)));
        all(&mut own, to - from);
        for (i, row) in own.chunks(to - from).enumerate() {
            piece(i).copy_from_slice(row);
        }
    });
}

impl<T: Field> Triangle<'_, T> {
    /// Solves the `n` equations from `from` on, of `ld`, for b `(n, r)`, which becomes the negative of
    /// the solution.
    fn solve(&self, ld: usize, [from, n]: [usize; 2], b: &mut [T], r: usize) {
        let t = self.t;
        if n <= BASE {
            let own = &t[from * ld + from..];
            return solve_rows(own, b, [ld, r], [n, r], [self.upper, self.unit]);
        }
        let half = (n / 2).next_multiple_of(BASE);
        let rest = n - half;
        let (top, bottom) = b.split_at_mut(half * r);
        let (upper, lower) = ([from, half], [from + half, rest]);
        if self.upper {
            self.solve(ld, lower, bottom, r);
            let left = Factor::rows(&t[from * ld + from + half..], ld);
            add_product(top, r, [half, r, rest], left, Factor::columns(bottom, r));
            self.solve(ld, upper, top, r);
        } else {
            self.solve(ld, upper, top, r);
            let left = Factor::rows(&t[(from + half) * ld + from..], ld);
            add_product(bottom, r, [rest, r, half], left, Factor::columns(top, r));
            self.solve(ld, lower, bottom, r);
        }
    }
}
