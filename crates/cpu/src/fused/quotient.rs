//! `float32` division of a block by one number: as exact as the division instruction, which takes as
//! long as twenty products.

use super::kernel::{Body, PAD, read, write};

/// `a / b`, where `b` is often the same all along the block: the sum of a row.
pub(super) struct Quotient;

/// Numbers with exponents from `LOW` to below `HIGH`, as bits without a sign. With numerators in this
/// range and divisors in the narrower one, nothing below overflows or loses bits to underflow.
const NUMERATOR: (u32, u32) = ((127 - 100) << 23, (127 + 100) << 23);
const DIVISOR: (u32, u32) = ((127 - 20) << 23, (127 + 20) << 23);

#[inline(always)]
fn is_within(x: f32, (low, high): (u32, u32)) -> bool {
    (x.to_bits() & 0x7fff_ffff).wrapping_sub(low) < high - low
}

/// `a / b` rounded to nearest, where `r` is `1 / b` rounded to nearest: two steps of Newton's
/// iteration on the quotient (Markstein 1990, theorem 1: from a faithful quotient and the correctly
/// rounded reciprocal, one step with an exact remainder gives the correctly rounded quotient).
#[inline(always)]
fn quotient(a: f32, b: f32, r: f32) -> f32 {
    let near = a * r;
    let faithful = (-near).mul_add(b, a).mul_add(r, near);
    (-faithful).mul_add(b, a).mul_add(r, faithful)
}

impl Body for Quotient {
    const AVX512: bool = true;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a, b) = unsafe { (write::<f32>(d, n), read::<f32>(a, n), read::<f32>(b, n)) };
        let Some(&by) = b.first() else { return };
        let (d, _) = d.as_chunks_mut::<PAD>();
        let (a, _) = a.as_chunks::<PAD>();
        let (b, _) = b.as_chunks::<PAD>();
        let r = 1.0 / by;
        for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
            let same = b.iter().fold(true, |all, x| all & (x.to_bits() == by.to_bits()));
            let fits = a.iter().fold(true, |all, &x| all & is_within(x, NUMERATOR));
            if FMA && same && fits && is_within(by, DIVISOR) {
                for (d, &a) in d.iter_mut().zip(a) {
                    *d = quotient(a, by, r);
                }
            } else {
                for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
                    *d = a / b;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::kernel::binary;
    use lazulite_core::Dtype;
    use lazulite_core::op::BinaryOp;

    #[test]
    fn quotients_are_those_of_the_division_instruction() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let divide = binary(BinaryOp::Divide, Dtype::F32, crate::isa::isa()).unwrap();
        for round in 0..20_000 {
            // Any bits at all, or moderate numbers; the divisors equal, or all but one.
            let moderate = |x: u64| (x as u32 & 0x81ff_ffff) + (0x3f << 24);
            let pick = |x: u64| f32::from_bits(if round % 4 == 0 { x as u32 } else { moderate(x) });
            let by = pick(next());
            let mut b = [by; 2 * PAD];
            if round % 3 == 0 {
                b[(next() % 32) as usize] = pick(next());
            }
            let a: [f32; 2 * PAD] =
                std::array::from_fn(|i| if i == round % 97 { -0.0 } else { pick(next()) });
            let mut d = [0.0f32; 2 * PAD];
            let none = std::ptr::null();
            // SAFETY: the arrays have room for as many elements.
            unsafe {
                divide(d.as_mut_ptr().cast(), a.as_ptr().cast(), b.as_ptr().cast(), none, 2 * PAD);
            }
            for i in 0..2 * PAD {
                let exact = a[i] / b[i];
                assert!(
                    d[i].to_bits() == exact.to_bits() || (d[i].is_nan() && exact.is_nan()),
                    "{:e} / {:e} is {exact:e}, not {:e}",
                    a[i],
                    b[i],
                    d[i]
                );
            }
        }
    }
}
