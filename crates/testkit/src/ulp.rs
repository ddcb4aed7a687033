//! Distances of floats in units in the last place.

use lazulite_core::{bf16, f16};

/// Bits as an integer that grows with the float: consecutive floats are consecutive integers.
fn ordered(bits: u64, width: u32) -> i64 {
    let sign = 1u64 << (width - 1);
    if bits & sign == 0 { bits as i64 } else { -((bits & (sign - 1)) as i64) }
}

fn distance(a: u64, b: u64, width: u32) -> u64 {
    ordered(a, width).abs_diff(ordered(b, width))
}

/// How many `f32` lie between `got` and `want`; 0 if both are NaN, `u64::MAX` if one is.
pub fn ulp_f32(got: f32, want: f32) -> u64 {
    match (got.is_nan(), want.is_nan()) {
        (true, true) => 0,
        (false, false) => distance(u64::from(got.to_bits()), u64::from(want.to_bits()), 32),
        _ => u64::MAX,
    }
}

/// As [`ulp_f32`], for `f64`.
pub fn ulp_f64(got: f64, want: f64) -> u64 {
    match (got.is_nan(), want.is_nan()) {
        (true, true) => 0,
        (false, false) => distance(got.to_bits(), want.to_bits(), 64),
        _ => u64::MAX,
    }
}

/// A half type, for [`ulp_half`].
pub trait Half: Copy {
    /// The value's bits.
    fn bits(self) -> u16;
    /// True iff the value is NaN.
    fn nan(self) -> bool;
}

impl Half for f16 {
    fn bits(self) -> u16 {
        self.to_bits()
    }

    fn nan(self) -> bool {
        self.is_nan()
    }
}

impl Half for bf16 {
    fn bits(self) -> u16 {
        self.to_bits()
    }

    fn nan(self) -> bool {
        self.is_nan()
    }
}

/// As [`ulp_f32`], for `f16` and `bf16`.
pub fn ulp_half<T: Half>(got: T, want: T) -> u64 {
    match (got.nan(), want.nan()) {
        (true, true) => 0,
        (false, false) => distance(u64::from(got.bits()), u64::from(want.bits()), 16),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_apart_across_zero_and_powers_of_two() {
        assert_eq!(ulp_f32(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(ulp_f32(-0.0, 0.0), 0);
        assert_eq!(ulp_f32(-f32::from_bits(1), f32::from_bits(1)), 2);
        assert_eq!(ulp_f64(2.0, 2.0 - f64::EPSILON), 1);
        assert_eq!(ulp_f64(f64::MAX, f64::INFINITY), 1);
        assert_eq!(ulp_half(f16::from_f32(1.0), f16::from_f32(1.0) + f16::EPSILON), 1);
        assert_eq!(ulp_half(bf16::NAN, bf16::ONE), u64::MAX);
        assert_eq!(ulp_f32(f32::NAN, f32::NAN), 0);
    }
}
