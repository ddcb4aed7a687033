//! Derivatives of factorisations. With `<X, Y> = Re tr(X^H Y)`, the cotangents are the adjoints of
//! the tangents that each function states.
//!
//! Sources: Giles, "An extended collection of matrix derivative results for forward and reverse
//! mode algorithmic differentiation", 2008 (solutions, eigenvalues, singular values); Murray,
//! "Differentiation of the Cholesky decomposition", 2016; Walter and Lehmann, "Algorithmic
//! differentiation of linear algebra functions", 2010 (QR); de Hoog, Anderssen and Lukas,
//! "Differentiation of matrix functionals using triangular factorization", 2011 (LU); Golub and
//! Pereyra, "The differentiation of pseudo-inverses", 1973.

use super::super::{conjugated, like};
use super::Linalg;
use crate::array::Array;
use crate::error::Result;

/// Duals by place; `None` is zero.
type Duals = Vec<Option<Array>>;

pub(super) fn jvp(
    op: Linalg,
    inputs: &[Array],
    outputs: &[Array],
    tangents: &[Option<Array>],
) -> Result<Duals> {
    match op {
        Linalg::LuSolve { adjoint } => {
            let (a, x) = (&tangents[0], &outputs[0]);
            let change = match a {
                Some(t) if adjoint => Some(h(t)?.matmul(x)?),
                Some(t) => Some(t.matmul(x)?),
                None => None,
            };
            let Some(right) = difference(&tangents[3], change)? else { return Ok(vec![None]) };
            Ok(vec![Some(lu_solve(inputs, &right, adjoint)?)])
        }
        Linalg::SolveTriangular { upper, unit } => {
            let change = match &tangents[0] {
                Some(t) => Some(triangle(t, upper, unit)?.matmul(&outputs[0])?),
                None => None,
            };
            let Some(right) = difference(&tangents[1], change)? else { return Ok(vec![None]) };
            Ok(vec![Some(solve(&inputs[0], &right, upper, unit)?)])
        }
        _ => {
            let Some(t) = &tangents[0] else { return Ok(vec![None; outputs.len()]) };
            match op {
                Linalg::Cholesky => Ok(vec![Some(cholesky_tangent(&outputs[0], t)?)]),
                Linalg::Lu => Ok(vec![Some(Lu::new(outputs)?.tangent(t)?), None, None]),
                Linalg::Qr => qr_tangent(&inputs[0], outputs, t),
                Linalg::Svd { .. } => {
                    let svd = Svd::new(&inputs[0], outputs)?;
                    svd.tangent(t, outputs.len() == 3)
                }
                Linalg::Pinv => Ok(vec![Some(pinv_tangent(&inputs[0], &outputs[0], t)?)]),
                Linalg::Eigh { vectors } => eigh_tangent(&inputs[0], outputs, t, vectors),
                _ => eig_tangent(&inputs[0], outputs, t),
            }
        }
    }
}

pub(super) fn vjp(
    op: Linalg,
    inputs: &[Array],
    outputs: &[Array],
    cotangents: &[Option<Array>],
) -> Result<Duals> {
    let mut all: Duals = vec![None; inputs.len()];
    if cotangents.iter().all(Option::is_none) {
        return Ok(all);
    }
    match (op, &cotangents[0]) {
        (Linalg::LuSolve { adjoint }, Some(ct)) => {
            let (back, x) = (lu_solve(inputs, ct, !adjoint)?, &outputs[0]);
            let product = if adjoint { x.matmul(&h(&back)?)? } else { back.matmul(&h(x)?)? };
            all[0] = Some(product.negative()?);
            all[3] = Some(back);
        }
        (Linalg::SolveTriangular { upper, unit }, Some(ct)) => {
            let back = solve(&h(&inputs[0])?, ct, !upper, unit)?;
            let product = back.matmul(&h(&outputs[0])?)?.negative()?;
            all[0] = Some(triangle(&product, upper, unit)?);
            all[1] = Some(back);
        }
        (Linalg::Cholesky, Some(ct)) => all[0] = Some(cholesky_cotangent(&outputs[0], ct)?),
        (Linalg::Lu, Some(ct)) => all[0] = Some(Lu::new(outputs)?.cotangent(ct)?),
        (Linalg::Pinv, Some(ct)) => all[0] = Some(pinv_cotangent(&inputs[0], &outputs[0], ct)?),
        (Linalg::Qr, _) => all[0] = Some(qr_cotangent(&inputs[0], outputs, cotangents)?),
        (Linalg::Svd { .. }, _) => {
            all[0] = Some(Svd::new(&inputs[0], outputs)?.cotangent(cotangents)?);
        }
        (Linalg::Eigh { vectors }, _) => {
            all[0] = Some(eigh_cotangent(&inputs[0], outputs, cotangents, vectors)?);
        }
        (Linalg::Eig { .. }, _) => all[0] = Some(eig_cotangent(&inputs[0], outputs, cotangents)?),
        // The other outputs of the factorisations are integers.
        _ => {}
    }
    Ok(all)
}

/// The conjugate transpose.
pub(super) fn h(x: &Array) -> Result<Array> {
    conjugated(x)?.swapaxes(-1, -2)
}

fn difference(a: &Option<Array>, b: Option<Array>) -> Result<Option<Array>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(a.subtract(&b)?),
        (Some(a), None) => Some(a.clone()),
        (None, Some(b)) => Some(b.negative()?),
        (None, None) => None,
    })
}

/// `T^-1 b`.
fn solve(t: &Array, b: &Array, upper: bool, unit: bool) -> Result<Array> {
    Array::apply(Linalg::SolveTriangular { upper, unit }, &[t.clone(), b.clone()])
}

/// `b T^-1`.
fn solve_right(t: &Array, b: &Array, upper: bool, unit: bool) -> Result<Array> {
    solve(&t.swapaxes(-1, -2)?, &b.swapaxes(-1, -2)?, !upper, unit)?.swapaxes(-1, -2)
}

fn lu_solve(inputs: &[Array], b: &Array, adjoint: bool) -> Result<Array> {
    let [a, factors, perm, ..] = inputs else { return Ok(b.clone()) };
    let inputs = [a.clone(), factors.clone(), perm.clone(), b.clone()];
    Array::apply(Linalg::LuSolve { adjoint }, &inputs)
}

fn triangle(x: &Array, upper: bool, strict: bool) -> Result<Array> {
    let k = i64::from(strict);
    if upper { x.triu(k) } else { x.tril(-k) }
}

/// The lower triangle with the diagonal halved.
fn lower_half(x: &Array) -> Result<Array> {
    let sum = x.tril(0)?.add(&x.tril(-1)?)?;
    sum.multiply(&like(&sum, 0.5))
}

/// The Hermitian matrix with the lower triangle of `x`.
fn hermitian(x: &Array) -> Result<Array> {
    let half = lower_half(x)?;
    half.add(&h(&half)?)
}

/// The adjoint of [`hermitian`].
fn hermitian_adjoint(x: &Array) -> Result<Array> {
    lower_half(&x.add(&h(x)?)?)
}

/// `x diag(d)`.
fn times_columns(x: &Array, d: &Array) -> Result<Array> {
    x.multiply(&d.expand_dims(&[-2])?)
}

/// `diag(d) x`.
fn times_rows(x: &Array, d: &Array) -> Result<Array> {
    x.multiply(&d.expand_dims(&[-1])?)
}

fn diagonal(x: &Array) -> Result<Array> {
    x.diagonal(0, -2, -1)
}

/// The real part of a number that may be complex.
fn real_part(x: &Array) -> Result<Array> {
    if x.dtype().is_complex() { x.real() } else { Ok(x.clone()) }
}

/// The diagonal matrices of the rows of `d`.
fn diagonal_matrix(d: &Array) -> Result<Array> {
    let n = d.shape()[d.ndim() - 1];
    Array::identity(n, d.dtype())?.multiply(&d.expand_dims(&[-2])?)
}

/// `1 / x`, and 0 where `x` is 0: there a derivative does not exist, and its terms are left out.
fn inverse_or_zero(x: &Array) -> Result<Array> {
    let zero = x.equal(&like(x, 0.0))?;
    let safe = zero.select(&like(x, 1.0), x)?;
    zero.select(&like(x, 0.0), &safe.reciprocal()?)
}

/// `1 / (w[j] - w[i])` at (i, j), and 0 where they are equal.
fn gaps(w: &Array) -> Result<Array> {
    inverse_or_zero(&w.expand_dims(&[-2])?.subtract(&w.expand_dims(&[-1])?)?)
}

/// `dL = L Phi(L^-1 dS L^-H)` with `Phi` of [`lower_half`], for the Hermitian dS of the lower
/// triangle.
fn cholesky_tangent(l: &Array, t: &Array) -> Result<Array> {
    let left = solve(l, &hermitian(t)?, false, false)?;
    let both = h(&solve(l, &h(&left)?, false, false)?)?;
    l.matmul(&lower_half(&both)?)
}

fn cholesky_cotangent(l: &Array, ct: &Array) -> Result<Array> {
    let (upper, inner) = (h(l)?, lower_half(&h(l)?.matmul(ct)?)?);
    let left = solve(&upper, &inner, true, false)?;
    let both = h(&solve(&upper, &h(&left)?, true, false)?)?;
    hermitian_adjoint(&both)
}

/// The factors of a matrix `(m, n)`, filled up with the identity to `L (m, m)` and `U (n, n)`.
struct Lu {
    l: Array,
    u: Array,
    perm: Array,
}

impl Lu {
    fn new(outputs: &[Array]) -> Result<Lu> {
        let (packed, perm) = (&outputs[0], outputs[2].clone());
        let axis = packed.ndim() - 2;
        let (m, n) = (packed.shape()[axis], packed.shape()[axis + 1]);
        let k = m.min(n);
        let lower = packed.pinned_range(axis + 1, 0, k)?.tril(-1)?;
        let upper = packed.pinned_range(axis, 0, k)?.triu(0)?;
        let eye = |rows, columns, k| Array::eye(rows, columns, k, packed.dtype());
        let joined = |x: Array, size: usize, axis: usize, other: Array| -> Result<Array> {
            if size == k {
                return Ok(x);
            }
            let mut shape = x.shape().to_vec();
            shape[axis] = size - k;
            Array::concatenate(&[x, other.broadcast_to(&shape)?], axis as i64)
        };
        let l = joined(lower.add(&eye(m, k, 0)?)?, m, axis + 1, eye(m, m - k, -(k as i64))?)?;
        let u = joined(upper, n, axis, eye(n - k, n, k as i64)?)?;
        Ok(Lu { l, u, perm })
    }

    /// The rows of `x` in the order `perm`.
    fn rows(x: &Array, perm: &Array) -> Result<Array> {
        x.take_along_axis(&perm.expand_dims(&[-1])?.broadcast_to(x.shape())?, Some(-2))
    }

    /// With `X = L^-1 dA[perm] U^-1`: `dL = L tril(X, -1)`, `dU = triu(X) U`.
    fn tangent(&self, t: &Array) -> Result<Array> {
        let moved = Lu::rows(t, &self.perm)?;
        let x = solve(&self.l, &moved, false, true)?;
        let x = solve_right(&self.u, &x, true, false)?;
        let lower = self.l.matmul(&x.tril(-1)?)?.tril(-1)?;
        lower.add(&x.triu(0)?.matmul(&self.u)?.triu(0)?)
    }

    fn cotangent(&self, ct: &Array) -> Result<Array> {
        let (l, u) = (h(&self.l)?, h(&self.u)?);
        let lower = l.matmul(&ct.tril(-1)?)?.tril(-1)?;
        let x = lower.add(&ct.triu(0)?.matmul(&u)?.triu(0)?)?;
        let x = solve(&l, &x, true, true)?;
        let x = solve_right(&u, &x, false, false)?;
        Lu::rows(&x, &self.perm.argsort(Some(-1))?)
    }
}

/// The upper triangle that M has in common with a skew matrix taken away.
fn upper_part(m: &Array) -> Result<Array> {
    // The diagonal of R is real, so that a skew matrix takes the imaginary one.
    let diagonal = diagonal_matrix(&real_part(&diagonal(m)?)?)?;
    m.triu(1)?.add(&h(&m.tril(-1)?)?)?.add(&diagonal)
}

fn upper_part_adjoint(z: &Array) -> Result<Array> {
    let strict = z.triu(1)?;
    strict.add(&h(&strict)?)?.add(&diagonal_matrix(&real_part(&diagonal(z)?)?)?)
}

/// The columns of a matrix that decide Q, and the others.
fn qr_parts(x: &Array) -> Result<(Array, Option<Array>)> {
    let axis = x.ndim() - 1;
    let (m, n) = (x.shape()[axis - 1], x.shape()[axis]);
    if n <= m {
        return Ok((x.clone(), None));
    }
    Ok((x.pinned_range(axis, 0, m)?, Some(x.pinned_range(axis, m, n - m)?)))
}

/// With `Y = dA R^-1`, `M = Q^H Y` and Z of [`upper_part`]: `dQ = Y - Q Z`, `dR = Z R`. Further
/// columns B of a wide matrix give `Q^H B`.
fn qr_tangent(a: &Array, outputs: &[Array], t: &Array) -> Result<Duals> {
    let (q, (r, _)) = (&outputs[0], qr_parts(&outputs[1])?);
    let ((t, t_rest), (_, rest)) = (qr_parts(t)?, qr_parts(a)?);
    let y = solve_right(&r, &t, true, false)?;
    let z = upper_part(&h(q)?.matmul(&y)?)?;
    let dq = y.subtract(&q.matmul(&z)?)?;
    let mut dr = z.matmul(&r)?;
    if let (Some(t_rest), Some(rest)) = (t_rest, rest) {
        let more = h(&dq)?.matmul(&rest)?.add(&h(q)?.matmul(&t_rest)?)?;
        dr = Array::concatenate(&[dr, more], -1)?;
    }
    Ok(vec![Some(dq), Some(dr)])
}

fn qr_cotangent(a: &Array, outputs: &[Array], cotangents: &[Option<Array>]) -> Result<Array> {
    let (q, (r, _)) = (&outputs[0], qr_parts(&outputs[1])?);
    let (_, rest) = qr_parts(a)?;
    let mut ct_q = cotangents[0].clone().map_or_else(|| q.zeros_like(), Ok)?;
    let ct_r = cotangents[1].clone().map_or_else(|| outputs[1].zeros_like(), Ok)?;
    let (ct_r, ct_more) = qr_parts(&ct_r)?;
    if let (Some(ct_more), Some(rest)) = (&ct_more, &rest) {
        ct_q = ct_q.add(&rest.matmul(&h(ct_more)?)?)?;
    }
    let z = ct_r.matmul(&h(&r)?)?.subtract(&h(q)?.matmul(&ct_q)?)?;
    let y = ct_q.add(&q.matmul(&upper_part_adjoint(&z)?)?)?;
    let first = solve_right(&h(&r)?, &y, false, false)?;
    match ct_more {
        Some(ct_more) => Array::concatenate(&[first, q.matmul(&ct_more)?], -1),
        None => Ok(first),
    }
}

/// `dP = -P dA P + P P^H dA^H (1 - A P) + (1 - P A) dA^H P^H P`.
fn pinv_tangent(a: &Array, p: &Array, t: &Array) -> Result<Array> {
    let (t, out) = (h(t)?, p.matmul(t)?.matmul(p)?.negative()?);
    let (left, right) = (p.matmul(&h(p)?)?.matmul(&t)?, t.matmul(&h(p)?)?.matmul(p)?);
    let out = out.add(&left)?.subtract(&left.matmul(a)?.matmul(p)?)?;
    out.add(&right)?.subtract(&p.matmul(a)?.matmul(&right)?)
}

fn pinv_cotangent(a: &Array, p: &Array, ct: &Array) -> Result<Array> {
    let (ph, c) = (h(p)?, h(ct)?);
    let out = ph.matmul(ct)?.matmul(&ph)?.negative()?;
    let (left, right) = (c.matmul(p)?.matmul(&ph)?, ph.matmul(p)?.matmul(&c)?);
    let out = out.add(&left)?.subtract(&a.matmul(p)?.matmul(&left)?)?;
    out.add(&right)?.subtract(&right.matmul(p)?.matmul(a)?)
}

/// A singular value decomposition with all vectors.
struct Svd {
    u: Array,
    s: Array,
    v: Array,
}

impl Svd {
    /// From the outputs of the op, or by the op with vectors if they lack them.
    fn new(a: &Array, outputs: &[Array]) -> Result<Svd> {
        let all = match outputs {
            [u, s, v] => vec![u.clone(), s.clone(), v.clone()],
            _ => Array::apply_all(Linalg::Svd { vectors: true }, std::slice::from_ref(a))?,
        };
        Ok(Svd { v: h(&all[2])?, u: all[0].clone(), s: all[1].clone() })
    }

    /// Part of `x` in rows and columns from 0 to k or from k on.
    fn part(x: &Array, k: usize, below: bool, right: bool) -> Result<Array> {
        let axis = x.ndim() - 1;
        let range = |tail: bool, n: usize| if tail { (k, n - k) } else { (0, k) };
        let (rows, columns) = (range(below, x.shape()[axis - 1]), range(right, x.shape()[axis]));
        x.pinned_range(axis - 1, rows.0, rows.1)?.pinned_range(axis, columns.0, columns.1)
    }

    /// The matrix of these four parts.
    fn whole(parts: [[Array; 2]; 2]) -> Result<Array> {
        let rows = parts.iter().map(|row| Array::concatenate(row, -1));
        Array::concatenate(&rows.collect::<Result<Vec<_>>>()?, -2)
    }

    /// `1 / (s[j]^2 - s[i]^2)`, and 0 where they are equal.
    fn gaps(&self) -> Result<Array> {
        gaps(&self.s.square()?)
    }

    /// With `D = U^H dA V`: `ds = Re diag(D)`; `dU = U W`, `dV = V X` with skew W and X that solve
    /// `D = W S + dS - S X`. Where these leave a choice (phases, and bases of what belongs to no
    /// singular value) W and X are least.
    fn tangent(&self, t: &Array, vectors: bool) -> Result<Duals> {
        let k = self.s.shape()[self.s.ndim() - 1];
        let all = h(&self.u)?.matmul(t)?.matmul(&self.v)?;
        let d = Svd::part(&all, k, false, false)?;
        let ds = real_part(&diagonal(&d)?)?;
        if !vectors {
            return Ok(vec![Some(ds)]);
        }
        let (gaps, inverse) = (self.gaps()?, inverse_or_zero(&self.s)?);
        let (right, left) = (times_columns(&d, &self.s)?, times_rows(&d, &self.s)?);
        let mut w = gaps.multiply(&right.add(&h(&right)?)?)?;
        let mut x = gaps.multiply(&left.add(&h(&left)?)?)?;
        if d.dtype().is_complex() {
            let phase = diagonal(&d)?.imag()?.multiply(&inverse)?;
            let phase = phase.multiply(&like(&phase, 0.5))?;
            let phase = diagonal_matrix(&like(&phase, 0.0).make_complex(&phase)?)?;
            (w, x) = (w.add(&phase)?, x.subtract(&phase)?);
        }
        let grow = |w: Array, below: Array| -> Result<Array> {
            let rest = below.shape()[below.ndim() - 2];
            if rest == 0 {
                return Ok(w);
            }
            let mut shape = below.shape().to_vec();
            shape[below.ndim() - 1] = rest;
            let corner = Array::zeros(&shape, below.dtype())?;
            Svd::whole([[w, h(&below)?.negative()?], [below, corner]])
        };
        let w = grow(w, times_columns(&Svd::part(&all, k, true, false)?, &inverse)?)?;
        let x = grow(x, times_columns(&h(&Svd::part(&all, k, false, true)?)?, &inverse)?)?;
        let (du, dv) = (self.u.matmul(&w)?, self.v.matmul(&x)?);
        Ok(vec![Some(du), Some(ds), Some(h(&dv)?)])
    }

    fn cotangent(&self, cotangents: &[Option<Array>]) -> Result<Array> {
        let (ct_u, ct_s, ct_v) = match cotangents {
            [u, s, v] => (u.clone(), s.clone(), v.as_ref().map(h).transpose()?),
            _ => (None, cotangents[0].clone(), None),
        };
        let k = self.s.shape()[self.s.ndim() - 1];
        let (m, n) = (self.u.shape()[self.u.ndim() - 1], self.v.shape()[self.v.ndim() - 1]);
        let ct_s = ct_s.map_or_else(|| self.s.zeros_like(), Ok)?;
        let dtype = self.u.dtype();
        let mut d = diagonal_matrix(&ct_s)?.astype(dtype)?;
        if ct_u.is_none() && ct_v.is_none() {
            let u = self.u.pinned_range(self.u.ndim() - 1, 0, k)?;
            let v = self.v.pinned_range(self.v.ndim() - 1, 0, k)?;
            return u.matmul(&d)?.matmul(&h(&v)?);
        }
        let ct_u = ct_u.map_or_else(|| self.u.zeros_like(), Ok)?;
        let ct_v = ct_v.map_or_else(|| self.v.zeros_like(), Ok)?;
        let (w, x) = (h(&self.u)?.matmul(&ct_u)?, h(&self.v)?.matmul(&ct_v)?);
        let (gaps, inverse) = (self.gaps()?, inverse_or_zero(&self.s)?);
        let both = |x: &Array| -> Result<Array> {
            let x = gaps.multiply(&Svd::part(x, k, false, false)?)?;
            x.add(&h(&x)?)
        };
        d = d.add(&times_columns(&both(&w)?, &self.s)?)?;
        d = d.add(&times_rows(&both(&x)?, &self.s)?)?;
        if dtype.is_complex() {
            let first = |x: &Array| diagonal(&Svd::part(x, k, false, false)?)?.imag();
            let phase = first(&w)?.subtract(&first(&x)?)?.multiply(&inverse)?;
            let phase = phase.multiply(&like(&phase, 0.5))?;
            d = d.add(&diagonal_matrix(&like(&phase, 0.0).make_complex(&phase)?)?)?;
        }
        // What a cotangent of vectors beyond the first k says of the others.
        let beyond = |x: &Array| -> Result<Array> {
            let x = Svd::part(x, k, true, false)?.subtract(&h(&Svd::part(x, k, false, true)?)?)?;
            times_columns(&x, &inverse)
        };
        if m > k {
            d = Array::concatenate(&[d, beyond(&w)?], -2)?;
        }
        if n > k {
            d = Array::concatenate(&[d, h(&beyond(&x)?)?], -1)?;
        }
        self.u.matmul(&d)?.matmul(&h(&self.v)?)
    }
}

/// Eigenvalues and vectors: the outputs of the op, or by the op with vectors if they lack them.
fn eigen(op: Linalg, a: &Array, outputs: &[Array]) -> Result<(Array, Array)> {
    if let [w, v] = outputs {
        return Ok((w.clone(), v.clone()));
    }
    let mut all = Array::apply_all(op, std::slice::from_ref(a))?;
    let v = all.swap_remove(1);
    Ok((all.swap_remove(0), v))
}

/// With `D = V^H dS V`: `dw = Re diag(D)`, `dV = V (F o D)` with F of [`gaps`].
fn eigh_tangent(a: &Array, outputs: &[Array], t: &Array, vectors: bool) -> Result<Duals> {
    let (w, v) = eigen(Linalg::Eigh { vectors: true }, a, outputs)?;
    let d = h(&v)?.matmul(&hermitian(t)?)?.matmul(&v)?;
    let dw = Some(real_part(&diagonal(&d)?)?);
    if !vectors {
        return Ok(vec![dw]);
    }
    Ok(vec![dw, Some(v.matmul(&gaps(&w)?.multiply(&d)?)?)])
}

fn eigh_cotangent(
    a: &Array,
    outputs: &[Array],
    cotangents: &[Option<Array>],
    vectors: bool,
) -> Result<Array> {
    let (w, v) = eigen(Linalg::Eigh { vectors: true }, a, outputs)?;
    let ct_w = cotangents[0].clone().map_or_else(|| w.zeros_like(), Ok)?;
    let mut d = diagonal_matrix(&ct_w)?.astype(v.dtype())?;
    if vectors && let Some(ct_v) = &cotangents[1] {
        d = d.add(&gaps(&w)?.multiply(&h(&v)?.matmul(ct_v)?)?)?;
    }
    hermitian_adjoint(&v.matmul(&d)?.matmul(&h(&v)?)?)
}

/// `A^-1 b`.
fn general_solve(a: &Array, b: &Array, adjoint: bool) -> Result<Array> {
    let lu = Array::apply_all(Linalg::Lu, &[a.stop_gradient()?])?;
    lu_solve(&[a.clone(), lu[0].clone(), lu[2].clone()], b, adjoint)
}

/// With `D = V^-1 dA V`: `dw = diag(D)`, `dV = W - V Re diag(V^H W)` for `W = V (F o D)`, since
/// the vectors keep their length.
fn eig_tangent(a: &Array, outputs: &[Array], t: &Array) -> Result<Duals> {
    let (w, v) = eigen(Linalg::Eig { vectors: true }, a, outputs)?;
    let d = general_solve(&v, &t.astype(v.dtype())?.matmul(&v)?, false)?;
    let dw = Some(diagonal(&d)?);
    if outputs.len() == 1 {
        return Ok(vec![dw]);
    }
    let free = v.matmul(&gaps(&w)?.multiply(&d)?)?;
    let along = conjugated(&v)?.multiply(&free)?.sum(Some(&[-2]), false)?.real()?;
    Ok(vec![dw, Some(free.subtract(&times_columns(&v, &along)?)?)])
}

fn eig_cotangent(a: &Array, outputs: &[Array], cotangents: &[Option<Array>]) -> Result<Array> {
    let (w, v) = eigen(Linalg::Eig { vectors: true }, a, outputs)?;
    let ct_w = cotangents[0].clone().map_or_else(|| w.zeros_like(), Ok)?;
    let mut d = diagonal_matrix(&ct_w)?;
    if let [_, Some(ct_v)] = cotangents {
        let along = conjugated(&v)?.multiply(ct_v)?.sum(Some(&[-2]), false)?.real()?;
        let free = ct_v.subtract(&times_columns(&v, &along)?)?;
        d = d.add(&conjugated(&gaps(&w)?)?.multiply(&h(&v)?.matmul(&free)?)?)?;
    }
    let out = general_solve(&v, &d.matmul(&h(&v)?)?, true)?;
    if a.dtype().is_complex() { Ok(out) } else { out.real()?.astype(a.dtype()) }
}
