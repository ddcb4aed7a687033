//! The vectors of AVX2 and AVX-512. The conditions of `lanes` hold for every function here.

use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::lanes::{Eight, F32Lanes, Isa, Lanes};

/// One `Lanes` impl: type, element, lanes, and the intrinsics as expressions.
macro_rules! lanes {
    ($v:ty, $t:ty, $l:literal, $load:expr, $store:expr, $splat:expr, $add:expr, $fma:expr, $sum:expr) => {
        impl Lanes for $v {
            type T = $t;
            const L: usize = $l;
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the lanes are readable.
                unsafe { $load(p.cast()) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: the lanes are writable.
                unsafe { $store(p.cast(), self) }
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                // SAFETY: the processor has the set.
                unsafe { $splat(x as _) }
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: the processor has the set.
                unsafe { $add(self, b) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: the processor has the set.
                unsafe { $fma(self, b, c) }
            }
            #[inline(always)]
            unsafe fn sum(self) -> $t {
                // SAFETY: the processor has the set.
                unsafe { $sum(self) }
            }
        }
    };
}

/// Integer vectors of both widths share the type, so that each lane type has a wrapper.
macro_rules! wrapper {
    ($name:ident, $v:ty, $t:ty, $l:literal, $load:ident, $store:ident, $splat:ident, $add:ident, $mul:expr) => {
        #[derive(Clone, Copy)]
        pub struct $name($v);
        lanes!(
            $name,
            $t,
            $l,
            |p| $name($load(p)),
            |p, v: $name| $store(p, v.0),
            |x| $name($splat(x)),
            |a: $name, b: $name| $name($add(a.0, b.0)),
            |a: $name, b: $name, c: $name| $name($add($mul(a.0, b.0), c.0)),
            |a: $name| {
                let mut lanes = [0; $l];
                a.store(lanes.as_mut_ptr());
                lanes.iter().fold(0, |s: $t, x| s.wrapping_add(*x))
            }
        );
    };
}

#[inline(always)]
unsafe fn sum4(v: __m128) -> f32 {
    // SAFETY: SSE3, which AVX2 implies.
    unsafe {
        let d = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)))
    }
}

#[inline(always)]
unsafe fn sum8(v: __m256) -> f32 {
    // SAFETY: AVX.
    unsafe { sum4(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v))) }
}

#[inline(always)]
unsafe fn sum4d(v: __m256d) -> f64 {
    // SAFETY: AVX.
    unsafe {
        let d = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(d, _mm_unpackhi_pd(d, d)))
    }
}

lanes!(
    __m256,
    f32,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps,
    sum8
);
lanes!(
    __m256d,
    f64,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_add_pd,
    _mm256_fmadd_pd,
    sum4d
);
lanes!(
    __m512,
    f32,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps,
    |v| sum8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)))
);
lanes!(
    __m512d,
    f64,
    8,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_fmadd_pd,
    |v| sum4d(_mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd::<1>(v)))
);

/// 64-bit products from 32-bit ones, which is all that AVX2 has.
#[inline(always)]
unsafe fn mul_u64(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: AVX2.
    unsafe {
        let low = _mm256_mul_epu32(a, b);
        let cross = _mm256_add_epi64(
            _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), b),
            _mm256_mul_epu32(a, _mm256_srli_epi64::<32>(b)),
        );
        _mm256_add_epi64(low, _mm256_slli_epi64::<32>(cross))
    }
}

wrapper!(
    U32x8,
    __m256i,
    u32,
    8,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_mullo_epi32
);
wrapper!(
    U64x4,
    __m256i,
    u64,
    4,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_set1_epi64x,
    _mm256_add_epi64,
    mul_u64
);
wrapper!(
    U32x16,
    __m512i,
    u32,
    16,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi32,
    _mm512_add_epi32,
    _mm512_mullo_epi32
);
wrapper!(
    U64x8,
    __m512i,
    u64,
    8,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_set1_epi64,
    _mm512_add_epi64,
    _mm512_mullo_epi64
);

impl F32Lanes for __m256 {
    type Words = __m256i;
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: AVX.
        unsafe { _mm256_mul_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: eight elements are readable, and F16C.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: eight elements are readable, and AVX2.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        // SAFETY: eight bytes are readable, and AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const u32, n: usize) -> __m256i {
        // SAFETY: n words are readable, and AVX2.
        unsafe {
            if n >= 8 {
                return _mm256_loadu_si256(p.cast());
            }
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lane);
            _mm256_maskload_epi32(p.cast(), mask)
        }
    }
    #[inline(always)]
    unsafe fn nibble(w: __m256i, j: usize) -> Self {
        // SAFETY: AVX2.
        unsafe {
            _mm256_cvtepi32_ps(if j == 7 {
                _mm256_srli_epi32::<28>(w)
            } else {
                _mm256_and_si256(w, _mm256_set1_epi32(15 << (4 * j)))
            })
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch of any address is harmless, and SSE is everywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn spread(p: *const f32, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX2.
        unsafe {
            match repeat {
                2 => spread256(_mm_loadu_ps(p), 2),
                4 => _mm256_set_m128(_mm_set1_ps(*p.add(1)), _mm_set1_ps(*p)),
                _ => _mm256_set1_ps(*p),
            }
        }
    }
    #[inline(always)]
    unsafe fn spread_f16(p: *const f16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX2 with F16C.
        unsafe { spread256(_mm_cvtph_ps(few_halves(p.cast(), 8 / repeat)), repeat) }
    }
    #[inline(always)]
    unsafe fn spread_bf16(p: *const bf16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX2.
        unsafe {
            let wide = _mm_cvtepu16_epi32(few_halves(p.cast(), 8 / repeat));
            spread256(_mm_castsi128_ps(_mm_slli_epi32::<16>(wide)), repeat)
        }
    }
    #[inline(always)]
    unsafe fn nibble_dots(w: __m256i, x: *const i8) -> Self {
        // SAFETY: three digits of 64 bytes are readable, and AVX2.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let even = _mm256_and_si256(w, mask);
            let odd = _mm256_and_si256(_mm256_srli_epi16::<4>(w), mask);
            let ones = _mm256_set1_epi16(1);
            let mut sum = _mm256_setzero_si256();
            for digit in 0..3 {
                let x = x.add(64 * digit).cast::<__m256i>();
                // Four products of at most 15 * 128 fit in 16 bits.
                let pairs = _mm256_add_epi16(
                    _mm256_maddubs_epi16(even, _mm256_loadu_si256(x)),
                    _mm256_maddubs_epi16(odd, _mm256_loadu_si256(x.add(1))),
                );
                sum = _mm256_add_epi32(_mm256_slli_epi32::<8>(sum), _mm256_madd_epi16(pairs, ones));
            }
            _mm256_cvtepi32_ps(sum)
        }
    }
}

impl Eight for __m256 {
    #[inline(always)]
    unsafe fn transpose(r: [Self; 8]) -> [Self; 8] {
        // SAFETY: AVX.
        unsafe {
            let (mut t, mut u) = (r, r);
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for b in [0, 4] {
                u[b] = _mm256_shuffle_ps::<0x44>(t[b], t[b + 2]);
                u[b + 1] = _mm256_shuffle_ps::<0xee>(t[b], t[b + 2]);
                u[b + 2] = _mm256_shuffle_ps::<0x44>(t[b + 1], t[b + 3]);
                u[b + 3] = _mm256_shuffle_ps::<0xee>(t[b + 1], t[b + 3]);
            }
            for i in 0..4 {
                t[i] = _mm256_permute2f128_ps::<0x20>(u[i], u[i + 4]);
                t[i + 4] = _mm256_permute2f128_ps::<0x31>(u[i], u[i + 4]);
            }
            t
        }
    }
    #[inline(always)]
    unsafe fn unpack(stream: u64, bits: usize) -> Self {
        // SAFETY: AVX2.
        unsafe {
            let b = bits as i32;
            // Four values have at most 32 bits, so that each half of the vector shifts its own word.
            let low = _mm_set1_epi32(stream as i32);
            let high = _mm_set1_epi32((stream >> (4 * bits)) as i32);
            let shifts = _mm256_setr_epi32(0, b, 2 * b, 3 * b, 0, b, 2 * b, 3 * b);
            let v = _mm256_srlv_epi32(_mm256_set_m128i(high, low), shifts);
            _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32((1 << bits) - 1)))
        }
    }
    #[inline(always)]
    unsafe fn first(self, n: usize) -> Self {
        static MASKS: [u32; 16] = [!0, !0, !0, !0, !0, !0, !0, !0, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: n <= 8, so that eight masks are readable; AVX.
        unsafe {
            let mask = _mm256_loadu_ps(MASKS.as_ptr().add(8 - n).cast());
            _mm256_and_ps(self, mask)
        }
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut f16) {
        // SAFETY: eight elements are writable, and F16C.
        unsafe { _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<0>(self)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16) {
        // SAFETY: eight elements are writable, and AVX2.
        unsafe {
            let u = _mm256_castps_si256(self);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(u), _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_add_epi32(u, half);
            let quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self, self));
            let r = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let (low, high) = (_mm256_castsi256_si128(r), _mm256_extracti128_si256::<1>(r));
            _mm_storeu_si128(p.cast(), _mm_packus_epi32(low, high));
        }
    }
}

impl F32Lanes for __m512 {
    type Words = __m512i;
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: AVX-512 F.
        unsafe { _mm512_mul_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: sixteen elements are readable, and AVX-512 F.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: sixteen elements are readable, and AVX-512 F.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        // SAFETY: sixteen bytes are readable, and AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const u32, n: usize) -> __m512i {
        // SAFETY: n words are readable, and AVX-512 F.
        unsafe {
            if n >= 16 {
                return _mm512_loadu_si512(p.cast());
            }
            _mm512_maskz_loadu_epi32((1u16 << n) - 1, p.cast())
        }
    }
    #[inline(always)]
    unsafe fn nibble(w: __m512i, j: usize) -> Self {
        // SAFETY: AVX-512 F.
        unsafe {
            _mm512_cvtepi32_ps(if j == 7 {
                _mm512_srli_epi32::<28>(w)
            } else {
                _mm512_and_si512(w, _mm512_set1_epi32(15 << (4 * j)))
            })
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a prefetch of any address is harmless, and SSE is everywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn spread(p: *const f32, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX-512 F.
        unsafe {
            match repeat {
                2 => spread512(_mm256_loadu_ps(p), 2),
                4 => spread512(_mm256_castps128_ps256(_mm_loadu_ps(p)), 4),
                8 => {
                    let low = _mm512_castps256_ps512(_mm256_set1_ps(*p));
                    _mm512_insertf32x8::<1>(low, _mm256_set1_ps(*p.add(1)))
                }
                _ => _mm512_set1_ps(*p),
            }
        }
    }
    #[inline(always)]
    unsafe fn spread_f16(p: *const f16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX-512 F with F16C.
        unsafe { spread512(_mm256_cvtph_ps(few_halves(p.cast(), 16 / repeat)), repeat) }
    }
    #[inline(always)]
    unsafe fn spread_bf16(p: *const bf16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable, and AVX-512 F.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(few_halves(p.cast(), 16 / repeat));
            spread512(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)), repeat)
        }
    }
    #[inline(always)]
    unsafe fn nibble_dots(w: __m512i, x: *const i8) -> Self {
        // SAFETY: three digits of 128 bytes are readable, and AVX-512 with VNNI.
        unsafe {
            let mask = _mm512_set1_epi8(15);
            let even = _mm512_and_si512(w, mask);
            let odd = _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask);
            let mut sum = _mm512_setzero_si512();
            for digit in 0..3 {
                let x = x.add(128 * digit).cast::<__m512i>();
                sum = _mm512_slli_epi32::<8>(sum);
                sum = _mm512_dpbusd_epi32(sum, even, _mm512_loadu_si512(x));
                sum = _mm512_dpbusd_epi32(sum, odd, _mm512_loadu_si512(x.add(1)));
            }
            _mm512_cvtepi32_ps(sum)
        }
    }
}

/// The first `n` values of 16 bits, and anything after them; up to 1 is 1.
///
/// # Safety
/// They are readable.
#[inline(always)]
unsafe fn few_halves(p: *const u16, n: usize) -> __m128i {
    // SAFETY: the caller's promise, and SSE2 is everywhere.
    unsafe {
        match n {
            8 => _mm_loadu_si128(p.cast()),
            4 => _mm_loadl_epi64(p.cast()),
            2 => _mm_cvtsi32_si128(p.cast::<i32>().read_unaligned()),
            _ => _mm_cvtsi32_si128(i32::from(*p)),
        }
    }
}

/// Lane i is lane `i / repeat` of `v`.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn spread256(v: __m128, repeat: usize) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let to = match repeat {
            2 => _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3),
            4 => _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1),
            _ => _mm256_setzero_si256(),
        };
        _mm256_permutevar8x32_ps(_mm256_castps128_ps256(v), to)
    }
}

/// Lane i is lane `i / repeat` of `v`.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
unsafe fn spread512(v: __m256, repeat: usize) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let to = match repeat {
            2 => _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
            4 => _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
            8 => _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
            _ => _mm512_setzero_si512(),
        };
        _mm512_permutexvar_ps(to, _mm512_castps256_ps512(v))
    }
}

/// AVX2 with FMA and F16C: 6 x 16 sums of `f32` in twelve of sixteen registers.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Isa for Avx2 {
    type F32 = __m256;
    type F64 = __m256d;
    type U32 = U32x8;
    type U64 = U64x4;
    type P = __m256;
    const MR: usize = 6;
}

/// AVX-512: 14 x 32 sums of `f32` in 28 of 32 registers.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Isa for Avx512 {
    type F32 = __m512;
    type F64 = __m512d;
    type U32 = U32x16;
    type U64 = U64x8;
    type P = __m256;
    const MR: usize = 14;
}
