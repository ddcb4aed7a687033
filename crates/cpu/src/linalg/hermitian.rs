//! Eigenvalues of Hermitian matrices: reduction to a real tridiagonal matrix by reflections, then
//! the implicit QL iteration (Golub and Van Loan, "Matrix Computations", section 8.3).

use super::field::{Field, axpy, dot_conj};
use super::reflect::{Reflections, reflection};
use super::rotate::Rotated;
use super::transposed;
use crate::pool::{SharedPtr, parallel_for};
use crate::strided::rows_per_task;

/// Steps of an iteration for one eigenvalue or singular value; some 2 are usual.
pub(crate) const STEPS: usize = 80;

/// The eigenvalues in increasing order and, if asked for, the vectors as columns `(n, n)`. `a` is
/// the whole matrix, which is overwritten. `None` if the iteration does not converge.
pub(crate) fn eigh<T: Field>(a: &mut [T], n: usize, vectors: bool) -> Option<(Vec<f64>, Vec<T>)> {
    let mut diagonal = vec![0.0; n];
    // Element i is beside diagonal elements i - 1 and i.
    let mut beside = vec![0.0; n];
    let mut all = Reflections::new(n, n.saturating_sub(1), 1);
    let mut product = vec![T::default(); n];
    for k in 0..n {
        diagonal[k] = a[k * n + k].real();
        if k + 1 == n {
            break;
        }
        let first = k + 1;
        let mut v: Vec<T> = (first..n).map(|i| a[i * n + k]).collect();
        let (tau, beta) = reflection(&mut v);
        beside[first] = beta;
        if tau.size2() != 0.0 {
            // A := A - v w^H - w v^H, with p = tau A v, w = p - tau / 2 (p^H v) v.
            let conjugate: Vec<T> = v.iter().map(|x| x.conj()).collect();
            let size = n - first;
            let grain = rows_per_task(size);
            let p = SharedPtr::new(product.as_mut_ptr());
            let matrix = &*a;
            parallel_for(size, grain, |rows| {
                for i in rows {
                    let row = &matrix[(first + i) * n + first..(first + i) * n + n];
                    // SAFETY: `product` has n elements, and tasks have rows of their own.
                    unsafe { *p.get().add(i) = tau * dot_conj(row, &conjugate) };
                }
            });
            let w = &mut product[..size];
            let along = dot_conj(&v, w);
            axpy(w, -(tau * along).scale(0.5), &v);
            let (w, v) = (&*w, &*v);
            let w_conjugate: Vec<T> = w.iter().map(|x| x.conj()).collect();
            let out = SharedPtr::new(a.as_mut_ptr());
            parallel_for(size, grain, |rows| {
                for i in rows {
                    // SAFETY: the row is inside the matrix and this task's alone.
                    let row = unsafe {
                        let start = out.get().add((first + i) * n + first);
                        std::slice::from_raw_parts_mut(start, size)
                    };
                    axpy(row, -v[i], &w_conjugate);
                    axpy(row, -w[i], &conjugate);
                }
            });
        }
        all.set(k, &v, tau);
    }
    let columns = if vectors { n } else { 0 };
    let start = if vectors { transposed(&all.matrix(n), n, n) } else { Vec::new() };
    let mut rows = Rotated::new(start, columns);
    if !iterate(&mut diagonal, &mut beside, &mut rows) {
        return None;
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[i].total_cmp(&diagonal[j]));
    rows.reorder(&order);
    let values = order.iter().map(|&i| diagonal[i]).collect();
    Some((values, if vectors { transposed(&rows.data, n, n) } else { Vec::new() }))
}

/// The QL iteration. False if it does not converge.
fn iterate<T: Field>(d: &mut [f64], e: &mut [f64], rows: &mut Rotated<T>) -> bool {
    let n = d.len();
    if n == 0 {
        return true;
    }
    e.rotate_left(1);
    e[n - 1] = 0.0;
    for l in 0..n {
        for step in 0.. {
            let mut m = l;
            while m + 1 < n && e[m].abs() > f64::EPSILON * (d[m].abs() + d[m + 1].abs()) {
                m += 1;
            }
            if m == l {
                break;
            }
            if step == STEPS {
                return false;
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            let mut g = d[m] - d[l] + e[l] / (g + r.copysign(g));
            let (mut c, mut s, mut p) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    whole = false;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = d[i + 1] - p;
                let r = (d[i] - g) * s + 2.0 * c * b;
                p = s * r;
                d[i + 1] = g + p;
                g = c * r - b;
                rows.push(i, i + 1, c, -s);
            }
            if whole {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    true
}
