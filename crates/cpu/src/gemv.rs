//! A few rows times a matrix, which is read once: bound by memory, so that nothing is packed.
//!
//! Each column is summed in an order that depends on the shape alone; tasks are ranges of columns.

use std::ops::Range;

use crate::elem::{Acc, Elem};
use crate::gemm::{Product, with_scratch};
use crate::isa::Job;
use crate::lanes::{Isa, Lanes};
use crate::operand::Operand;
use crate::pool::{self, SharedPtr};

/// The most rows for which this is faster than packing.
pub(crate) const MOST_ROWS: usize = 4;
/// Vectors are padded with zeros to a multiple of this.
pub(crate) const PAD: usize = 128;
/// Products that read fewer elements stay on the caller's thread.
const SERIAL: usize = 1 << 16;
/// Rows that are done at once: as vectors of 4096 elements they take 4 MiB.
const AT_ONCE: usize = 256;

/// Contiguous rows of x in the type of the sums.
#[derive(Clone, Copy)]
pub struct Vectors<T> {
    /// Row r begins at `x + r * ld`; after its k elements come zeros up to a multiple of 128.
    pub x: *mut T,
    /// The number of rows.
    pub m: usize,
    /// Elements between rows.
    pub ld: usize,
    /// Room for `ld / 16` elements for each row, for the operand's own use.
    pub extra: *mut T,
}

impl<T> Vectors<T> {
    /// Row `r` alone, which exists.
    fn row(self, r: usize) -> Vectors<T> {
        let (x, extra) =
            (self.x.wrapping_add(r * self.ld), self.extra.wrapping_add(r * self.ld / 16));
        Vectors { x, extra, m: 1, ld: self.ld }
    }
}

// SAFETY: the vectors are written before they are shared, or by one task each.
unsafe impl<T: Send> Send for Vectors<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Vectors<T> {}

/// Does the product if one operand is a few vectors and the other can be read as it lies.
pub(crate) fn product<T: Acc>(p: &Product<T>) -> bool {
    if p.k == 0 || p.out.accumulates() {
        return false;
    }
    let batches = p.out.batches();
    if let Some(columns) = p.b.gemv_columns(p.m) {
        for batch in 0..batches {
            for first in (0..p.m).step_by(AT_ONCE) {
                let rows = first..p.m.min(first + AT_ONCE);
                vectors(p, batch, [p.a, p.b], rows, p.n, columns, false);
            }
        }
        return true;
    }
    if p.n == 1
        && let Some(columns) = p.a.gemv_columns(1)
    {
        (0..batches).for_each(|batch| vectors(p, batch, [p.b, p.a], 0..1, p.m, columns, true));
        return true;
    }
    false
}

/// Some rows of `x: (m, k)` times `w: (n, k)`; with `across` the result is a column.
fn vectors<T: Acc>(
    p: &Product<T>,
    batch: usize,
    [x, w]: [&dyn Operand<T>; 2],
    rows: Range<usize>,
    n: usize,
    columns: usize,
    across: bool,
) {
    let (m, ld) = (rows.len(), p.k.next_multiple_of(PAD));
    let columns = columns.min(n.next_multiple_of(64));
    // Slots 1 and 2 are the caller's, slot 0 each task's.
    with_scratch(1, [m * ld, m * ld / 16], |[data, extra]: [*mut T; 2]| {
        let v = Vectors { x: data, m, ld, extra };
        pool::parallel_for(m, (SERIAL / ld).max(1), |part| {
            for r in part.clone() {
                // SAFETY: the row lies inside x, the buffer has room, and `kind` is available.
                unsafe {
                    let row = v.row(r).x;
                    x.pack(p.kind, batch, [rows.start + r, 1, 1], [0, p.k], row);
                    std::slice::from_raw_parts_mut(row.add(p.k), ld - p.k).fill(T::default());
                    // These vectors are this task's alone.
                    w.prepare(p.kind, v.row(r));
                }
            }
        });
        let task = |i: usize| {
            let start = i * columns;
            let count = columns.min(n - start);
            with_scratch(0, [m * columns], |[y]: [*mut T; 1]| {
                // SAFETY: the columns lie inside w, and the scratch has room for them.
                unsafe { w.gemv(p.kind, batch, v, start..start + count, y, columns) };
                for r in 0..m {
                    // SAFETY: `gemv` has written these elements.
                    let y = unsafe { std::slice::from_raw_parts_mut(y.add(r * columns), count) };
                    if across {
                        for (j, y) in y.iter_mut().enumerate() {
                            finish(p, batch, start + j, 0, std::slice::from_mut(y));
                        }
                    } else {
                        finish(p, batch, rows.start + r, start, y);
                    }
                }
            });
        };
        let tasks = n.div_ceil(columns);
        if m.saturating_mul(n).saturating_mul(p.k) < SERIAL {
            (0..tasks).for_each(task);
        } else {
            pool::run(tasks, &task);
        }
    });
}

/// Applies the epilogue and writes a piece of a row.
fn finish<T: Acc>(p: &Product<T>, batch: usize, row: usize, col: usize, y: &mut [T]) {
    match p.out.sums(batch).map(SharedPtr::new) {
        None => p.finish(batch, row, col, y, false),
        Some(sums) => {
            p.finish(batch, row, col, y, true);
            // SAFETY: the piece lies inside the result, and one task writes it.
            unsafe {
                let to = sums.get().add(row * p.out.ld() + col);
                std::ptr::copy_nonoverlapping(y.as_ptr(), to, y.len());
            }
        }
    }
}

/// `y[r][j] = dot(x[r], w[j])` for n rows of w that lie along k.
pub(crate) struct DotRows<E: Elem> {
    pub x: Vectors<E::Acc>,
    pub w: *const E,
    pub stride: isize,
    pub k: usize,
    pub n: usize,
    pub y: *mut E::Acc,
    pub ld: usize,
}

impl<E: Elem> Job for DotRows<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let mut r = 0;
        // SAFETY: the rows of x and w are as their makers said.
        unsafe {
            while r < self.x.m {
                let left = self.x.m - r;
                if left >= 4 {
                    self.rows::<I, 4, 2>(r);
                    r += 4;
                } else if left >= 2 {
                    self.rows::<I, 2, 4>(r);
                    r += 2;
                } else {
                    self.rows::<I, 1, 4>(r);
                    r += 1;
                }
            }
        }
    }
}

impl<E: Elem> DotRows<E> {
    /// M rows of x from `r` on by all rows of w, R at a time: several streams, which share the loads
    /// of x.
    #[inline(always)]
    unsafe fn rows<I: Isa, const M: usize, const R: usize>(&self, r: usize) {
        let mut j = 0;
        // SAFETY: all rows are below n.
        unsafe {
            while j + R <= self.n {
                self.dot::<I, M, R>(r, j);
                j += R;
            }
            while j < self.n {
                self.dot::<I, M, 1>(r, j);
                j += 1;
            }
        }
    }

    /// M rows of x by R rows of w from `j` on. Even and odd vectors are summed apart.
    #[inline(always)]
    unsafe fn dot<I: Isa, const M: usize, const R: usize>(&self, r: usize, j: usize) {
        let l = <E::Acc as Acc>::V::<I>::L;
        // SAFETY: p + L <= k, or the last elements of w are copied; x is padded with zeros.
        unsafe {
            let zero = <E::Acc as Acc>::V::<I>::splat(Default::default());
            let mut acc = [[[zero; 2]; M]; R];
            let x = self.x.x.add(r * self.x.ld);
            let w = self.w.wrapping_offset(j as isize * self.stride);
            let mut p = 0;
            while p + 2 * l <= self.k {
                for (i, acc) in acc.iter_mut().enumerate() {
                    let row = w.wrapping_offset(i as isize * self.stride).add(p);
                    let (w0, w1) = (E::load::<I>(row), E::load::<I>(row.add(l)));
                    for (m, acc) in acc.iter_mut().enumerate() {
                        let x = x.add(m * self.x.ld + p);
                        let (x0, x1) = (Lanes::load(x), Lanes::load(x.add(l)));
                        acc[0] = w0.mul_add(x0, acc[0]);
                        acc[1] = w1.mul_add(x1, acc[1]);
                    }
                }
                p += 2 * l;
            }
            while p < self.k {
                let count = l.min(self.k - p);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let row = w.wrapping_offset(i as isize * self.stride).add(p);
                    let mut last: [E; 16] = std::mem::zeroed();
                    std::ptr::copy_nonoverlapping(row, last.as_mut_ptr(), count);
                    let w0 = E::load::<I>(last.as_ptr());
                    for (m, acc) in acc.iter_mut().enumerate() {
                        let x0 = Lanes::load(x.add(m * self.x.ld + p));
                        acc[0] = w0.mul_add(x0, acc[0]);
                    }
                }
                p += l;
            }
            for (i, acc) in acc.iter().enumerate() {
                for (m, acc) in acc.iter().enumerate() {
                    *self.y.add((r + m) * self.ld + j + i) = acc[0].add(acc[1]).sum();
                }
            }
        }
    }
}

/// `y[r][j] = sum over p of x[r][p] w[p][j]` for k rows of w that lie along n.
pub(crate) struct SumRows<E: Elem> {
    pub x: Vectors<E::Acc>,
    pub w: *const E,
    pub stride: isize,
    pub k: usize,
    pub n: usize,
    pub y: *mut E::Acc,
    pub ld: usize,
}

impl<E: Elem> Job for SumRows<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: all accesses are inside the k rows of n elements, the m rows of x and y.
        unsafe {
            for r in 0..self.x.m {
                let y = self.y.add(r * self.ld);
                std::slice::from_raw_parts_mut(y, self.n).fill(Default::default());
            }
            let mut p = 0;
            while p + 8 <= self.k {
                for r in 0..self.x.m {
                    self.add_rows::<I, 8>(r, p);
                }
                p += 8;
            }
            while p < self.k {
                for r in 0..self.x.m {
                    self.add_rows::<I, 1>(r, p);
                }
                p += 1;
            }
        }
    }
}

impl<E: Elem> SumRows<E> {
    /// Adds R rows of w from `p` on to row `r` of y, which stays in L1 between them.
    #[inline(always)]
    unsafe fn add_rows<I: Isa, const R: usize>(&self, r: usize, p: usize) {
        let l = <E::Acc as Acc>::V::<I>::L;
        // SAFETY: p + R <= k, and columns are below n; the last are copied.
        unsafe {
            let y = self.y.add(r * self.ld);
            let x = self.x.x.add(r * self.x.ld + p);
            let w = self.w.wrapping_offset(p as isize * self.stride);
            let mut xs = [<E::Acc as Acc>::V::<I>::splat(Default::default()); R];
            for (i, v) in xs.iter_mut().enumerate() {
                *v = Lanes::splat(*x.add(i));
            }
            let mut j = 0;
            while j + l <= self.n {
                let mut sum = <E::Acc as Acc>::V::<I>::load(y.add(j));
                for (i, x) in xs.iter().enumerate() {
                    let row = w.wrapping_offset(i as isize * self.stride).add(j);
                    sum = E::load::<I>(row).mul_add(*x, sum);
                }
                sum.store(y.add(j));
                j += l;
            }
            let count = self.n - j;
            if count > 0 {
                let mut last: [E::Acc; 16] = [Default::default(); 16];
                std::ptr::copy_nonoverlapping(y.add(j), last.as_mut_ptr(), count);
                let mut sum = <E::Acc as Acc>::V::<I>::load(last.as_ptr());
                for (i, x) in xs.iter().enumerate() {
                    let row = w.wrapping_offset(i as isize * self.stride).add(j);
                    let mut piece: [E; 16] = std::mem::zeroed();
                    std::ptr::copy_nonoverlapping(row, piece.as_mut_ptr(), count);
                    sum = E::load::<I>(piece.as_ptr()).mul_add(*x, sum);
                }
                sum.store(last.as_mut_ptr());
                std::ptr::copy_nonoverlapping(last.as_ptr(), y.add(j), count);
            }
        }
    }
}
