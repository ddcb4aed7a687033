//! The formats of small floats (OCP Microscaling Formats 1.0; NVFP4): E2M1 and E4M3 elements with an
//! E8M0 or E4M3 scale for each group.

use lazulite_core::op::quantized::QuantMode;

/// The magnitudes of E2M1.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
/// The code of the greatest E4M3 number, 448.
const E4M3_MOST: u8 = 0x7e;

/// The number that a code of E4M3 stands for.
pub(crate) fn e4m3(code: u8) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction / 512.0,
        _ => (1.0 + fraction / 8.0) * power_of_two(exponent - 7),
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// The nearest code of E4M3, ties to even; what is too large, infinite or NaN saturates.
pub(crate) fn to_e4m3(x: f32) -> u8 {
    if x.is_nan() {
        return E4M3_MOST;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = x.abs();
    if magnitude >= 448.0 {
        return sign | E4M3_MOST;
    }
    // Codes are in the order of magnitudes: the last that is not above `magnitude`.
    let (mut low, mut high) = (0, E4M3_MOST);
    while low + 1 < high {
        let middle = (low + high) / 2;
        if e4m3(middle) <= magnitude { low = middle } else { high = middle }
    }
    let (below, above) = (magnitude - e4m3(low), e4m3(high) - magnitude);
    let up = above < below || above == below && high % 2 == 0;
    sign | if up { high } else { low }
}

/// The number that a code of E2M1 stands for.
pub(crate) fn e2m1(code: u8) -> f32 {
    let magnitude = E2M1[usize::from(code & 7)];
    if code & 8 != 0 { -magnitude } else { magnitude }
}

/// The nearest code of E2M1, ties to the lower magnitude.
pub(crate) fn to_e2m1(x: f32) -> u8 {
    let distance = |code: &u8| (e2m1(*code) - x).abs();
    (0..16u8).fold(0, |best, code| if distance(&code) < distance(&best) { code } else { best })
}

/// `2^exponent` for -127 to 128, subnormal and infinite at the ends.
fn power_of_two(exponent: i32) -> f32 {
    f64::from_bits(((exponent + 1023) as u64) << 52) as f32
}

/// The scale that a byte stands for.
pub(crate) fn scale(mode: QuantMode, code: u8) -> f32 {
    match mode {
        QuantMode::Nvfp4 => e4m3(code),
        _ => power_of_two(i32::from(code) - 127),
    }
}

/// The scale of a group whose greatest magnitude is `most`.
pub(crate) fn to_scale(mode: QuantMode, most: f32) -> u8 {
    match mode {
        QuantMode::Nvfp4 => to_e4m3(most / 6.0),
        _ => {
            let top = if mode == QuantMode::Mxfp8 { 448.0 } else { 6.0 };
            let exponent = (most / top).log2().ceil();
            (exponent.clamp(-127.0, 127.0) as i32 + 127) as u8
        }
    }
}

/// The number that an element's code stands for, before scaling.
pub(crate) fn element(mode: QuantMode, code: u8) -> f32 {
    if mode == QuantMode::Mxfp8 { e4m3(code) } else { e2m1(code) }
}

/// The code of a scaled element.
pub(crate) fn to_element(mode: QuantMode, x: f32) -> u8 {
    if mode == QuantMode::Mxfp8 { to_e4m3(x) } else { to_e2m1(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for code in 0..=255u8 {
            let x = e4m3(code);
            if x.is_nan() {
                assert_eq!(to_e4m3(x), E4M3_MOST);
            } else {
                assert_eq!(to_e4m3(x), code, "{x}");
            }
            let half = code & 15;
            // Both zeros are equally near to zero.
            assert_eq!(to_e2m1(e2m1(half)), if half == 8 { 0 } else { half });
        }
    }

    #[test]
    fn rounding_follows_mlx() {
        let cases = [
            (0.001, 1u8),
            (0.002, 1),
            (0.01, 5),
            (0.5, 48),
            (1.06, 56),
            (1.07, 57),
            (464.0, 126),
            (500.0, 126),
            (-1.0, 184),
            (f32::INFINITY, 126),
            (f32::NAN, 126),
        ];
        for (x, want) in cases {
            assert_eq!(to_e4m3(x), want, "{x}");
        }
        assert_eq!(scale(QuantMode::Mxfp4, 129), 4.0);
        assert_eq!(to_scale(QuantMode::Mxfp4, 18.5), 129);
        assert_eq!(to_scale(QuantMode::Nvfp4, 18.5), 68);
        assert_eq!(to_scale(QuantMode::Mxfp8, 28.49), 124);
        assert_eq!(to_scale(QuantMode::Mxfp4, 0.0), 0);
    }
}
