//! Conversions between float32 and the half types. Narrowing rounds to nearest, ties to even;
//! NaN stays NaN, infinities and zeros keep their sign, and what is too large becomes infinite.

use half::{bf16, f16};

/// Converts float16 to float32, exactly, up to the shorter length.
pub fn widen_f16(x: &[f16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    match crate::isa::isa() {
        // SAFETY: those instruction sets include F16C and AVX2.
        crate::isa::IsaKind::Avx512 => return unsafe { f16c::widen_wide(x, out) },
        // SAFETY: as above.
        crate::isa::IsaKind::Avx2 => return unsafe { f16c::widen(x, out) },
        crate::isa::IsaKind::Portable => {}
    }
    for (o, &v) in out.iter_mut().zip(x) {
        *o = v.to_f32();
    }
}

/// Converts float32 to float16, up to the shorter length.
pub fn narrow_f16(x: &[f32], out: &mut [f16]) {
    #[cfg(target_arch = "x86_64")]
    match crate::isa::isa() {
        // SAFETY: those instruction sets include F16C and AVX2.
        crate::isa::IsaKind::Avx512 => return unsafe { f16c::narrow_wide(x, out) },
        // SAFETY: as above.
        crate::isa::IsaKind::Avx2 => return unsafe { f16c::narrow(x, out) },
        crate::isa::IsaKind::Portable => {}
    }
    for (o, &v) in out.iter_mut().zip(x) {
        *o = f16::from_f32(v);
    }
}

crate::multiversion! {
    /// Converts bfloat16 to float32, exactly, up to the shorter length.
    pub fn widen_bf16, widen_bf16_for<const FMA: bool>(x: &[bf16], out: &mut [f32]) {
        for (o, &v) in out.iter_mut().zip(x) {
            *o = f32::from_bits(u32::from(v.to_bits()) << 16);
        }
    }

    /// Converts float32 to bfloat16, up to the shorter length.
    pub fn narrow_bf16, narrow_bf16_for<const FMA: bool>(x: &[f32], out: &mut [bf16]) {
        for (o, &v) in out.iter_mut().zip(x) {
            let bits = v.to_bits();
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *o = bf16::from_bits(if v.is_nan() { quiet } else { rounded } as u16);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod f16c {
    //! Eight conversions at a time with F16C, or sixteen with AVX-512, the tail in a padded chunk.

    use std::arch::x86_64::{
        _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps,
        _mm256_cvtps_ph, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_storeu_ps,
        _mm256_storeu_si256, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_loadu_ps, _mm512_storeu_ps,
    };

    use half::f16;

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn widen(x: &[f16], out: &mut [f32]) {
        let n = x.len().min(out.len());
        let (xs, x_tail) = x[..n].as_chunks::<8>();
        let (outs, out_tail) = out[..n].as_chunks_mut::<8>();
        for (x, out) in xs.iter().zip(outs) {
            widen_chunk(x, out);
        }
        if !x_tail.is_empty() {
            let (mut padded, mut wide) = ([f16::ZERO; 8], [0.0; 8]);
            padded[..x_tail.len()].copy_from_slice(x_tail);
            widen_chunk(&padded, &mut wide);
            out_tail.copy_from_slice(&wide[..x_tail.len()]);
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    pub(super) fn narrow(x: &[f32], out: &mut [f16]) {
        let n = x.len().min(out.len());
        let (xs, x_tail) = x[..n].as_chunks::<8>();
        let (outs, out_tail) = out[..n].as_chunks_mut::<8>();
        for (x, out) in xs.iter().zip(outs) {
            narrow_chunk(x, out);
        }
        if !x_tail.is_empty() {
            let (mut padded, mut narrow) = ([0.0; 8], [f16::ZERO; 8]);
            padded[..x_tail.len()].copy_from_slice(x_tail);
            narrow_chunk(&padded, &mut narrow);
            out_tail.copy_from_slice(&narrow[..x_tail.len()]);
        }
    }

    #[target_feature(enable = "avx512f,avx2,f16c")]
    pub(super) fn widen_wide(x: &[f16], out: &mut [f32]) {
        let n = x.len().min(out.len());
        let (xs, x_tail) = x[..n].as_chunks::<16>();
        let (outs, out_tail) = out[..n].as_chunks_mut::<16>();
        for (x, out) in xs.iter().zip(outs) {
            // SAFETY: both arrays span the whole access, which needs no alignment.
            unsafe {
                let wide = _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast()));
                _mm512_storeu_ps(out.as_mut_ptr(), wide);
            }
        }
        widen(x_tail, out_tail);
    }

    #[target_feature(enable = "avx512f,avx2,f16c")]
    pub(super) fn narrow_wide(x: &[f32], out: &mut [f16]) {
        let n = x.len().min(out.len());
        let (xs, x_tail) = x[..n].as_chunks::<16>();
        let (outs, out_tail) = out[..n].as_chunks_mut::<16>();
        for (x, out) in xs.iter().zip(outs) {
            // SAFETY: both arrays span the whole access, which needs no alignment.
            unsafe {
                let wide = _mm512_loadu_ps(x.as_ptr());
                let narrow = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
                _mm256_storeu_si256(out.as_mut_ptr().cast(), narrow);
            }
        }
        narrow(x_tail, out_tail);
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn widen_chunk(x: &[f16; 8], out: &mut [f32; 8]) {
        // SAFETY: both arrays span the whole access, which needs no alignment; `f16` is 16 bits.
        unsafe {
            let wide = _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()));
            _mm256_storeu_ps(out.as_mut_ptr(), wide);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn narrow_chunk(x: &[f32; 8], out: &mut [f16; 8]) {
        // SAFETY: both arrays span the whole access, which needs no alignment; `f16` is 16 bits.
        unsafe {
            let wide = _mm256_loadu_ps(x.as_ptr());
            let narrow = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
            _mm_storeu_si128(out.as_mut_ptr().cast(), narrow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{IsaKind, with_isa};

    /// Bits of a conversion, all NaN alike.
    fn canonical(bits: u16, is_nan: bool) -> u16 {
        if is_nan { 0xffff } else { bits }
    }

    #[test]
    fn every_half_widens_exactly() {
        IsaKind::available().for_each(|isa| _ = with_isa(isa, widens_exactly));
    }

    fn widens_exactly() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let (mut a, mut b) = (vec![0.0; halves.len()], vec![0.0; brains.len()]);
        widen_f16(&halves, &mut a);
        widen_bf16(&brains, &mut b);
        for i in 0..halves.len() {
            let (h, w) = (halves[i].to_f32(), brains[i].to_f32());
            assert!(a[i] == h || a[i].is_nan() && h.is_nan(), "{i:#x}");
            assert!(b[i] == w || b[i].is_nan() && w.is_nan(), "{i:#x}");
        }
    }

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        IsaKind::available().for_each(|isa| _ = with_isa(isa, rounds_to_nearest_even));
    }

    fn rounds_to_nearest_even() {
        let mut x: Vec<f32> = (0..=u32::MAX).step_by(4093).map(f32::from_bits).collect();
        // Ties between neighbours, the overflow threshold and the smallest subnormals.
        x.extend([1.000_488_3, 1.001_464_8, 65_519.0, 65_520.0, 2.980_232_2e-8, 5e-8, 3.39e38]);
        x.extend([f32::NAN, f32::from_bits(0x7f80_0001), -0.0]);
        let (mut a, mut b) = (vec![f16::ZERO; x.len()], vec![bf16::ZERO; x.len()]);
        narrow_f16(&x, &mut a);
        narrow_bf16(&x, &mut b);
        for i in 0..x.len() {
            let (h, w) = (f16::from_f32(x[i]), bf16::from_f32(x[i]));
            let nan = x[i].is_nan();
            assert_eq!(nan, a[i].is_nan());
            assert_eq!(canonical(a[i].to_bits(), nan), canonical(h.to_bits(), nan), "{}", x[i]);
            assert_eq!(nan, b[i].is_nan());
            assert_eq!(canonical(b[i].to_bits(), nan), canonical(w.to_bits(), nan), "{}", x[i]);
        }
    }

    #[test]
    fn tails_convert_like_full_chunks() {
        IsaKind::available().for_each(|isa| _ = with_isa(isa, tails_convert));
    }

    fn tails_convert() {
        for n in 0..40 {
            let x: Vec<f32> = (0..n).map(|i| 0.1 * i as f32).collect();
            let (mut narrow, mut wide) = (vec![f16::ZERO; n], vec![0.0; n]);
            narrow_f16(&x, &mut narrow);
            widen_f16(&narrow, &mut wide);
            for (x, y) in x.iter().zip(&wide) {
                assert_eq!(f16::from_f32(*x).to_f32(), *y);
            }
        }
    }
}
