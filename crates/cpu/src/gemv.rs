//! A few rows times a matrix, which is read once: bound by memory, so that nothing is packed.
//!
//! Each column is summed in an order that depends on the shape alone. Tasks are ranges of columns and,
//! where rows of the matrix lie along them, of rows, whose sums are joined in their order.

use std::ops::Range;

use crate::elem::{Acc, Elem};
use crate::gemm::{Product, with_scratch};
use crate::isa::{Job, dispatch};
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

/// How the matrix is cut into tasks.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Columns of a task, a multiple of 16.
    pub columns: usize,
    /// Elements of each column; the last task may have fewer.
    pub ks: usize,
}

impl Cut {
    /// Tasks of whole columns.
    pub(crate) fn columns(columns: usize) -> Cut {
        Cut { columns, ks: usize::MAX }
    }
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
    if let Some(cut) = p.b.gemv_cut(p.m) {
        for batch in 0..batches {
            for first in (0..p.m).step_by(AT_ONCE) {
                let rows = first..p.m.min(first + AT_ONCE);
                vectors(p, batch, [p.a, p.b], rows, p.n, cut, false);
            }
        }
        return true;
    }
    if p.n == 1
        && let Some(cut) = p.a.gemv_cut(1)
    {
        (0..batches).for_each(|batch| vectors(p, batch, [p.b, p.a], 0..1, p.m, cut, true));
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
    cut: Cut,
    across: bool,
) {
    let (m, ld) = (rows.len(), p.k.next_multiple_of(PAD));
    let columns = cut.columns.min(n.next_multiple_of(64));
    let ks = cut.ks.min(p.k);
    let parts = p.k.div_ceil(ks);
    let held = if parts > 1 { parts * m * n } else { 0 };
    // Slot 0 is each task's, the others the caller's.
    with_scratch(1, [m * ld, m * ld / 16, held], |[data, extra, held]: [*mut T; 3]| {
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
        let held = SharedPtr::new(held);
        let done = |r: usize, start: usize, y: &mut [T]| {
            if across {
                for (j, y) in y.iter_mut().enumerate() {
                    finish(p, batch, start + j, 0, std::slice::from_mut(y));
                }
            } else {
                finish(p, batch, rows.start + r, start, y);
            }
        };
        let pieces = n.div_ceil(columns);
        let task = |i: usize| {
            let (start, part) = (i % pieces * columns, i / pieces);
            let count = columns.min(n - start);
            let ranges = [start..start + count, part * ks..p.k.min((part + 1) * ks)];
            if parts > 1 {
                // SAFETY: the ranges lie inside w, and each part has room for all rows and columns.
                unsafe {
                    let y = held.get().add(part * m * n + start);
                    w.gemv(p.kind, batch, v, ranges, y, n);
                }
                return;
            }
            with_scratch(0, [m * columns], |[y]: [*mut T; 1]| {
                // SAFETY: the ranges lie inside w, and the scratch has room for the columns.
                unsafe { w.gemv(p.kind, batch, v, ranges, y, columns) };
                for r in 0..m {
                    // SAFETY: `gemv` has written these elements.
                    done(r, start, unsafe {
                        std::slice::from_raw_parts_mut(y.add(r * columns), count)
                    });
                }
            });
        };
        let join = |columns: Range<usize>| {
            for r in 0..m {
                let count = columns.len();
                // SAFETY: all parts have been written, and these columns are this task's.
                unsafe {
                    let y = held.get().add(r * n + columns.start);
                    dispatch(p.kind, Join { y, n: count, parts, stride: m * n });
                    done(r, columns.start, std::slice::from_raw_parts_mut(y, count));
                }
            }
        };
        let small = m.saturating_mul(n).saturating_mul(p.k) < SERIAL;
        let tasks = pieces * parts;
        if small {
            (0..tasks).for_each(task);
        } else {
            pool::run(tasks, &task);
        }
        if parts > 1 {
            pool::parallel_for(n, (SERIAL / parts / m).next_multiple_of(64), join);
        }
    });
}

/// Adds the sums of all parts, in their order, to those of the first.
struct Join<T> {
    y: *mut T,
    n: usize,
    parts: usize,
    stride: usize,
}

impl<T: Acc> Job for Join<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Join { y, n, parts, stride } = self;
        let l = T::V::<I>::L;
        let whole = n / l * l;
        // SAFETY: all parts have n elements, `stride` from each other.
        unsafe {
            for j in (0..whole).step_by(l) {
                let mut sum = T::V::<I>::load(y.add(j));
                for part in 1..parts {
                    sum = sum.add(Lanes::load(y.add(part * stride + j)));
                }
                sum.store(y.add(j));
            }
            for j in whole..n {
                let mut sum = T::V::<I>::splat(*y.add(j));
                for part in 1..parts {
                    sum = sum.add(Lanes::splat(*y.add(part * stride + j)));
                }
                let mut lanes = [T::default(); 16];
                sum.store(lanes.as_mut_ptr());
                *y.add(j) = lanes[0];
            }
        }
    }
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
