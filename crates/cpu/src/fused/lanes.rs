//! One element of each compute type under the method names of the op table.
//!
//! Reals are [`Lane`]s; integers, bools and complex numbers get wrappers here, so that a row's
//! expression means the same for each. All arithmetic of integers wraps.

use crate::math::{ComplexMath, Int, Lane, Real};
use half::{bf16, f16};
use num_complex::Complex32;
use std::cmp::Ordering;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Sub};

/// An integer lane.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct Whole<T>(pub T);

/// A bool lane: 0 or 1.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
#[repr(transparent)]
pub(crate) struct Truth(pub u8);

/// A complex lane, ordered by real part and then by imaginary part.
#[derive(Clone, Copy, PartialEq)]
#[repr(transparent)]
pub(crate) struct Pair(pub Complex32);

/// A compute type: how an element enters an expression of the op table.
pub(crate) trait Scalar: Copy + 'static {
    /// True iff loops over whole vectors pay; complex functions are scalar.
    const PADDED: bool = true;
    /// The lane.
    type Lane<const FMA: bool>: Leave<Element = Self>;
    /// The element as a lane.
    fn enter<const FMA: bool>(self) -> Self::Lane<FMA>;
    /// The start values of reductions.
    fn zero() -> Self;
    /// One.
    fn one() -> Self;
    /// Not below any value.
    fn highest() -> Self;
    /// Not above any value.
    fn lowest() -> Self;
}

/// What an expression of the op table gives, and the element it stands for.
pub(crate) trait Leave: Copy {
    /// The element.
    type Element: Copy;
    /// The lane as an element.
    fn leave(self) -> Self::Element;
}

impl Leave for bool {
    type Element = u8;
    #[inline(always)]
    fn leave(self) -> u8 {
        u8::from(self)
    }
}

/// Marks the element type of bool lanes, which `u8` cannot be: it is an integer's.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bit(pub u8);

impl Scalar for Bit {
    type Lane<const FMA: bool> = Truth;
    #[inline(always)]
    fn enter<const FMA: bool>(self) -> Truth {
        Truth(self.0)
    }
    fn zero() -> Self {
        Bit(0)
    }
    fn one() -> Self {
        Bit(1)
    }
    fn highest() -> Self {
        Bit(1)
    }
    fn lowest() -> Self {
        Bit(0)
    }
}

impl Leave for Truth {
    type Element = Bit;
    #[inline(always)]
    fn leave(self) -> Bit {
        Bit(self.0)
    }
}

impl BitAnd for Truth {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Truth(self.0 & other.0)
    }
}
impl BitOr for Truth {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Truth(self.0 | other.0)
    }
}
impl BitXor for Truth {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Truth(self.0 ^ other.0)
    }
}
impl Not for Truth {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Truth(self.0 ^ 1)
    }
}
macro_rules! reals {
    ($($t:ident)*) => {$(
        impl Scalar for $t {
            type Lane<const FMA: bool> = Lane<$t, FMA>;
            #[inline(always)]
            fn enter<const FMA: bool>(self) -> Lane<$t, FMA> {
                Lane(self)
            }
            fn zero() -> Self {
                0.0
            }
            fn one() -> Self {
                1.0
            }
            fn highest() -> Self {
                $t::INFINITY
            }
            fn lowest() -> Self {
                $t::NEG_INFINITY
            }
        }
        impl<const FMA: bool> Leave for Lane<$t, FMA> {
            type Element = $t;
            #[inline(always)]
            fn leave(self) -> $t {
                self.0
            }
        }
    )*};
}
reals!(f32 f64);

/// The complex number with these parts.
#[inline(always)]
pub(crate) fn make_complex<const FMA: bool>(re: Lane<f32, FMA>, im: Lane<f32, FMA>) -> Pair {
    Pair(Complex32::new(re.0, im.0))
}

macro_rules! wholes {
    ($($t:ident)*) => {$(
        impl Scalar for $t {
            type Lane<const FMA: bool> = Whole<$t>;
            #[inline(always)]
            fn enter<const FMA: bool>(self) -> Whole<$t> {
                Whole(self)
            }
            fn zero() -> Self {
                0
            }
            fn one() -> Self {
                1
            }
            fn highest() -> Self {
                $t::MAX
            }
            fn lowest() -> Self {
                $t::MIN
            }
        }
        impl Leave for Whole<$t> {
            type Element = $t;
            #[inline(always)]
            fn leave(self) -> $t {
                self.0
            }
        }
        wholes!(@wrap $t, Add add wrapping_add, Sub sub wrapping_sub, Mul mul wrapping_mul);
        impl Neg for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Whole(self.0.wrapping_neg())
            }
        }
        impl BitAnd for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn bitand(self, other: Self) -> Self {
                Whole(self.0 & other.0)
            }
        }
        impl BitOr for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn bitor(self, other: Self) -> Self {
                Whole(self.0 | other.0)
            }
        }
        impl BitXor for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn bitxor(self, other: Self) -> Self {
                Whole(self.0 ^ other.0)
            }
        }
        impl Not for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn not(self) -> Self {
                Whole(!self.0)
            }
        }
    )*};
    (@wrap $t:ident, $($trait:ident $method:ident $wrapping:ident),*) => {$(
        impl $trait for Whole<$t> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Whole(self.0.$wrapping(other.0))
            }
        }
    )*};
}
wholes!(u8 u32 u64 i32 i64);

macro_rules! forward {
    ($wrapper:ident via $math:ident: $($name:ident),*; $($name2:ident),*) => {
        $(
            #[inline(always)]
            pub(crate) fn $name(self) -> Self {
                $wrapper(<_ as $math>::$name(self.0))
            }
        )*
        $(
            #[inline(always)]
            pub(crate) fn $name2(self, other: Self) -> Self {
                $wrapper(<_ as $math>::$name2(self.0, other.0))
            }
        )*
    };
}

impl<T: Int + PartialOrd> Whole<T> {
    forward!(Whole via Int: abs, sign, square;
        power, floor_divide, remainder, shift_left, shift_right);
    #[inline(always)]
    pub(crate) fn maximum(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    pub(crate) fn minimum(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

impl Scalar for Complex32 {
    const PADDED: bool = false;
    type Lane<const FMA: bool> = Pair;
    #[inline(always)]
    fn enter<const FMA: bool>(self) -> Pair {
        Pair(self)
    }
    fn zero() -> Self {
        Complex32::new(0.0, 0.0)
    }
    fn one() -> Self {
        Complex32::new(1.0, 0.0)
    }
    fn highest() -> Self {
        Complex32::new(f32::INFINITY, f32::INFINITY)
    }
    fn lowest() -> Self {
        Complex32::new(f32::NEG_INFINITY, f32::NEG_INFINITY)
    }
}

impl Leave for Pair {
    type Element = Complex32;
    #[inline(always)]
    fn leave(self) -> Complex32 {
        self.0
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.0.re, self.0.im).partial_cmp(&(other.0.re, other.0.im))
    }
}
impl Add for Pair {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Pair(self.0 + other.0)
    }
}
impl Sub for Pair {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Pair(self.0 - other.0)
    }
}
impl Mul for Pair {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Pair(self.0 * other.0)
    }
}
impl Div for Pair {
    type Output = Self;
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Pair(ComplexMath::divide(self.0, other.0))
    }
}
impl Neg for Pair {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Pair(-self.0)
    }
}

impl Pair {
    forward!(Pair via ComplexMath: arccos, arccosh, arcsin, arcsinh, arctan, arctanh, cos, cosh, exp,
        expm1, log, log10, log1p, log2, reciprocal, rsqrt, sigmoid, sign, sin, sinh, sqrt, square,
        tan, tanh; power, logaddexp);

    pub(crate) fn conj(self) -> Self {
        Pair(self.0.conj())
    }
    pub(crate) fn abs(self) -> Self {
        Pair(Complex32::new(ComplexMath::modulus(self.0), 0.0))
    }
    pub(crate) fn modulus<const FMA: bool>(self) -> Lane<f32, FMA> {
        Lane(ComplexMath::modulus(self.0))
    }
    pub(crate) fn real<const FMA: bool>(self) -> Lane<f32, FMA> {
        Lane(self.0.re)
    }
    pub(crate) fn imag<const FMA: bool>(self) -> Lane<f32, FMA> {
        Lane(self.0.im)
    }
    fn is_nan(self) -> bool {
        self.0.re.is_nan() || self.0.im.is_nan()
    }
    pub(crate) fn maximum(self, other: Self) -> Self {
        if self.is_nan() || self > other { self } else { other }
    }
    pub(crate) fn minimum(self, other: Self) -> Self {
        if self.is_nan() || self < other { self } else { other }
    }
    /// The quotient of each component rounded down.
    pub(crate) fn floor_divide(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Pair(Complex32::new((a.re / b.re).floor(), (a.im / b.im).floor()))
    }
    /// The remainder of each component.
    pub(crate) fn remainder(self, other: Self) -> Self {
        let part = |x: f32, y: f32| Real::remainder(Lane::<f32, false>(x), Lane(y)).0;
        Pair(Complex32::new(part(self.0.re, other.0.re), part(self.0.im, other.0.im)))
    }
}

/// Conversion between compute types with the meaning of [`lazulite_core::Literal::cast`].
pub(crate) trait Convert<To> {
    /// The converted element.
    fn convert(self) -> To;
}

macro_rules! convert {
    // Integers wrap.
    (whole $($from:ident)*) => {$(
        convert!(@as $from: u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);
        impl Convert<Bit> for $from {
            #[inline(always)]
            fn convert(self) -> Bit {
                Bit(u8::from(self != 0))
            }
        }
        impl Convert<Complex32> for $from {
            #[inline(always)]
            fn convert(self) -> Complex32 {
                Complex32::new(self as f32, 0.0)
            }
        }
    )*};
    // Reals are truncated to 64 bits, saturating, and then wrap; those that only `u64` has stay.
    (real $($from:ident)*) => {$(
        convert!(@as $from: i64 f32 f64);
        impl Convert<u64> for $from {
            #[inline(always)]
            fn convert(self) -> u64 {
                if self < 0.0 { self as i64 as u64 } else { self as u64 }
            }
        }
        convert!(@wrap $from: u8 u16 u32 i8 i16 i32);
        impl Convert<Bit> for $from {
            #[inline(always)]
            fn convert(self) -> Bit {
                Bit(u8::from(self != 0.0))
            }
        }
        impl Convert<Complex32> for $from {
            #[inline(always)]
            fn convert(self) -> Complex32 {
                Complex32::new(self as f32, 0.0)
            }
        }
    )*};
    (via $from:ty, $by:expr, $($to:ty)*) => {$(
        impl Convert<$to> for $from {
            #[inline(always)]
            fn convert(self) -> $to {
                Convert::<$to>::convert($by(self))
            }
        }
    )*};
    (@as $from:ident: $($to:ident)*) => {$(
        impl Convert<$to> for $from {
            #[inline(always)]
            fn convert(self) -> $to {
                self as $to
            }
        }
    )*};
    (@wrap $from:ident: $($to:ident)*) => {$(
        impl Convert<$to> for $from {
            #[inline(always)]
            fn convert(self) -> $to {
                self as i64 as $to
            }
        }
    )*};
}
convert!(whole u8 u16 u32 u64 i8 i16 i32 i64);
convert!(real f32 f64);
convert!(via Bit, |x: Bit| x.0, Bit u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 Complex32);
convert!(via Complex32, |z: Complex32| z.re, u8 u16 u32 i8 i16 i32 i64 u64 f32 f64);
impl Convert<Bit> for Complex32 {
    fn convert(self) -> Bit {
        Bit(u8::from(self != Complex32::new(0.0, 0.0)))
    }
}
impl Convert<Complex32> for Complex32 {
    fn convert(self) -> Complex32 {
        self
    }
}

/// A real rounded to a half type, as `float32`.
pub(crate) trait RoundHalf {
    /// To `float16`.
    fn round_f16(self) -> f32;
    /// To `bfloat16`.
    fn round_bf16(self) -> f32;
}
impl RoundHalf for f32 {
    #[inline(always)]
    fn round_f16(self) -> f32 {
        f16::from_f32(self).to_f32()
    }
    #[inline(always)]
    fn round_bf16(self) -> f32 {
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let kept = if self.is_nan() { bits | 0x40_0000 } else { rounded };
        f32::from_bits(kept & 0xffff_0000)
    }
}
impl RoundHalf for f64 {
    fn round_f16(self) -> f32 {
        f16::from_f64(self).to_f32()
    }
    fn round_bf16(self) -> f32 {
        bf16::from_f64(self).to_f32()
    }
}
