//! `x^y`.

use super::exponential::{exp2, log2};
use super::lane::{Float, Lane};

/// float32, through the logarithm and the exponential of float64.
#[inline(always)]
pub(super) fn f32<const FMA: bool>(x: Lane<f32, FMA>, y: Lane<f32, FMA>) -> Lane<f32, FMA> {
    let (base, exponent) = (x.0, y.0);
    let one = Lane(1.0);
    let magnitude = Lane::<f64, FMA>(f64::from(base.abs()));
    let product = Lane::<f64, FMA>(f64::from(exponent)) * log2(magnitude);
    let power = Lane::<f32, FMA>(exp2(product).0 as f32);
    let whole = y.trunc() == y;
    let half = Lane::<f32, FMA>(exponent * 0.5);
    let odd = whole && half.trunc() != half;
    let negative = base.is_sign_negative();
    let power = Lane::select(negative && odd, -power, power);
    // Zeros and infinities have powers for every exponent, other negative numbers do not.
    let domain = base >= 0.0 || whole || base == f32::NEG_INFINITY || base == 0.0;
    let power = Lane::select(domain || base.is_nan(), power, Lane(f32::NAN));
    let unit = base == 1.0 || exponent == 0.0 || (base == -1.0 && exponent.is_infinite());
    Lane::select(unit, one, power)
}

/// float64: the standard library's, which is scalar.
#[inline(always)]
pub(super) fn f64<const FMA: bool>(x: Lane<f64, FMA>, y: Lane<f64, FMA>) -> Lane<f64, FMA> {
    Lane(x.0.powf(y.0))
}
