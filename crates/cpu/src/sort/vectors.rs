//! Quicksort of 32-bit codes with AVX-512 (after Bramas, "A Novel Hybrid Quicksort Algorithm
//! Vectorized using AVX-512 on Intel Skylake", 2017).
//!
//! A vector is compared with the pivot at once, and its two parts are pressed together and written
//! to the two ends of the array. Short parts are sorted in registers by bitonic networks, whose
//! every step is a permutation, a minimum and a maximum.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_mask_loadu_epi32,
    _mm512_mask_max_epu32, _mm512_mask_storeu_epi32, _mm512_maskz_compress_epi32,
    _mm512_maskz_loadu_epi32, _mm512_max_epu32, _mm512_min_epu32, _mm512_permutexvar_epi32,
    _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512,
};
use std::hint::select_unpredictable;

/// Codes in a vector.
const LANES: usize = 16;
/// Vectors that are read together, and held from each end at first, so that both ends have room. From
/// which end the next ones are read is known only when these are cut, which takes longer than to cut
/// four.
const HELD: usize = 8;
/// Codes of the longest part that is sorted in registers.
const SHORT: usize = 16 * LANES;
/// Parts from this length on take their pivot from more samples.
const LONG: usize = 1024;

/// Sorts codes.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) unsafe fn sort(codes: &mut [u32]) {
    // Twice the depth of even halves; after that, a sort whose worst case is no worse.
    let depth = 2 * (usize::BITS - codes.len().leading_zeros());
    // SAFETY: the caller's promise.
    unsafe { sort_part(codes, depth) }
}

/// Sorts codes that may be cut `depth` times.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn sort_part(mut codes: &mut [u32], mut depth: u32) {
    // SAFETY: the caller's promise; the networks have room for these lengths.
    unsafe {
        while codes.len() > SHORT {
            if depth == 0 {
                return codes.sort_unstable();
            }
            depth -= 1;
            let (low, high) = split(codes);
            let (short, long) = if low.len() < high.len() { (low, high) } else { (high, low) };
            sort_part(short, depth);
            codes = long;
        }
        match codes.len() {
            0..2 => {}
            2..17 => in_registers::<1>(codes),
            17..33 => in_registers::<2>(codes),
            33..65 => in_registers::<4>(codes),
            65..129 => in_registers::<8>(codes),
            _ => in_registers::<16>(codes),
        }
    }
}

/// Cuts more than [`SHORT`] codes in two parts that still need sorting, none of the first above any
/// of the second. Codes that are equal to their least one are in neither.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f,popcnt")]
pub(super) unsafe fn split(codes: &mut [u32]) -> (&mut [u32], &mut [u32]) {
    // SAFETY: the caller's promise.
    unsafe {
        let pivot = pivot(codes);
        let count = partition(codes, pivot);
        if count > 0 {
            return codes.split_at_mut(count);
        }
        // The pivot is the least code: those that equal it are in their place.
        let equal = match pivot.checked_add(1) {
            Some(next) => partition(codes, next),
            None => codes.len(),
        };
        (&mut [], &mut codes[equal..])
    }
}

/// The median of samples at places that no simple pattern meets.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn pivot(codes: &[u32]) -> u32 {
    let mut samples = [0; 4 * LANES];
    let count = if codes.len() >= LONG { 4 * LANES } else { LANES };
    let mut state = codes.len() as u64;
    for sample in &mut samples[..count] {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *sample = codes[(((state >> 32) * codes.len() as u64) >> 32) as usize];
    }
    // SAFETY: the caller's promise.
    unsafe {
        if count == LANES {
            in_registers::<1>(&mut samples[..LANES]);
        } else {
            in_registers::<4>(&mut samples);
        }
    }
    samples[count / 2]
}

/// Moves the codes below the pivot to the front, and returns their number. There are more than
/// [`SHORT`].
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn partition(codes: &mut [u32], pivot: u32) -> usize {
    const STEP: usize = HELD * LANES;
    const { assert!(SHORT >= 2 * STEP) };
    let n = codes.len();
    let end = n - n % STEP;
    // Codes are written before `low` and from `high` on, and read between `from` and `to`.
    let (mut low, mut high) = (0, end);
    let p = codes.as_mut_ptr();
    let pivots = _mm512_set1_epi32(pivot as i32);
    let mut held = [[_mm512_setzero_si512(); HELD]; 2];
    let (mut from, mut to) = (STEP, end - STEP);
    let mut put = |vector: __m512i| {
        let below = _mm512_cmplt_epu32_mask(vector, pivots);
        let count = below.count_ones() as usize;
        high -= LANES - count;
        // SAFETY: as many codes were read as are written, and the side with less room was read
        // last, so that each end has room for a whole step.
        unsafe {
            store(p.add(low), count, _mm512_maskz_compress_epi32(below, vector));
            store(p.add(high), LANES - count, _mm512_maskz_compress_epi32(!below, vector));
        }
        low += count;
        (low, high)
    };
    // SAFETY: all reads are between `from` and `to` as they were.
    unsafe {
        for i in 0..HELD {
            held[0][i] = _mm512_loadu_si512(p.add(LANES * i).cast());
            held[1][i] = _mm512_loadu_si512(p.add(to + LANES * i).cast());
        }
        let mut ends = (0, end);
        while from < to {
            let front = from - ends.0 <= ends.1 - to;
            to -= if front { 0 } else { STEP };
            let at = select_unpredictable(front, from, to);
            from += if front { STEP } else { 0 };
            let vectors: [__m512i; HELD] =
                std::array::from_fn(|i| _mm512_loadu_si512(p.add(at + LANES * i).cast()));
            for vector in vectors {
                ends = put(vector);
            }
        }
    }
    for vector in held.into_iter().flatten() {
        put(vector);
    }
    // The last codes: those below change places with the first that are not.
    for at in (end..n).step_by(LANES) {
        let count = LANES.min(n - at);
        // SAFETY: `count` codes from `at` on are cut, and `low..at` are not below the pivot.
        unsafe {
            let vector = _mm512_maskz_loadu_epi32(first(count), p.add(at).cast());
            let below = _mm512_cmplt_epu32_mask(vector, pivots) & first(count);
            let fewer = below.count_ones() as usize;
            let (moved, others) = (fewer.min(at - low), count - fewer);
            let displaced = _mm512_maskz_loadu_epi32(first(moved), p.add(low).cast());
            let rest = p.add(at + fewer);
            store(p.add(low), fewer, _mm512_maskz_compress_epi32(below, vector));
            store(rest.sub(moved), moved, displaced);
            store(rest, others, _mm512_maskz_compress_epi32(!below & first(count), vector));
            low += fewer;
        }
    }
    low
}

/// The mask of the first `count` lanes.
#[inline]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// Writes the first `count` lanes.
///
/// # Safety
/// They fit behind `to`, and the processor has AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store(to: *mut u32, count: usize, vector: __m512i) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_mask_storeu_epi32(to.cast(), first(count), vector) }
}

/// Sorts at most N vectors of codes; N is a power of two.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn in_registers<const N: usize>(codes: &mut [u32]) {
    let n = codes.len();
    let p = codes.as_mut_ptr();
    let mask = |i: usize| first(n.saturating_sub(LANES * i).min(LANES));
    let mut v = [_mm512_set1_epi32(-1); N];
    for (i, v) in v.iter_mut().enumerate() {
        // SAFETY: the mask leaves out what lies behind the codes, where the highest code stands.
        *v = unsafe { _mm512_mask_loadu_epi32(*v, mask(i), p.wrapping_add(LANES * i).cast()) };
        *v = sort_lanes(*v);
    }
    merge::<N, 1>(&mut v);
    merge::<N, 2>(&mut v);
    merge::<N, 4>(&mut v);
    merge::<N, 8>(&mut v);
    for (i, v) in v.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi32(p.wrapping_add(LANES * i).cast(), mask(i), v) };
    }
}

/// Merges pairs of sorted runs of RUN vectors. The length is a constant, so that all vectors stay in
/// registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn merge<const N: usize, const RUN: usize>(v: &mut [__m512i; N]) {
    for pair in v.chunks_exact_mut(2 * RUN) {
        // Two sorted runs, the second backwards, are a bitonic one.
        for i in 0..RUN {
            let j = 2 * RUN - 1 - i;
            let (a, b) = (pair[i], turn(pair[j]));
            pair[i] = _mm512_min_epu32(a, b);
            pair[j] = turn(_mm512_max_epu32(a, b));
        }
        halves::<RUN, 4>(pair);
        halves::<RUN, 2>(pair);
        halves::<RUN, 1>(pair);
        for v in pair {
            *v = merge_eights(step(*v, EIGHTS, 0xFF00));
        }
    }
}

/// Orders vectors that are APART from each other, in each half of two runs of RUN.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves<const RUN: usize, const APART: usize>(pair: &mut [__m512i]) {
    if 2 * APART > RUN {
        return;
    }
    for part in pair.chunks_exact_mut(2 * APART) {
        for i in 0..APART {
            let (a, b) = (part[i], part[i + APART]);
            part[i] = _mm512_min_epu32(a, b);
            part[i + APART] = _mm512_max_epu32(a, b);
        }
    }
}

type Places = [i32; LANES];
const ONES: Places = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14];
const TWOS: Places = [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13];
const FOURS: Places = [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11];
const EIGHTS: Places = [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7];
const TURNED_FOURS: Places = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
const TURNED_EIGHTS: Places = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];
const TURNED: Places = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

#[inline]
#[target_feature(enable = "avx512f")]
fn places([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: Places) -> __m512i {
    _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
}

/// Each lane with the one at its place: the greater of the two where `greater` has a bit.
#[inline]
#[target_feature(enable = "avx512f")]
fn step(v: __m512i, with: Places, greater: __mmask16) -> __m512i {
    let other = _mm512_permutexvar_epi32(places(with), v);
    _mm512_mask_max_epu32(_mm512_min_epu32(v, other), greater, v, other)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn turn(v: __m512i) -> __m512i {
    _mm512_permutexvar_epi32(places(TURNED), v)
}

/// Sorts the lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn sort_lanes(v: __m512i) -> __m512i {
    let v = step(v, ONES, 0xAAAA);
    let v = step(step(v, TURNED_FOURS, 0xCCCC), ONES, 0xAAAA);
    let v = step(v, TURNED_EIGHTS, 0xF0F0);
    let v = step(step(v, TWOS, 0xCCCC), ONES, 0xAAAA);
    merge_eights(step(v, TURNED, 0xFF00))
}

/// Sorts each half of the lanes, which are bitonic.
#[inline]
#[target_feature(enable = "avx512f")]
fn merge_eights(v: __m512i) -> __m512i {
    step(step(step(v, FOURS, 0xF0F0), TWOS, 0xCCCC), ONES, 0xAAAA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::IsaKind;

    #[test]
    fn codes_of_any_length_and_distribution() {
        if !IsaKind::Avx512.is_available() {
            return;
        }
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 32) as u32
        };
        let kinds: [fn(u32, usize) -> u32; 7] = [
            |x, _| x,
            |x, _| x % 7,
            |x, _| x % 2 * u32::MAX,
            |_, _| u32::MAX,
            |_, i| i as u32,
            |_, i| u32::MAX - i as u32,
            |x, i| if i % 3 == 0 { u32::MAX } else { x >> (i % 32) },
        ];
        for n in (0..300).chain([511, 1000, 1023, 4097, 50_000]) {
            for (kind, make) in kinds.iter().enumerate() {
                let mut codes: Vec<u32> = (0..n).map(|i| make(noise(), i)).collect();
                let mut want = codes.clone();
                want.sort_unstable();
                // SAFETY: the processor has the set.
                unsafe { sort(&mut codes) };
                assert_eq!(codes, want, "{n} codes of kind {kind}");
            }
        }
    }
}
