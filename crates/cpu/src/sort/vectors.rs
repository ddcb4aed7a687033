//! Quicksort of 32-bit codes with AVX-512 (after Bramas, "A Novel Hybrid Quicksort Algorithm
//! Vectorized using AVX-512 on Intel Skylake", 2017).
//!
//! A vector is compared with the pivot at once, and its two parts are pressed together and written
//! to the two ends of the array. Short parts are sorted in registers by bitonic networks, whose
//! every step is a permutation, a minimum and a maximum.

use std::arch::x86_64::{
    __m512i, __mmask16, _mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_mask_loadu_epi32,
    _mm512_mask_max_epu32, _mm512_mask_storeu_epi32, _mm512_maskz_compress_epi32, _mm512_max_epu32,
    _mm512_min_epu32, _mm512_permutexvar_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
    _mm512_setzero_si512,
};
use std::hint::select_unpredictable;

/// Codes in a vector.
const LANES: usize = 16;
/// Vectors that are read together, and held from each end at first, so that both ends have room.
const HELD: usize = 4;
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

/// Moves the codes below the pivot to the front, and returns their number.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f,popcnt")]
unsafe fn partition(codes: &mut [u32], pivot: u32) -> usize {
    const STEP: usize = HELD * LANES;
    let n = codes.len();
    let rest = n % STEP;
    let mut last = [0; STEP];
    last[..rest].copy_from_slice(&codes[n - rest..]);
    // Codes are written before `low` and from `high` on, and read between `from` and `to`.
    let (mut low, mut high) = (0, n - rest);
    let p = codes.as_mut_ptr();
    if high >= 2 * STEP {
        let pivots = _mm512_set1_epi32(pivot as i32);
        let mut held = [[_mm512_setzero_si512(); HELD]; 2];
        let (mut from, mut to) = (STEP, high - STEP);
        let mut put = |vector: __m512i| {
            let below = _mm512_cmplt_epu32_mask(vector, pivots);
            let count = below.count_ones() as usize;
            high -= LANES - count;
            // SAFETY: as many codes were read as are written, and the side with less room was read
            // last, so that each end has room for a whole step.
            unsafe {
                let first = _mm512_maskz_compress_epi32(below, vector);
                _mm512_mask_storeu_epi32(p.add(low).cast(), ((1u32 << count) - 1) as u16, first);
                let second = _mm512_maskz_compress_epi32(!below, vector);
                _mm512_mask_storeu_epi32(p.add(high).cast(), (0xFFFFu32 >> count) as u16, second);
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
            let mut ends = (0, n - rest);
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
    } else {
        high = n - rest;
        for i in 0..high {
            if codes[i] < pivot {
                codes.swap(i, low);
                low += 1;
            }
        }
    }
    for (i, &code) in last[..rest].iter().enumerate() {
        codes[n - rest + i] = code;
        if code < pivot {
            codes.swap(n - rest + i, low);
            low += 1;
        }
    }
    low
}

/// Sorts at most N vectors of codes; N is a power of two.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn in_registers<const N: usize>(codes: &mut [u32]) {
    let n = codes.len();
    let p = codes.as_mut_ptr();
    let mask = |i: usize| {
        let left = n.saturating_sub(LANES * i).min(LANES);
        ((1u32 << left) - 1) as __mmask16
    };
    let mut v = [_mm512_set1_epi32(-1); N];
    for (i, v) in v.iter_mut().enumerate() {
        // SAFETY: the mask leaves out what lies behind the codes, where the highest code stands.
        *v = unsafe { _mm512_mask_loadu_epi32(*v, mask(i), p.wrapping_add(LANES * i).cast()) };
        *v = sort_lanes(*v);
    }
    let mut run = 1;
    while run < N {
        for start in (0..N).step_by(2 * run) {
            // Two sorted runs, the second backwards, are a bitonic one.
            for i in 0..run {
                let j = start + 2 * run - 1 - i;
                let (a, b) = (v[start + i], turn(v[j]));
                v[start + i] = _mm512_min_epu32(a, b);
                v[j] = turn(_mm512_max_epu32(a, b));
            }
            let mut apart = run / 2;
            while apart > 0 {
                for first in (start..start + 2 * run).step_by(2 * apart) {
                    for i in first..first + apart {
                        let (a, b) = (v[i], v[i + apart]);
                        v[i] = _mm512_min_epu32(a, b);
                        v[i + apart] = _mm512_max_epu32(a, b);
                    }
                }
                apart /= 2;
            }
            for v in &mut v[start..start + 2 * run] {
                *v = step(*v, EIGHTS, 0xFF00);
                *v = merge_eights(*v);
            }
        }
        run *= 2;
    }
    for (i, v) in v.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi32(p.wrapping_add(LANES * i).cast(), mask(i), v) };
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
