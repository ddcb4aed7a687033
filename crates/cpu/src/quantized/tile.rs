//! `y = x W^T` for many rows of x against four bits, in integers: AVX-512 with VNNI multiplies 64
//! pairs of bytes and adds fours of products in one instruction, so that the three digits of a value
//! of x in fixed point cost three quarters of what `f32` does, and nothing is widened.
//!
//! A lane is a column of the result. The packed words of sixteen columns are transposed once for all
//! rows of x, and each group's sums, which are exact, are scaled and added to the result in `f32`.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_srli_epi16, _mm512_storeu_ps,
};
use std::ops::Range;

use super::affine::Affine;
use crate::elem::Elem;
use crate::gemm::with_scratch;
use crate::gemv::{PAD, Vectors};
use crate::transpose::transpose;

/// Columns of a panel.
const LANES: usize = 16;
/// Rows of a tile: three sums for each take 24 of 32 registers.
const ROWS: usize = 8;
/// Bytes of one digit of a block of x, and from the even values' digits to the odd ones'.
const DIGIT: usize = PAD;
const ODD: usize = PAD / 2;

/// y = x W^T for some columns. The rows of x are as [`super::dot::Prepare`] leaves them.
pub(super) struct Tile<'a, 'b, S> {
    pub of: &'a Affine<'b, S>,
    pub x: Vectors<f32>,
    pub columns: Range<usize>,
    pub y: *mut f32,
    pub ld: usize,
}

/// Sixteen columns of the matrix, by word and by group.
#[derive(Clone, Copy)]
struct Panel {
    words: *const u32,
    scales: *const f32,
    biases: *const f32,
}

impl<S: Elem<Acc = f32>> Tile<'_, '_, S> {
    /// # Safety
    /// As [`crate::operand::Operand::gemv`]; the processor has AVX-512 with VNNI, and the matrix has
    /// four bits along k.
    pub(super) unsafe fn run(self) {
        let of = self.of;
        let (words, groups) = (of.extent[1] / 8, of.extent[1] >> of.shift);
        let sizes = [words * LANES, 2 * groups * LANES];
        with_scratch(0, sizes, |[by_word, by_group]: [*mut f32; 2]| {
            for start in self.columns.clone().step_by(LANES) {
                let count = LANES.min(self.columns.end - start);
                // SAFETY: the buffers hold a panel, whose columns lie inside the matrix; the rows of
                // x and of the result are as the caller promised.
                unsafe {
                    let panel = self.panel(start, count, by_word.cast(), by_group);
                    let mut r = 0;
                    while r < self.x.m {
                        let to = self.y.add(r * self.ld + start - self.columns.start);
                        r += match self.x.m - r {
                            ROWS.. => self.tile::<ROWS>(r, panel, to, count),
                            4.. => self.tile::<4>(r, panel, to, count),
                            2.. => self.tile::<2>(r, panel, to, count),
                            _ => self.tile::<1>(r, panel, to, count),
                        };
                    }
                }
            }
        });
    }

    /// Transposes `count` columns from `start` on; the lanes after them are zeros.
    ///
    /// # Safety
    /// The columns lie inside the matrix, and the buffers have room for a panel.
    unsafe fn panel(&self, start: usize, count: usize, words: *mut u32, scales: *mut f32) -> Panel {
        let of = self.of;
        let (length, groups) = (of.extent[1] / 8, of.extent[1] >> of.shift);
        // SAFETY: as in `run`.
        unsafe {
            let biases = scales.add(groups * LANES);
            if count < LANES {
                words.write_bytes(0, length * LANES);
                scales.write_bytes(0, 2 * groups * LANES);
            }
            let from = of.words.as_ptr().add(start * length);
            transpose([count, length], from, length as isize, words, LANES as isize);
            for i in 0..count {
                let at = of.scales_at(start + i);
                let (scale, bias) = (&of.scales[at..at + groups], &of.biases[at..at + groups]);
                for (g, (scale, bias)) in scale.iter().zip(bias).enumerate() {
                    *scales.add(g * LANES + i) = scale.widen();
                    *biases.add(g * LANES + i) = bias.widen();
                }
            }
            Panel { words, scales, biases }
        }
    }

    /// R rows of x from `r` on times a panel. Returns R.
    ///
    /// # Safety
    /// As [`Tile::run`]; the rows exist, and `to` has `count` elements in each of them.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn tile<const R: usize>(
        &self,
        r: usize,
        panel: Panel,
        to: *mut f32,
        count: usize,
    ) -> usize {
        let (of, ld) = (self.of, self.x.ld);
        let per_group = of.group / 8;
        // The last block of x ends with the last word.
        let length = of.extent[1] / 8;
        let place = |word: usize| {
            let whole = word < length / LANES * LANES;
            let lane = if whole { word % LANES } else { word + LANES - length };
            (word / LANES, lane)
        };
        let mask = _mm512_set1_epi8(15);
        let mut y = [_mm512_setzero_ps(); R];
        // SAFETY: words and groups lie inside the panel; a word's digits and its scale lie inside the
        // block of x that its values made; `count` lanes are inside the result.
        unsafe {
            let x = self.x.x.add(r * ld);
            let sums = self.x.extra.add(r * ld / 16);
            for g in 0..of.extent[1] >> of.shift {
                let mut acc = [[_mm512_setzero_si512(); 3]; R];
                for word in g * per_group..(g + 1) * per_group {
                    let packed = _mm512_loadu_si512(panel.words.add(word * LANES).cast());
                    let even = _mm512_and_si512(packed, mask);
                    let odd = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask);
                    let (block, lane) = place(word);
                    let digits = x.cast::<u8>().add(block * 4 * PAD + lane * 4);
                    for (i, acc) in acc.iter_mut().enumerate() {
                        let digits = digits.add(i * ld * 4);
                        for (d, acc) in acc.iter_mut().enumerate() {
                            let digit = digits.add(d * DIGIT);
                            *acc = _mm512_dpbusd_epi32(*acc, even, spread(digit));
                            *acc = _mm512_dpbusd_epi32(*acc, odd, spread(digit.add(ODD)));
                        }
                    }
                }
                let scale = _mm512_loadu_ps(panel.scales.add(g * LANES));
                let bias = _mm512_loadu_ps(panel.biases.add(g * LANES));
                let (block, lane) = place(g * per_group);
                let own = x.add(block * PAD + 6 * LANES + lane);
                for i in 0..R {
                    let own = _mm512_mul_ps(scale, _mm512_set1_ps(*own.add(i * ld)));
                    y[i] = _mm512_fmadd_ps(join(acc[i]), own, y[i]);
                    let sum = _mm512_set1_ps(*sums.add(i * ld / 16 + g));
                    y[i] = _mm512_fmadd_ps(bias, sum, y[i]);
                }
            }
            for (i, y) in y.into_iter().enumerate() {
                let to = to.add(i * self.ld);
                if count == LANES {
                    _mm512_storeu_ps(to, y);
                } else {
                    let mut lanes = [0f32; LANES];
                    _mm512_storeu_ps(lanes.as_mut_ptr(), y);
                    to.copy_from_nonoverlapping(lanes.as_ptr(), count);
                }
            }
        }
        R
    }
}

/// Four bytes in every lane.
///
/// # Safety
/// They are readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn spread(digits: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { digits.cast::<i32>().read_unaligned() })
}

/// The number with these digits to base 256, the highest first. The first two together are below
/// 128 * 15 * 2^15, so that their sum is exact.
#[inline]
#[target_feature(enable = "avx512f")]
fn join([high, middle, low]: [__m512i; 3]) -> __m512 {
    let upper = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), middle);
    let (upper, low) = (_mm512_cvtepi32_ps(upper), _mm512_cvtepi32_ps(low));
    _mm512_fmadd_ps(upper, _mm512_set1_ps(256.0), low)
}
