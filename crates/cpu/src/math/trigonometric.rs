//! Circular functions and their inverses.
//!
//! float32 goes through float64: the angle in quarter turns is the significand times a table entry
//! for the exponent (the idea of Payne and Hanek, 1983, with the whole product in two float64),
//! exact enough for every float32, so that no argument needs another path. The circular
//! functions of float64 are the standard library's, which are scalar.

use super::lane::{Float, Lane, polynomial};

pub(super) mod f32 {
    //! Circular functions of float32.

    use super::super::angle_table::{QUARTER_TURNS_HIGH, QUARTER_TURNS_LOW};
    use super::super::coefficients::{COS, SIN};
    use super::{Float, Lane, polynomial};

    /// Sine and cosine of `pi / 2 * r`, and the number of quarter turns taken away, modulo 4.
    struct Reduced<const FMA: bool> {
        sin: Lane<f64, FMA>,
        cos: Lane<f64, FMA>,
        quadrant: u32,
    }

    /// Reduces `|x|`; an infinity or NaN gives NaN.
    #[inline(always)]
    fn reduce<const FMA: bool>(x: f32) -> Reduced<FMA> {
        const SHIFT: f64 = 1.5 * (1_u64 << 52) as f64;
        let bits = x.to_bits();
        let exponent = (bits >> 23) & 255;
        let significand = (bits & 0x7f_ffff) | (u32::from(exponent != 0) << 23);
        // The significand is below 2^24, so the signed conversion, which vectorises, is exact.
        let m = f64::from(significand as i32);
        let turns = m * QUARTER_TURNS_HIGH[exponent as usize];
        let shifted = turns + SHIFT;
        let r = turns - (shifted - SHIFT);
        let r = Lane::<f64, FMA>(m).madd(Lane(QUARTER_TURNS_LOW[exponent as usize]), Lane(r));
        let r = Lane::select(exponent == 255, Lane(f64::NAN), r);
        let z = r * r;
        let sin = r * polynomial(z, SIN);
        Reduced { sin, cos: polynomial(z, COS), quadrant: shifted.to_bits() as u32 & 3 }
    }

    /// `value`, negated iff bit 31 of `sign` is set.
    #[inline(always)]
    fn signed<const FMA: bool>(value: Lane<f64, FMA>, sign: u32) -> Lane<f32, FMA> {
        Lane(f32::from_bits((value.0 as f32).to_bits() ^ (sign & 0x8000_0000)))
    }

    #[inline(always)]
    pub(in super::super) fn sin<const FMA: bool>(x: Lane<f32, FMA>) -> Lane<f32, FMA> {
        let Reduced { sin, cos, quadrant } = reduce(x.0);
        signed(Lane::select(quadrant & 1 == 1, cos, sin), (quadrant << 30) ^ x.0.to_bits())
    }

    #[inline(always)]
    pub(in super::super) fn cos<const FMA: bool>(x: Lane<f32, FMA>) -> Lane<f32, FMA> {
        let Reduced { sin, cos, quadrant } = reduce(x.0);
        signed(Lane::select(quadrant & 1 == 1, sin, cos), (quadrant + 1) << 30)
    }

    #[inline(always)]
    pub(in super::super) fn tan<const FMA: bool>(x: Lane<f32, FMA>) -> Lane<f32, FMA> {
        let Reduced { sin, cos, quadrant } = reduce(x.0);
        let odd = quadrant & 1 == 1;
        let quotient = Lane::select(odd, cos, sin) / Lane::select(odd, sin, cos);
        signed(quotient, (quadrant << 31) ^ x.0.to_bits())
    }
}

pub(super) mod f64 {
    //! Circular functions of float64.

    use super::Lane;

    #[inline(always)]
    pub(in super::super) fn sin<const FMA: bool>(x: Lane<f64, FMA>) -> Lane<f64, FMA> {
        Lane(x.0.sin())
    }

    #[inline(always)]
    pub(in super::super) fn cos<const FMA: bool>(x: Lane<f64, FMA>) -> Lane<f64, FMA> {
        Lane(x.0.cos())
    }

    #[inline(always)]
    pub(in super::super) fn tan<const FMA: bool>(x: Lane<f64, FMA>) -> Lane<f64, FMA> {
        Lane(x.0.tan())
    }
}

/// `base + turn`, with `turn` in two parts.
#[inline(always)]
fn offset<F: Float>(turn: (f64, f64), value: F) -> F {
    F::lit(turn.0) + (F::lit(turn.1) + value)
}

/// `pi`, `pi / 2` and `pi / 4`, each as its nearest value in float64 or float32 and the rest.
struct Turns {
    half: (f64, f64),
    quarter: (f64, f64),
    eighth: (f64, f64),
}

/// The parts of `pi` in the precision of `F`.
#[inline(always)]
fn turns<F: Float>() -> Turns {
    let half = F::TABLES.pi;
    Turns { half, quarter: (half.0 * 0.5, half.1 * 0.5), eighth: (half.0 * 0.25, half.1 * 0.25) }
}

/// `arctan(a / b)` for `0 <= a <= b`, `b > 0`, `a + b` finite.
#[inline(always)]
fn arctan_ratio<F: Float>(a: F, b: F) -> F {
    // Above tan(pi / 8): arctan(a / b) = pi / 4 + arctan((a - b) / (a + b)).
    let steep = a > b * F::lit(std::f64::consts::SQRT_2 - 1.0);
    let r = F::select(steep, a - b, a) / F::select(steep, a + b, b);
    let z = r * r;
    let rest = r * z * polynomial(z, F::TABLES.arctan);
    let (high, low) = turns::<F>().eighth;
    let base = F::select(steep, F::lit(high), F::lit(0.0));
    let tail = F::select(steep, F::lit(low), F::lit(0.0));
    base + (r + (rest + tail))
}

#[inline(always)]
pub(super) fn arctan<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let a = x.abs();
    let outside = a > one;
    let inner = F::select(outside, one / a, a);
    let angle = arctan_ratio(inner, one);
    let angle = F::select(outside, offset(turns::<F>().quarter, -angle), angle);
    angle.copysign(x)
}

#[inline(always)]
pub(super) fn arctan2<F: Float>(y: F, x: F) -> F {
    let infinity = F::lit(f64::INFINITY);
    let (a, b) = (y.abs(), x.abs());
    let upper = a > b;
    let (small, large) = (F::select(upper, b, a), F::select(upper, a, b));
    // Infinite and zero pairs have an angle although they have no ratio.
    let both = a == infinity && b == infinity;
    let none = large == F::lit(0.0);
    let scale = F::select(large > F::lit(1e30), F::lit(0.25), F::lit(1.0));
    let small = F::select(both, F::lit(1.0), small * scale);
    let large = F::select(both, F::lit(1.0), large * scale);
    let angle = arctan_ratio(small, F::select(none, F::lit(1.0), large));
    let turns = turns::<F>();
    let angle = F::select(upper, offset(turns.quarter, -angle), angle);
    let angle = F::select(x.is_sign_negative(), offset(turns.half, -angle), angle);
    // The sum of magnitudes is NaN iff one of them is.
    F::select(a + b >= F::lit(0.0), angle, a + b).copysign(y)
}

/// `(1 - a) / 2`, the square of the sine of half the angle left to `pi / 2`.
#[inline(always)]
fn folded_square<F: Float>(a: F) -> F {
    (F::lit(1.0) - a) * F::lit(0.5)
}

/// `(arcsin(s) - s, s)` where `s` is `a`, or `sqrt((1 - a) / 2)` if `a > 1/2`, for `0 <= a <= 1`.
#[inline(always)]
fn arcsin_parts<F: Float>(a: F) -> (F, F) {
    let outer = a > F::lit(0.5);
    let folded = folded_square(a);
    let z = F::select(outer, folded, a * a);
    let s = F::select(outer, folded.sqrt(), a);
    (s * z * polynomial(z, F::TABLES.arcsin), s)
}

#[inline(always)]
pub(super) fn arcsin<F: Float>(x: F) -> F {
    let a = x.abs();
    let (rest, s) = arcsin_parts(a);
    let (high, low) = turns::<F>().quarter;
    // pi / 2 - 2 arcsin(s) with the rounding of the square root put back.
    let h = s.high_half();
    let c = (folded_square(a) - h * h) / (s + h + F::lit(F::LIMITS.tiny));
    let tail = F::lit(2.0) * (rest + c) - F::lit(low);
    let folded = (F::lit(high) - F::lit(2.0) * h) - tail;
    F::select(a > F::lit(0.5), folded, s + rest).copysign(x)
}

#[inline(always)]
pub(super) fn arccos<F: Float>(x: F) -> F {
    let a = x.abs();
    let (rest, s) = arcsin_parts(a);
    let angle = s + rest;
    let turns = turns::<F>();
    let centre = offset(turns.quarter, -angle.copysign(x));
    let left = offset(turns.half, F::lit(-2.0) * angle);
    let outer = F::select(x < F::lit(0.0), left, F::lit(2.0) * angle);
    F::select(a > F::lit(0.5), outer, centre)
}
