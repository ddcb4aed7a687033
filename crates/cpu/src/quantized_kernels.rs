//! Affine quantised weights: `w = scale * q + bias` with one scale and bias for each group.
//!
//! The values q are a little-endian stream of bits along the packed axis, the first in the lowest
//! bits; every row of the stream is whole words. Eight values are always whole bytes, which is
//! the unit of everything here.

use std::ops::Range;

use crate::elem::Elem;
use crate::gemv::Vectors;
use crate::isa::{IsaKind, Job, dispatch};
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};
use crate::operand::Operand;
use crate::pool;

/// Groups whose scales are widened at once: so many groups of the least size are whole blocks of every
/// kernel.
const SEGMENT: usize = 256;
/// Scales that a vector may read past the last one.
const SLACK: usize = 16;

/// A quantised weight matrix as the right operand of a product.
pub struct Affine<'a, S> {
    words: &'a [u32],
    scales: &'a [S],
    biases: &'a [S],
    extent: [usize; 2],
    bits: usize,
    group: usize,
    /// The logarithm of `group`.
    shift: u32,
    along_k: bool,
}

/// Panics unless the packing is one that exists and the slices hold `rows` rows of `len` values.
fn check(
    words: usize,
    scales: usize,
    biases: usize,
    rows: usize,
    len: usize,
    bits: usize,
    group: usize,
) {
    assert!(matches!(bits, 2..=6 | 8), "quantised: {bits} bits");
    assert!(matches!(group, 16 | 32 | 64 | 128), "quantised: groups of {group}");
    assert!(
        len.is_multiple_of(group) && (len * bits).is_multiple_of(32),
        "quantised: rows of {len}"
    );
    let need = [rows * (len * bits / 32), rows * (len / group), rows * (len / group)];
    let have = [words, scales, biases];
    assert!(need == have, "quantised: words, scales and biases {have:?}, expected {need:?}");
}

impl<'a, S: Elem<Acc = f32>> Affine<'a, S> {
    /// Weights of extent (n, k), as `Operand::extent`.
    ///
    /// # Shapes
    /// With `along_k` (y = x W^T): words (n, k * bits / 32), scales and biases (n, k / group);
    /// otherwise (y = x W): words (k, n * bits / 32), scales and biases (k, n / group).
    ///
    /// # Panics
    /// If `bits` is not 2, 3, 4, 5, 6 or 8, `group` not 16, 32, 64 or 128, the packed axis not a
    /// multiple of the group or its rows not whole words, or a slice has another length.
    pub fn new(
        words: &'a [u32],
        scales: &'a [S],
        biases: &'a [S],
        extent: [usize; 2],
        bits: usize,
        group: usize,
        along_k: bool,
    ) -> Affine<'a, S> {
        let [n, k] = extent;
        let (rows, len) = if along_k { (n, k) } else { (k, n) };
        check(words.len(), scales.len(), biases.len(), rows, len, bits, group);
        let shift = group.trailing_zeros();
        Affine { words, scales, biases, extent, bits, group, shift, along_k }
    }

    /// The length of a packed row.
    fn len(&self) -> usize {
        if self.along_k { self.extent[1] } else { self.extent[0] }
    }

    /// The eight values of a row from `start` on, a multiple of 8, at the low end of the result.
    ///
    /// # Safety
    /// They lie inside the row.
    #[inline(always)]
    unsafe fn stream(&self, row: usize, start: usize) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(self.words);
        let at = row * (self.len() * self.bits / 8) + start / 8 * self.bits;
        // SAFETY: the caller's promise; at the end of the words the last bytes are copied.
        unsafe {
            if at + 8 <= bytes.len() {
                return u64::from_le_bytes(bytes.as_ptr().add(at).cast::<[u8; 8]>().read());
            }
        }
        tail(&bytes[at..])
    }

    /// Where the scales of a row begin.
    #[inline(always)]
    fn scales_at(&self, row: usize) -> usize {
        row * (self.len() >> self.shift)
    }

    #[inline(always)]
    fn value(&self, row: usize, i: usize) -> f32 {
        // SAFETY: the callers stay inside the matrix.
        let q =
            unsafe { self.stream(row, i / 8 * 8) } >> (i % 8 * self.bits) & ((1 << self.bits) - 1);
        let g = self.scales_at(row) + (i >> self.shift);
        self.scales[g].widen() * q as f32 + self.biases[g].widen()
    }
}

/// Fewer than eight bytes as a number.
#[cold]
fn tail(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |s, b| s << 8 | u64::from(*b))
}

/// Widens `src[at..at + n]` for n <= 8, with zeros after them.
///
/// # Safety
/// The scales are inside `src`.
#[inline(always)]
unsafe fn eight<I: Isa, S: Elem<Acc = f32>>(src: &[S], at: usize, n: usize) -> I::P {
    // SAFETY: the caller's promise; what is read past n is inside the slice.
    unsafe {
        let from = src.as_ptr().add(at);
        if at + 8 <= src.len() {
            let v = S::load8::<I>(from);
            return if n < 8 { v.first(n) } else { v };
        }
        let mut last = [0f32; 8];
        for (i, v) in last.iter_mut().enumerate().take(n) {
            *v = (*from.add(i)).widen();
        }
        I::P::load(last.as_ptr())
    }
}

/// Widens `src[at..at + n]` into `dst` and puts zeros after them, up to `SLACK` or a little less.
/// Stores are of eight from multiples of 8, so that no later load spans two of them and waits.
///
/// # Safety
/// The scales are inside `src`, and `dst` has room for `n + SLACK`.
#[inline(always)]
unsafe fn widen<I: Isa, S: Elem<Acc = f32>>(src: &[S], at: usize, n: usize, dst: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..n).step_by(8) {
            eight::<I, S>(src, at + i, 8.min(n - i)).store(dst.add(i));
        }
        I::P::splat(0.0).store(dst.add(n.next_multiple_of(8)));
    }
}

// SAFETY: `Pack` writes every element of the panel, and reads inside the slices of `check`.
unsafe impl<S: Elem<Acc = f32>> Operand<f32> for Affine<'_, S> {
    fn extent(&self) -> [usize; 2] {
        self.extent
    }

    fn batches(&self) -> Option<usize> {
        None
    }

    unsafe fn pack(
        &self,
        kind: IsaKind,
        _: usize,
        [i0, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { dispatch(kind, Pack { of: self, i0, w, width, k0, kc, dst }) }
    }

    fn gemv_columns(&self, m: usize) -> Option<usize> {
        let k = self.extent[1];
        if self.along_k {
            (m <= 6).then(|| (1usize << 16).div_ceil(k.max(1)).next_multiple_of(64))
        } else {
            (m <= 2).then(|| (1usize << 16).div_ceil(k.max(1)).next_multiple_of(512))
        }
    }

    unsafe fn prepare(&self, kind: IsaKind, x: Vectors<f32>) {
        // SAFETY: the caller's promise.
        unsafe { dispatch(kind, Prepare { of: self, x }) }
    }

    unsafe fn gemv(
        &self,
        kind: IsaKind,
        _: usize,
        x: Vectors<f32>,
        columns: Range<usize>,
        y: *mut f32,
        ld: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.along_k {
                dispatch(kind, Dot { of: self, x, columns, y, ld });
            } else {
                dispatch(kind, Sum { of: self, x, columns, y, ld });
            }
        }
    }
}

/// The packing of one panel.
struct Pack<'a, 'b, S> {
    of: &'a Affine<'b, S>,
    i0: usize,
    w: usize,
    width: usize,
    k0: usize,
    kc: usize,
    dst: *mut f32,
}

impl<S: Elem<Acc = f32>> Job for Pack<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Pack { of, i0, w, width, k0, kc, dst } = self;
        // The start along the packed axis and the lengths must be whole units for the fast ways.
        let whole = if of.along_k {
            k0.is_multiple_of(8) && kc.is_multiple_of(8)
        } else {
            i0.is_multiple_of(8) && w.is_multiple_of(8) && width.is_multiple_of(8)
        };
        // SAFETY: all indices lie inside the operand and the panel; a group of fewer than eight columns
        // spills into the next k, which is written after it, or into the eight spare elements.
        unsafe {
            if !whole {
                for p in 0..kc {
                    for i in 0..width {
                        let (row, at) =
                            if of.along_k { (i0 + i, k0 + p) } else { (k0 + p, i0 + i) };
                        let v = if i < w { of.value(row, at) } else { 0.0 };
                        *dst.add(p * width + i) = v;
                    }
                }
                return;
            }
            if of.along_k {
                let mut p = 0;
                while p < kc {
                    for g in (0..width).step_by(8).rev() {
                        let mut rows = [I::P::splat(0.0); 8];
                        for (i, v) in rows.iter_mut().enumerate().take(w.saturating_sub(g)) {
                            let row = i0 + g + i;
                            let at = of.scales_at(row) + ((k0 + p) >> of.shift);
                            let scale = I::P::splat(of.scales.get_unchecked(at).widen());
                            let bias = I::P::splat(of.biases.get_unchecked(at).widen());
                            let q = I::P::unpack(of.stream(row, k0 + p), of.bits);
                            *v = q.mul_add(scale, bias);
                        }
                        let columns = I::P::transpose(rows);
                        for (i, column) in columns.into_iter().enumerate() {
                            column.store(dst.add((p + i) * width + g));
                        }
                    }
                    p += 8;
                }
                return;
            }
            for p in 0..kc {
                let at = of.scales_at(k0 + p);
                for g in (0..width).step_by(8) {
                    let mut v = I::P::splat(0.0);
                    if g < w {
                        let at = at + ((i0 + g) >> of.shift);
                        let scale = I::P::splat(of.scales.get_unchecked(at).widen());
                        let bias = I::P::splat(of.biases.get_unchecked(at).widen());
                        let q = I::P::unpack(of.stream(k0 + p, i0 + g), of.bits);
                        v = q.mul_add(scale, bias);
                    }
                    v.store(dst.add(p * width + g));
                }
            }
        }
    }
}

/// What every column needs of x: each group's sum, by which the group's bias is multiplied, and for
/// four bits another order.
///
/// A block is 8 L values in the words of one vector. Nibble j of lane i has index 8 i + j, so that x
/// becomes `x'[8 L b + L j + i] = x[8 L b + 8 i + j]`. A nibble is masked where it stands and so
/// counts 16^j times too much; the power of two is divided out of x' here, which is exact short of
/// subnormal numbers. The last nibble is shifted down.
struct Prepare<'a, 'b, S> {
    of: &'a Affine<'b, S>,
    x: Vectors<f32>,
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
                if of.bits != 4 {
                    continue;
                }
                let l = I::F32::L;
                for b in (0..x.ld).step_by(8 * l) {
                    let mut block = [0f32; 128];
                    std::ptr::copy_nonoverlapping(row.add(b), block.as_mut_ptr(), 8 * l);
                    let share = |j: usize| if j < 7 { 1.0 / (1u32 << (4 * j)) as f32 } else { 1.0 };
                    if l < 8 {
                        for (i, v) in block.iter().enumerate().take(8 * l) {
                            *row.add(b + l * (i % 8) + i / 8) = v * share(i % 8);
                        }
                        continue;
                    }
                    for half in (0..l).step_by(8) {
                        let mut rows = [I::P::splat(0.0); 8];
                        for (i, v) in rows.iter_mut().enumerate() {
                            *v = I::P::load(block.as_ptr().add(8 * (half + i)));
                        }
                        for (j, v) in I::P::transpose(rows).into_iter().enumerate() {
                            v.mul(I::P::splat(share(j))).store(row.add(b + l * j + half));
                        }
                    }
                }
            }
        }
    }
}

/// y = x W^T for some columns.
struct Dot<'a, 'b, S> {
    of: &'a Affine<'b, S>,
    x: Vectors<f32>,
    columns: Range<usize>,
    y: *mut f32,
    ld: usize,
}

impl<S: Elem<Acc = f32>> Job for Dot<'_, '_, S> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let mut r = 0;
        // SAFETY: rows r..r + M are below m.
        unsafe {
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

    /// Four bits: eight values take a mask, a conversion and a multiply-add for each lane; several
    /// short chains hide the latency of the multiply-add.
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
            let mut at = part.start;
            while at < part.end {
                let words = I::F32::load_words(row.add(at / 8), l.min((part.end - at) / 8));
                let scale = I::F32::spread(scales.add((at - part.start) >> of.shift), repeat);
                let mut d = [[I::F32::splat(0.0); 4]; M];
                for j in 0..8 {
                    let q = I::F32::nibble(words, j);
                    for (m, d) in d.iter_mut().enumerate() {
                        let x = I::F32::load(x.add(m * self.x.ld + at + l * j));
                        d[j % 4] = if j < 4 { q.mul(x) } else { q.mul_add(x, d[j % 4]) };
                    }
                }
                for (acc, d) in acc.iter_mut().zip(d) {
                    acc[0] = scale.mul_add(d[0].add(d[1]), acc[0]);
                    acc[1] = scale.mul_add(d[2].add(d[3]), acc[1]);
                }
                at += 8 * l;
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

/// y = x W for some columns, eight rows of W at a time.
struct Sum<'a, 'b, S> {
    of: &'a Affine<'b, S>,
    x: Vectors<f32>,
    columns: Range<usize>,
    y: *mut f32,
    ld: usize,
}

/// Columns of one pass of `Sum`; a multiple of every block.
const PASS: usize = 512;
/// Rows of W at a time.
const ROWS: usize = 8;

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

/// `out = scale * q + bias`, rows of `len` values. The product is rounded before the sum.
///
/// # Panics
/// As `Affine::new`, or if `out` has not as many elements as there are values.
pub fn dequantize<S: Elem<Acc = f32>, E: Elem<Acc = f32>>(
    words: &[u32],
    scales: &[S],
    biases: &[S],
    len: usize,
    bits: usize,
    group: usize,
    out: &mut [E],
) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / len.max(1);
    assert!(rows * len == out.len(), "dequantize: {} values in rows of {len}", out.len());
    let of = Affine::new(words, scales, biases, [rows, len], bits, group, true);
    let data = pool::SharedPtr::new(out.as_mut_ptr());
    // SAFETY: each task has rows of its own, and the set is this processor's.
    pool::parallel_for(rows, (1usize << 15).div_ceil(len), |rows| unsafe {
        let out = data.get();
        dispatch(crate::isa::isa(), Dequantize { of: &of, rows, out });
    });
}

struct Dequantize<'a, 'b, S, E> {
    of: &'a Affine<'b, S>,
    rows: Range<usize>,
    out: *mut E,
}

impl<S: Elem<Acc = f32>, E: Elem<Acc = f32>> Job for Dequantize<'_, '_, S, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Dequantize { of, rows, out } = self;
        let len = of.extent[1];
        for row in rows {
            for i in (0..len).step_by(8) {
                let g = of.scales_at(row) + (i >> of.shift);
                // SAFETY: eight values inside the row.
                unsafe {
                    let q = I::P::unpack(of.stream(row, i), of.bits);
                    let scale = I::P::splat(of.scales.get_unchecked(g).widen());
                    let bias = I::P::splat(of.biases.get_unchecked(g).widen());
                    let mut eight = [0f32; 8];
                    q.mul(scale).add(bias).store(eight.as_mut_ptr());
                    E::store::<I>(eight.as_ptr(), 8, out.add(row * len + i));
                }
            }
        }
    }
}

/// Quantises rows of `len` values: in each group the end of larger magnitude is met exactly, and zero
/// is one of the levels where the scale allows it. All arithmetic is in `f32`.
///
/// With `s = max((max - min) / (2^bits - 1), 1e-7)`, negated where |min| <= |max| so that level 0 is
/// the end of larger magnitude `edge`, and `q0 = round(edge / s)`: scale `edge / q0` and bias `edge`, or
/// `s` and 0 where q0 is 0; `q = round((w - bias) / scale)`, clamped.
///
/// # Panics
/// As `Affine::new`, for words, scales and biases of the rows of `w`.
pub fn quantize<E: Elem<Acc = f32>>(
    w: &[E],
    len: usize,
    bits: usize,
    group: usize,
    words: &mut [u32],
    scales: &mut [E],
    biases: &mut [E],
) {
    if w.is_empty() {
        return;
    }
    let rows = w.len() / len.max(1);
    assert!(rows * len == w.len(), "quantize: {} values in rows of {len}", w.len());
    check(words.len(), scales.len(), biases.len(), rows, len, bits, group);
    let (groups, row_words) = (len / group, len * bits / 32);
    let words = pool::SharedPtr::new(words.as_mut_ptr());
    let scales = pool::SharedPtr::new(scales.as_mut_ptr());
    let biases = pool::SharedPtr::new(biases.as_mut_ptr());
    pool::parallel_for(rows, (1usize << 13).div_ceil(len), |rows| {
        for row in rows {
            // SAFETY: each row has parts of its own, inside the lengths of `check`.
            let (words, scales, biases) = unsafe {
                (
                    std::slice::from_raw_parts_mut(words.get().add(row * row_words), row_words),
                    std::slice::from_raw_parts_mut(scales.get().add(row * groups), groups),
                    std::slice::from_raw_parts_mut(biases.get().add(row * groups), groups),
                )
            };
            quantize_row(&w[row * len..][..len], bits, group, words, scales, biases);
        }
    });
}

fn quantize_row<E: Elem<Acc = f32>>(
    w: &[E],
    bits: usize,
    group: usize,
    words: &mut [u32],
    scales: &mut [E],
    biases: &mut [E],
) {
    let levels = ((1u32 << bits) - 1) as f32;
    let (mut stream, mut filled, mut next) = (0u64, 0, 0);
    for (g, values) in w.chunks_exact(group).enumerate() {
        let min = values.iter().fold(f32::INFINITY, |m, v| m.min(v.widen()));
        let max = values.iter().fold(f32::NEG_INFINITY, |m, v| m.max(v.widen()));
        let negative = min.abs() > max.abs();
        let width = ((max - min) / levels).max(1e-7);
        let mut scale = if negative { width } else { -width };
        let edge = if negative { min } else { max };
        let q0 = (edge / scale).round_ties_even();
        let mut bias = 0.0;
        if q0 != 0.0 {
            scale = edge / q0;
            bias = edge;
        }
        scales[g] = E::narrow(scale);
        biases[g] = E::narrow(bias);
        for v in values {
            let q = ((v.widen() - bias) / scale).round_ties_even().clamp(0.0, levels);
            stream |= (q as u64) << filled;
            filled += bits;
            if filled >= 32 {
                words[next] = stream as u32;
                next += 1;
                stream >>= 32;
                filled -= 32;
            }
        }
    }
}
