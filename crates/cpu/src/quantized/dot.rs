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
/// four bits the blocks of [`fix`].
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
        let (k, group) = (of.extent[1], of.group);
        // SAFETY: the vectors have `ld` elements, a multiple of every block, and at least k.
        unsafe {
            for r in 0..x.m {
                let row = x.x.add(r * x.ld);
                let sums = x.extra.add(r * x.ld / 16);
                std::slice::from_raw_parts_mut(sums, x.ld / 16).fill(0.0);
                for g in 0..k / group {
                    let mut sum = I::P::splat(0.0);
                    for i in (0..group).step_by(8) {
                        sum = sum.add(I::P::load(row.add(g * group + i)));
                    }
                    *sums.add(g) = sum.sum();
                }
                if !of.has_blocks(I::F32::L) {
                    continue;
                }
                // Whole groups and whole blocks.
                let unit = group.max(8 * I::F32::L);
                let whole = k / unit * unit;
                // The last one first, since it is made of values of the one before.
                if whole < k {
                    let (from, sums) = (k - unit, sums.add((k - unit) / group));
                    fix::<I::F32>(row.add(from), row.add(whole), [unit, group], whole - from, sums);
                }
                for at in (0..whole).step_by(unit) {
                    let to = row.add(at);
                    fix::<I::F32>(to, to, [unit, group], 0, sums.add(at / group));
                }
            }
        }
    }
}

/// Bytes ahead of the packed values in use that are asked for: rows are short, and the processor's own
/// prefetching starts anew with every page.
const AHEAD: usize = 2048;

/// The largest magnitude in fixed point: its three signed digits to base 256 are 127, 0 and 0.
const LEVELS: f32 = (127 << 16) as f32;

/// Writes `unit` values of x, which are whole groups and at most `PAD`, in blocks of 8 L values in fixed
/// point, as `nibble_dots` wants them; of the first `skip` nothing counts.
///
/// Each group has a scale of its own, its largest magnitude over `LEVELS`, so that a value is off by
/// 2^-24 of the group's largest one at most: what `f32` does to that one. Groups whose values are all below
/// 1e-30 count as zeros, and one with a value that is not finite makes all sums NaN. A block becomes
/// three digits of 8 L bytes each; for each word the scale of its group; and for each word the sum of
/// its group if it is the first of it, else zero.
///
/// # Safety
/// `unit` values are readable at `from` and writable at `to`, and their groups have sums; the set is
/// available.
#[inline(always)]
unsafe fn fix<V: F32Lanes>(
    from: *const f32,
    to: *mut f32,
    [unit, group]: [usize; 2],
    skip: usize,
    sums: *const f32,
) {
    let (mut values, mut levels) = ([0f32; PAD], [0u32; PAD]);
    let (mut scales, mut firsts) = ([0f32; PAD / 8], [0f32; PAD / 8]);
    // SAFETY: the caller's promise.
    unsafe { from.copy_to_nonoverlapping(values.as_mut_ptr(), unit) };
    values[..skip].fill(0.0);
    let groups = values[..unit].chunks_exact(group).zip(levels.chunks_exact_mut(group));
    for (g, (values, levels)) in groups.enumerate() {
        let (mut most, mut poison) = ([0f32; 16], [0f32; 16]);
        for values in values.as_chunks::<16>().0 {
            for i in 0..16 {
                let size = values[i].abs();
                most[i] = if size > most[i] { size } else { most[i] };
                poison[i] += values[i] * 0.0;
            }
        }
        for n in [8, 4, 2, 1] {
            for i in 0..n {
                most[i] = if most[i + n] > most[i] { most[i + n] } else { most[i] };
                poison[i] += poison[i + n];
            }
        }
        let inverse = if most[0] < 1e-30 { 0.0 } else { LEVELS / most[0] };
        for (level, value) in levels.iter_mut().zip(values) {
            // The largest may come out a little above `LEVELS`; what is not finite is poisoned anyway.
            let value = (value * inverse).round_ties_even();
            let value = if value.abs() < 2.0 * LEVELS { value } else { 0.0 };
            // SAFETY: the number is far from the ends of the type.
            let value = unsafe { value.to_int_unchecked::<i32>() };
            // Half a digit more in each place, so that bytes are digits but for their top bits.
            *level = value.wrapping_add(0x0080_8080) as u32 ^ 0x0080_8080;
        }
        let word = g * group / 8;
        scales[word..word + group / 8].fill(most[0] / LEVELS + poison[0]);
        if g * group >= skip {
            // SAFETY: the caller's promise.
            firsts[word] = unsafe { *sums.add(g) };
        }
    }
    let size = 8 * V::L;
    for (block, levels) in levels[..unit].chunks_exact(size).enumerate() {
        // SAFETY: a block's bytes, scales and sums take its 32 L bytes.
        unsafe {
            let to = to.add(block * size);
            let bytes = std::slice::from_raw_parts_mut(to.cast::<u8>(), 3 * size);
            for (digit, bytes) in bytes.chunks_exact_mut(size).enumerate() {
                let (even, odd) = bytes.split_at_mut(size / 2);
                let shift = 16 - 8 * digit;
                let pairs = levels.as_chunks::<2>().0;
                for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs) {
                    *even = (pair[0] >> shift) as u8;
                    *odd = (pair[1] >> shift) as u8;
                }
            }
            let (scales, firsts) = (scales.as_ptr(), firsts.as_ptr());
            to.add(6 * V::L).copy_from_nonoverlapping(scales.add(block * V::L), V::L);
            to.add(7 * V::L).copy_from_nonoverlapping(firsts.add(block * V::L), V::L);
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
        // SAFETY: rows r..r + M are below m.
        unsafe {
            if self.of.has_blocks(I::F32::L) {
                // The common groups are known when the kernel is compiled.
                return match self.of.group {
                    32 => self.by_blocks::<I, 4>(),
                    64 => self.by_blocks::<I, 8>(),
                    _ => self.by_blocks::<I, 0>(),
                };
            }
            let mut r = 0;
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

    /// Four bits, by blocks of x. A scale is that of `REPEAT` words, or of a group's if that is 0.
    #[inline(always)]
    unsafe fn by_blocks<I: Isa, const REPEAT: usize>(&self) {
        let mut r = 0;
        // SAFETY: rows r..r + M are below m.
        unsafe {
            while r < self.x.m {
                r += match self.x.m - r {
                    4.. => self.all_columns::<I, REPEAT, 4, 2>(r),
                    2.. => self.all_columns::<I, REPEAT, 2, 4>(r),
                    _ => self.all_columns::<I, REPEAT, 1, 8>(r),
                };
            }
        }
    }

    /// M rows of x from `r` on against all columns, C at a time. Returns M.
    #[inline(always)]
    unsafe fn all_columns<I: Isa, const REPEAT: usize, const M: usize, const C: usize>(
        &self,
        r: usize,
    ) -> usize {
        let Range { start, end } = self.columns;
        let whole = start + (end - start) / C * C;
        // SAFETY: all columns are the caller's.
        unsafe {
            for n in (start..whole).step_by(C) {
                self.block_columns::<I, REPEAT, M, C>(r, n);
            }
            for n in whole..end {
                self.block_columns::<I, REPEAT, M, 1>(r, n);
            }
        }
        M
    }

    /// M rows of x by C columns, so that a block of x and a column's words are loaded once for all.
    #[inline(always)]
    unsafe fn block_columns<I: Isa, const REPEAT: usize, const M: usize, const C: usize>(
        &self,
        r: usize,
        n: usize,
    ) {
        let (of, l) = (self.of, I::F32::L);
        let (length, groups) = (of.extent[1] / 8, of.extent[1] >> of.shift);
        let repeat = if REPEAT > 0 { REPEAT } else { of.group / 8 };
        // SAFETY: there are L words from `word` on, with all their groups; the last block of x has
        // zeros for those that the one before had too. Prefetching needs no readable address.
        unsafe {
            let mut acc = [[I::F32::splat(0.0); C]; M];
            for block in 0..length.div_ceil(l) {
                let word = (block * l).min(length - l);
                let x = self.x.x.add(r * self.x.ld + block * 8 * l);
                for c in 0..C {
                    let words = of.words.as_ptr().add((n + c) * length + word);
                    I::F32::prefetch(words.wrapping_add(AHEAD / 4).cast());
                    let words = I::F32::load_words(words, l);
                    let group = (n + c) * groups + ((word * 8) >> of.shift);
                    let scale = S::spread::<I>(of.scales.as_ptr().add(group), repeat);
                    let bias = S::spread::<I>(of.biases.as_ptr().add(group), repeat);
                    for (m, acc) in acc.iter_mut().enumerate() {
                        let x = x.add(m * self.x.ld);
                        let scale = scale.mul(I::F32::load(x.add(6 * l)));
                        acc[c] = scale.mul_add(I::F32::nibble_dots(words, x.cast()), acc[c]);
                        acc[c] = bias.mul_add(I::F32::load(x.add(7 * l)), acc[c]);
                    }
                }
            }
            for (m, acc) in acc.iter().enumerate() {
                let y = self.y.add((r + m) * self.ld + n - self.columns.start);
                for (c, acc) in acc.iter().enumerate() {
                    *y.add(c) = acc.sum();
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
