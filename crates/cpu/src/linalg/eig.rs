//! Eigenvalues of general matrices: reduction to Hessenberg form by reflections, the complex QR
//! iteration with Wilkinson's shift, and back substitution (Golub and Van Loan, "Matrix
//! Computations", sections 7.4 to 7.6).

use num_complex::Complex64;

use super::field::{Field, axpy, dot_conj};
use super::hermitian::STEPS;
use super::reflect::{Reflections, apply_left, reflection};
use crate::pool::{SharedPtr, parallel_for};
use crate::strided::rows_per_task;

const ZERO: Complex64 = Complex64::new(0.0, 0.0);
const ONE: Complex64 = Complex64::new(1.0, 0.0);

/// The eigenvalues and, if asked for, vectors of length 1 as columns `(n, n)`. `a` is overwritten;
/// with `real` it has no imaginary parts, and then eigenvalues that are real up to rounding are made
/// so, and so are their vectors. `None` if the iteration does not converge.
pub(crate) fn eig(
    a: &mut [Complex64],
    n: usize,
    real: bool,
    vectors: bool,
) -> Option<(Vec<Complex64>, Vec<Complex64>)> {
    if n == 0 {
        return Some((Vec::new(), Vec::new()));
    }
    let mut all = Reflections::new(n, n - 1, 1);
    for k in 0..n - 1 {
        let mut v: Vec<Complex64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let (tau, beta) = reflection(&mut v);
        (k + 1..n).for_each(|i| a[i * n + k] = ZERO);
        a[(k + 1) * n + k] = Complex64::new(beta, 0.0);
        apply_left(a, n, k + 1, (k + 1, n), &v, tau.conj());
        let conjugate: Vec<Complex64> = v.iter().map(|x| x.conj()).collect();
        for row in a.chunks_mut(n) {
            let sum = dot_conj(&row[k + 1..], &conjugate);
            axpy(&mut row[k + 1..], -(tau * sum), &conjugate);
        }
        all.set(k, &v, tau);
    }
    let mut z = if vectors { all.matrix(n) } else { Vec::new() };
    if !iterate(a, &mut z, n) {
        return None;
    }
    let mut values: Vec<Complex64> = (0..n).map(|i| a[i * n + i]).collect();
    let size = values.iter().fold(0.0, |m: f64, w| m.max(w.norm()));
    if !vectors {
        if real {
            values.iter_mut().for_each(|w| w.im = cleaned(*w, size));
        }
        return Some((values, Vec::new()));
    }
    let triangular = back_substitute(a, n, size);
    let mut out = vec![ZERO; n * n];
    let rows = SharedPtr::new(out.as_mut_ptr());
    parallel_for(n, rows_per_task(n * n), |range| {
        for i in range {
            // SAFETY: the row is inside the matrix and this task's alone.
            let row = unsafe { std::slice::from_raw_parts_mut(rows.get().add(i * n), n) };
            for p in 0..n {
                axpy(&mut row[p..], z[i * n + p], &triangular[p * n + p..(p + 1) * n]);
            }
        }
    });
    for j in 0..n {
        let column = || (0..n).map(|i| out[i * n + j]);
        let length = column().map(|x| x.norm_sqr()).sum::<f64>().sqrt();
        let largest =
            column().fold(ONE, |m, x| if x.norm() > m.norm() || m == ONE { x } else { m });
        // The greatest element is real.
        let factor = largest.conj() / largest.norm().max(f64::MIN_POSITIVE) / length;
        if real {
            values[j].im = cleaned(values[j], size);
        }
        for i in 0..n {
            let x = &mut out[i * n + j];
            *x *= factor;
            if real && values[j].im == 0.0 {
                x.im = 0.0;
            }
        }
    }
    Some((values, out))
}

/// The imaginary part of an eigenvalue of a real matrix, 0 if rounding explains it.
fn cleaned(w: Complex64, size: f64) -> f64 {
    if w.im.abs() <= 64.0 * f64::EPSILON * size { 0.0 } else { w.im }
}

/// Turns a Hessenberg matrix into a triangular one, and Z into Z times what it took. False if it
/// does not converge.
fn iterate(h: &mut [Complex64], z: &mut [Complex64], n: usize) -> bool {
    let size = |x: Complex64| x.re.abs() + x.im.abs();
    let total: f64 = h.iter().map(|&x| size(x)).sum();
    let mut rotations: Vec<(f64, Complex64)> = Vec::with_capacity(n);
    let mut high = n;
    let mut step = 0;
    while high > 0 {
        let k = high - 1;
        let mut l = k;
        while l > 0 {
            let around = size(h[(l - 1) * n + l - 1]) + size(h[l * n + l]);
            let around = if around == 0.0 { total } else { around };
            if size(h[l * n + l - 1]) <= f64::EPSILON * around {
                h[l * n + l - 1] = ZERO;
                break;
            }
            l -= 1;
        }
        if l == k {
            (high, step) = (k, 0);
            continue;
        }
        step += 1;
        if step > STEPS {
            return false;
        }
        let shift = if step % 10 == 0 {
            // Breaks a cycle.
            h[k * n + k] + Complex64::new(size(h[k * n + k - 1]), 0.0)
        } else {
            wilkinson(
                [h[(k - 1) * n + k - 1], h[(k - 1) * n + k]],
                [h[k * n + k - 1], h[k * n + k]],
            )
        };
        (l..=k).for_each(|i| h[i * n + i] -= shift);
        rotations.clear();
        for i in l..k {
            // Rows i and i + 1 by (c, s; -conj(s), c), which makes h[i + 1][i] zero.
            let (f, g) = (h[i * n + i], h[(i + 1) * n + i]);
            let length = f.norm().hypot(g.norm());
            let (c, s) = if length == 0.0 {
                (1.0, ZERO)
            } else if f == ZERO {
                (0.0, g.conj() / g.norm())
            } else {
                (f.norm() / length, f / f.norm() * g.conj() / length)
            };
            let (upper, lower) = h.split_at_mut((i + 1) * n);
            for (x, y) in upper[i * n + i..].iter_mut().zip(&mut lower[i..n]) {
                (*x, *y) = (*x * c + s * *y, *y * c - s.conj() * *x);
            }
            rotations.push((c, s));
        }
        let turn = |row: &mut [Complex64], last: usize| {
            for (i, (c, s)) in (l..).zip(&rotations).take(last) {
                let (x, y) = (row[i], row[i + 1]);
                (row[i], row[i + 1]) = (x * *c + y * s.conj(), y * *c - x * s);
            }
        };
        let grain = rows_per_task(8 * rotations.len());
        let matrix = SharedPtr::new(h.as_mut_ptr());
        parallel_for(k + 1, grain, |range| {
            for i in range {
                // SAFETY: the row is inside the matrix and this task's alone.
                let row = unsafe { std::slice::from_raw_parts_mut(matrix.get().add(i * n), n) };
                // Row i is zero before column i, so that earlier rotations change nothing there.
                turn(row, k - l);
            }
        });
        let vectors = SharedPtr::new(z.as_mut_ptr());
        parallel_for(z.len() / n, grain, |range| {
            for i in range {
                // SAFETY: as above.
                let row = unsafe { std::slice::from_raw_parts_mut(vectors.get().add(i * n), n) };
                turn(row, k - l);
            }
        });
        (l..=k).for_each(|i| h[i * n + i] += shift);
    }
    true
}

/// The eigenvalue of a 2 by 2 matrix that is nearer to its last element.
fn wilkinson([a, b]: [Complex64; 2], [c, d]: [Complex64; 2]) -> Complex64 {
    let half = (a - d) * 0.5;
    let root = (half * half + b * c).sqrt();
    let root = if (half.conj() * root).re < 0.0 { -root } else { root };
    let sum = half + root;
    if sum == ZERO { d } else { d - b * c / sum }
}

/// The eigenvectors of a triangular matrix as columns, upper triangular.
fn back_substitute(t: &[Complex64], n: usize, size: f64) -> Vec<Complex64> {
    let least = (f64::EPSILON * size).max(f64::MIN_POSITIVE);
    // Row k is the vector of eigenvalue k.
    let mut rows = vec![ZERO; n * n];
    let all = SharedPtr::new(rows.as_mut_ptr());
    parallel_for(n, rows_per_task(n * n), |range| {
        for k in range {
            // SAFETY: the row is inside the matrix and this task's alone.
            let x = unsafe { std::slice::from_raw_parts_mut(all.get().add(k * n), n) };
            x[k] = ONE;
            for i in (0..k).rev() {
                let row = &t[i * n..(i + 1) * n];
                let sum = (i + 1..=k).fold(ZERO, |sum, j| sum + row[j] * x[j]);
                let gap = row[i] - t[k * n + k];
                let gap = if gap.norm() < least { Complex64::new(least, 0.0) } else { gap };
                x[i] = -sum / gap;
                // Equal eigenvalues of one block give vectors that grow without bound.
                let length = x[i].norm();
                if length > 1e140 {
                    x[i..=k].iter_mut().for_each(|x| *x /= length);
                }
            }
        }
    });
    super::transposed(&rows, n, n)
}
