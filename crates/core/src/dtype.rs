//! Element types: their names, sizes, categories and MLX's promotion rules.
//!
//! This file is the only place that says which types exist and what two of them promote to.

use crate::error::{Error, Result};
use bytemuck::{CheckedBitPattern, NoUninit};
use half::{bf16, f16};
use num_complex::Complex32;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// IEEE half precision.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// A pair of singles: real, imaginary.
    C64,
}

/// The categories of MLX's type hierarchy, from most to least specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// `bool`.
    Bool,
    /// `uint8` to `uint64`.
    UnsignedInteger,
    /// `int8` to `int64`.
    SignedInteger,
    /// `float16`, `bfloat16`, `float32`, `float64`.
    Floating,
    /// `complex64`.
    Complex,
}

impl Dtype {
    /// Every element type, in order.
    pub const ALL: [Dtype; 14] = [
        Dtype::Bool,
        Dtype::U8,
        Dtype::U16,
        Dtype::U32,
        Dtype::U64,
        Dtype::I8,
        Dtype::I16,
        Dtype::I32,
        Dtype::I64,
        Dtype::F16,
        Dtype::BF16,
        Dtype::F32,
        Dtype::F64,
        Dtype::C64,
    ];

    /// The size of one element in bytes.
    #[inline]
    pub const fn size(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 => 1,
            Dtype::U16 | Dtype::I16 | Dtype::F16 | Dtype::BF16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 | Dtype::C64 => 8,
        }
    }

    /// MLX's name of the type, such as `float32`.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Bool => "bool",
            Dtype::U8 => "uint8",
            Dtype::U16 => "uint16",
            Dtype::U32 => "uint32",
            Dtype::U64 => "uint64",
            Dtype::I8 => "int8",
            Dtype::I16 => "int16",
            Dtype::I32 => "int32",
            Dtype::I64 => "int64",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
            Dtype::F32 => "float32",
            Dtype::F64 => "float64",
            Dtype::C64 => "complex64",
        }
    }

    /// The type with this name, or `None`.
    pub fn from_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|d| d.name() == name)
    }

    /// The type's category.
    pub const fn category(self) -> Category {
        match self {
            Dtype::Bool => Category::Bool,
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => Category::UnsignedInteger,
            Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Category::SignedInteger,
            Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => Category::Floating,
            Dtype::C64 => Category::Complex,
        }
    }

    /// True iff the type is a real floating-point type.
    pub const fn is_floating(self) -> bool {
        matches!(self.category(), Category::Floating)
    }

    /// True iff the type is floating or complex, so that derivatives exist.
    pub const fn is_inexact(self) -> bool {
        matches!(self.category(), Category::Floating | Category::Complex)
    }

    /// True iff the type is a signed or unsigned integer (not bool).
    pub const fn is_integer(self) -> bool {
        matches!(self.category(), Category::SignedInteger | Category::UnsignedInteger)
    }

    /// True iff the type is `complex64`.
    pub const fn is_complex(self) -> bool {
        matches!(self, Dtype::C64)
    }

    /// True iff the type is `float16` or `bfloat16`.
    #[inline]
    pub const fn is_half(self) -> bool {
        matches!(self, Dtype::F16 | Dtype::BF16)
    }

    /// The type that values of this type have between the load and the store of a fused step:
    /// half types widen to `float32`, all others stay.
    #[inline]
    pub const fn compute(self) -> Dtype {
        if self.is_half() { Dtype::F32 } else { self }
    }

    /// The floating type that a function such as `exp` returns for this type: integers and bool
    /// become `float32`, inexact types stay.
    pub const fn to_inexact(self) -> Dtype {
        if self.is_inexact() { self } else { Dtype::F32 }
    }

    /// MLX's promotion of two array types. Symmetric and total.
    pub fn promote(self, other: Dtype) -> Dtype {
        use Category::*;
        if self == other {
            return self;
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        match (a.category(), b.category()) {
            (Bool, _) | (_, Complex) => b,
            (UnsignedInteger, UnsignedInteger) | (SignedInteger, SignedInteger) => b,
            (UnsignedInteger, SignedInteger) => match a {
                _ if b.size() > a.size() => b,
                Dtype::U8 => Dtype::I16,
                Dtype::U16 => Dtype::I32,
                Dtype::U32 => Dtype::I64,
                _ => Dtype::F32,
            },
            (UnsignedInteger | SignedInteger, Floating) => b,
            (Floating, Floating) if a == Dtype::F16 && b == Dtype::BF16 => Dtype::F32,
            _ => b,
        }
    }

    /// The type of an operation between an array of this type and a bare scalar: a scalar changes
    /// the category at most, never the width (`float16 * 2.0` stays `float16`).
    pub fn promote_weak(self, scalar: Category) -> Dtype {
        use Category::*;
        match (self.category(), scalar) {
            (_, Bool) | (Floating | Complex, Floating) => self,
            (_, Complex) => Dtype::C64,
            (Bool, UnsignedInteger | SignedInteger) => Dtype::I32,
            (Bool | UnsignedInteger | SignedInteger, Floating) => Dtype::F32,
            _ => self,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that an array can hold.
pub trait Element: NoUninit + CheckedBitPattern + Send + Sync + PartialEq + fmt::Debug {
    /// The array type of this Rust type.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $ty { const DTYPE: Dtype = Dtype::$dtype; })*
    };
}
elements! {
    bool => Bool, u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32,
    i64 => I64, f16 => F16, bf16 => BF16, f32 => F32, f64 => F64, Complex32 => C64,
}

/// Calls `$body` with `$T` bound to the Rust type of a [`Dtype`] value.
///
/// ```
/// use lazulite_core::{Dtype, with_element};
/// let size = with_element!(Dtype::F16, T => size_of::<T>());
/// assert_eq!(size, 2);
/// ```
#[macro_export]
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::with_element!(@arms $dtype, $T, $body,
            Bool bool, U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64,
            F16 $crate::f16, BF16 $crate::bf16, F32 f32, F64 f64, C64 $crate::Complex32)
    };
    (@arms $dtype:expr, $T:ident, $body:expr, $($variant:ident $ty:ty),*) => {
        match $dtype { $($crate::Dtype::$variant => { type $T = $ty; $body })* }
    };
}

/// As its name.
impl Serialize for Dtype {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dtype, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Dtype::from_name(&name)
            .ok_or_else(|| D::Error::custom(format_args!("{name:?} is no element type")))
    }
}

/// A number of any element type, as the bytes of that type.
///
/// Equality and hashing are by type and bits, so that a literal can be part of a cache key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Literal {
    dtype: Dtype,
    bits: u64,
}

/// As its type and bits.
impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.dtype, self.bits).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Literal, D::Error> {
        let (dtype, bits) = <(Dtype, u64)>::deserialize(deserializer)?;
        let most = match dtype {
            Dtype::Bool => 1,
            other => u64::MAX >> (64 - 8 * other.size()),
        };
        if bits > most {
            return Err(D::Error::custom(format_args!("{bits} is not the bits of a {dtype}")));
        }
        Ok(Literal { dtype, bits })
    }
}

impl Literal {
    /// The literal of a Rust value, with that value's type.
    pub fn new<T: Element>(value: T) -> Literal {
        let mut bytes = [0u8; 8];
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(&value));
        Literal { dtype: T::DTYPE, bits: u64::from_le_bytes(bytes) }
    }

    /// `value` rounded or wrapped to `dtype`, as a Rust `as` cast does.
    pub fn from_f64(value: f64, dtype: Dtype) -> Literal {
        Literal::new(value).cast(dtype)
    }

    /// `value` converted to `dtype`, as a Rust `as` cast does.
    pub fn from_i64(value: i64, dtype: Dtype) -> Literal {
        Literal::new(value).cast(dtype)
    }

    /// The literal's type.
    pub fn dtype(self) -> Dtype {
        self.dtype
    }

    /// The element's bytes, little end first, in the low part of the word; the rest is zero.
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The value as type `T`.
    ///
    /// # Errors
    /// [`Error`] of kind `Dtype` if the literal is not a `T`.
    pub fn get<T: Element>(self) -> Result<T> {
        if self.dtype != T::DTYPE {
            return Err(Error::dtype("item", &[self.dtype], format!("{}", T::DTYPE)));
        }
        let bytes = self.bits.to_le_bytes();
        bytemuck::checked::try_pod_read_unaligned(&bytes[..size_of::<T>()])
            .map_err(|_| Error::dtype("item", &[self.dtype], "valid bits".to_string()))
    }

    /// The value as a complex number in double precision (exact for all but 64-bit integers).
    fn wide(self) -> Wide {
        let b = self.bits;
        match self.dtype {
            Dtype::Bool => Wide::Int(i128::from(b != 0)),
            Dtype::U8 => Wide::Int(i128::from(b as u8)),
            Dtype::U16 => Wide::Int(i128::from(b as u16)),
            Dtype::U32 => Wide::Int(i128::from(b as u32)),
            Dtype::U64 => Wide::Int(i128::from(b)),
            Dtype::I8 => Wide::Int(i128::from(b as i8)),
            Dtype::I16 => Wide::Int(i128::from(b as i16)),
            Dtype::I32 => Wide::Int(i128::from(b as i32)),
            Dtype::I64 => Wide::Int(i128::from(b as i64)),
            Dtype::F16 => Wide::Float(f16::from_bits(b as u16).to_f64()),
            Dtype::BF16 => Wide::Float(bf16::from_bits(b as u16).to_f64()),
            Dtype::F32 => Wide::Float(f64::from(f32::from_bits(b as u32))),
            Dtype::F64 => Wide::Float(f64::from_bits(b)),
            Dtype::C64 => {
                let (re, im) = (f32::from_bits(b as u32), f32::from_bits((b >> 32) as u32));
                Wide::Complex(Complex32::new(re, im))
            }
        }
    }

    /// The real part as a double.
    pub fn to_f64(self) -> f64 {
        match self.wide() {
            Wide::Int(i) => i as f64,
            Wide::Float(x) => x,
            Wide::Complex(z) => f64::from(z.re),
        }
    }

    /// The value as an integer, truncated toward zero and saturated.
    pub fn to_i64(self) -> i64 {
        match self.wide() {
            Wide::Int(i) => i as i64,
            Wide::Float(x) => x as i64,
            Wide::Complex(z) => z.re as i64,
        }
    }

    /// The value converted to `dtype`: integers wrap, floats truncate toward zero, saturate as 64-bit
    /// integers and then wrap, anything non-zero is true.
    pub fn cast(self, dtype: Dtype) -> Literal {
        let wide = self.wide();
        let (int, float, complex) = match wide {
            Wide::Int(i) => (i as i64, i as f64, Complex32::new(i as f32, 0.0)),
            Wide::Float(x) => (x as i64, x, Complex32::new(x as f32, 0.0)),
            Wide::Complex(z) => (z.re as i64, f64::from(z.re), z),
        };
        match dtype {
            Dtype::Bool => Literal::new(match wide {
                Wide::Int(i) => i != 0,
                Wide::Float(x) => x != 0.0,
                Wide::Complex(z) => z != Complex32::new(0.0, 0.0),
            }),
            Dtype::U8 => Literal::new(int as u8),
            Dtype::U16 => Literal::new(int as u16),
            Dtype::U32 => Literal::new(int as u32),
            Dtype::U64 => Literal::new(match wide {
                Wide::Int(i) => i as u64,
                _ if float < 0.0 => int as u64,
                _ => float as u64,
            }),
            Dtype::I8 => Literal::new(int as i8),
            Dtype::I16 => Literal::new(int as i16),
            Dtype::I32 => Literal::new(int as i32),
            Dtype::I64 => Literal::new(int),
            Dtype::F16 => Literal::new(f16::from_f64(float)),
            Dtype::BF16 => Literal::new(bf16::from_f64(float)),
            Dtype::F32 => Literal::new(match wide {
                Wide::Int(i) => i as f32,
                _ => float as f32,
            }),
            Dtype::F64 => Literal::new(float),
            Dtype::C64 => Literal::new(complex),
        }
    }
}

enum Wide {
    Int(i128),
    Float(f64),
    Complex(Complex32),
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wide() {
            Wide::Int(i) if self.dtype == Dtype::Bool => write!(f, "{}", i != 0),
            Wide::Int(i) => write!(f, "{i}"),
            Wide::Float(x) => write!(f, "{x:?}"),
            Wide::Complex(z) => write!(f, "{z}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_symmetric_and_idempotent() {
        for a in Dtype::ALL {
            assert_eq!(a.promote(a), a);
            for b in Dtype::ALL {
                assert_eq!(a.promote(b), b.promote(a), "{a} {b}");
            }
        }
    }

    #[test]
    fn promotion_follows_mlx() {
        use Dtype::*;
        let cases = [
            (U8, I8, I16),
            (U8, I16, I16),
            (U16, I8, I32),
            (U32, I32, I64),
            (U64, I64, F32),
            (U64, I8, F32),
            (U32, I64, I64),
            (I64, F16, F16),
            (F16, BF16, F32),
            (BF16, F64, F64),
            (F64, C64, C64),
            (Bool, U8, U8),
        ];
        for (a, b, want) in cases {
            assert_eq!(a.promote(b), want, "{a} with {b}");
        }
    }

    #[test]
    fn literals_round_trip_and_cast() {
        assert_eq!(Literal::new(2.5f32).cast(Dtype::F16).get::<f16>().unwrap(), f16::from_f32(2.5));
        assert_eq!(Literal::new(-1i32).cast(Dtype::U8).get::<u8>().unwrap(), 255);
        assert_eq!(Literal::new(u64::MAX).cast(Dtype::U64).get::<u64>().unwrap(), u64::MAX);
        for (x, want) in [(-1.5, u64::MAX), (-1e30, 1 << 63), (1e30, u64::MAX), (f64::NAN, 0)] {
            assert_eq!(Literal::new(x).cast(Dtype::U64).get::<u64>().unwrap(), want, "{x}");
        }
        assert!(Literal::new(1u8).get::<i8>().is_err());
    }
}
