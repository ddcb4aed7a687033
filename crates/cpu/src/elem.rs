//! Element types of products: what they accumulate in, how they widen and how they round.

use half::{bf16, f16};

use crate::lanes::{Eight, F32Lanes, Isa, Lanes, widen_bf16, widen_f16};

/// A type that products accumulate in: `f32`, `f64`, `u32` or `u64`. Integers of 32 bits and fewer
/// multiply as `u32` and those of 64 as `u64`, since wrapping products depend on the low bits alone.
pub trait Acc: Elem<Acc = Self> + Default {
    /// The vector of this type.
    #[doc(hidden)]
    type V<I: Isa>: Lanes<T = Self>;
}

/// An element type of an operand or a result.
pub trait Elem: Copy + Send + Sync + 'static {
    /// What its products accumulate in.
    type Acc: Acc;
    /// True iff the type has the layout of `Acc`, so that results can be summed in place.
    const SAME_LAYOUT: bool;
    /// True iff `Acc` is `f32`.
    const IN_F32: bool = false;
    /// True iff vectors load in a few instructions, so that a matrix may be read unpacked.
    const IS_FLOAT: bool = Self::IN_F32;
    /// Widens, without rounding.
    fn widen(self) -> Self::Acc;
    /// Rounds to nearest even, or keeps the low bits of an integer.
    fn narrow(x: Self::Acc) -> Self;

    /// Widens as many elements as a vector has.
    ///
    /// # Safety
    /// They are readable, and the processor has the set.
    #[doc(hidden)]
    unsafe fn load<I: Isa>(p: *const Self) -> <Self::Acc as Acc>::V<I>;

    /// Widens eight elements; meant for types that accumulate in `f32`, zeros for others.
    ///
    /// # Safety
    /// As `load`.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn load8<I: Isa>(p: *const Self) -> I::P {
        let _ = p;
        // SAFETY: the caller's promise.
        unsafe { I::P::splat(0.0) }
    }

    /// Lane i of a vector is `p[i / repeat]`, widened; meant for types that accumulate in `f32`, zeros
    /// for others. `repeat` is a power of two from 2 on.
    ///
    /// # Safety
    /// The elements of all lanes are readable, and the processor has the set.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn spread<I: Isa>(p: *const Self, repeat: usize) -> I::F32 {
        let _ = (p, repeat);
        // SAFETY: the caller's promise.
        unsafe { I::F32::splat(0.0) }
    }

    /// Narrows `src` into `dst`.
    ///
    /// # Safety
    /// `n` elements behind both pointers are valid, and the processor has the set.
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn store<I: Isa>(src: *const Self::Acc, n: usize, dst: *mut Self) {
        for i in 0..n {
            // SAFETY: i < n.
            unsafe { *dst.add(i) = Self::narrow(*src.add(i)) }
        }
    }
}

macro_rules! acc {
    ($t:ty, $v:ident) => {
        impl Acc for $t {
            type V<I: Isa> = I::$v;
        }
    };
}
acc!(f32, F32);
acc!(f64, F64);
acc!(u32, U32);
acc!(u64, U64);

impl Elem for f32 {
    type Acc = f32;
    const SAME_LAYOUT: bool = true;
    const IN_F32: bool = true;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    unsafe fn load<I: Isa>(p: *const f32) -> I::F32 {
        // SAFETY: the caller's promise.
        unsafe { I::F32::load(p) }
    }
    #[inline(always)]
    unsafe fn load8<I: Isa>(p: *const f32) -> I::P {
        // SAFETY: the caller's promise.
        unsafe { I::P::load(p) }
    }
    #[inline(always)]
    unsafe fn spread<I: Isa>(p: *const f32, repeat: usize) -> I::F32 {
        // SAFETY: the caller's promise.
        unsafe { I::F32::spread(p, repeat) }
    }
}

macro_rules! half {
    ($t:ty, $load:ident, $spread:ident, $store:ident, $widen:ident) => {
        impl Elem for $t {
            type Acc = f32;
            const SAME_LAYOUT: bool = false;
            const IN_F32: bool = true;
            #[inline(always)]
            fn widen(self) -> f32 {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(x: f32) -> $t {
                <$t>::from_f32(x)
            }
            #[inline(always)]
            unsafe fn load<I: Isa>(p: *const $t) -> I::F32 {
                // SAFETY: the caller's promise.
                unsafe { I::F32::$load(p) }
            }
            #[inline(always)]
            unsafe fn load8<I: Isa>(p: *const $t) -> I::P {
                // SAFETY: the caller's promise.
                unsafe { I::P::$load(p) }
            }
            #[inline(always)]
            unsafe fn spread<I: Isa>(p: *const $t, repeat: usize) -> I::F32 {
                // SAFETY: the caller's promise.
                unsafe { I::F32::$spread(p, repeat) }
            }
            #[inline(always)]
            unsafe fn store<I: Isa>(src: *const f32, n: usize, dst: *mut $t) {
                // SAFETY: all accesses are below n.
                unsafe {
                    let mut i = 0;
                    while i + 8 <= n {
                        I::P::load(src.add(i)).$store(dst.add(i));
                        i += 8;
                    }
                    if i < n {
                        let (mut last, mut out) = ([0.0f32; 8], [<$t>::ZERO; 8]);
                        std::ptr::copy_nonoverlapping(src.add(i), last.as_mut_ptr(), n - i);
                        I::P::load(last.as_ptr()).$store(out.as_mut_ptr());
                        std::ptr::copy_nonoverlapping(out.as_ptr(), dst.add(i), n - i);
                    }
                }
            }
        }
    };
}
half!(f16, load_f16, spread_f16, store_f16, widen_f16);
half!(bf16, load_bf16, spread_bf16, store_bf16, widen_bf16);

macro_rules! plain {
    ($($t:ty, $acc:ty, $v:ident, $same:literal, $float:literal;)*) => { $(
        impl Elem for $t {
            type Acc = $acc;
            const SAME_LAYOUT: bool = $same;
            const IS_FLOAT: bool = $float;
            #[inline(always)]
            fn widen(self) -> $acc {
                self as $acc
            }
            #[inline(always)]
            fn narrow(x: $acc) -> $t {
                x as $t
            }
            #[inline(always)]
            unsafe fn load<I: Isa>(p: *const $t) -> I::$v {
                // SAFETY: the caller's promise; no vector has more than sixteen lanes.
                unsafe {
                    if Self::IS_FLOAT {
                        return I::$v::load(p.cast());
                    }
                    let mut wide = [0 as $acc; 16];
                    for (i, w) in wide.iter_mut().enumerate().take(I::$v::L) {
                        *w = (*p.add(i)).widen();
                    }
                    I::$v::load(wide.as_ptr())
                }
            }
        }
    )* };
}
plain! {
    f64, f64, F64, true, true;
    i8, u32, U32, false, false;
    u8, u32, U32, false, false;
    i16, u32, U32, false, false;
    u16, u32, U32, false, false;
    i32, u32, U32, true, false;
    u32, u32, U32, true, false;
    i64, u64, U64, true, false;
    u64, u64, U64, true, false;
}
