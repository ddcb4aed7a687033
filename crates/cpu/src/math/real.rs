//! The functions of real numbers.

use super::lane::{Float, Lane};
use super::{error_function, exponential, trigonometric};

/// The functions of real numbers on one lane, with [`Float`]'s `sqrt`, `floor`, `ceil`, `trunc`,
/// `round`, `abs`, `sin`, `cos`, `tan`, `fmod` and `power`.
///
/// Over the whole range and on every instruction set, float32 results are within 1 ulp (sin, cos,
/// tan, power, exp, exp2, log, log2, log10, log1p, erf), 2.5 ulp (erfinv) or 2.1 ulp (the rest).
/// float64 results are within 3 ulp (erfinv, tanh: 4). `logaddexp` is so relative to its larger
/// argument.
///
/// Zeros keep their sign where the function is odd, NaN gives NaN, and infinities, poles and
/// arguments outside the domain give what IEEE 754 recommends.
pub trait Real: Float {
    /// `e^x`.
    #[inline(always)]
    fn exp(self) -> Self {
        exponential::exp(self)
    }
    /// `2^x`.
    #[inline(always)]
    fn exp2(self) -> Self {
        exponential::exp2(self)
    }
    /// `e^x - 1`.
    #[inline(always)]
    fn expm1(self) -> Self {
        exponential::expm1(self)
    }
    /// The natural logarithm.
    #[inline(always)]
    fn log(self) -> Self {
        exponential::log(self)
    }
    /// The logarithm to base 2; exact for powers of two.
    #[inline(always)]
    fn log2(self) -> Self {
        exponential::log2(self)
    }
    /// The logarithm to base 10.
    #[inline(always)]
    fn log10(self) -> Self {
        exponential::log10(self)
    }
    /// `ln(1 + x)`.
    #[inline(always)]
    fn log1p(self) -> Self {
        exponential::log1p(self)
    }
    /// `1 / x`.
    #[inline(always)]
    fn reciprocal(self) -> Self {
        Self::lit(1.0) / self
    }
    /// `1 / sqrt(x)`.
    #[inline(always)]
    fn rsqrt(self) -> Self {
        Self::lit(1.0) / self.sqrt()
    }
    /// `x^2`.
    #[inline(always)]
    fn square(self) -> Self {
        self * self
    }
    /// -1, 0 or 1 as `x` is below, at or above zero; zeros and NaN stay as they are.
    #[inline(always)]
    fn sign(self) -> Self {
        let one = Self::lit(1.0).copysign(self);
        Self::select(self.abs() > Self::lit(0.0), one, self)
    }
    /// `(e^x - e^-x) / 2`.
    #[inline(always)]
    fn sinh(self) -> Self {
        exponential::sinh(self)
    }
    /// `(e^x + e^-x) / 2`.
    #[inline(always)]
    fn cosh(self) -> Self {
        exponential::cosh(self)
    }
    /// `sinh(x) / cosh(x)`.
    #[inline(always)]
    fn tanh(self) -> Self {
        exponential::tanh(self)
    }
    /// The inverse sine, in `[-pi/2, pi/2]`.
    #[inline(always)]
    fn arcsin(self) -> Self {
        trigonometric::arcsin(self)
    }
    /// The inverse cosine, in `[0, pi]`.
    #[inline(always)]
    fn arccos(self) -> Self {
        trigonometric::arccos(self)
    }
    /// The inverse tangent, in `[-pi/2, pi/2]`.
    #[inline(always)]
    fn arctan(self) -> Self {
        trigonometric::arctan(self)
    }
    /// The angle of the point `(x, self)`, in `[-pi, pi]`.
    #[inline(always)]
    fn arctan2(self, x: Self) -> Self {
        trigonometric::arctan2(self, x)
    }
    /// The inverse hyperbolic sine.
    #[inline(always)]
    fn arcsinh(self) -> Self {
        exponential::arcsinh(self)
    }
    /// The inverse hyperbolic cosine, for `x >= 1`.
    #[inline(always)]
    fn arccosh(self) -> Self {
        exponential::arccosh(self)
    }
    /// The inverse hyperbolic tangent, for `|x| <= 1`.
    #[inline(always)]
    fn arctanh(self) -> Self {
        exponential::arctanh(self)
    }
    /// The error function, `2 / sqrt(pi)` times the integral of `e^(-t^2)` from 0 to `x`.
    #[inline(always)]
    fn erf(self) -> Self {
        error_function::erf(self)
    }
    /// The inverse of [`erf`](Real::erf); infinite at -1 and 1.
    #[inline(always)]
    fn erfinv(self) -> Self {
        error_function::erfinv(self)
    }
    /// `1 / (1 + e^-x)`.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        exponential::sigmoid(self)
    }
    /// `ln(e^x + e^y)`, without overflow.
    #[inline(always)]
    fn logaddexp(self, other: Self) -> Self {
        exponential::logaddexp(self, other)
    }
    /// The larger; NaN if either is NaN.
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        let larger = Self::select(self > other, self, other);
        Self::select(self.is_nan(), self, larger)
    }
    /// The smaller; NaN if either is NaN.
    #[inline(always)]
    fn minimum(self, other: Self) -> Self {
        let smaller = Self::select(self < other, self, other);
        Self::select(self.is_nan(), self, smaller)
    }
    /// `floor(x / y)`.
    #[inline(always)]
    fn floor_divide(self, divisor: Self) -> Self {
        (self / divisor).floor()
    }
    /// The remainder of the division rounded down: it has the sign of the divisor.
    #[inline(always)]
    fn remainder(self, divisor: Self) -> Self {
        let zero = Self::lit(0.0);
        let r = self.fmod(divisor);
        let differ = (r < zero && divisor > zero) || (r > zero && divisor < zero);
        Self::select(differ, r + divisor, r)
    }
}

impl<const FMA: bool> Real for Lane<f32, FMA> {}
impl<const FMA: bool> Real for Lane<f64, FMA> {}
