//! `y = x W` for a few rows of x: rows of W are scaled by elements of x and summed.

use std::ops::Range;

use super::affine::{Affine, SLACK, widen};
use crate::elem::Elem;
use crate::gemv::Vectors;
use crate::isa::Job;
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};

/// y = x W for some columns, eight rows of W at a time.
pub(super) struct Sum<'a, 'b, S> {
    pub of: &'a Affine<'b, S>,
    pub x: Vectors<f32>,
    pub columns: Range<usize>,
    pub y: *mut f32,
    pub ld: usize,
}

/// Columns of one pass of `Sum`; a multiple of every block.
const PASS: usize = 512;
/// Rows of W at a time.
const ROWS: usize = 8;
/// Rows ahead of those in use that are asked for: pieces of rows are too short for the processor's
/// own prefetching.
const AHEAD: usize = 2 * ROWS;

impl<S: Elem<Acc = f32>> Job for Sum<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            for r in 0..self.x.m {
                for start in self.columns.clone().step_by(PASS) {
                    let columns = start..self.columns.end.min(start + PASS);
                    self.pass::<I>(r, columns);
                }
            }
        }
    }
}

impl<S: Elem<Acc = f32>> Sum<'_, '_, S> {
    #[inline(always)]
    unsafe fn pass<I: Isa>(&self, r: usize, columns: Range<usize>) {
        let of = self.of;
        let k = of.extent[1];
        // Starts of passes are multiples of 512 and so of every group.
        let groups = columns.len() / of.group;
        let mut y = [0f32; PASS];
        let mut shares = [[0f32; PASS / 16 + SLACK]; ROWS];
        let mut biases = [0f32; PASS / 16 + SLACK];
        let mut rest = [0f32; PASS / 16 + SLACK];
        // SAFETY: rows are below k and columns inside the matrix; the buffers hold a pass.
        unsafe {
            let x = self.x.x.add(r * self.x.ld);
            for p in (0..k).step_by(ROWS) {
                // k may end before the eight rows do: the rest count nothing and read the last row.
                for (i, share) in shares.iter_mut().enumerate() {
                    let row = (p + i).min(k - 1);
                    let xi = I::P::splat(if p + i < k { *x.add(p + i) } else { 0.0 });
                    let at = of.scales_at(row) + (columns.start >> of.shift);
                    let ahead = at + AHEAD * (of.extent[0] >> of.shift);
                    I::F32::prefetch(of.scales.as_ptr().wrapping_add(ahead).cast());
                    I::F32::prefetch(of.biases.as_ptr().wrapping_add(ahead).cast());
                    widen::<I, S>(of.scales, at, groups, share.as_mut_ptr());
                    widen::<I, S>(of.biases, at, groups, biases.as_mut_ptr());
                    if p + i >= k {
                        share.fill(0.0);
                        continue;
                    }
                    for g in (0..groups).step_by(8) {
                        let to = share.as_mut_ptr().add(g);
                        I::P::load(to).mul(xi).store(to);
                        let to = rest.as_mut_ptr().add(g);
                        I::P::load(biases.as_ptr().add(g)).mul_add(xi, I::P::load(to)).store(to);
                    }
                }
                if of.bits == 4 {
                    self.nibbles::<I>(p, &columns, &shares, &mut y);
                } else {
                    self.units::<I>(p, &columns, &shares, &mut y);
                }
            }
            let to = self.y.add(r * self.ld + columns.start - self.columns.start);
            let l = I::F32::L;
            for (i, rest) in (0..columns.len()).map(|i| (i, rest[i >> of.shift])) {
                let value = if of.bits == 4 {
                    // The order of `Prepare`, with nibble j 16^j times too large.
                    let (b, lane, j) = (i / (8 * l), i % (8 * l) / 8, i % 8);
                    let share = if j < 7 { 1.0 / (1u32 << (4 * j)) as f32 } else { 1.0 };
                    y[8 * l * b + l * j + lane] * share
                } else {
                    y[i]
                };
                *to.add(i) = value + rest;
            }
        }
    }

    #[inline(always)]
    unsafe fn nibbles<I: Isa>(
        &self,
        p: usize,
        columns: &Range<usize>,
        shares: &[[f32; PASS / 16 + SLACK]; ROWS],
        y: &mut [f32; PASS],
    ) {
        let (of, l) = (self.of, I::F32::L);
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
    unsafe fn units<I: Isa>(
        &self,
        p: usize,
        columns: &Range<usize>,
        shares: &[[f32; PASS / 16 + SLACK]; ROWS],
        y: &mut [f32; PASS],
    ) {
        let of = self.of;
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
