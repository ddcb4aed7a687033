//! The functions of complex numbers, computed in float64 and rounded once at the end.
//!
//! Branch cuts and signs of zero follow Kahan, "Branch cuts for complex elementary functions"
//! (1987). A float32 squared neither overflows nor underflows in float64, so that no scaling is
//! needed.

use num_complex::Complex;

type C32 = Complex<f32>;
type C64 = Complex<f64>;

/// The functions of complex numbers. A component is within 1 ulp of the true value unless the
/// formula cancels in it by more than the 29 bits that float64 has to spare.
pub trait ComplexMath: Copy {
    /// The component type.
    type Real;

    /// `|z|`.
    fn modulus(self) -> Self::Real;
    /// `e^z`.
    fn exp(self) -> Self;
    /// `e^z - 1`.
    fn expm1(self) -> Self;
    /// The natural logarithm, its imaginary part in `[-pi, pi]`.
    fn log(self) -> Self;
    /// The logarithm to base 2.
    fn log2(self) -> Self;
    /// The logarithm to base 10.
    fn log10(self) -> Self;
    /// `ln(1 + z)`.
    fn log1p(self) -> Self;
    /// The square root with a real part of at least 0.
    fn sqrt(self) -> Self;
    /// `1 / sqrt(z)`.
    fn rsqrt(self) -> Self;
    /// `1 / z`.
    fn reciprocal(self) -> Self;
    /// `z / w`.
    fn divide(self, divisor: Self) -> Self;
    /// `z^2`.
    fn square(self) -> Self;
    /// `z / |z|`, and 0 for 0.
    fn sign(self) -> Self;
    /// `z^w = e^(w ln(z))`, and 1 for `w = 0`.
    fn power(self, exponent: Self) -> Self;
    /// `sin(z)`.
    fn sin(self) -> Self;
    /// `cos(z)`.
    fn cos(self) -> Self;
    /// `tan(z)`.
    fn tan(self) -> Self;
    /// `sinh(z)`.
    fn sinh(self) -> Self;
    /// `cosh(z)`.
    fn cosh(self) -> Self;
    /// `tanh(z)`.
    fn tanh(self) -> Self;
    /// The inverse sine.
    fn arcsin(self) -> Self;
    /// The inverse cosine.
    fn arccos(self) -> Self;
    /// The inverse tangent.
    fn arctan(self) -> Self;
    /// The inverse hyperbolic sine.
    fn arcsinh(self) -> Self;
    /// The inverse hyperbolic cosine.
    fn arccosh(self) -> Self;
    /// The inverse hyperbolic tangent.
    fn arctanh(self) -> Self;
    /// `1 / (1 + e^-z)`.
    fn sigmoid(self) -> Self;
    /// `ln(e^z + e^w)`, taken at the larger real part.
    fn logaddexp(self, other: Self) -> Self;
}

fn wide(z: C32) -> C64 {
    C64::new(f64::from(z.re), f64::from(z.im))
}

fn narrow(z: C64) -> C32 {
    C32::new(z.re as f32, z.im as f32)
}

fn modulus(z: C64) -> f64 {
    z.re.hypot(z.im)
}

fn exp(z: C64) -> C64 {
    let scale = z.re.exp();
    // An angle that is not a number has no part in nothing.
    if scale == 0.0 {
        return C64::new(0.0, 0.0);
    }
    // A real argument stays real, also where e^x is infinite.
    let (sin, cos) = z.im.sin_cos();
    C64::new(scale * cos, if z.im == 0.0 { z.im } else { scale * sin })
}

/// `cos(y) - 1` without cancellation.
fn cosm1(y: f64) -> f64 {
    let s = (0.5 * y).sin();
    -2.0 * s * s
}

fn expm1(z: C64) -> C64 {
    let scale = z.re.exp();
    let re = z.re.exp_m1() * z.im.cos() + cosm1(z.im);
    C64::new(re, if z.im == 0.0 { z.im } else { scale * z.im.sin() })
}

/// `ln|z|`, without cancellation near the unit circle.
fn log_modulus(re: f64, im: f64) -> f64 {
    let (large, small) = (re.abs().max(im.abs()), re.abs().min(im.abs()));
    if (0.5..2.0).contains(&large) {
        0.5 * ((large - 1.0) * (large + 1.0) + small * small).ln_1p()
    } else {
        re.hypot(im).ln()
    }
}

fn log(z: C64) -> C64 {
    C64::new(log_modulus(z.re, z.im), z.im.atan2(z.re))
}

fn log1p(z: C64) -> C64 {
    let x = z.re;
    let re = if x.abs() < 0.5 && z.im.abs() < 0.5 {
        0.5 * (x * (x + 2.0) + z.im * z.im).ln_1p()
    } else {
        log_modulus(1.0 + x, z.im)
    };
    C64::new(re, z.im.atan2(1.0 + x))
}

fn sqrt(z: C64) -> C64 {
    if z.im.is_infinite() {
        return C64::new(f64::INFINITY, z.im);
    }
    if z.re.is_infinite() {
        let rest = if z.im.is_nan() { z.im } else { 0.0 };
        return if z.re > 0.0 {
            C64::new(z.re, rest.copysign(z.im))
        } else {
            C64::new(rest, f64::INFINITY.copysign(z.im))
        };
    }
    if z.re == 0.0 && z.im == 0.0 {
        return C64::new(0.0, z.im);
    }
    let root = (0.5 * (z.re.abs() + modulus(z))).sqrt();
    let other = z.im / (2.0 * root);
    if z.re >= 0.0 { C64::new(root, other) } else { C64::new(other.abs(), root.copysign(z.im)) }
}

fn sinh(z: C64) -> C64 {
    let (sin, cos) = z.im.sin_cos();
    let re = if z.re == 0.0 { z.re } else { z.re.sinh() * cos };
    C64::new(re, if z.im == 0.0 { z.im } else { z.re.cosh() * sin })
}

fn cosh(z: C64) -> C64 {
    let (sin, cos) = z.im.sin_cos();
    let im = if z.re == 0.0 || z.im == 0.0 { z.re * z.im } else { z.re.sinh() * sin };
    C64::new(z.re.cosh() * cos, im)
}

fn tanh(z: C64) -> C64 {
    // From 20 on the real part is 1 and the imaginary part 4 sin(y) cos(y) e^(-2x).
    if z.re.abs() > 20.0 {
        let decay = 4.0 * (-2.0 * z.re.abs()).exp();
        let im = if z.im.is_finite() { decay * z.im.sin() * z.im.cos() } else { 0.0 };
        return C64::new(1.0_f64.copysign(z.re), im);
    }
    let (sin, cos) = z.im.sin_cos();
    let s = z.re.sinh();
    let denominator = s * s + cos * cos;
    C64::new(s * z.re.cosh() / denominator, sin * cos / denominator)
}

/// `-i z`, exchanging a circular function for its hyperbolic one.
fn turn_right(z: C64) -> C64 {
    C64::new(z.im, -z.re)
}

/// `i z`.
fn turn_left(z: C64) -> C64 {
    C64::new(-z.im, z.re)
}

/// `sqrt(1 - z)` and `sqrt(1 + z)`.
fn roots(z: C64) -> (C64, C64) {
    (sqrt(C64::new(1.0 - z.re, -z.im)), sqrt(C64::new(1.0 + z.re, z.im)))
}

/// An odd inverse hyperbolic function's growth, `arcsinh`, accurate near 0.
fn arcsinh_real(x: f64) -> f64 {
    let a = x.abs();
    let y = if a > 1e8 {
        a.ln() + std::f64::consts::LN_2
    } else {
        (a + a * a / (1.0 + (a * a + 1.0).sqrt())).ln_1p()
    };
    y.copysign(x)
}

fn arcsin(z: C64) -> C64 {
    let (minus, plus) = roots(z);
    let re = z.re.atan2(minus.re * plus.re - minus.im * plus.im);
    C64::new(re, arcsinh_real(minus.re * plus.im - minus.im * plus.re))
}

fn arccos(z: C64) -> C64 {
    let (minus, plus) = roots(z);
    let im = arcsinh_real(plus.re * minus.im - plus.im * minus.re);
    C64::new(2.0 * minus.re.atan2(plus.re), im)
}

fn arccosh(z: C64) -> C64 {
    let below = sqrt(C64::new(z.re - 1.0, z.im));
    let above = sqrt(C64::new(z.re + 1.0, z.im));
    let re = arcsinh_real(below.re * above.re + below.im * above.im);
    C64::new(re, 2.0 * below.im.atan2(above.re))
}

fn arctanh(z: C64) -> C64 {
    let (x, y) = (z.re, z.im);
    let (near, far) = (1.0 - x.abs(), 1.0 + x.abs());
    if x.is_infinite() || y.is_infinite() {
        return C64::new(0.0_f64.copysign(x), std::f64::consts::FRAC_PI_2.copysign(y));
    }
    let re = 0.25 * (4.0 * x.abs() / (near * near + y * y)).ln_1p();
    // An imaginary zero keeps its sign, which tells the two sides of the cuts apart.
    let im = 0.5 * (2.0 * y).atan2(near * far - y * y);
    C64::new(re.copysign(x), im)
}

impl ComplexMath for C32 {
    type Real = f32;

    fn modulus(self) -> f32 {
        modulus(wide(self)) as f32
    }
    fn exp(self) -> Self {
        narrow(exp(wide(self)))
    }
    fn expm1(self) -> Self {
        narrow(expm1(wide(self)))
    }
    fn log(self) -> Self {
        narrow(log(wide(self)))
    }
    fn log2(self) -> Self {
        narrow(log(wide(self)) * std::f64::consts::LOG2_E)
    }
    fn log10(self) -> Self {
        narrow(log(wide(self)) * std::f64::consts::LOG10_E)
    }
    fn log1p(self) -> Self {
        narrow(log1p(wide(self)))
    }
    fn sqrt(self) -> Self {
        narrow(sqrt(wide(self)))
    }
    fn rsqrt(self) -> Self {
        narrow(C64::new(1.0, 0.0) / sqrt(wide(self)))
    }
    fn reciprocal(self) -> Self {
        narrow(C64::new(1.0, 0.0) / wide(self))
    }
    fn divide(self, divisor: Self) -> Self {
        narrow(wide(self) / wide(divisor))
    }
    fn square(self) -> Self {
        let z = wide(self);
        narrow(C64::new((z.re - z.im) * (z.re + z.im), 2.0 * z.re * z.im))
    }
    fn sign(self) -> Self {
        let z = wide(self);
        let r = modulus(z);
        if r == 0.0 { self } else { narrow(z / r) }
    }
    fn power(self, exponent: Self) -> Self {
        let (z, w) = (wide(self), wide(exponent));
        if w.re == 0.0 && w.im == 0.0 {
            return Self::new(1.0, 0.0);
        }
        if z.re == 0.0 && z.im == 0.0 && w.re > 0.0 {
            return Self::new(0.0, 0.0);
        }
        narrow(exp(w * log(z)))
    }
    fn sin(self) -> Self {
        narrow(turn_right(sinh(turn_left(wide(self)))))
    }
    fn cos(self) -> Self {
        narrow(cosh(turn_left(wide(self))))
    }
    fn tan(self) -> Self {
        narrow(turn_right(tanh(turn_left(wide(self)))))
    }
    fn sinh(self) -> Self {
        narrow(sinh(wide(self)))
    }
    fn cosh(self) -> Self {
        narrow(cosh(wide(self)))
    }
    fn tanh(self) -> Self {
        narrow(tanh(wide(self)))
    }
    fn arcsin(self) -> Self {
        narrow(arcsin(wide(self)))
    }
    fn arccos(self) -> Self {
        narrow(arccos(wide(self)))
    }
    fn arctan(self) -> Self {
        narrow(turn_right(arctanh(turn_left(wide(self)))))
    }
    fn arcsinh(self) -> Self {
        narrow(turn_right(arcsin(turn_left(wide(self)))))
    }
    fn arccosh(self) -> Self {
        narrow(arccosh(wide(self)))
    }
    fn arctanh(self) -> Self {
        narrow(arctanh(wide(self)))
    }
    fn sigmoid(self) -> Self {
        let z = wide(self);
        let one = C64::new(1.0, 0.0);
        if z.re >= 0.0 {
            narrow(one / (one + exp(-z)))
        } else {
            let e = exp(z);
            narrow(e / (one + e))
        }
    }
    fn logaddexp(self, other: Self) -> Self {
        let (z, w) = (wide(self), wide(other));
        let (large, small) = if z.re >= w.re || z.re.is_nan() { (z, w) } else { (w, z) };
        if large.re == f64::NEG_INFINITY || large.re == f64::INFINITY {
            return narrow(large);
        }
        narrow(large + log1p(exp(small - large)))
    }
}

#[cfg(test)]
mod tests {
    use super::{C32, C64, ComplexMath, wide};

    /// Points of all four quadrants, none on an axis, of magnitudes from 1e-6 to 60.
    fn points() -> Vec<C32> {
        let radii = [1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 7.0, 60.0];
        let angles = (0..24).map(|i| 0.1 + 0.26 * i as f32);
        angles.flat_map(|t| radii.map(|r| C32::from_polar(r, t))).collect()
    }

    type Row = (&'static str, fn(C32) -> C32, fn(C64) -> C64);

    #[test]
    fn functions_agree_with_textbook_formulas() {
        let one = C64::new(1.0, 0.0);
        let i = C64::new(0.0, 1.0);
        let rows: [Row; 18] = [
            ("exp", ComplexMath::exp, C64::exp),
            ("log", ComplexMath::log, C64::ln),
            ("log2", ComplexMath::log2, |z| z.ln() / std::f64::consts::LN_2),
            ("log10", ComplexMath::log10, |z| z.ln() / std::f64::consts::LN_10),
            ("sqrt", ComplexMath::sqrt, C64::sqrt),
            ("rsqrt", ComplexMath::rsqrt, |z| C64::new(1.0, 0.0) / z.sqrt()),
            ("square", ComplexMath::square, |z| z * z),
            ("reciprocal", ComplexMath::reciprocal, |z| z.inv()),
            ("sign", ComplexMath::sign, |z| z / z.norm()),
            ("sin", ComplexMath::sin, C64::sin),
            ("cos", ComplexMath::cos, C64::cos),
            ("tan", ComplexMath::tan, |z| z.sin() / z.cos()),
            ("sinh", ComplexMath::sinh, C64::sinh),
            ("cosh", ComplexMath::cosh, C64::cosh),
            ("tanh", ComplexMath::tanh, |z| z.sinh() / z.cosh()),
            ("expm1", ComplexMath::expm1, |z| z.exp() - 1.0),
            ("log1p", ComplexMath::log1p, |z| (z + 1.0).ln()),
            ("sigmoid", ComplexMath::sigmoid, |z| 1.0 / ((-z).exp() + 1.0)),
        ];
        for z in points() {
            for (name, f, oracle) in rows {
                let (got, want) = (wide(f(z)), oracle(wide(z)));
                // The textbook formulas of expm1 and log1p cancel to 1e-16 absolutely.
                let bound = 1.2e-7 * want.norm() + 1e-15;
                assert!((got - want).norm() <= bound, "{name}({z}): {got} for {want}");
            }
            // Inverse functions: the function of the result is the argument.
            let inverses: [Row; 6] = [
                ("arcsin", ComplexMath::arcsin, C64::sin),
                ("arccos", ComplexMath::arccos, C64::cos),
                ("arctan", ComplexMath::arctan, |z| z.sin() / z.cos()),
                ("arcsinh", ComplexMath::arcsinh, C64::sinh),
                ("arccosh", ComplexMath::arccosh, C64::cosh),
                ("arctanh", ComplexMath::arctanh, |z| z.sinh() / z.cosh()),
            ];
            for (name, inverse, f) in inverses {
                let y = wide(inverse(z));
                let (back, z) = (f(y), wide(z));
                // An error of 1e-7 |y| in y moves the result by that times the derivative.
                let slope = (f(y + 1e-5) - f(y - 1e-5)).norm() / 2e-5;
                let bound = 1.3e-7 * y.norm() * (slope + 1e-6);
                assert!((back - z).norm() <= bound, "{name}({z}) = {y}: back at {back}");
            }
            let w = C32::new(0.75, -1.5);
            let power = wide(z).powc(wide(w));
            assert!((wide(z.power(w)) - power).norm() <= 1.2e-7 * power.norm(), "{z}^{w}");
            let sum = (wide(z).exp() + wide(w).exp()).ln() - wide(z.logaddexp(w));
            // The two may differ by whole turns of the imaginary part.
            let turns = (sum.im / std::f64::consts::TAU).round() * std::f64::consts::TAU;
            assert!((sum - i * turns).norm() < 1e-5 * one.re, "logaddexp({z}, {w})");
        }
    }

    #[test]
    fn branch_cuts_follow_the_sign_of_zero() {
        let pi = std::f32::consts::PI;
        // arccosh(2) and arctanh(1 / 2).
        let (growth, half) = (1.316_958_f32, 0.549_306_15_f32);
        for s in [0.0_f32, -0.0] {
            let sign = 1.0_f32.copysign(s);
            let cut = |re| C32::new(re, s);
            assert_eq!(ComplexMath::sqrt(cut(-4.0)), C32::new(0.0, 2.0 * sign));
            assert_eq!(ComplexMath::log(cut(-1.0)), C32::new(0.0, pi * sign));
            assert_eq!(cut(2.0).arcsin(), C32::new(pi / 2.0, growth * sign));
            assert_eq!(cut(2.0).arccos(), C32::new(0.0, -growth * sign));
            assert_eq!(cut(0.5).arccosh(), C32::new(0.0, pi / 3.0 * sign));
            assert_eq!(cut(-2.0).arccosh(), C32::new(growth, pi * sign));
            assert_eq!(cut(2.0).arctanh(), C32::new(half, pi / 2.0 * sign));
        }
    }

    #[test]
    fn zeros_and_infinities() {
        let zero = C32::new(0.0, 0.0);
        assert_eq!(zero.power(zero), C32::new(1.0, 0.0));
        assert_eq!(zero.power(C32::new(2.0, 0.0)), zero);
        assert_eq!(ComplexMath::sign(zero), zero);
        assert_eq!(ComplexMath::modulus(C32::new(3e38, 1e38)), 3.162_277_7e38);
        assert_eq!(ComplexMath::log(zero).re, f32::NEG_INFINITY);
        assert_eq!(ComplexMath::exp(C32::new(1000.0, 0.0)), C32::new(f32::INFINITY, 0.0));
        assert_eq!(ComplexMath::tanh(C32::new(100.0, 1.0)).re, 1.0);
        assert!(ComplexMath::sin(C32::new(f32::NAN, 0.5)).re.is_nan());
    }
}
