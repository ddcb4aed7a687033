//! `y = x W` for a few rows of x: rows of W are scaled by elements of x and summed.

use std::ops::Range;

use super::affine::{Affine, SLACK, widen};
use crate::elem::Elem;
use crate::gemv::{Cut, Vectors};
use crate::isa::Job;
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};

/// y = x W for some columns and some rows of W, eight rows at a time.
pub(super) struct Sum<'a, 'b, S> {
    pub of: &'a Affine<'b, S>,
    pub x: Vectors<f32>,
    pub columns: Range<usize>,
    pub ks: Range<usize>,
    pub y: *mut f32,
    pub ld: usize,
}

/// The most columns of a task, whose sums stay in L1; a multiple of every block.
const PIECE: usize = 4096;
/// Rows of W at a time.
const ROWS: usize = 8;
/// Rows ahead of those in use that are asked for: so many streams are more than the processor
/// foresees.
const AHEAD: usize = ROWS;
/// The least number of rows of a task, and the most tasks along k: each writes sums of its own.
const FEWEST: usize = 64;
const MOST_PARTS: usize = 32;

/// Rows of W are read from end to end, so that a task takes some of them; only long rows and
/// matrices of few rows are cut into columns.
pub(super) fn cut([n, k]: [usize; 2]) -> Cut {
    let values = 1usize << 16;
    let ks = FEWEST.max(values.div_ceil(n.clamp(1, PIECE))).max(k.div_ceil(MOST_PARTS));
    let parts = k.div_ceil(ks).max(1);
    let columns = if parts > 1 { PIECE } else { values.div_ceil(k.max(1)).next_multiple_of(512) };
    Cut { columns: columns.min(PIECE), ks: k.div_ceil(parts).next_multiple_of(ROWS) }
}

/// For each of some rows and each group of a piece, the scale times the element of x.
type Shares = [[f32; PIECE / 16 + SLACK]; ROWS];

/// Undoes the order in which `nibbles` sums: blocks hold nibble j of all their words, times 16^j for
/// j < 7, after nibble j - 1.
#[inline(always)]
fn in_order(y: &[f32; PIECE], block: usize, to: &mut [f32]) {
    for (to, y) in to.chunks_mut(block).zip(y.chunks_exact(block)) {
        for (lane, to) in to.chunks_exact_mut(8).enumerate() {
            for (j, to) in to.iter_mut().enumerate() {
                let share = if j < 7 { 1.0 / (1u32 << (4 * j)) as f32 } else { 1.0 };
                *to = y[block / 8 * j + lane] * share;
            }
        }
    }
}

impl<S: Elem<Acc = f32>> Job for Sum<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: the caller's promise.
        unsafe { (0..self.x.m).for_each(|r| self.row::<I>(r)) }
    }
}

impl<S: Elem<Acc = f32>> Sum<'_, '_, S> {
    #[inline(always)]
    unsafe fn row<I: Isa>(&self, r: usize) {
        let of = self.of;
        let columns = self.columns.clone();
        // Starts of tasks are multiples of 512 and so of every group.
        let groups = columns.len() >> of.shift;
        let mut y = [0f32; PIECE];
        let mut shares: Shares = [[0f32; PIECE / 16 + SLACK]; ROWS];
        let mut biases = [0f32; PIECE / 16 + SLACK];
        let mut rest = [0f32; PIECE / 16 + SLACK];
        // SAFETY: rows are below k and columns inside the matrix; the buffers hold a piece.
        unsafe {
            let x = self.x.x.add(r * self.x.ld);
            for p in self.ks.clone().step_by(ROWS) {
                // k may end before the eight rows do: the rest count nothing and read the last row.
                for (i, share) in shares.iter_mut().enumerate() {
                    if p + i >= self.ks.end {
                        share.fill(0.0);
                        continue;
                    }
                    let xi = I::P::splat(*x.add(p + i));
                    let at = of.scales_at(p + i) + (columns.start >> of.shift);
                    widen::<I, S>(of.scales, at, groups, share.as_mut_ptr());
                    widen::<I, S>(of.biases, at, groups, biases.as_mut_ptr());
                    for g in (0..groups).step_by(8) {
                        let to = share.as_mut_ptr().add(g);
                        I::P::load(to).mul(xi).store(to);
                        let to = rest.as_mut_ptr().add(g);
                        I::P::load(biases.as_ptr().add(g)).mul_add(xi, I::P::load(to)).store(to);
                    }
                }
                if of.bits == 4 {
                    self.nibbles::<I>(p, &shares, &mut y);
                } else {
                    self.units::<I>(p, &shares, &mut y);
                }
            }
            let to = std::slice::from_raw_parts_mut(self.y.add(r * self.ld), columns.len());
            if of.bits == 4 {
                in_order(&y, 8 * I::F32::L, to);
            } else {
                to.copy_from_slice(&y[..columns.len()]);
            }
            for (to, rest) in to.chunks_exact_mut(of.group).zip(rest) {
                to.iter_mut().for_each(|y| *y += rest);
            }
        }
    }

    #[inline(always)]
    unsafe fn nibbles<I: Isa>(&self, p: usize, shares: &Shares, y: &mut [f32; PIECE]) {
        let (of, l, columns) = (self.of, I::F32::L, &self.columns);
        let row_words = of.extent[0] / 8;
        // SAFETY: the words lie inside their rows, and y holds whole blocks.
        unsafe {
            for at in (0..columns.len()).step_by(8 * l) {
                let to = y.as_mut_ptr().add(at);
                let mut sums = [I::F32::splat(0.0); 8];
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = I::F32::load(to.add(l * j));
                }
                let count = l.min((columns.len() - at) / 8);
                for (i, share) in shares.iter().enumerate() {
                    let row = (p + i).min(of.extent[1] - 1);
                    let from = of.words.as_ptr().add(row * row_words + (columns.start + at) / 8);
                    I::F32::prefetch(from.wrapping_add(AHEAD * row_words).cast());
                    let words = I::F32::load_words(from, count);
                    let share = I::F32::spread(share.as_ptr().add(at >> of.shift), of.group / 8);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = I::F32::nibble(words, j).mul_add(share, *sum);
                    }
                }
                for (j, sum) in sums.into_iter().enumerate() {
                    sum.store(to.add(l * j));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn units<I: Isa>(&self, p: usize, shares: &Shares, y: &mut [f32; PIECE]) {
        let (of, columns) = (self.of, &self.columns);
        // SAFETY: the units lie inside their rows.
        unsafe {
            for at in (0..columns.len()).step_by(8) {
                let to = y.as_mut_ptr().add(at);
                let mut sum = I::P::load(to);
                for (i, share) in shares.iter().enumerate() {
                    let row = (p + i).min(of.extent[1] - 1);
                    let q = I::P::unpack(of.stream(row, columns.start + at), of.bits);
                    sum = q.mul_add(I::P::splat(share[at >> of.shift]), sum);
                }
                sum.store(to);
            }
        }
    }
}
