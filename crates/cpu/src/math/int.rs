//! The functions of integers. All arithmetic wraps; nothing panics.

/// The integer functions that the operators of Rust do not give, total on all arguments.
pub trait Int: Copy {
    /// `self^exponent`, wrapping. A negative exponent gives the reciprocal rounded towards zero:
    /// 1 or -1 for a base of 1 or -1, and 0 for every other base.
    fn power(self, exponent: Self) -> Self;
    /// `floor(self / divisor)`; 0 if the divisor is 0. The one quotient that overflows wraps.
    fn floor_divide(self, divisor: Self) -> Self;
    /// `self - divisor * floor(self / divisor)`, with the sign of the divisor; 0 if that is 0.
    fn remainder(self, divisor: Self) -> Self;
    /// `self * 2^count`, wrapping; 0 if the count is negative or at least the width.
    fn shift_left(self, count: Self) -> Self;
    /// `floor(self / 2^count)`; if the count is negative or at least the width, every bit is a
    /// copy of the sign bit (0 for unsigned integers).
    fn shift_right(self, count: Self) -> Self;
    /// -1, 0 or 1.
    fn sign(self) -> Self;
    /// `|self|`; the one magnitude that overflows wraps.
    fn abs(self) -> Self;
    /// `-self`, wrapping.
    fn neg(self) -> Self;
    /// `self^2`, wrapping.
    fn square(self) -> Self;
    /// `self + other`, wrapping.
    fn add(self, other: Self) -> Self;
    /// `self - other`, wrapping.
    fn sub(self, other: Self) -> Self;
    /// `self * other`, wrapping.
    fn mul(self, other: Self) -> Self;
    /// The larger.
    fn maximum(self, other: Self) -> Self;
    /// The smaller.
    fn minimum(self, other: Self) -> Self;
}

/// The power by squaring, `exponent >= 0`.
macro_rules! power {
    ($t:ty, $base:expr, $exponent:expr) => {{
        let (mut base, mut rest, mut product): ($t, $t, $t) = ($base, $exponent, 1);
        while rest > 0 {
            if rest & 1 == 1 {
                product = product.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            rest >>= 1;
        }
        product
    }};
}

/// What signed and unsigned integers have alike.
macro_rules! arithmetic {
    () => {
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            self.wrapping_add(other)
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            self.wrapping_sub(other)
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            self.wrapping_mul(other)
        }
        #[inline(always)]
        fn maximum(self, other: Self) -> Self {
            self.max(other)
        }
        #[inline(always)]
        fn minimum(self, other: Self) -> Self {
            self.min(other)
        }
    };
}

macro_rules! signed {
    ($($t:ident $u:ident)*) => {$(
        impl Int for $t {
            #[inline(always)]
            fn power(self, exponent: Self) -> Self {
                if exponent < 0 {
                    return match self {
                        1 => 1,
                        -1 => 1 - 2 * (exponent & 1),
                        _ => 0,
                    };
                }
                power!($t, self, exponent)
            }
            #[inline(always)]
            fn floor_divide(self, divisor: Self) -> Self {
                if divisor == 0 {
                    return 0;
                }
                let quotient = self.wrapping_div(divisor);
                let rest = self.wrapping_rem(divisor);
                quotient - Self::from(rest != 0 && (rest < 0) != (divisor < 0))
            }
            #[inline(always)]
            fn remainder(self, divisor: Self) -> Self {
                if divisor == 0 {
                    return 0;
                }
                let rest = self.wrapping_rem(divisor);
                if rest != 0 && (rest < 0) != (divisor < 0) { rest + divisor } else { rest }
            }
            #[inline(always)]
            fn shift_left(self, count: Self) -> Self {
                let inside = (count as $u) < $u::BITS as $u;
                if inside { self.wrapping_shl(count as u32) } else { 0 }
            }
            #[inline(always)]
            fn shift_right(self, count: Self) -> Self {
                let last = $u::BITS - 1;
                let inside = (count as $u) <= last as $u;
                self.wrapping_shr(if inside { count as u32 } else { last })
            }
            #[inline(always)]
            fn sign(self) -> Self {
                self.signum()
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.wrapping_abs()
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn square(self) -> Self {
                self.wrapping_mul(self)
            }
            arithmetic!();
        }
    )*};
}

macro_rules! unsigned {
    ($($t:ident)*) => {$(
        impl Int for $t {
            #[inline(always)]
            fn power(self, exponent: Self) -> Self {
                power!($t, self, exponent)
            }
            #[inline(always)]
            fn floor_divide(self, divisor: Self) -> Self {
                self.checked_div(divisor).unwrap_or(0)
            }
            #[inline(always)]
            fn remainder(self, divisor: Self) -> Self {
                self.checked_rem(divisor).unwrap_or(0)
            }
            #[inline(always)]
            fn shift_left(self, count: Self) -> Self {
                if count < $t::BITS as $t { self.wrapping_shl(count as u32) } else { 0 }
            }
            #[inline(always)]
            fn shift_right(self, count: Self) -> Self {
                if count < $t::BITS as $t { self.wrapping_shr(count as u32) } else { 0 }
            }
            #[inline(always)]
            fn sign(self) -> Self {
                Self::from(self != 0)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            fn square(self) -> Self {
                self.wrapping_mul(self)
            }
            arithmetic!();
        }
    )*};
}

signed!(i8 u8 i16 u16 i32 u32 i64 u64);
unsigned!(u8 u16 u32 u64);

#[cfg(test)]
mod tests {
    use super::Int;

    #[test]
    fn signed_division_rounds_down() {
        for a in i8::MIN..=i8::MAX {
            for b in i8::MIN..=i8::MAX {
                let (q, r) = (Int::floor_divide(a, b), Int::remainder(a, b));
                let (wide_a, wide_b) = (f64::from(a), f64::from(b));
                let floor = if b == 0 { 0 } else { (wide_a / wide_b).floor() as i64 as i8 };
                assert_eq!(q, floor, "{a} // {b}");
                let rest = if b == 0 { 0 } else { a.wrapping_sub(floor.wrapping_mul(b)) };
                assert_eq!(r, rest, "{a} % {b}");
            }
        }
    }

    #[test]
    fn powers() {
        for (base, exponent, power) in [
            (3, 4, 81),
            (-2, 7, -128),
            (2, -1, 0),
            (1, -5, 1),
            (-1, -5, -1),
            (-1, -4, 1),
            (0, 0, 1),
        ] {
            assert_eq!(Int::power(base, exponent), power, "{base}^{exponent}");
        }
        assert_eq!(Int::power(-1_i32, i32::MIN), 1);
        assert_eq!(Int::power(10_u8, 3), 232);
        assert_eq!(Int::power(3_i64, 50), 3_i64.wrapping_pow(50));
    }

    #[test]
    fn shifts_beyond_the_width() {
        for (x, count, left, right) in [
            (-5_i32, 1, -10, -3),
            (-5, 31, i32::MIN, -1),
            (-5, 32, 0, -1),
            (5, 32, 0, 0),
            (5, -1, 0, 0),
            (-5, -1, 0, -1),
        ] {
            assert_eq!(x.shift_left(count), left, "{x} << {count}");
            assert_eq!(x.shift_right(count), right, "{x} >> {count}");
        }
        assert_eq!((1_u8.shift_left(8), 255_u8.shift_right(8), 255_u8.shift_right(7)), (0, 0, 1));
    }

    #[test]
    fn division_by_zero_is_zero() {
        assert_eq!((7_u64.floor_divide(0), 7_u64.remainder(0)), (0, 0));
        assert_eq!((Int::floor_divide(-7_i64, 0), Int::remainder(-7_i64, 0)), (0, 0));
        assert_eq!(Int::floor_divide(i32::MIN, -1), i32::MIN);
        assert_eq!(Int::sign(0_u8), 0);
        assert_eq!((Int::add(255_u8, 2), Int::sub(0_u8, 1), Int::mul(16_u8, 17)), (1, 255, 16));
    }
}
