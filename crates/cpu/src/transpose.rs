//! The transposition of small blocks: the kernel behind copies across the order of memory and the
//! panels of fused steps.

/// Lanes of the squares in which blocks are transposed.
const SQUARE: usize = 8;

/// `dst[j * d + i] = src[i * s + j]` for `i < n` and `j < m`.
///
/// # Safety
/// All these elements lie in live memory, and those of `dst` are this thread's and not among those
/// of `src`.
pub(crate) unsafe fn transpose<T: Copy + Default>(
    [n, m]: [usize; 2],
    src: *const T,
    s: isize,
    dst: *mut T,
    d: isize,
) {
    // SAFETY: the caller's promise; the processor has the set.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == 4 && crate::isa::isa() >= crate::isa::IsaKind::Avx2 {
            let done = avx2::transpose([n, m], src.cast(), s, dst.cast(), d);
            return rest([n, m], done, src, s, dst, d);
        }
        let (wide, deep) = (n - n % SQUARE, m - m % SQUARE);
        for i in (0..wide).step_by(SQUARE) {
            for j in (0..deep).step_by(SQUARE) {
                let mut square = [[T::default(); SQUARE]; SQUARE];
                for a in 0..SQUARE {
                    let from = src.offset((i + a) as isize * s).add(j);
                    let row = from.cast::<[T; SQUARE]>().read_unaligned();
                    for b in 0..SQUARE {
                        square[b][a] = row[b];
                    }
                }
                for (b, row) in square.into_iter().enumerate() {
                    let to = dst.offset((j + b) as isize * d).add(i);
                    to.cast::<[T; SQUARE]>().write_unaligned(row);
                }
            }
        }
        rest([n, m], [wide, deep], src, s, dst, d);
    }
}

/// What remains beyond the first `wide` by `deep` elements.
///
/// # Safety
/// As [`transpose`].
unsafe fn rest<T: Copy>(
    [n, m]: [usize; 2],
    [wide, deep]: [usize; 2],
    src: *const T,
    s: isize,
    dst: *mut T,
    d: isize,
) {
    let each = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        if columns.is_empty() {
            return;
        }
        for i in rows {
            for j in columns.clone() {
                // SAFETY: the caller's promise.
                unsafe { *dst.offset(j as isize * d).add(i) = *src.offset(i as isize * s).add(j) };
            }
        }
    };
    each(0..wide, deep..m);
    each(wide..n, 0..m);
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Words of 32 bits, in squares of eight by eight and four by four.

    use std::arch::x86_64::{
        __m256, _mm_loadu_ps, _mm_storeu_ps, _mm256_castpd_ps, _mm256_castps_pd,
        _mm256_castps128_ps256, _mm256_castps256_ps128, _mm256_extractf128_ps,
        _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_storeu_ps,
        _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
    };

    /// Transposes within halves: four vectors whose halves are rows of 4-by-4 squares.
    #[target_feature(enable = "avx2")]
    fn squares([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        let pairs = [
            _mm256_unpacklo_ps(a, b),
            _mm256_unpackhi_ps(a, b),
            _mm256_unpacklo_ps(c, d),
            _mm256_unpackhi_ps(c, d),
        ]
        .map(|x| _mm256_castps_pd(x));
        [
            _mm256_unpacklo_pd(pairs[0], pairs[2]),
            _mm256_unpackhi_pd(pairs[0], pairs[2]),
            _mm256_unpacklo_pd(pairs[1], pairs[3]),
            _mm256_unpackhi_pd(pairs[1], pairs[3]),
        ]
        .map(|x| _mm256_castpd_ps(x))
    }

    /// As [`super::transpose`] for the first multiples of 4 of both sizes, which it returns.
    ///
    /// # Safety
    /// As there.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose(
        [n, m]: [usize; 2],
        src: *const f32,
        s: isize,
        dst: *mut f32,
        d: isize,
    ) -> [usize; 2] {
        let (wide, deep) = (n - n % 8, m - m % 8);
        let done = [n - n % 4, m - m % 4];
        // SAFETY: the caller's promise.
        unsafe {
            let from = |i: usize, j: usize| src.offset(i as isize * s).add(j);
            let to = |j: usize, i: usize| dst.offset(j as isize * d).add(i);
            // Lines of the source are read at once: they may be far apart.
            for i in (0..wide).step_by(8) {
                for j in (0..deep).step_by(8) {
                    let row = |a: usize| _mm256_loadu_ps(from(i + a, j));
                    let low = squares([row(0), row(1), row(2), row(3)]);
                    let high = squares([row(4), row(5), row(6), row(7)]);
                    for b in 0..4 {
                        let (x, y) = (low[b], high[b]);
                        _mm256_storeu_ps(to(j + b, i), _mm256_permute2f128_ps::<0x20>(x, y));
                        _mm256_storeu_ps(to(j + b + 4, i), _mm256_permute2f128_ps::<0x31>(x, y));
                    }
                }
                if deep < done[1] {
                    let row = |a: usize| _mm256_castps128_ps256(_mm_loadu_ps(from(i + a, deep)));
                    let both = |a: usize| {
                        _mm256_insertf128_ps::<1>(row(a), _mm256_castps256_ps128(row(a + 4)))
                    };
                    let rows = squares([both(0), both(1), both(2), both(3)]);
                    for (b, v) in rows.into_iter().enumerate() {
                        _mm256_storeu_ps(to(deep + b, i), v);
                    }
                }
            }
            if wide < done[0] {
                for j in (0..deep).step_by(8) {
                    let row = |a: usize| _mm256_loadu_ps(from(wide + a, j));
                    let rows = squares([row(0), row(1), row(2), row(3)]);
                    for (b, v) in rows.into_iter().enumerate() {
                        _mm_storeu_ps(to(j + b, wide), _mm256_castps256_ps128(v));
                        _mm_storeu_ps(to(j + b + 4, wide), _mm256_extractf128_ps::<1>(v));
                    }
                }
                if deep < done[1] {
                    let row = |a: usize| _mm256_castps128_ps256(_mm_loadu_ps(from(wide + a, deep)));
                    let rows = squares([row(0), row(1), row(2), row(3)]);
                    for (b, v) in rows.into_iter().enumerate() {
                        _mm_storeu_ps(to(deep + b, wide), _mm256_castps256_ps128(v));
                    }
                }
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{IsaKind, with_isa};

    fn check<T: Copy + Default + PartialEq + std::fmt::Debug>(make: impl Fn(usize) -> T) {
        for n in [0, 1, 7, 8, 9, 16, 19] {
            for m in [0, 1, 3, 4, 5, 8, 12, 15, 16, 21] {
                let (s, d) = (m + 2, n + 3);
                let src: Vec<T> = (0..n * s + m).map(&make).collect();
                let mut dst = vec![make(9999); m * d + n];
                // SAFETY: both have room for rows with these steps.
                unsafe {
                    transpose([n, m], src.as_ptr(), s as isize, dst.as_mut_ptr(), d as isize);
                }
                for (at, &v) in dst.iter().enumerate() {
                    let (j, i) = (at / d, at % d);
                    let want = if i < n && j < m { src[i * s + j] } else { make(9999) };
                    assert_eq!(v, want, "{n} by {m}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn blocks_of_every_size_and_nothing_beyond() {
        for isa in IsaKind::ALL {
            with_isa(isa, || {
                check(|i| i as u8);
                check(|i| i as u16);
                check(|i| i as u32);
                check(|i| i as u64);
            });
        }
    }
}
