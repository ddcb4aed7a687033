//! The error function and its inverse.

use super::exponential::{exp, log};
use super::lane::{Float, polynomial};

/// Inside `|x| <= 1` a polynomial; outside `1 - e^(-x^2) erfcx(x)`, with `erfcx` a polynomial in
/// `(x - 2.36) / (x + 2)`.
#[inline(always)]
pub(super) fn erf<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let a = x.abs();
    let near = x.madd(polynomial(x * x, F::TABLES.erf), x);
    let limit = F::lit(F::LIMITS.erf);
    let b = F::select(a > limit, limit, a);
    let u = (b - F::lit(2.36)) / (b + F::lit(2.0));
    let far = one - exp(-(b * b)) * polynomial(u, F::TABLES.erfcx);
    F::select(a > one, far.copysign(x), near)
}

/// `x P(w)` with `w = -ln(1 - x^2)`, in pieces of `w` and `sqrt(w)` (the form of Giles, 2012).
#[inline(always)]
pub(super) fn erfinv<F: Float>(x: F) -> F {
    let one = F::lit(1.0);
    let a = x.abs();
    let w = -log((one - a) * (one + a));
    let root = w.sqrt();
    let centre = polynomial(w - F::lit(3.125), F::TABLES.erfinv_centre);
    let middle = polynomial(root - F::lit(3.25), F::TABLES.erfinv_middle);
    let p = F::select(w > F::lit(6.25), middle, centre);
    let tail =
        F::select(w > F::lit(16.0), polynomial(root - F::lit(5.0), F::TABLES.erfinv_tail), p);
    let y = x * tail;
    F::select(a == one, F::lit(f64::INFINITY).copysign(x), y)
}
