//! Vector registers as types, and the portable set of them.
//!
//! All functions are `unsafe` for one reason, not repeated below: the processor must have the
//! instruction set that the type belongs to. Those that take a pointer need the lanes behind it.

use half::{bf16, f16};

/// A vector of lanes of one element type, with what a product needs.
pub trait Lanes: Copy {
    type T: Copy + Default + Send + Sync + 'static;
    const L: usize;
    unsafe fn load(p: *const Self::T) -> Self;
    unsafe fn store(self, p: *mut Self::T);
    unsafe fn splat(x: Self::T) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    /// `self * b + c`, rounded once where the set has that; integers wrap.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// The sum of the lanes, by halves.
    unsafe fn sum(self) -> Self::T;
}

/// A vector of `f32`.
pub trait F32Lanes: Lanes<T = f32> {
    /// A vector of packed words, one for each lane.
    type Words: Copy;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn load_f16(p: *const f16) -> Self;
    unsafe fn load_bf16(p: *const bf16) -> Self;
    /// Widens unsigned bytes.
    unsafe fn load_u8(p: *const u8) -> Self;
    /// Loads the first `n` words, at least one and at most L; the other lanes are zero.
    unsafe fn load_words(p: *const u32, n: usize) -> Self::Words;
    /// Nibble `j` of every word, times 16^j for j < 7.
    unsafe fn nibble(w: Self::Words, j: usize) -> Self;
    /// Asks for the cache line at `p`, which need not be readable.
    unsafe fn prefetch(p: *const u8);
    /// Lane i is `p[i / repeat]`; `repeat` is a power of two from 2 on.
    unsafe fn spread(p: *const f32, repeat: usize) -> Self;
    /// The same, widened.
    unsafe fn spread_f16(p: *const f16, repeat: usize) -> Self;
    unsafe fn spread_bf16(p: *const bf16, repeat: usize) -> Self;
    /// For each word, the sum of its eight nibbles times integers of three signed digits to base 256.
    ///
    /// Each digit, the highest first, takes 8 L bytes of `x`: nibble j of word i is multiplied by byte
    /// `4 i + j / 2`, which for odd j is in the second 4 L. The sums are exact until they are rounded to
    /// `f32`, for they stay below 8 * 15 * 2^23 < 2^30.
    unsafe fn nibble_dots(w: Self::Words, x: *const i8) -> Self;
}

/// Eight `f32`, the unit of packing and of unpacking bits.
pub trait Eight: F32Lanes {
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8];
    /// The eight values of `bits` bits each at the low end of `stream`.
    unsafe fn unpack(stream: u64, bits: usize) -> Self;
    /// The first `n` lanes, at most 8, and zeros.
    unsafe fn first(self, n: usize) -> Self;
    /// Rounds to nearest even.
    unsafe fn store_f16(self, p: *mut f16);
    /// Rounds to nearest even; a NaN stays one.
    unsafe fn store_bf16(self, p: *mut bf16);
}

/// An instruction set: its vectors and the height of its tile.
pub trait Isa: Copy + 'static {
    type F32: F32Lanes;
    type F64: Lanes<T = f64>;
    type U32: Lanes<T = u32>;
    type U64: Lanes<T = u64>;
    type P: Eight;
    /// Rows of a tile; its columns are two vectors.
    const MR: usize;
}

/// `f16` to `f32` without branches, so that a loop of it becomes vectors.
#[inline(always)]
pub fn widen_f16(x: f16) -> f32 {
    let h = u32::from(x.to_bits());
    // The exponent's bias differs by 112; the product is exact, subnormals included.
    let magnitude = f32::from_bits((h & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    let special = if h & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (h & 0x8000) << 16)
}

#[inline(always)]
pub fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Lanes as an array, for the compiler to vectorise.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub struct Array<T, const N: usize>([T; N]);

macro_rules! portable {
    ($t:ty, $mul_add:expr, $add:expr) => {
        impl<const N: usize> Lanes for Array<$t, N> {
            type T = $t;
            const L: usize = N;
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: N elements are readable.
                Array(unsafe { p.cast::<[$t; N]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: N elements are writable.
                unsafe { p.cast::<[$t; N]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self {
                Array([x; N])
            }
            #[inline(always)]
            unsafe fn add(mut self, b: Self) -> Self {
                for i in 0..N {
                    self.0[i] = $add(self.0[i], b.0[i]);
                }
                self
            }
            #[inline(always)]
            unsafe fn mul_add(mut self, b: Self, c: Self) -> Self {
                for i in 0..N {
                    self.0[i] = $mul_add(self.0[i], b.0[i], c.0[i]);
                }
                self
            }
            #[inline(always)]
            unsafe fn sum(mut self) -> $t {
                let mut n = N;
                while n > 1 {
                    n /= 2;
                    for i in 0..n {
                        self.0[i] = $add(self.0[i], self.0[i + n]);
                    }
                }
                self.0[0]
            }
        }
    };
}

/// True iff `mul_add` is one instruction on every processor of the target; elsewhere it would be a
/// call into the C library.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

portable!(
    f32,
    |a: f32, b: f32, c: f32| if FUSED { a.mul_add(b, c) } else { a * b + c },
    |a: f32, b: f32| a + b
);
portable!(
    f64,
    |a: f64, b: f64, c: f64| if FUSED { a.mul_add(b, c) } else { a * b + c },
    |a: f64, b: f64| a + b
);
portable!(u32, |a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c), u32::wrapping_add);
portable!(u64, |a: u64, b: u64, c: u64| a.wrapping_mul(b).wrapping_add(c), u64::wrapping_add);

impl<const N: usize> F32Lanes for Array<f32, N> {
    type Words = [u32; N];
    #[inline(always)]
    unsafe fn mul(mut self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] *= b.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: N elements are readable.
        Array(unsafe { p.cast::<[f16; N]>().read_unaligned() }.map(widen_f16))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: N elements are readable.
        Array(unsafe { p.cast::<[bf16; N]>().read_unaligned() }.map(widen_bf16))
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> Self {
        // SAFETY: N bytes are readable.
        Array(unsafe { p.cast::<[u8; N]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    unsafe fn load_words(p: *const u32, n: usize) -> [u32; N] {
        let mut w = [0; N];
        // SAFETY: n words are readable.
        unsafe {
            if n >= N {
                w = p.cast::<[u32; N]>().read_unaligned();
            } else {
                std::ptr::copy_nonoverlapping(p, w.as_mut_ptr(), n);
            }
        }
        w
    }
    #[inline(always)]
    unsafe fn nibble(w: [u32; N], j: usize) -> Self {
        if j == 7 {
            Array(w.map(|w| (w >> 28) as i32 as f32))
        } else {
            Array(w.map(|w| (w & (15 << (4 * j))) as i32 as f32))
        }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
    #[inline(always)]
    unsafe fn spread(p: *const f32, repeat: usize) -> Self {
        let mut v = [0.0; N];
        for (i, v) in v.iter_mut().enumerate() {
            // SAFETY: the values of all lanes are readable.
            *v = unsafe { *p.add(i / repeat) };
        }
        Array(v)
    }
    #[inline(always)]
    unsafe fn spread_f16(p: *const f16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable.
        Array(std::array::from_fn(|i| widen_f16(unsafe { *p.add(i / repeat) })))
    }
    #[inline(always)]
    unsafe fn spread_bf16(p: *const bf16, repeat: usize) -> Self {
        // SAFETY: the values of all lanes are readable.
        Array(std::array::from_fn(|i| widen_bf16(unsafe { *p.add(i / repeat) })))
    }
    #[inline(always)]
    unsafe fn nibble_dots(w: [u32; N], x: *const i8) -> Self {
        let mut sums = [0i32; N];
        for digit in 0..3 {
            for i in 0..N {
                let mut sum = sums[i] << 8;
                for j in 0..8 {
                    // SAFETY: three digits of 8 N bytes are readable.
                    let x = unsafe { *x.add(8 * N * digit + 4 * N * (j % 2) + 4 * i + j / 2) };
                    sum += (w[i] >> (4 * j) & 15) as i32 * i32::from(x);
                }
                sums[i] = sum;
            }
        }
        Array(sums.map(|sum| sum as f32))
    }
}

impl Eight for Array<f32, 8> {
    #[inline(always)]
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8] {
        let mut columns = rows;
        for (i, row) in rows.iter().enumerate() {
            for (column, v) in columns.iter_mut().zip(row.0) {
                column.0[i] = v;
            }
        }
        columns
    }
    #[inline(always)]
    unsafe fn unpack(stream: u64, bits: usize) -> Self {
        let mask = (1u64 << bits) - 1;
        let mut v = [0.0; 8];
        for (j, v) in v.iter_mut().enumerate() {
            *v = (stream >> (bits * j) & mask) as i32 as f32;
        }
        Array(v)
    }
    #[inline(always)]
    unsafe fn first(mut self, n: usize) -> Self {
        for v in &mut self.0[n..] {
            *v = 0.0;
        }
        self
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut f16) {
        // SAFETY: eight elements are writable.
        unsafe { p.cast::<[f16; 8]>().write_unaligned(self.0.map(f16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16) {
        // SAFETY: eight elements are writable.
        unsafe { p.cast::<[bf16; 8]>().write_unaligned(self.0.map(bf16::from_f32)) }
    }
}

/// The set of plain Rust.
#[derive(Clone, Copy)]
pub struct Portable;

impl Isa for Portable {
    type F32 = Array<f32, 4>;
    type F64 = Array<f64, 2>;
    type U32 = Array<u32, 4>;
    type U64 = Array<u64, 2>;
    type P = Array<f32, 8>;
    // Twice as many registers on ARM: 8 x 2 sums.
    const MR: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };
}
