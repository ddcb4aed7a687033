//! Linear algebra: each matrix of a batch is gathered without gaps, factored, and written.
//!
//! Cholesky, LU, QR and triangular systems run in the type of their elements, by this crate's products;
//! singular values and eigenvalues in double precision, by the `faer` crate. A batch of small matrices is
//! cut over the threads; one large matrix leaves them to its products and to the columns of a right side.

mod field;
mod reflect;
mod spectral;
mod triangular;

use lazulite_core::backend::Operand;
use lazulite_core::op::linalg::Linalg;
use lazulite_core::{Complex32, Dtype, Error, ErrorKind, Result};
use num_complex::Complex64;

use crate::pool::parallel_for;
use crate::strided::{Plain, SERIAL, Target, View, Walk, internal};
use field::{Factor, Field, add_product};
use spectral::{Factors, Wide};
use triangular::Triangle;

/// The elements of a matrix, their double-precision form, and back.
trait Element: Plain + Field {
    type Wide: Wide;
    fn widen(self) -> Self::Wide;
    fn narrow(x: Self::Wide) -> Self;
}

macro_rules! element {
    ($($t:ty: $wide:ty, |$x:ident| $widen:expr, $narrow:expr;)*) => {
        $(impl Element for $t {
            type Wide = $wide;
            fn widen(self) -> $wide {
                let $x = self;
                $widen
            }
            fn narrow($x: $wide) -> $t {
                $narrow
            }
        })*
    };
}
element! {
    f32: f64, |x| f64::from(x), x as f32;
    f64: f64, |x| x, x;
    Complex32: Complex64, |x| Complex64::new(f64::from(x.re), f64::from(x.im)),
        Complex32::new(x.re as f32, x.im as f32);
}

/// Runs one op.
pub(crate) fn linalg(op: &Linalg, inputs: &[Operand], outputs: &[Operand]) -> Result<()> {
    match inputs[0].dtype {
        Dtype::F32 => run::<f32, f32>(op, inputs, outputs),
        Dtype::F64 => run::<f64, f64>(op, inputs, outputs),
        Dtype::C64 => run::<Complex32, f32>(op, inputs, outputs),
        dtype => Err(internal(format!("linear algebra of {dtype}"))),
    }
}

fn wrong(op: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Kernel, op, what.to_string())
}

fn diverged(op: &'static str) -> Error {
    wrong(op, "the iteration did not converge")
}

/// The transpose of `x (m, n)`.
fn transposed<T: Copy>(x: &[T], m: usize, n: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(m * n);
    for j in 0..n {
        out.extend((0..m).map(|i| x[i * n + j]));
    }
    out
}

/// The matrices of an operand in the order of the leading axes.
struct Matrices<'a, T> {
    view: View<'a, T>,
    lead: Walk<1>,
    sizes: [usize; 2],
    steps: [isize; 2],
}

impl<'a, T: Plain> Matrices<'a, T> {
    /// Of the last `axes` axes, 1 or 2; a vector is a column.
    fn new(x: &'a Operand, axes: usize) -> Result<Matrices<'a, T>> {
        let view = View::<T>::new(x)?;
        let at = view.shape.len() - axes;
        let lead = Walk::new(&view.shape[..at], [&view.strides[..at]]);
        let (sizes, steps) = match axes {
            1 => ([view.shape[at], 1], [view.strides[at], 0]),
            _ => ([view.shape[at], view.shape[at + 1]], [view.strides[at], view.strides[at + 1]]),
        };
        Ok(Matrices { view, lead, sizes, steps })
    }

    /// Matrix `b` row by row without gaps.
    fn get(&self, b: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(self.sizes[0] * self.sizes[1]);
        self.lead.each(b..b + 1, |_, [at]| {
            for i in 0..self.sizes[0] {
                let (row, [_, n]) = (at + i as isize * self.steps[0], self.sizes);
                // SAFETY: indices of the operand.
                unsafe {
                    let row = self.view.first().offset(row);
                    if self.steps[1] == 1 {
                        out.extend_from_slice(std::slice::from_raw_parts(row, n));
                    } else {
                        out.extend((0..n).map(|j| *row.offset(j as isize * self.steps[1])));
                    }
                }
            }
        });
        out
    }
}

/// Part `b` of an output that holds one after another.
///
/// # Safety
/// No two threads ask for the same part.
unsafe fn part<'a, T: Plain>(out: &Target<'a, T>, b: usize, batch: usize) -> &'a mut [T] {
    let size = out.len() / batch;
    // SAFETY: the caller's promise.
    unsafe { out.part(b * size..(b + 1) * size) }
}

/// Calls `f` for each matrix of a batch; the first error in their order is the result.
pub(crate) fn each(
    batch: usize,
    cost: usize,
    f: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let failed: parking_lot::Mutex<Option<(usize, Error)>> = parking_lot::Mutex::new(None);
    let work = |range: std::ops::Range<usize>| {
        for b in range {
            if let Err(e) = f(b) {
                let mut failed = failed.lock();
                if failed.as_ref().is_none_or(|(first, _)| b < *first) {
                    *failed = Some((b, e));
                }
            }
        }
    };
    if batch == 1 {
        work(0..1);
    } else {
        parallel_for(batch, SERIAL.div_ceil(cost.max(1)), work);
    }
    failed.into_inner().map_or(Ok(()), |(_, e)| Err(e))
}

fn narrow_all<T: Element>(from: &[T::Wide], to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = T::narrow(*from));
}

/// `R` is the type of singular values and eigenvalues.
fn run<T: Element, R: Plain + Field>(
    op: &Linalg,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    let a = Matrices::<T>::new(&inputs[0], 2)?;
    let batch = a.lead.len();
    let [m, n] = a.sizes;
    if batch == 0 {
        return Ok(());
    }
    let cost = m.max(n).saturating_mul(m).saturating_mul(n);
    let targets = |count: usize| {
        if outputs.len() == count { Ok(()) } else { Err(internal("outputs of linear algebra")) }
    };
    let reals = |values: &[f64], to: &mut [R]| {
        to.iter_mut().zip(values).for_each(|(to, x)| *to = R::from_real(*x));
    };
    let wide = |b: usize| -> Vec<T::Wide> { a.get(b).into_iter().map(T::widen).collect() };
    match *op {
        Linalg::Cholesky => {
            targets(1)?;
            let l = Target::<T>::new(&outputs[0])?;
            each(batch, cost, |b| {
                let mut x = a.get(b);
                if !triangular::cholesky(&mut x, n) {
                    return Err(wrong("cholesky", "a matrix is not positive definite"));
                }
                // SAFETY: each matrix has parts of its own, here and below.
                unsafe { part(&l, b, batch).copy_from_slice(&x) };
                Ok(())
            })
        }
        Linalg::Lu => {
            targets(3)?;
            let lu = Target::<T>::new(&outputs[0])?;
            let (pivots, perm) =
                (Target::<u32>::new(&outputs[1])?, Target::<u32>::new(&outputs[2])?);
            each(batch, cost, |b| {
                let mut x = a.get(b);
                // SAFETY: as above.
                unsafe {
                    triangular::lu(&mut x, m, n, part(&pivots, b, batch), part(&perm, b, batch));
                    part(&lu, b, batch).copy_from_slice(&x);
                }
                Ok(())
            })
        }
        Linalg::LuSolve { adjoint } => {
            targets(1)?;
            let [_, factors, perm, right] = inputs else { return Err(internal("a solution")) };
            let (factors, right) = (Matrices::<T>::new(factors, 2)?, Matrices::<T>::new(right, 2)?);
            let perm = Matrices::<u32>::new(perm, 1)?;
            let x = Target::<T>::new(&outputs[0])?;
            each(batch, cost, |b| {
                let solution = lu_solve(
                    &factors.get(b),
                    &perm.get(b),
                    &right.get(b),
                    [n, right.sizes[1]],
                    adjoint,
                )?;
                // SAFETY: as above.
                unsafe { part(&x, b, batch).copy_from_slice(&solution) };
                Ok(())
            })
        }
        Linalg::SolveTriangular { upper, unit } => {
            targets(1)?;
            let [_, right] = inputs else { return Err(internal("a solution")) };
            let right = Matrices::<T>::new(right, 2)?;
            let x = Target::<T>::new(&outputs[0])?;
            each(batch, cost, |b| {
                let mut solution = right.get(b);
                let triangle = Triangle { t: &a.get(b), upper, unit };
                triangular::solve(&[triangle], n, &mut solution, right.sizes[1]);
                // SAFETY: as above.
                unsafe { part(&x, b, batch).copy_from_slice(&solution) };
                Ok(())
            })
        }
        Linalg::Qr => {
            targets(2)?;
            let (q, r) = (Target::<T>::new(&outputs[0])?, Target::<T>::new(&outputs[1])?);
            each(batch, cost, |b| {
                let (x, y) = reflect::qr(&mut a.get(b), m, n);
                // SAFETY: as above.
                unsafe {
                    part(&q, b, batch).copy_from_slice(&x);
                    part(&r, b, batch).copy_from_slice(&y);
                }
                Ok(())
            })
        }
        Linalg::Svd { vectors } => {
            targets(if vectors { 3 } else { 1 })?;
            let s = Target::<R>::new(&outputs[usize::from(vectors)])?;
            let sides = match vectors {
                true => Some((Target::<T>::new(&outputs[0])?, Target::<T>::new(&outputs[2])?)),
                false => None,
            };
            each(batch, cost, |b| {
                let found = factors::<T>(wide(b), m, n, vectors)?;
                // SAFETY: as above.
                unsafe {
                    reals(&found.s, part(&s, b, batch));
                    if let Some((u, vh)) = &sides {
                        narrow_all(&found.u, part(u, b, batch));
                        narrow_all(&found.vh, part(vh, b, batch));
                    }
                }
                Ok(())
            })
        }
        Linalg::Pinv => {
            targets(1)?;
            let p = Target::<T>::new(&outputs[0])?;
            // The rounding error of the elements, not of the computation, is what they are sure to.
            let epsilon = if size_of::<R>() == 8 { f64::EPSILON } else { f64::from(f32::EPSILON) };
            each(batch, cost, |b| {
                let found = factors::<T>(wide(b), m, n, true)?;
                let x = pseudo_inverse(&found, m, n, epsilon * m.max(n) as f64);
                // SAFETY: as above.
                unsafe { narrow_all(&x, part(&p, b, batch)) };
                Ok(())
            })
        }
        Linalg::Eigh { vectors } => {
            targets(1 + usize::from(vectors))?;
            let w = Target::<R>::new(&outputs[0])?;
            let v = if vectors { Some(Target::<T>::new(&outputs[1])?) } else { None };
            each(batch, cost, |b| {
                let mut x = wide(b);
                // What a Hermitian matrix cannot have.
                (0..n).for_each(|i| x[i * n + i] = T::Wide::from_real(x[i * n + i].real()));
                let (values, columns) = if (0..n).all(|i| all_finite(&x[i * n..i * n + i + 1])) {
                    spectral::eigh(&x, n, vectors).ok_or_else(|| diverged("eigh"))?
                } else {
                    (vec![f64::NAN; n], vec![T::Wide::from_real(f64::NAN); n * n])
                };
                // SAFETY: as above.
                unsafe {
                    reals(&values, part(&w, b, batch));
                    if let Some(v) = &v {
                        narrow_all(&columns, part(v, b, batch));
                    }
                }
                Ok(())
            })
        }
        Linalg::Eig { vectors } => {
            targets(1 + usize::from(vectors))?;
            let w = Target::<Complex32>::new(&outputs[0])?;
            let v = if vectors { Some(Target::<Complex32>::new(&outputs[1])?) } else { None };
            each(batch, cost, |b| {
                let x = wide(b);
                let (values, columns) = if all_finite(&x) {
                    spectral::eig(&x, n, vectors).ok_or_else(|| diverged("eig"))?
                } else {
                    let nan = Complex64::new(f64::NAN, f64::NAN);
                    (vec![nan; n], vec![nan; n * n])
                };
                // SAFETY: as above.
                unsafe {
                    narrow_all(&values, part(&w, b, batch));
                    if let Some(v) = &v {
                        narrow_all(&columns, part(v, b, batch));
                    }
                }
                Ok(())
            })
        }
    }
}

fn all_finite<W: Field>(x: &[W]) -> bool {
    x.iter().all(|x| x.finite())
}

/// The singular values and vectors of one matrix; NaN if it is not finite.
fn factors<T: Element>(
    x: Vec<T::Wide>,
    m: usize,
    n: usize,
    vectors: bool,
) -> Result<Factors<T::Wide>> {
    if all_finite(&x) {
        return spectral::svd(&x, m, n, vectors).ok_or_else(|| diverged("svd"));
    }
    let nan = |n: usize| vec![T::Wide::from_real(f64::NAN); n];
    Ok(Factors { u: nan(m * m), s: vec![f64::NAN; m.min(n)], vh: nan(n * n) })
}

/// `V diag(1 / s) U^H` over the singular values above `bound` times the greatest, `(n, m)`.
fn pseudo_inverse<W: Field>(found: &Factors<W>, m: usize, n: usize, bound: f64) -> Vec<W> {
    let Factors { u, s, vh } = found;
    let rank = s.iter().take_while(|&&x| x.is_nan() || x > bound * s[0]).count();
    let mut p = vec![W::default(); n * m];
    // Row k of V^H, conjugated and divided, is column k of the left factor.
    let left: Vec<W> = (0..rank)
        .flat_map(|k| vh[k * n..(k + 1) * n].iter().map(move |x| x.conj().scale(1.0 / s[k])))
        .collect();
    let right: Vec<W> = u.iter().map(|x| x.conj()).collect();
    add_product(&mut p, m, [n, m, rank], Factor::columns(&left, n), Factor::rows(&right, m));
    p
}

/// X with `A X = B` (or `A^H X = B`) for B `(n, r)`, by the factors of `A[perm]`.
fn lu_solve<T: Field + Plain>(
    lu: &[T],
    perm: &[u32],
    b: &[T],
    [n, r]: [usize; 2],
    adjoint: bool,
) -> Result<Vec<T>> {
    if (0..n).any(|i| lu[i * n + i].size2() == 0.0) {
        return Err(wrong("solve", "a matrix is singular"));
    }
    let places = perm.iter().map(|&p| p as usize);
    if !adjoint {
        let mut x = Vec::with_capacity(n * r);
        places.for_each(|p| x.extend_from_slice(&b[p * r..(p + 1) * r]));
        let lower = Triangle { t: lu, upper: false, unit: true };
        let upper = Triangle { t: lu, upper: true, unit: false };
        triangular::solve(&[lower, upper], n, &mut x, r);
        return Ok(x);
    }
    let mut turned = transposed(lu, n, n);
    turned.iter_mut().for_each(|x| *x = x.conj());
    let mut y = b.to_vec();
    let lower = Triangle { t: &turned, upper: false, unit: false };
    let upper = Triangle { t: &turned, upper: true, unit: true };
    triangular::solve(&[lower, upper], n, &mut y, r);
    let mut x = vec![T::default(); n * r];
    for (i, p) in places.enumerate() {
        x[p * r..(p + 1) * r].copy_from_slice(&y[i * r..(i + 1) * r]);
    }
    Ok(x)
}
