//! One element of a vectorised loop, and the arithmetic on which the functions are built.

use std::hint::select_unpredictable;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// An element inside a vectorised loop. `FMA` is true iff [`Float::madd`] may be one fused
/// instruction; see [`multiversion!`](crate::multiversion).
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Lane<T, const FMA: bool>(pub T);

/// What the functions of this module need of an element type. Implementations are branch-free and
/// inline, so that a loop over elements vectorises.
pub trait Float:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The coefficients of this precision.
    const TABLES: super::coefficients::Tables;
    /// The constants of this precision.
    const LIMITS: Limits;

    /// The nearest value to a constant.
    fn lit(value: f64) -> Self;
    /// `self * b + c`, rounded once where the instruction set has it and twice elsewhere.
    fn madd(self, b: Self, c: Self) -> Self;
    /// `if condition { a } else { b }`, never compiled to a branch.
    fn select(condition: bool, a: Self, b: Self) -> Self;
    /// The nearest integer for `|self| < 2^21`, ties to even.
    fn round_small(self) -> Self;
    /// `2^self` for an integer in the range of normal exponents.
    fn pow2(self) -> Self;
    /// The integer `n` nearest to `self * factor`, ties to even, for a product below 2^21, left in
    /// the low bits of a significand, where [`Float::unshift`] and [`Float::pow2_shifted`] find it.
    fn shift(self, factor: Self) -> Self;
    /// `n` of what [`Float::shift`] gave.
    fn unshift(self) -> Self;
    /// `2^(n + lift)` for what [`Float::shift`] gave; the sum is in the range of normal exponents.
    fn pow2_shifted(self, lift: i32) -> Self;
    /// `(m, e)` with `self = m 2^e` and `sqrt(1/2) <= m < sqrt(2)`, for a positive normal number.
    fn split(self) -> (Self, Self);
    /// This number without the lower half of its significand.
    fn high_half(self) -> Self;
    /// True iff the sign bit is set, that of zeros and NaN included.
    fn is_sign_negative(self) -> bool;
    /// True iff this is not a number.
    fn is_nan(self) -> bool;
    /// `|x|`.
    fn abs(self) -> Self;
    /// `|x|` with the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// `sqrt(x)`, correctly rounded.
    fn sqrt(self) -> Self;
    /// The largest integer not above `x`.
    fn floor(self) -> Self;
    /// The smallest integer not below `x`.
    fn ceil(self) -> Self;
    /// The integer part of `x`.
    fn trunc(self) -> Self;
    /// The nearest integer, ties to even.
    fn round(self) -> Self;
    /// The remainder of the division truncated towards zero, with the sign of `self`; exact.
    fn fmod(self, divisor: Self) -> Self;
    /// `sin(x)`.
    fn sin(self) -> Self;
    /// `cos(x)`.
    fn cos(self) -> Self;
    /// `tan(x)`.
    fn tan(self) -> Self;
    /// `x^y` with all special cases of IEEE 754 `pow`.
    fn power(self, exponent: Self) -> Self;
}

/// Where the functions of one precision change over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `ln(2)` in two parts: the first short enough that its products with exponents are exact.
    pub ln2: (f64, f64),
    /// Arguments of `exp` are clamped to this range; beyond it the result is 0 or infinite.
    pub exp: (f64, f64),
    /// Arguments of `expm1` and `sinh` are clamped to this range.
    pub expm1: (f64, f64),
    /// The smallest normal number.
    pub tiny: f64,
    /// The exponent of the scale that lifts subnormals into the normal range.
    pub lift: f64,
    /// Below this magnitude `f(x) = x` for the odd functions, to within a fraction of an ulp.
    pub linear: f64,
    /// From here on, `ln(1 + x) = ln(x)`; the square is still finite.
    pub large: f64,
    /// From here on, `tanh(x) = 1`.
    pub tanh: f64,
    /// From here on, `erf(x) = 1`.
    pub erf: f64,
}

const F32_LIMITS: Limits = Limits {
    ln2: (0.693_359_375, -2.121_944_400_546_905_8e-4),
    exp: (-104.0, 90.0),
    expm1: (-80.0, 89.6),
    tiny: f32::MIN_POSITIVE as f64,
    lift: 32.0,
    linear: 6.103_515_625e-5,
    large: 1e12,
    tanh: 10.0,
    erf: 4.0,
};

const F64_LIMITS: Limits = Limits {
    ln2: (LN2_HIGH, 1.908_214_929_270_587_7e-10),
    exp: (-746.0, 712.0),
    expm1: (-700.0, 710.7),
    tiny: f64::MIN_POSITIVE,
    lift: 64.0,
    linear: 9.313_225_746_154_785e-10,
    large: 1e30,
    tanh: 20.0,
    erf: 6.0,
};

/// `ln(2)` with the lower 32 bits cleared.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);

macro_rules! lane {
    ($t:ident, $bits:ident, mantissa: $mantissa:literal, bias: $bias:literal,
     sqrt_half: $sqrt_half:literal, high: $high:literal,
     limits: $limits:ident, tables: $tables:ident) => {
        impl<const FMA: bool> Add for Lane<$t, FMA> {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl<const FMA: bool> Sub for Lane<$t, FMA> {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl<const FMA: bool> Mul for Lane<$t, FMA> {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self(self.0 * other.0)
            }
        }
        impl<const FMA: bool> Div for Lane<$t, FMA> {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                Self(self.0 / other.0)
            }
        }
        impl<const FMA: bool> Neg for Lane<$t, FMA> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl<const FMA: bool> PartialEq for Lane<$t, FMA> {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }
        impl<const FMA: bool> PartialOrd for Lane<$t, FMA> {
            #[inline(always)]
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                self.0.partial_cmp(&other.0)
            }
            #[inline(always)]
            fn lt(&self, other: &Self) -> bool {
                self.0 < other.0
            }
            #[inline(always)]
            fn le(&self, other: &Self) -> bool {
                self.0 <= other.0
            }
            #[inline(always)]
            fn gt(&self, other: &Self) -> bool {
                self.0 > other.0
            }
            #[inline(always)]
            fn ge(&self, other: &Self) -> bool {
                self.0 >= other.0
            }
        }

        impl<const FMA: bool> Float for Lane<$t, FMA> {
            const TABLES: super::coefficients::Tables = super::coefficients::$tables;
            const LIMITS: Limits = $limits;

            #[inline(always)]
            fn lit(value: f64) -> Self {
                Self(value as $t)
            }
            #[inline(always)]
            fn madd(self, b: Self, c: Self) -> Self {
                if FMA { Self(self.0.mul_add(b.0, c.0)) } else { Self(self.0 * b.0 + c.0) }
            }
            #[inline(always)]
            fn select(condition: bool, a: Self, b: Self) -> Self {
                Self(select_unpredictable(condition, a.0, b.0))
            }
            #[inline(always)]
            fn round_small(self) -> Self {
                const SHIFT: $t = 1.5 * (1_u64 << $mantissa) as $t;
                Self((self.0 + SHIFT) - SHIFT)
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                const SHIFT: $t = 1.5 * (1_u64 << $mantissa) as $t;
                Self($t::from_bits(((self.0 + SHIFT).to_bits().wrapping_add($bias)) << $mantissa))
            }
            #[inline(always)]
            fn shift(self, factor: Self) -> Self {
                const SHIFT: $t = 1.5 * (1_u64 << $mantissa) as $t;
                self.madd(factor, Self(SHIFT))
            }
            #[inline(always)]
            fn unshift(self) -> Self {
                const SHIFT: $t = 1.5 * (1_u64 << $mantissa) as $t;
                Self(self.0 - SHIFT)
            }
            #[inline(always)]
            fn pow2_shifted(self, lift: i32) -> Self {
                let exponent = self.0.to_bits().wrapping_add((lift + $bias) as $bits);
                Self($t::from_bits(exponent << $mantissa))
            }
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const SHIFT: $t = (1_u64 << $mantissa) as $t;
                const BIAS: $t = $bias as $t;
                let bits = self.0.to_bits();
                let one: $bits = ($bias as $bits) << $mantissa;
                let exponent = bits.wrapping_sub($sqrt_half).wrapping_add(one) >> $mantissa;
                let significand = bits.wrapping_sub(exponent << $mantissa).wrapping_add(one);
                let e = $t::from_bits(exponent | SHIFT.to_bits()) - (SHIFT + BIAS);
                (Self($t::from_bits(significand)), Self(e))
            }
            #[inline(always)]
            fn high_half(self) -> Self {
                Self($t::from_bits(self.0.to_bits() & $high))
            }
            #[inline(always)]
            fn is_sign_negative(self) -> bool {
                self.0.is_sign_negative()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.0.is_nan()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.abs())
            }
            #[inline(always)]
            fn copysign(self, sign: Self) -> Self {
                Self(self.0.copysign(sign.0))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Self(self.0.sqrt())
            }
            #[inline(always)]
            fn floor(self) -> Self {
                Self(self.0.floor())
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                Self(self.0.ceil())
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                Self(self.0.trunc())
            }
            #[inline(always)]
            fn round(self) -> Self {
                Self(self.0.round_ties_even())
            }
            #[inline(always)]
            fn fmod(self, divisor: Self) -> Self {
                Self(self.0 % divisor.0)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                super::trigonometric::$t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                super::trigonometric::$t::cos(self)
            }
            #[inline(always)]
            fn tan(self) -> Self {
                super::trigonometric::$t::tan(self)
            }
            #[inline(always)]
            fn power(self, exponent: Self) -> Self {
                super::power::$t(self, exponent)
            }
        }
    };
}

lane!(f32, u32, mantissa: 23, bias: 127, sqrt_half: 0x3f35_04f3, high: 0xffff_f000,
      limits: F32_LIMITS, tables: F32);
lane!(f64, u64, mantissa: 52, bias: 1023, sqrt_half: 0x3fe6_a09e_667f_3bcd,
      high: 0xffff_ffff_0000_0000, limits: F64_LIMITS, tables: F64);

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule.
#[inline(always)]
pub(super) fn polynomial<F: Float>(x: F, c: &[f64]) -> F {
    let mut sum = F::lit(c[c.len() - 1]);
    let mut i = c.len() - 1;
    while i > 0 {
        i -= 1;
        sum = sum.madd(x, F::lit(c[i]));
    }
    sum
}

/// `x` inside `[low, high]`; NaN stays NaN.
#[inline(always)]
pub(super) fn clamp<F: Float>(x: F, low: F, high: F) -> F {
    let x = F::select(x < low, low, x);
    F::select(x > high, high, x)
}
