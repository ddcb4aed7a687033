//! Householder reflections `H = 1 - tau v v^H` with `v[0] = 1`, and products of them as blocks
//! `1 - V T V^H` (Schreiber and Van Loan, "A storage-efficient WY representation for products of
//! Householder transformations", 1989). Signs are LAPACK's: `H^H x = beta e1` with real beta.

use super::field::{Factor, Field, add_product, axpy};

/// Reflections that are applied together.
pub(crate) const BLOCK: usize = 32;

/// Turns `x` into `v`, and gives `tau` and `beta`.
pub(crate) fn reflection<T: Field>(x: &mut [T]) -> (T, f64) {
    let (alpha, rest) = (x[0], &x[1..]);
    let most = rest.iter().fold(alpha.size2(), |m, x| m.max(x.size2())).sqrt();
    let below = rest.iter().any(|x| x.size2() != 0.0);
    x[0] = T::from_real(1.0);
    if most == 0.0 || (!below && alpha.imag() == 0.0) {
        return (T::default(), alpha.real());
    }
    // Scaled, so that squares neither overflow nor vanish.
    let sum: f64 = x[1..].iter().map(|x| x.scale(1.0 / most).size2()).sum();
    let size = most * (alpha.scale(1.0 / most).size2() + sum).sqrt();
    let beta = if alpha.real() > 0.0 { -size } else { size };
    let tau = (T::from_real(beta) - alpha).scale(1.0 / beta);
    let inverse = T::from_real(1.0) / (alpha - T::from_real(beta));
    x[1..].iter_mut().for_each(|x| *x = *x * inverse);
    (tau, beta)
}

/// `c := (1 - tau v v^H) c` for rows `first..` of c, columns `from..to`, in rows of `ld`.
pub(crate) fn apply_left<T: Field>(
    c: &mut [T],
    ld: usize,
    first: usize,
    (from, to): (usize, usize),
    v: &[T],
    tau: T,
) {
    if tau.size2() == 0.0 || from == to {
        return;
    }
    let mut sums = vec![T::default(); to - from];
    for (i, v) in v.iter().enumerate() {
        axpy(&mut sums, v.conj(), &c[(first + i) * ld + from..(first + i) * ld + to]);
    }
    for (i, v) in v.iter().enumerate() {
        axpy(&mut c[(first + i) * ld + from..(first + i) * ld + to], -(tau * *v), &sums);
    }
}

/// Reflections, one in each column of `v (m, k)`: reflection j begins at row `j + shift`, where
/// its 1 is, and everything above is 0.
pub(crate) struct Reflections<T> {
    pub m: usize,
    pub k: usize,
    pub shift: usize,
    pub v: Vec<T>,
    pub tau: Vec<T>,
}

impl<T: Field> Reflections<T> {
    pub fn new(m: usize, k: usize, shift: usize) -> Reflections<T> {
        Reflections { m, k, shift, v: vec![T::default(); m * k], tau: vec![T::default(); k] }
    }

    /// Stores reflection `j`.
    pub fn set(&mut self, j: usize, v: &[T], tau: T) {
        for (i, v) in v.iter().enumerate() {
            self.v[(j + self.shift + i) * self.k + j] = *v;
        }
        self.tau[j] = tau;
    }

    /// T of the block of reflections `j0..j1`, upper triangular, without gaps.
    fn triangle(&self, j0: usize, j1: usize) -> Vec<T> {
        let width = j1 - j0;
        // The products of the columns.
        let first = (j0 + self.shift).min(self.m);
        let adjoint: Vec<T> = self.v[first * self.k..].iter().map(|x| x.conj()).collect();
        let mut gram = vec![T::default(); width * width];
        if self.m > first {
            let left = Factor::columns(&adjoint[j0..], self.k);
            let right = Factor::columns(&self.v[first * self.k + j0..], self.k);
            add_product(&mut gram, width, [width, width, self.m - first], left, right);
        }
        let mut t = vec![T::default(); width * width];
        for j in 0..width {
            let tau = self.tau[j0 + j];
            for i in 0..j {
                let sum = (i..j)
                    .fold(T::default(), |sum, p| sum + t[i * width + p] * gram[p * width + j]);
                t[i * width + j] = -(tau * sum);
            }
            t[j * width + j] = tau;
        }
        t
    }

    /// `c := Q c`, or `Q^H c` if `adjoint`, for the product Q of reflections `j0..j1` and columns
    /// `from..` of c, in rows of `ld`.
    pub fn apply(
        &self,
        (j0, j1): (usize, usize),
        adjoint: bool,
        c: &mut [T],
        ld: usize,
        from: usize,
    ) {
        let (width, first, columns) = (j1 - j0, j0 + self.shift, ld - from);
        if first >= self.m || columns == 0 || width == 0 {
            return;
        }
        let rows = self.m - first;
        let mut t = self.triangle(j0, j1);
        if adjoint {
            let old = t.clone();
            for i in 0..width {
                for j in 0..width {
                    t[i * width + j] = old[j * width + i].conj();
                }
            }
        }
        let v = &self.v[first * self.k + j0..];
        let conjugate: Vec<T> = self.v[first * self.k..].iter().map(|x| x.conj()).collect();
        let mut inner = vec![T::default(); width * columns];
        let sizes = [width, columns, rows];
        let (left, right) = (
            Factor::columns(&conjugate[j0..], self.k),
            Factor::columns(&c[first * ld + from..], ld),
        );
        add_product(&mut inner, columns, sizes, left, right);
        let mut turned = vec![T::default(); width * columns];
        t.iter_mut().for_each(|x| *x = -*x);
        let sizes = [width, columns, width];
        let right = Factor::columns(&inner, columns);
        add_product(&mut turned, columns, sizes, Factor::rows(&t, width), right);
        let sizes = [rows, columns, width];
        let right = Factor::columns(&turned, columns);
        add_product(&mut c[first * ld + from..], ld, sizes, Factor::rows(v, self.k), right);
    }

    /// The first `columns` columns of the product of all reflections, `(m, columns)`.
    pub fn matrix(&self, columns: usize) -> Vec<T> {
        let mut q = vec![T::default(); self.m * columns];
        (0..self.m.min(columns)).for_each(|i| q[i * columns + i] = T::from_real(1.0));
        let blocks = self.k.div_ceil(BLOCK);
        for block in (0..blocks).rev() {
            let range = (block * BLOCK, ((block + 1) * BLOCK).min(self.k));
            // Columns before the block's first row are still those of the identity.
            self.apply(range, false, &mut q, columns, (range.0 + self.shift).min(columns));
        }
        q
    }
}

/// Q `(m, k)` and R `(k, n)` of `a (m, n)`, which is overwritten.
pub(crate) fn qr<T: Field>(a: &mut [T], m: usize, n: usize) -> (Vec<T>, Vec<T>) {
    let k = m.min(n);
    let mut all = Reflections::new(m, k, 0);
    let mut column = Vec::with_capacity(m);
    for j0 in (0..k).step_by(BLOCK) {
        let j1 = (j0 + BLOCK).min(k);
        for j in j0..j1 {
            column.clear();
            column.extend((j..m).map(|i| a[i * n + j]));
            let (tau, beta) = reflection(&mut column);
            apply_left(a, n, j, (j + 1, j1), &column, tau.conj());
            (j..m).for_each(|i| a[i * n + j] = T::default());
            a[j * n + j] = T::from_real(beta);
            all.set(j, &column, tau);
        }
        all.apply((j0, j1), true, a, n, j1);
    }
    let mut r = vec![T::default(); k * n];
    for i in 0..k {
        r[i * n + i..(i + 1) * n].copy_from_slice(&a[i * n + i..(i + 1) * n]);
    }
    (all.matrix(k), r)
}
