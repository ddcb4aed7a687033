//! `y = x W^T` for a few rows of x: rows of W are read as they lie.

use std::ops::Range;

use super::affine::{Affine, SLACK, eight, widen};
use crate::elem::Elem;
use crate::gemv::{PAD, Vectors};
use crate::isa::Job;
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};

/// Groups whose scales are widened at once: so many groups of the least size are whole blocks of every
/// kernel.
const SEGMENT: usize = 256;

/// What every column needs of x: each group's sum, by which the group's bias is multiplied, and for
/// four bits the fixed point of [`fix`].
pub(super) struct Prepare<'a, 'b, S> {
    pub of: &'a Affine<'b, S>,
    pub x: Vectors<f32>,
}

impl<S: Elem<Acc = f32>> Job for Prepare<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Prepare { of, x } = self;
        if !of.along_k {
            return;
        }
        // SAFETY: the vectors have `ld` elements, a multiple of every block.
        unsafe {
            for r in 0..x.m {
                let row = x.x.add(r * x.ld);
                let sums = x.extra.add(r * x.ld / 16);
                std::slice::from_raw_parts_mut(sums, x.ld / 16).fill(0.0);
                for g in 0..of.extent[1] / of.group {
                    let mut sum = I::P::splat(0.0);
                    for i in (0..of.group).step_by(8) {
                        sum = sum.add(I::P::load(row.add(g * of.group + i)));
                    }
                    *sums.add(g) = sum.sum();
                }
                if of.bits == 4 {
                    for at in (0..x.ld).step_by(PAD) {
                        fix::<I::F32>(row.add(at), of.group);
                    }
                }
            }
        }
    }
}

/// Bytes ahead of the packed values in use that are asked for: rows are short, and the processor's own
/// prefetching starts anew with every page.
const AHEAD: usize = 2048;

/// Columns that are done at once for one row of x.
const COLUMNS: usize = 8;

/// The largest magnitude in fixed point: its three signed digits to base 256 are 127, 0 and 0.
const LEVELS: f32 = (127 << 16) as f32;

/// Writes `PAD` values of x over themselves in fixed point, as `nibble_dots` wants them.
///
/// Each group has a scale of its own, its largest magnitude over `LEVELS`, so that a value is off by
/// 2^-24 of the group's largest one at most: what `f32` does to that one. Groups whose values are all below
/// 1e-30 count as zeros, and one with a value that is not finite makes all sums NaN. A block of 8 L
/// values becomes three digits of 8 L bytes each, and for each word the scale of its group.
///
/// # Safety
/// `PAD` values are readable and writable; the set is available.
#[inline(always)]
unsafe fn fix<V: F32Lanes>(x: *mut f32, group: usize) {
    let mut levels = [0u32; PAD];
    let mut scales = [0f32; PAD / 16];
    // SAFETY: the caller's promise.
    let values = unsafe { x.cast::<[f32; PAD]>().read() };
    let groups = values.chunks_exact(group).zip(levels.chunks_exact_mut(group));
    for ((values, levels), scale) in groups.zip(&mut scales) {
        let (mut most, mut poison) = ([0f32; 16], [0f32; 16]);
        for values in values.as_chunks::<16>().0 {
            for i in 0..16 {
                let size = values[i].abs();
                most[i] = if size > most[i] { size } else { most[i] };
                poison[i] += values[i] * 0.0;
            }
        }
        let most = most.into_iter().fold(0.0, f32::max);
        let inverse = if most < 1e-30 { 0.0 } else { LEVELS / most };
        *scale = most / LEVELS + poison.into_iter().sum::<f32>();
        for (level, value) in levels.iter_mut().zip(values) {
            // Half a digit more in each place, so that bytes are digits but for their top bits.
            let value = (value * inverse).round_ties_even() as i32;
            *level = value.wrapping_add(0x0080_8080) as u32 ^ 0x0080_8080;
        }
    }
    for (block, levels) in levels.chunks_exact(8 * V::L).enumerate() {
        // SAFETY: a block's bytes and scales take 28 L bytes of its 32 L.
        unsafe {
            let to = x.add(8 * V::L * block);
            for digit in 0..3 {
                let even = to.cast::<u8>().add(8 * V::L * digit);
                let odd = even.add(4 * V::L);
                for (i, pair) in levels.as_chunks::<2>().0.iter().enumerate() {
                    *even.add(i) = (pair[0] >> (16 - 8 * digit)) as u8;
                    *odd.add(i) = (pair[1] >> (16 - 8 * digit)) as u8;
                }
            }
            for i in 0..V::L {
                *to.add(6 * V::L + i) = scales[8 * (V::L * block + i) / group];
            }
        }
    }
}

/// y = x W^T for some columns.
pub(super) struct Dot<'a, 'b, S> {
    pub of: &'a Affine<'b, S>,
    pub x: Vectors<f32>,
    pub columns: Range<usize>,
    pub y: *mut f32,
    pub ld: usize,
}

impl<S: Elem<Acc = f32>> Job for Dot<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let mut r = 0;
        // SAFETY: rows r..r + M are below m.
        unsafe {
            if self.x.m == 1 && self.of.bits == 4 {
                return self.row::<I>();
            }
            while r < self.x.m {
                let left = self.x.m - r;
                if left >= 4 {
                    self.rows::<I, 4>(r);
                    r += 4;
                } else if left >= 2 {
                    self.rows::<I, 2>(r);
                    r += 2;
                } else {
                    self.rows::<I, 1>(r);
                    r += 1;
                }
            }
        }
    }
}

impl<S: Elem<Acc = f32>> Dot<'_, '_, S> {
    /// M rows of x from `r` on.
    #[inline(always)]
    unsafe fn rows<I: Isa, const M: usize>(&self, r: usize) {
        let (of, ld) = (self.of, self.x.ld);
        let k = of.extent[1];
        let groups = k >> of.shift;
        let mut scales = [0f32; SEGMENT + SLACK];
        // SAFETY: the columns are rows of the packed matrix, and all indices are inside a row.
        unsafe {
            let sums = self.x.extra.add(r * ld / 16);
            for n in self.columns.clone() {
                let mut acc = [[I::F32::splat(0.0); 2]; M];
                let mut rest = [I::P::splat(0.0); M];
                for first in (0..groups).step_by(SEGMENT) {
                    let count = SEGMENT.min(groups - first);
                    let at = of.scales_at(n) + first;
                    widen::<I, S>(of.scales, at, count, scales.as_mut_ptr());
                    for g in (0..count).step_by(8) {
                        let bias = eight::<I, S>(of.biases, at + g, 8.min(count - g));
                        for (m, rest) in rest.iter_mut().enumerate() {
                            // The sums are padded with zeros as the vectors are.
                            let sums = I::P::load(sums.add(m * ld / 16 + first + g));
                            *rest = bias.mul_add(sums, *rest);
                        }
                    }
                    let part = first * of.group..(first + count) * of.group;
                    let x = self.x.x.add(r * ld);
                    match of.bits {
                        4 => self.nibbles::<I, M>(n, part, scales.as_ptr(), x, &mut acc),
                        8 if of.group == 2 * I::F32::L => {
                            self.bytes::<I, M, 2>(n, part, scales.as_ptr(), x, &mut acc)
                        }
                        8 => self.bytes::<I, M, 0>(n, part, scales.as_ptr(), x, &mut acc),
                        _ => {
                            for (m, acc) in acc.iter_mut().enumerate() {
                                let x = x.add(m * ld);
                                let sum = self.units::<I>(n, part.clone(), scales.as_ptr(), x);
                                // One lane takes the sum of the segment.
                                let mut lanes = [0f32; 16];
                                lanes[0] = sum;
                                acc[0] = acc[0].add(I::F32::load(lanes.as_ptr()));
                            }
                        }
                    }
                }
                for m in 0..M {
                    let to = self.y.add((r + m) * self.ld + n - self.columns.start);
                    *to = acc[m][0].add(acc[m][1]).sum() + rest[m].sum();
                }
            }
        }
    }

    /// One row of x against four bits, [`COLUMNS`] columns at a time, so that x is loaded once for
    /// all of them and their lanes are summed together.
    #[inline(always)]
    unsafe fn row<I: Isa>(&self) {
        let (of, l) = (self.of, I::F32::L);
        let (length, groups) = (of.extent[1] / 8, of.extent[1] >> of.shift);
        let mut scales = [[0f32; SEGMENT + SLACK]; COLUMNS];
        let whole = self.columns.len() / COLUMNS * COLUMNS;
        let (start, end) = (self.columns.start, self.columns.start + whole);
        // SAFETY: as in `rows` and `nibbles`.
        unsafe {
            for n in (start..end).step_by(COLUMNS) {
                let mut acc = [I::F32::splat(0.0); COLUMNS];
                let mut rest = [I::P::splat(0.0); COLUMNS];
                for first in (0..groups).step_by(SEGMENT) {
                    let count = SEGMENT.min(groups - first);
                    for (c, rest) in rest.iter_mut().enumerate() {
                        let at = of.scales_at(n + c) + first;
                        widen::<I, S>(of.scales, at, count, scales[c].as_mut_ptr());
                        for g in (0..count).step_by(8) {
                            let bias = eight::<I, S>(of.biases, at + g, 8.min(count - g));
                            *rest = bias.mul_add(I::P::load(self.x.extra.add(first + g)), *rest);
                        }
                    }
                    for at in (0..count * of.group).step_by(8 * l) {
                        let word = first * of.group / 8 + at / 8;
                        let block = self.x.x.add(8 * word);
                        let own = I::F32::load(block.add(6 * l));
                        for (c, acc) in acc.iter_mut().enumerate() {
                            let words = of.words.as_ptr().wrapping_add((n + c) * length + word);
                            let next = words.wrapping_add(COLUMNS * length);
                            I::F32::prefetch(next.cast());
                            let left = l.min((count * of.group - at) / 8);
                            let words = I::F32::load_words(words, left);
                            let scale = scales[c].as_ptr().add(at >> of.shift);
                            let scale = I::F32::spread(scale, of.group / 8).mul(own);
                            let dots = I::F32::nibble_dots(words, block.cast());
                            *acc = scale.mul_add(dots, *acc);
                        }
                    }
                }
                for (rest, acc) in rest.iter_mut().zip(acc) {
                    let mut lanes = [0f32; 16];
                    acc.store(lanes.as_mut_ptr());
                    for i in (0..l).step_by(8) {
                        *rest = rest.add(I::P::load(lanes.as_ptr().add(i)));
                    }
                }
                let mut sum = I::P::splat(0.0);
                for part in I::P::transpose(rest) {
                    sum = sum.add(part);
                }
                sum.store(self.y.add(n - start));
            }
            let left = Dot { columns: end..self.columns.end, y: self.y.add(whole), ..*self };
            left.rows::<I, 1>(0);
        }
    }

    /// Four bits against x in fixed point: exact integer sums of each word's eight products.
    #[inline(always)]
    unsafe fn nibbles<I: Isa, const M: usize>(
        &self,
        n: usize,
        part: Range<usize>,
        scales: *const f32,
        x: *const f32,
        acc: &mut [[I::F32; 2]; M],
    ) {
        let (of, l) = (self.of, I::F32::L);
        let repeat = of.group / 8;
        // SAFETY: blocks are inside x, and words inside the row.
        unsafe {
            let row = of.words.as_ptr().add(n * (of.extent[1] / 8));
            for at in part.clone().step_by(8 * l) {
                let words = row.add(at / 8);
                I::F32::prefetch(words.cast::<u8>().wrapping_add(AHEAD));
                let words = I::F32::load_words(words, l.min((part.end - at) / 8));
                let scale = I::F32::spread(scales.add((at - part.start) >> of.shift), repeat);
                for (m, acc) in acc.iter_mut().enumerate() {
                    let block = x.add(m * self.x.ld + at);
                    let dots = I::F32::nibble_dots(words, block.cast());
                    let scale = scale.mul(I::F32::load(block.add(6 * l)));
                    acc[0] = scale.mul_add(dots, acc[0]);
                }
            }
        }
    }

    /// Eight bits, in their own order. A group has V vectors, or any number if V is 0.
    #[inline(always)]
    unsafe fn bytes<I: Isa, const M: usize, const V: usize>(
        &self,
        n: usize,
        part: Range<usize>,
        scales: *const f32,
        x: *const f32,
        acc: &mut [[I::F32; 2]; M],
    ) {
        let (of, l) = (self.of, I::F32::L);
        // SAFETY: groups are whole vectors inside the row.
        unsafe {
            let row = of.words.as_ptr().cast::<u8>().add(n * of.extent[1]);
            let groups = part.len() >> of.shift;
            let vectors = if V > 0 { V } else { of.group / l };
            macro_rules! group {
                ($g:expr, $to:literal) => {
                    let at = part.start + $g * of.group;
                    let mut d = [I::F32::splat(0.0); M];
                    for i in 0..vectors {
                        let i = at + l * i;
                        if i % 64 == 0 {
                            I::F32::prefetch(row.wrapping_add(i + AHEAD));
                        }
                        let q = I::F32::load_u8(row.add(i));
                        for (m, d) in d.iter_mut().enumerate() {
                            *d = q.mul_add(I::F32::load(x.add(m * self.x.ld + i)), *d);
                        }
                    }
                    let scale = I::F32::splat(*scales.add($g));
                    for (acc, d) in acc.iter_mut().zip(d) {
                        acc[$to] = scale.mul_add(d, acc[$to]);
                    }
                };
            }
            for g in (0..groups / 2 * 2).step_by(2) {
                group!(g, 0);
                group!(g + 1, 1);
            }
            if groups % 2 == 1 {
                group!(groups - 1, 0);
            }
        }
    }

    /// Any bits, eight values at a time.
    #[inline(always)]
    unsafe fn units<I: Isa>(
        &self,
        n: usize,
        part: Range<usize>,
        scales: *const f32,
        x: *const f32,
    ) -> f32 {
        let of = self.of;
        // SAFETY: groups are whole units inside the row.
        unsafe {
            let mut acc = [I::P::splat(0.0); 2];
            // Groups have an even number of units, which are summed in two chains.
            for g in 0..part.len() >> of.shift {
                let at = part.start + g * of.group;
                let mut d = [I::P::splat(0.0); 2];
                for i in (at..at + of.group).step_by(16) {
                    let q = I::P::unpack(of.stream(n, i), of.bits);
                    d[0] = q.mul_add(I::P::load(x.add(i)), d[0]);
                    let q = I::P::unpack(of.stream(n, i + 8), of.bits);
                    d[1] = q.mul_add(I::P::load(x.add(i + 8)), d[1]);
                }
                let scale = I::P::splat(*scales.add(g));
                acc[0] = scale.mul_add(d[0], acc[0]);
                acc[1] = scale.mul_add(d[1], acc[1]);
            }
            acc[0].add(acc[1]).sum()
        }
    }
}
