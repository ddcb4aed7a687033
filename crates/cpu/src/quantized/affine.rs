//! Affine quantised weights: `w = scale * q + bias` with one scale and bias for each group.
//!
//! The values q are a little-endian stream of bits along the packed axis, the first in the lowest
//! bits; every row of the stream is whole words. Eight values are always whole bytes, which is
//! the unit of everything here.

use std::ops::Range;

use super::dot::{Dot, Prepare};
use super::sum::{self, Sum};
#[cfg(target_arch = "x86_64")]
use super::tile::Tile;
use crate::elem::Elem;
use crate::gemm::MOST_NR;
use crate::gemv::{Cut, Vectors};
use crate::isa::{IsaKind, Job, dispatch, isa};
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};
use crate::operand::Operand;
use crate::transpose::transpose;

/// Scales that a vector may read past the last one.
pub(super) const SLACK: usize = 16;

/// The least number of rows of x for which transposing the words pays.
const FEWEST: usize = 4;
/// The most rows for which integers pay with groups of fewer than 64.
const MOST_OF_SHORT: usize = 64;

/// A quantised weight matrix as the right operand of a product.
pub struct Affine<'a, S> {
    pub(super) words: &'a [u32],
    pub(super) scales: &'a [S],
    pub(super) biases: &'a [S],
    pub(super) extent: [usize; 2],
    pub(super) bits: usize,
    pub(super) group: usize,
    /// The logarithm of `group`.
    pub(super) shift: u32,
    pub(super) along_k: bool,
}

/// Panics unless the packing is one that exists and the slices hold `rows` rows of `len` values.
pub(super) fn check(
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

    /// True iff integers are the faster way for m rows of x: sums of short groups are scaled so
    /// often that for many rows it pays to unpack the weights once.
    fn has_tile(&self, kind: IsaKind, m: usize) -> bool {
        let fast = self.group >= 64 || m <= MOST_OF_SHORT;
        self.has_blocks(16) && kind == IsaKind::Avx512 && fast
    }

    /// True iff rows of x are multiplied as blocks in fixed point, by vectors of `lanes` words.
    pub(super) fn has_blocks(&self, lanes: usize) -> bool {
        self.along_k && self.bits == 4 && self.extent[1] >= 8 * lanes
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
    pub(super) unsafe fn stream(&self, row: usize, start: usize) -> u64 {
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
    pub(super) fn scales_at(&self, row: usize) -> usize {
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
pub(super) unsafe fn eight<I: Isa, S: Elem<Acc = f32>>(src: &[S], at: usize, n: usize) -> I::P {
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
pub(super) unsafe fn widen<I: Isa, S: Elem<Acc = f32>>(
    src: &[S],
    at: usize,
    n: usize,
    dst: *mut f32,
) {
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

    fn gemv_cut(&self, m: usize) -> Option<Cut> {
        let [n, k] = self.extent;
        if !self.along_k {
            return (m <= 8).then(|| sum::cut(self.extent));
        }
        // A dozen tasks of a small matrix, so that threads share it evenly.
        let most = (1usize << 16).div_ceil(k.max(1)).next_multiple_of(64);
        let even = n.div_ceil(16).next_multiple_of(16);
        (m <= 6 || self.has_tile(isa(), m)).then(|| Cut::columns(most.min(even)))
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
        [columns, ks]: [Range<usize>; 2],
        y: *mut f32,
        ld: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if x.m >= FEWEST && self.has_tile(kind, x.m) {
                return Tile { of: self, x, columns, y, ld }.run();
            }
            if self.along_k {
                dispatch(kind, Dot { of: self, x, columns, y, ld });
            } else {
                dispatch(kind, Sum { of: self, x, columns, ks, y, ld });
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
            if of.bits == 4 && width.is_multiple_of(I::F32::L) && width <= MOST_NR {
                return if of.along_k { self.across::<I>() } else { self.along::<I>() };
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

impl<S: Elem<Acc = f32>> Pack<'_, '_, S> {
    /// Four bits along k: words are transposed, so that a lane is a column, and nibble by nibble made
    /// into values.
    ///
    /// # Safety
    /// As `run`, for whole units and a width of whole vectors.
    #[inline(always)]
    unsafe fn across<I: Isa>(self) {
        let Pack { of, i0, w, width, k0, kc, dst } = self;
        const DEPTH: usize = 16;
        let (length, l) = (of.extent[1] / 8, I::F32::L);
        let mut words = [0u32; DEPTH * MOST_NR];
        let mut known = usize::MAX;
        let mut scales = [[0f32; MOST_NR]; 8];
        let mut biases = [0f32; MOST_NR];
        for first in (0..kc / 8).step_by(DEPTH) {
            let depth = DEPTH.min(kc / 8 - first);
            // SAFETY: the words lie inside their rows, and the buffer holds them.
            unsafe {
                let from = of.words.as_ptr().add(i0 * length + k0 / 8 + first);
                transpose([w, depth], from, length as isize, words.as_mut_ptr(), width as isize);
            }
            for t in 0..depth {
                let p = (first + t) * 8;
                let group = (k0 + p) >> of.shift;
                if group != known {
                    known = group;
                    for i in 0..w {
                        let at = of.scales_at(i0 + i) + group;
                        biases[i] = of.biases[at].widen();
                        let scale = of.scales[at].widen();
                        for (j, scales) in scales.iter_mut().enumerate() {
                            // `nibble` leaves all but the last where they are.
                            scales[i] =
                                if j < 7 { scale / (1u32 << (4 * j)) as f32 } else { scale };
                        }
                    }
                }
                for v in (0..width).step_by(l) {
                    // SAFETY: whole vectors of the buffers and of the panel.
                    unsafe {
                        let packed = I::F32::load_words(words.as_ptr().add(t * width + v), l);
                        let bias = I::F32::load(biases.as_ptr().add(v));
                        for (j, scales) in scales.iter().enumerate() {
                            let q = I::F32::nibble(packed, j);
                            let value = q.mul_add(I::F32::load(scales.as_ptr().add(v)), bias);
                            value.store(dst.add((p + j) * width + v));
                        }
                    }
                }
            }
        }
    }

    /// Four bits along the panel's width: a row's nibbles become bytes, and these values.
    ///
    /// # Safety
    /// As `across`.
    #[inline(always)]
    unsafe fn along<I: Isa>(self) {
        let Pack { of, i0, w, width, k0, kc, dst } = self;
        let bytes: &[u8] = bytemuck::cast_slice(of.words);
        let (length, l) = (of.extent[0] / 2, I::F32::L);
        let (mut q, mut scales, mut biases) = ([0u8; MOST_NR], [0f32; MOST_NR], [0f32; MOST_NR]);
        for p in 0..kc {
            let packed = &bytes[(k0 + p) * length + i0 / 2..][..w / 2];
            for (two, byte) in q.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
                *two = [byte & 15, byte >> 4];
            }
            let at = of.scales_at(k0 + p);
            for v in (0..w).step_by(8) {
                let at = at + ((i0 + v) >> of.shift);
                scales[v..v + 8].fill(of.scales[at].widen());
                biases[v..v + 8].fill(of.biases[at].widen());
            }
            for v in (0..width).step_by(l) {
                // SAFETY: whole vectors of the buffers and of the panel.
                unsafe {
                    let scale = I::F32::load(scales.as_ptr().add(v));
                    let value = I::F32::load_u8(q.as_ptr().add(v));
                    let bias = I::F32::load(biases.as_ptr().add(v));
                    value.mul_add(scale, bias).store(dst.add(p * width + v));
                }
            }
        }
    }
}
