//! Singular values and vectors.
//!
//! Small matrices are rotated by a block of threads each. Larger ones of `float32` are squared in double precision,
//! whose eigenvectors they have; others go through the polar form, or where that is not exact through a
//! bidiagonal one.

use lazulite_core::backend::Operand;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Result};

use super::{Step, place, transposed};
use crate::args::Args;
use crate::driver::{self, CUdeviceptr};
use crate::indexing::blocks;
use crate::solver::{Calls, Number, SingularParts, Triangle};
use crate::{copy, matmul};

/// The least number of rows and columns for which singular vectors are found through the polar form.
const POLAR: usize = 128;

impl Step<'_> {
    pub(super) fn svd(&self, a: &Operand, s: &Operand, sides: Option<[&Operand; 2]>) -> Result<()> {
        let (m, n) = (self.m, self.n);
        if m == 0 || n == 0 {
            let [u, vh] = sides.map_or([None, None], |[u, vh]| [Some((u, m)), Some((vh, n))]);
            let sides = [u, vh].into_iter().flatten();
            return sides
                .filter(|(_, n)| *n > 0)
                .try_for_each(|(x, n)| self.identity(x, [n, n], None));
        }
        let marks = self.factored(a, s, sides, false)?;
        let all = sides.into_iter().flatten().chain([s]);
        all.into_iter().try_for_each(|x| self.spoil(x, &marks))
    }

    /// Singular values and vectors of all matrices that are finite, of shapes (m, m) and (n, n), or with `thin`
    /// (m, k) and (k, n); the marks of the others.
    fn factored(
        &self,
        a: &Operand,
        s: &Operand,
        sides: Option<[&Operand; 2]>,
        thin: bool,
    ) -> Result<Operand> {
        let (m, n, launch) = (self.m, self.n, self.launch);
        // What lies there is A^T by columns where A is wide, and else A: never wider than high.
        let wide = m <= n;
        let from = if wide { a.clone() } else { transposed(a) };
        let (rows, columns) = (m.max(n), m.min(n));
        let x = launch.temporary(self.dtype, from.shape())?;
        let held = Step { m: columns, n: rows, ..*self };
        let fill = || {
            copy::copy(launch, &from, &x)?;
            let marks = held.marks(&x, false)?;
            held.identity(&x, [columns, rows], Some(&marks))?;
            Ok(marks)
        };
        let (marks, codes) = (fill()?, self.codes()?);
        let (at, s_at, info) = (self.address(&x)?, self.address(s)?, self.address(&codes)?);
        let mut parts = SingularParts { a: at, s: s_at, sides: None, info };
        let wanted = if thin { columns } else { rows };
        let real = if self.dtype == Dtype::F64 { 8 } else { 4 };
        let turns = if sides.is_some() { columns * columns } else { 0 };
        let shared = (rows * columns + turns + rows) * self.dtype.size() + (rows + columns) * real;
        let by_blocks = self.by_blocks(shared);
        let jacobi = |u: CUdeviceptr, v: CUdeviceptr| {
            let mut args = Args::new();
            args.word(at).word(s_at).word(u).word(v).word(info).size(rows).size(columns);
            args.size(wanted).size(usize::from(sides.is_some()));
            self.small(("jacobi", "JACOBI"), shared, &mut args)
        };
        let Some([u, vh]) = sides else {
            match by_blocks {
                true => jacobi(0, 0)?,
                false if self.dtype == Dtype::F32 => held.by_squares(&x, s, &codes, None)?,
                false => self.calls()?.gesvd([rows, columns], false, parts, self.batch)?,
            }
            self.report("svd", &codes)?;
            return Ok(marks);
        };
        // By columns: the factor of the side of `rows`, and that of `columns`.
        let high = self.array(self.dtype, &[wanted, rows])?;
        let low = self.array(self.dtype, &[columns, columns])?;
        let (high_at, low_at) = (self.address(&high)?, self.address(&low)?);
        parts.sides = Some((high_at, low_at));
        let moves = |parts| self.calls()?.gesvdp([rows, columns], thin, parts, self.batch);
        // True iff `low` becomes V, not V^H.
        let wider = self.dtype == Dtype::F32;
        let straight = by_blocks || wider || columns >= POLAR && moves(parts)? == 0.0;
        if by_blocks {
            jacobi(high_at, low_at)?;
        } else if wider {
            held.by_squares(&x, s, &codes, Some([&high, &low]))?;
        } else if !straight {
            if columns >= POLAR {
                fill()?;
            }
            self.calls()?.gesvd([rows, columns], thin, parts, self.batch)?;
        }
        self.report("svd", &codes)?;
        // Read by rows, `high` is its factor transposed. `low` is V^H or V.
        let (high_to, low_to) = if wide { (vh, u) } else { (u, vh) };
        let shaped = |x: &Operand, to: &Operand| {
            let layout = Layout::contiguous(to.shape());
            Operand { layout, ..x.clone() }
        };
        let put = |x: &Operand, to: &Operand, turn: bool, conjugate: bool| match turn {
            false => place(launch, &shaped(x, to), to, conjugate),
            true => place(launch, &shaped(x, &transposed(to)), &transposed(to), conjugate),
        };
        put(&high, high_to, !wide, false)?;
        put(&low, low_to, wide == straight, straight)?;
        Ok(marks)
    }

    pub(super) fn pinv(&self, a: &Operand, p: &Operand) -> Result<()> {
        let (m, n, k, launch) = (self.m, self.n, self.m.min(self.n), self.launch);
        let real = if self.dtype == Dtype::F64 { Dtype::F64 } else { Dtype::F32 };
        let (u, s) = (self.array(self.dtype, &[m, k])?, self.array(real, &[k])?);
        let vh = self.array(self.dtype, &[k, n])?;
        let marks = self.factored(a, &s, Some([&u, &vh]), true)?;
        let epsilon = if real == Dtype::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        let bound = epsilon * m.max(n) as f64;
        let count = self.batch * k * n;
        let mut args = Args::new();
        args.word(self.address(&vh)?).word(launch.read(&s)?).size(k).size(n).size(count);
        self.kernel("divide", count, args.word(bound.to_bits()))?;
        // V diag(1 / s) U^H is the conjugate of (diag(1 / s) V^H)^T U^T.
        let (left, right) = (transposed(&vh), transposed(&u));
        let product = Operand { layout: Layout::contiguous(&[self.batch, n, m]), ..p.clone() };
        if self.dtype.is_complex() {
            let straight = launch.temporary(self.dtype, product.shape())?;
            matmul::matmul(launch, &left, &right, &straight)?;
            place(launch, &straight, &product, true)?;
        } else {
            matmul::matmul(launch, &left, &right, &product)?;
        }
        self.spoil(p, &marks)
    }

    /// As [`Step::factored`], of B (rows, columns) that lies column by column in `x`: B^T B = V diag(s^2) V^T, and
    /// B V = U diag(s) is factored into Q R, where R is diagonal but for roundings. `sides` receive the vectors
    /// of U and V as rows.
    ///
    /// With roundings of 2^-53 in B^T B, what R has beside its diagonal, and with it the error of s, is at
    /// most some 2^-26 of the greatest s: less than what rounding B to `float32` does.
    fn by_squares(
        &self,
        x: &Operand,
        s: &Operand,
        codes: &Operand,
        sides: Option<[&Operand; 2]>,
    ) -> Result<()> {
        let (columns, rows, launch) = (self.m, self.n, self.launch);
        let x = Operand { layout: Layout::contiguous(&[self.batch, columns, rows]), ..x.clone() };
        let wide = self.array(Dtype::F64, &[columns, rows])?;
        place(launch, &x, &wide, false)?;
        let square = self.array(Dtype::F64, &[columns, columns])?;
        matmul::matmul(launch, &wide, &transposed(&wide), &square)?;
        let values = self.array(Dtype::F64, &[columns])?;
        let (at, values_at) = (self.address(&square)?, self.address(&values)?);
        let calls = || Calls::new(launch, self.name, Number::F64);
        let (of, info) = ((Triangle::Upper, sides.is_some()), self.address(codes)?);
        calls()?.syev(of, columns, at, values_at, info, self.batch)?;
        let count = self.batch * columns;
        let Some([high, low]) = sides else {
            let mut args = Args::new();
            args.word(values_at).word(self.address(s)?).size(columns).size(count);
            return self.blocks("roots", "", blocks(count), &mut args);
        };
        // Eigenvectors are rows now; those of the greatest values come first.
        let shape = [self.batch, columns, columns];
        let turned = square.layout.slice(&[0, columns - 1, 0], &[1, -1, 1], &shape);
        let v = Operand { layout: turned, ..square.clone() };
        place(launch, &v, low, false)?;
        let wanted = high.shape()[1];
        let y = self.array(Dtype::F64, &[wanted, rows])?;
        let y_at = self.address(&y)?;
        // Columns of zeros, for which Q completes the basis.
        // SAFETY: the block was just made, with this size.
        unsafe { driver::fill_zero(y_at, 8 * y.layout.len(), launch.queue.raw())? };
        let part = y.layout.slice(&[0; 3], &[1; 3], &[self.batch, columns, rows]);
        match wanted == columns {
            true => matmul::matmul(launch, &v, &wide, &y)?,
            false => {
                let product = self.array(Dtype::F64, &[columns, rows])?;
                matmul::matmul(launch, &v, &wide, &product)?;
                copy::copy(launch, &product, &Operand { layout: part, ..y.clone() })?;
            }
        }
        let (tau, ignored) = (self.array(Dtype::F64, &[wanted])?, self.codes()?);
        let (tau_at, ignored) = (self.address(&tau)?, self.address(&ignored)?);
        calls()?.geqrf([rows, wanted], y_at, tau_at, ignored, self.batch)?;
        let signs = self.array(Dtype::F64, &[columns])?;
        let mut args = Args::new();
        args.word(y_at).word(self.address(s)?).word(self.address(&signs)?).size(rows).size(columns);
        self.blocks("diagonal", "", [self.batch as u32, 1, 1], args.size(wanted))?;
        let step = (rows * wanted * 8) as u64;
        calls()?.orgqr([rows, wanted], (y_at, step), tau_at, ignored, self.batch)?;
        let count = high.layout.len();
        let mut args = Args::new();
        args.word(y_at)
            .word(self.address(high)?)
            .word(launch.read(&signs)?)
            .size(rows)
            .size(columns);
        self.blocks("signed_rows", "", blocks(count), args.size(wanted).size(count))
    }
}
