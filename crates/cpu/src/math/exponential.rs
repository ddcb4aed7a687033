//! Exponentials, logarithms, hyperbolic functions and their inverses.
//!
//! The exponential reduces `x = n ln(2) + r` by Cody and Waite's two-part `ln(2)` and takes
//! `e^r - 1` from a polynomial; the logarithm reduces `x = 2^e m` and uses
//! `ln(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R(s^2))` with `s = f / (2 + f)` (Tang 1990).

use super::lane::{Float, Lane, clamp, polynomial};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_sub_ps,
};
use std::hint::select_unpredictable;

/// `(e^r - 1, n)` with `x = n ln(2) + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
fn expm1_reduced<F: Float>(x: F) -> (F, F) {
    let (high, low) = F::LIMITS.ln2;
    let n = (x * F::lit(std::f64::consts::LOG2_E)).round_small();
    let a = n.madd(F::lit(-high), x);
    let b = n * F::lit(low);
    let r = a - b;
    let rest = (a - r) - b;
    let q = polynomial(r, F::TABLES.expm1);
    (r + (r * r).madd(q, rest.madd(r, rest)), n)
}

/// `p 2^n` for a shifted `n`, rounded once also where the result is subnormal: by way of
/// `2^(n + 64)` where the result is below 1, and of `2^(n - 64)` elsewhere.
#[inline(always)]
fn scale<F: Float>(p: F, n: F, is_small: bool) -> F {
    let lift = select_unpredictable(is_small, 64, -64);
    let back = F::select(is_small, F::lit(TWO_64.recip()), F::lit(TWO_64));
    p * n.pow2_shifted(lift) * back
}

const TWO_64: f64 = 18_446_744_073_709_551_616.0;

#[inline(always)]
pub(super) fn exp<F: Float>(x: F) -> F {
    let (low, high) = F::LIMITS.exp;
    let x = clamp(x, F::lit(low), F::lit(high));
    let (ln2_high, ln2_low) = F::LIMITS.ln2;
    let shifted = x.shift(F::lit(std::f64::consts::LOG2_E));
    let n = shifted.unshift();
    let r = n.madd(F::lit(-ln2_low), n.madd(F::lit(-ln2_high), x));
    let p = (r * r).madd(polynomial(r, F::TABLES.expm1), r);
    scale(p + F::lit(1.0), shifted, x < F::lit(0.0))
}

/// [`exp`] of 16 `float32`, bit for bit.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn exp_512(x: __m512) -> __m512 {
    type X = Lane<f32, true>;
    /// As in [`Float::shift`].
    const SHIFT: f64 = 1.5 * (1 << 23) as f64;
    let all = |x: f64| _mm512_set1_ps(x as f32);
    let (low, high) = X::LIMITS.exp;
    // NaN is the second operand, which these instructions give back.
    let x = _mm512_min_ps(all(high), _mm512_max_ps(all(low), x));
    let shifted = _mm512_fmadd_ps(x, all(std::f64::consts::LOG2_E), all(SHIFT));
    let n = _mm512_sub_ps(shifted, all(SHIFT));
    let (ln2_high, ln2_low) = X::LIMITS.ln2;
    let r = _mm512_fnmadd_ps(n, all(ln2_low), _mm512_fnmadd_ps(n, all(ln2_high), x));
    let [first @ .., last] = X::TABLES.expm1 else { return x };
    let mut p = all(*last);
    for &c in first.iter().rev() {
        p = _mm512_fmadd_ps(p, r, all(c));
    }
    let p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    _mm512_scalef_ps(_mm512_add_ps(p, all(1.0)), n)
}

#[inline(always)]
pub(super) fn exp2<F: Float>(x: F) -> F {
    let (low, high) = F::LIMITS.exp;
    let per_octave = F::lit(std::f64::consts::LOG2_E);
    let x = clamp(x, F::lit(low) * per_octave, F::lit(high) * per_octave);
    let n = x.shift(F::lit(1.0));
    let r = (x - n.unshift()) * F::lit(std::f64::consts::LN_2);
    let p = (r * r).madd(polynomial(r, F::TABLES.expm1), r);
    scale(p + F::lit(1.0), n, x < F::lit(0.0))
}

/// `(e^x - 1) / 4`, which does not overflow before `sinh(x)` does.
#[inline(always)]
fn expm1_quarter<F: Float>(p: F, n: F) -> F {
    let s = (n - F::lit(2.0)).pow2();
    s.madd(p, s - F::lit(0.25))
}

#[inline(always)]
pub(super) fn expm1<F: Float>(x: F) -> F {
    let (low, high) = F::LIMITS.expm1;
    let (p, n) = expm1_reduced(clamp(x, F::lit(low), F::lit(high)));
    let wide = expm1_quarter(p, n) * F::lit(4.0);
    let y = F::select(n == F::lit(0.0), p, wide);
    F::select(x.abs() < F::lit(F::LIMITS.tiny), x, y)
}

#[inline(always)]
pub(super) fn sinh<F: Float>(x: F) -> F {
    let a = x.abs();
    let (p, n) = expm1_reduced(clamp(a, F::lit(0.0), F::lit(F::LIMITS.expm1.1)));
    let q = expm1_quarter(p, n);
    // With q = (e^a - 1) / 4: sinh(a) = 2 q + 2 q / (4 q + 1); the quotient is 1/2 to the last
    // bit long before the bound on its operand matters.
    let bounded = F::select(q > F::lit(1e18), F::lit(1e18), q);
    let y = F::lit(2.0) * (q + bounded / bounded.madd(F::lit(4.0), F::lit(1.0)));
    F::select(a < F::lit(F::LIMITS.linear), x, y.copysign(x))
}

#[inline(always)]
pub(super) fn cosh<F: Float>(x: F) -> F {
    let (p, n) = expm1_reduced(clamp(x.abs(), F::lit(0.0), F::lit(F::LIMITS.expm1.1)));
    let half = scale(p + F::lit(1.0), (n - F::lit(1.0)).shift(F::lit(1.0)), false);
    half + F::lit(0.25) / half
}

#[inline(always)]
pub(super) fn tanh<F: Float>(x: F) -> F {
    let a = x.abs();
    let limit = F::lit(F::LIMITS.tanh);
    let a = F::select(a > limit, limit, a);
    // The error of ln(2) in one part does not show: tanh(a) is flat where n is not small.
    let shifted = a.shift(F::lit(2.0 * std::f64::consts::LOG2_E));
    let r = shifted.unshift().madd(F::lit(-std::f64::consts::LN_2), a + a);
    let p = (r * r).madd(polynomial(r, F::TABLES.expm1), r);
    // e^(2 a) - 1, which is p itself near 0.
    let power = shifted.pow2_shifted(0);
    let q = power.madd(p, power - F::lit(1.0));
    (q / (q + F::lit(2.0))).copysign(x)
}

#[inline(always)]
pub(super) fn sigmoid<F: Float>(x: F) -> F {
    let e = exp(-x.abs());
    let numerator = F::select(x < F::lit(0.0), e, F::lit(1.0));
    numerator / (e + F::lit(1.0))
}

/// The parts of a logarithm: `x = 2^e (1 + f)`.
struct Reduced<F> {
    e: F,
    f: F,
}

/// Reduces a positive finite number, subnormals included.
#[inline(always)]
fn reduce<F: Float>(x: F) -> Reduced<F> {
    let lift = F::lit(F::LIMITS.lift);
    let small = x < F::lit(F::LIMITS.tiny);
    let lifted = F::select(small, x * lift.pow2(), x);
    let (m, e) = lifted.split();
    let e = F::select(small, e - lift, e);
    Reduced { e, f: m - F::lit(1.0) }
}

/// `(f^2 / 2, s (f^2 / 2 + R))`, so that `ln(1 + f) = f - (first - second)`.
#[inline(always)]
fn log_terms<F: Float>(f: F) -> (F, F) {
    let s = f / (f + F::lit(2.0));
    let z = s * s;
    let r = z * polynomial(z, F::TABLES.log);
    let half_square = F::lit(0.5) * f * f;
    (half_square, s * (half_square + r))
}

/// Puts the special cases of a logarithm in: `argument` is what the logarithm sees.
#[inline(always)]
fn log_special<F: Float>(argument: F, y: F) -> F {
    let infinity = F::lit(f64::INFINITY);
    let zero = F::lit(0.0);
    let y = F::select(argument < infinity, y, argument);
    let y = F::select(argument < zero, F::lit(f64::NAN), y);
    F::select(argument == zero, -infinity, y)
}

#[inline(always)]
pub(super) fn log<F: Float>(x: F) -> F {
    let Reduced { e, f } = reduce(x);
    let (half_square, rest) = log_terms(f);
    let (high, low) = F::LIMITS.ln2;
    let tail = half_square - e.madd(F::lit(low), rest);
    log_special(x, e * F::lit(high) - (tail - f))
}

#[inline(always)]
pub(super) fn log1p<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let u = x + one;
    let Reduced { e, f } = reduce(u);
    // What the sum lost, relative to u; without it only where u is x itself, to rounding.
    let lost = F::select(x < one, x - (u - one), one - (u - x)) / u;
    let exact = e == F::lit(0.0);
    let f = F::select(exact, x, f);
    let lost = F::select(exact, F::lit(0.0), lost);
    let (half_square, rest) = log_terms(f);
    let (high, low) = F::LIMITS.ln2;
    let tail = half_square - (rest + e.madd(F::lit(low), lost));
    let y = e * F::lit(high) - (tail - f);
    let y = log_special(u, y);
    F::select(x.abs() < F::lit(F::LIMITS.tiny), x, y)
}

/// `(high, low)` with `ln(1 + f) = high + low`, and `high` exact in half a significand.
#[inline(always)]
fn log_split<F: Float>(f: F) -> (F, F) {
    let (half_square, rest) = log_terms(f);
    let high = (f - half_square).high_half();
    (high, ((f - high) - half_square) + rest)
}

/// A logarithm to another base: `e * octave + ln(1 + f) * scale`, both factors in two parts whose
/// first is short enough for exact products.
#[inline(always)]
fn log_base<F: Float>(x: F, octave: (f64, f64), scale: (f64, f64)) -> F {
    let Reduced { e, f } = reduce(x);
    let (high, low) = log_split(f);
    let a = e * F::lit(octave.0);
    let b = high * F::lit(scale.0);
    let sum = a + b;
    let rest = (a - sum) + b;
    let small = (high + low).madd(F::lit(scale.1), low * F::lit(scale.0));
    let y = sum + (e.madd(F::lit(octave.1), small) + rest);
    log_special(x, y)
}

#[inline(always)]
pub(super) fn log2<F: Float>(x: F) -> F {
    log_base(x, (1.0, 0.0), (1.442_382_812_5, 0.00031222838896340733))
}

#[inline(always)]
pub(super) fn log10<F: Float>(x: F) -> F {
    log_base(
        x,
        (0.301_025_390_625, 4.605038981195214e-06),
        (0.434_326_171_875, -3.168997174817235e-05),
    )
}

#[inline(always)]
pub(super) fn logaddexp<F: Float>(x: F, y: F) -> F {
    let larger = F::select(x > y, x, y);
    let distance = F::select(x == y, F::lit(0.0), (x - y).abs());
    larger + log1p(exp(-distance))
}

#[inline(always)]
pub(super) fn arcsinh<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let a = x.abs();
    let large = a > F::lit(F::LIMITS.large);
    let square = F::select(large, one, a * a);
    let near = a + square / (one + (one + square).sqrt());
    let y = log1p(F::select(large, a, near));
    let y = y + F::select(large, F::lit(std::f64::consts::LN_2), F::lit(0.0));
    F::select(a < F::lit(F::LIMITS.linear), x, y.copysign(x))
}

#[inline(always)]
pub(super) fn arccosh<F: Float>(x: F) -> F {
    let t = x - F::lit(1.0);
    let large = x > F::lit(F::LIMITS.large);
    let near = t + (t * (t + F::lit(2.0))).sqrt();
    let y = log1p(F::select(large, x, near));
    let y = y + F::select(large, F::lit(std::f64::consts::LN_2), F::lit(0.0));
    F::select(x < F::lit(1.0), F::lit(f64::NAN), y)
}

#[inline(always)]
pub(super) fn arctanh<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let a = x.abs();
    let twice = a + a;
    let small = twice + twice * a / (one - a);
    let argument = F::select(a < F::lit(0.5), small, twice / (one - a));
    let y = F::lit(0.5) * log1p(argument);
    F::select(a < F::lit(F::LIMITS.linear), x, y.copysign(x))
}
