//! Packing matrices and unpacking them.

use std::ops::Range;

use super::affine::{Affine, check};
use crate::elem::Elem;
use crate::isa::{Job, dispatch};
use crate::lanes::{Eight, F32Lanes, Isa, Lanes};
use crate::pool;

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
