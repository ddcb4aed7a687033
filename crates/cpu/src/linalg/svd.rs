//! Singular values: reduction to a real bidiagonal matrix by reflections, then the implicit QR
//! iteration (Golub and Reinsch, "Singular value decomposition and least squares solutions", 1970).

use super::field::{Field, axpy, dot_conj};
use super::hermitian::STEPS;
use super::reflect::{Reflections, apply_left, reflection};
use super::rotate::Rotated;
use super::transposed;

/// U, s and V^H.
pub(crate) struct Factors<T> {
    pub u: Vec<T>,
    pub s: Vec<f64>,
    pub vh: Vec<T>,
}

/// The singular values in decreasing order and, if asked for, the vectors: U `(m, m)`, V^H
/// `(n, n)`. `a (m, n)` is overwritten. `None` if the iteration does not converge.
pub(crate) fn svd<T: Field>(a: &mut [T], m: usize, n: usize, vectors: bool) -> Option<Factors<T>> {
    if m < n {
        let mut adjoint: Vec<T> = transposed(a, m, n);
        adjoint.iter_mut().for_each(|x| *x = x.conj());
        let Factors { u, s, vh } = tall(&mut adjoint, n, m, vectors)?;
        let turned = |x: Vec<T>, n| {
            let mut x = transposed(&x, n, n);
            x.iter_mut().for_each(|x| *x = x.conj());
            x
        };
        if !vectors {
            return Some(Factors { u, s, vh });
        }
        return Some(Factors { u: turned(vh, m), s, vh: turned(u, n) });
    }
    tall(a, m, n, vectors)
}

fn tall<T: Field>(a: &mut [T], m: usize, n: usize, vectors: bool) -> Option<Factors<T>> {
    let (mut d, mut e) = (vec![0.0; n], vec![0.0; n]);
    let mut left = Reflections::new(m, n, 0);
    let mut right = Reflections::new(n, n.saturating_sub(1), 1);
    for k in 0..n {
        let mut v: Vec<T> = (k..m).map(|i| a[i * n + k]).collect();
        let (tau, beta) = reflection(&mut v);
        d[k] = beta;
        apply_left(a, n, k, (k + 1, n), &v, tau.conj());
        left.set(k, &v, tau);
        if k + 1 < n {
            // The row is x^H for the reflected x, so that beta e1^T is what becomes of it.
            let mut v: Vec<T> = a[k * n + k + 1..(k + 1) * n].iter().map(|x| x.conj()).collect();
            let (tau, beta) = reflection(&mut v);
            e[k + 1] = beta;
            let conjugate: Vec<T> = v.iter().map(|x| x.conj()).collect();
            for i in k + 1..m {
                let row = &mut a[i * n + k + 1..(i + 1) * n];
                let sum = dot_conj(row, &conjugate);
                axpy(row, -(tau * sum), &conjugate);
            }
            right.set(k, &v, tau);
        }
    }
    let (mut ut, mut vt) = (Rotated::new(Vec::new(), 0), Rotated::new(Vec::new(), 0));
    if vectors {
        ut = Rotated::new(transposed(&left.matrix(m), m, m), m);
        vt = Rotated::new(transposed(&right.matrix(n), n, n), n);
    }
    if !iterate(&mut d, &mut e, &mut ut, &mut vt, vectors) {
        return None;
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| d[j].total_cmp(&d[i]));
    ut.reorder(&order);
    vt.reorder(&order);
    let s = order.iter().map(|&i| d[i]).collect();
    if !vectors {
        return Some(Factors { u: Vec::new(), s, vh: Vec::new() });
    }
    // The rows of V^T are the columns of V.
    let mut vh = vt.data;
    vh.iter_mut().for_each(|x| *x = x.conj());
    Some(Factors { u: transposed(&ut.data, m, m), s, vh })
}

/// The QR iteration on the bidiagonal matrix with diagonal `d` and `e[i]` above `d[i]`. False if it
/// does not converge.
fn iterate<T: Field>(
    d: &mut [f64],
    e: &mut [f64],
    ut: &mut Rotated<T>,
    vt: &mut Rotated<T>,
    vectors: bool,
) -> bool {
    let size = d.iter().zip(&*e).fold(0.0, |m: f64, (d, e)| m.max(d.abs() + e.abs()));
    let small = f64::EPSILON * size;
    let unit = |f: f64, h: f64| {
        let z = f.hypot(h);
        if z == 0.0 { (z, 1.0, 0.0) } else { (z, f / z, h / z) }
    };
    for k in (0..d.len()).rev() {
        for step in 0.. {
            // The block l..=k: e[l] is small, or d[l - 1] is, and then e[l] is rotated away.
            let mut l = k;
            while l > 0 && e[l].abs() > small && d[l - 1].abs() > small {
                l -= 1;
            }
            if l > 0 && e[l].abs() > small {
                let (mut c, mut s) = (0.0, 1.0);
                for i in l..=k {
                    let f = s * e[i];
                    e[i] *= c;
                    if f.abs() <= small {
                        break;
                    }
                    let h = f.hypot(d[i]);
                    (c, s) = (d[i] / h, -f / h);
                    d[i] = h;
                    ut.push(l - 1, i, c, s);
                }
            }
            if l == k {
                if d[k] < 0.0 {
                    d[k] = -d[k];
                    if vectors {
                        vt.negate(k);
                    }
                }
                break;
            }
            if step == STEPS {
                return false;
            }
            let (mut x, y, g, h) = (d[l], d[k - 1], e[k - 1], e[k]);
            let z = d[k];
            let f = ((y - z) * (y + z) + (g - h) * (g + h)) / (2.0 * h * y);
            let root = f.hypot(1.0).copysign(f);
            let mut f = ((x - z) * (x + z) + h * (y / (f + root) - h)) / x;
            let (mut c, mut s) = (1.0, 1.0);
            for i in l + 1..=k {
                let (mut g, mut y) = (e[i], d[i]);
                let mut h = s * g;
                g *= c;
                let z;
                (z, c, s) = unit(f, h);
                e[i - 1] = z;
                f = x * c + g * s;
                g = g * c - x * s;
                h = y * s;
                y *= c;
                vt.push(i - 1, i, c, s);
                let z = f.hypot(h);
                d[i - 1] = z;
                if z != 0.0 {
                    (c, s) = (f / z, h / z);
                }
                f = c * g + s * y;
                x = c * y - s * g;
                ut.push(i - 1, i, c, s);
            }
            e[l] = 0.0;
            e[k] = f;
            d[k] = x;
        }
    }
    true
}
