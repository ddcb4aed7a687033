//! The register tile of convolutions, which reads images where they lie: neighbours along a row of
//! an image are a fixed distance apart, and so are the elements of a sum along it.

use std::arch::asm;

use crate::gemm::{MOST_MR, MOST_NR};
use crate::isa::fetch;
use crate::lanes::Lanes;

/// Elements of a sum in one round of the loop.
const UNROLL: usize = 4;

/// Elements of a sum at fixed distances: where the first ones lie, and how many there are.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub a: usize,
    pub b: usize,
    pub len: usize,
}

/// Room for a tile of any height.
pub(super) type Edge<T> = [T; MOST_MR * MOST_NR];

/// The height of the tile for the first of `left` rows, at most `mr`: few rows are left over.
#[inline(always)]
pub(super) fn height(left: usize, mr: usize) -> usize {
    let fits = |&h: &usize| h <= mr && h <= left + 1;
    [14, 8, 6, 4].into_iter().find(fits).unwrap_or(2).min(mr)
}

/// The height of the tile for the first of `left` rows, an even number, at most `mr` and `left`.
#[inline(always)]
pub(super) fn exact_height(left: usize, mr: usize) -> usize {
    // Two of eight are better than 14 and 2, whose sums are too few to keep the units busy.
    let fits = |&h: &usize| h <= mr && h <= left && !(h == 14 && left == 16);
    [14, 8, 6, 4].into_iter().find(fits).unwrap_or(2)
}

/// What all tiles of a loop share.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, T> {
    pub runs: &'a [Run],
    /// Elements from row to row; if `OUTER` is false, between elements of a sum.
    pub step: usize,
    /// Elements of B between elements of a sum.
    pub next: usize,
    pub a: *const T,
    pub b: *const T,
    pub c: *mut T,
    pub ld: usize,
    /// True iff the sums are added to those of c.
    pub more: bool,
}

impl<T: Copy + Default> Tile<'_, T> {
    /// Writes or adds the sums of `height` rows times two vectors, or one if they are `narrow`. Rows are
    /// `step` elements apart and the elements of a sum follow each other; if `OUTER` is false, it is the
    /// other way round.
    ///
    /// # Safety
    /// `height` is a result of [`height`] or [`exact_height`]; what the runs name is readable, and the
    /// rows of c are writable.
    #[inline(always)]
    pub unsafe fn of_height<V: Lanes<T = T>, const OUTER: bool>(
        self,
        height: usize,
        mr: usize,
        narrow: bool,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if narrow {
                self.of_width::<V, OUTER, 1>(height, mr)
            } else {
                self.of_width::<V, OUTER, 2>(height, mr)
            }
        }
    }

    /// # Safety
    /// As `of_height`.
    #[inline(always)]
    unsafe fn of_width<V: Lanes<T = T>, const OUTER: bool, const N: usize>(
        self,
        height: usize,
        mr: usize,
    ) {
        // Heights above mr do not happen, and their code is left out.
        // SAFETY: the caller's promise.
        unsafe {
            match height {
                2 => self.run::<V, OUTER, N, 2>(),
                4 => self.run::<V, OUTER, N, 4>(),
                6 if mr >= 6 => self.run::<V, OUTER, N, 6>(),
                8 if mr >= 8 => self.run::<V, OUTER, N, 8>(),
                14 if mr == 14 => self.run::<V, OUTER, N, 14>(),
                _ => {}
            }
        }
    }

    /// # Safety
    /// As `of_height`.
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>, const OUTER: bool, const N: usize, const R: usize>(self) {
        let Tile { runs, step, next, a, b, c, ld, more } = self;
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[V::splat(T::default()); N]; R];
            for i in 0..R {
                fetch(c.wrapping_add(i * ld).cast(), N * size_of::<V>());
            }
            for run in runs {
                let (mut p, mut q) = (Rows::<T, OUTER>::new(a.add(run.a), step), b.add(run.b));
                for _ in 0..run.len / UNROLL {
                    p = p.apart();
                    for u in 0..UNROLL {
                        add(&mut sums, p, u, q.add(u * next), next);
                    }
                    (p, q) = (p.after(UNROLL), q.add(UNROLL * next));
                }
                for _ in 0..run.len % UNROLL {
                    add(&mut sums, p, 0, q, next);
                    (p, q) = (p.after(1), q.add(next));
                }
            }
            for (i, row) in sums.iter().enumerate() {
                for (h, &sum) in row.iter().enumerate() {
                    let p = c.add(i * ld + h * V::L);
                    if more { sum.add(V::load(p)).store(p) } else { sum.store(p) }
                }
            }
        }
    }
}

/// Adds element `u` of each row of `p` times the vectors from `q` on.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn add<V: Lanes, const OUTER: bool, const N: usize, const R: usize>(
    sums: &mut [[V; N]; R],
    p: Rows<V::T, OUTER>,
    u: usize,
    q: *const V::T,
    next: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut b = [V::splat(V::T::default()); N];
        for (h, b) in b.iter_mut().enumerate() {
            *b = V::load(q.add(h * V::L));
        }
        fetch(q.wrapping_add(8 * next).cast(), N * size_of::<V>());
        if !OUTER {
            fetch(p.at(0, 0, u + 8).cast(), 1);
        }
        for (third, sums) in sums.chunks_mut(3).enumerate() {
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = V::splat(*p.at(third, i, u));
                for (sum, &b) in sums.iter_mut().zip(&b) {
                    *sum = x.mul_add(b, *sum);
                }
            }
        }
    }
}

/// The rows of a tile. Every third one has a pointer, from which the next two are one and two steps:
/// an address each, and few registers.
#[derive(Clone, Copy)]
struct Rows<T, const OUTER: bool> {
    thirds: [*const T; MOST_MR.div_ceil(3)],
    step: usize,
}

impl<T, const OUTER: bool> Rows<T, OUTER> {
    #[inline(always)]
    fn new(a: *const T, step: usize) -> Self {
        Rows { thirds: std::array::from_fn(|i| a.wrapping_add(3 * i * step)), step }
    }

    /// The same rows, of which the compiler no longer knows that their pointers follow from each
    /// other: it would make a chain of them, with too many registers for the sums.
    #[inline(always)]
    fn apart(mut self) -> Self {
        if OUTER {
            for p in &mut self.thirds {
                // SAFETY: no instruction.
                unsafe {
                    asm!(
                        "/* {} */",
                        inout(reg) * p,
                        options(pure, readonly, nostack, preserves_flags)
                    )
                }
            }
        }
        self
    }

    /// Element `u` of row `3 third + i`.
    #[inline(always)]
    fn at(self, third: usize, i: usize, u: usize) -> *const T {
        if OUTER {
            self.thirds[third].wrapping_add(i * self.step + u)
        } else {
            self.thirds[0].wrapping_add(u * self.step + 3 * third + i)
        }
    }

    /// The same rows `n` elements later.
    #[inline(always)]
    fn after(self, n: usize) -> Self {
        let by = if OUTER { n } else { n * self.step };
        Rows { thirds: self.thirds.map(|p| p.wrapping_add(by)), ..self }
    }
}
