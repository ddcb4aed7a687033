//! Rust's operators on arrays and bare numbers. They panic where the method returns an error, with
//! the same text: use the methods where a mistake must be handled.
//!
//! Bare numbers are `f64` and `i32` only: they are weak, so their width says nothing, and with one
//! floating type `(&x * 0.5).sin()` needs no annotation.

use crate::array::Array;
use crate::dtype::{Category, Dtype, Element, Literal};
use crate::error::Result;
use std::ops::{
    Add, AddAssign, BitAnd, BitOr, BitXor, Div, DivAssign, Mul, MulAssign, Neg, Not, Rem, Sub,
    SubAssign,
};

/// A bare number as an operand next to `other`: it takes `other`'s dtype unless its category is
/// higher (`float16 * 2.0` stays `float16`, `int32 * 2.0` is `float32`).
pub fn weak_scalar<T: Element>(value: T, other: Dtype) -> Array {
    let literal = Literal::new(value);
    Array::literal(literal.cast(other.promote_weak(literal.dtype().category())))
}

#[track_caller]
fn or_panic(result: Result<Array>) -> Array {
    match result {
        Ok(array) => array,
        Err(error) => panic!("{error}"),
    }
}

macro_rules! binary_operators {
    ($($Trait:ident $method:ident $op:ident),* $(,)?) => {$(
        binary_operators!(@arrays $Trait $method $op: Array, &Array);
        binary_operators!(@scalars $Trait $method $op: f64 i32);
    )*};
    (@arrays $Trait:ident $method:ident $op:ident: $($Lhs:ty),*) => {$(
        impl $Trait<Array> for $Lhs {
            type Output = Array;
            /// # Panics
            /// With the error's text if shapes or dtypes do not fit.
            #[track_caller]
            fn $method(self, rhs: Array) -> Array { or_panic(Array::$op(&self, &rhs)) }
        }
        impl $Trait<&Array> for $Lhs {
            type Output = Array;
            /// # Panics
            /// With the error's text if shapes or dtypes do not fit.
            #[track_caller]
            fn $method(self, rhs: &Array) -> Array { or_panic(Array::$op(&self, rhs)) }
        }
    )*};
    (@scalars $Trait:ident $method:ident $op:ident: $($Scalar:ty)*) => {$(
        binary_operators!(@scalar $Trait $method $op $Scalar, Array);
        binary_operators!(@scalar $Trait $method $op $Scalar, &Array);
    )*};
    (@scalar $Trait:ident $method:ident $op:ident $Scalar:ty, $Side:ty) => {
        impl $Trait<$Scalar> for $Side {
            type Output = Array;
            /// # Panics
            /// With the error's text if the dtype does not fit.
            #[track_caller]
            fn $method(self, rhs: $Scalar) -> Array {
                or_panic(Array::$op(&self, &weak_scalar(rhs, self.dtype())))
            }
        }
        impl $Trait<$Side> for $Scalar {
            type Output = Array;
            /// # Panics
            /// With the error's text if the dtype does not fit.
            #[track_caller]
            fn $method(self, rhs: $Side) -> Array {
                or_panic(Array::$op(&weak_scalar(self, rhs.dtype()), &rhs))
            }
        }
    };
}
binary_operators! {
    Add add add, Sub sub subtract, Mul mul multiply, Div div divide, Rem rem remainder,
    BitAnd bitand bitwise_and, BitOr bitor bitwise_or, BitXor bitxor bitwise_xor,
}

macro_rules! assign_operators {
    ($($Trait:ident $method:ident $op:tt),*) => {$(
        impl<T> $Trait<T> for Array where for<'a> &'a Array: std::ops::$op<T, Output = Array> {
            /// # Panics
            /// With the error's text if shapes or dtypes do not fit.
            #[track_caller]
            fn $method(&mut self, rhs: T) { *self = assign_operators!(@call $op self rhs); }
        }
    )*};
    (@call Add $a:ident $b:ident) => { &*$a + $b };
    (@call Sub $a:ident $b:ident) => { &*$a - $b };
    (@call Mul $a:ident $b:ident) => { &*$a * $b };
    (@call Div $a:ident $b:ident) => { &*$a / $b };
}
assign_operators!(AddAssign add_assign Add, SubAssign sub_assign Sub, MulAssign mul_assign Mul,
    DivAssign div_assign Div);

macro_rules! unary_operators {
    ($($Trait:ident $method:ident $op:ident),*) => {$(
        impl $Trait for &Array {
            type Output = Array;
            /// # Panics
            /// With the error's text if the dtype does not fit.
            #[track_caller]
            fn $method(self) -> Array { or_panic(Array::$op(&self)) }
        }
        impl $Trait for Array {
            type Output = Array;
            /// # Panics
            /// With the error's text if the dtype does not fit.
            #[track_caller]
            fn $method(self) -> Array { or_panic(Array::$op(&self)) }
        }
    )*};
}
unary_operators!(Neg neg negative, Not not bitwise_invert);

/// Nested Rust arrays of numbers, which become an array of the same shape.
pub trait Nested {
    /// The type of the numbers.
    type Element: Element;
    /// Appends the sizes of the axes.
    fn shape(&self, shape: &mut Vec<usize>);
    /// Appends the numbers in row-major order.
    fn flatten(&self, out: &mut Vec<Self::Element>);
}

macro_rules! nested_numbers {
    ($($T:ty),* $(,)?) => {$(
        impl Nested for $T {
            type Element = $T;
            fn shape(&self, _shape: &mut Vec<usize>) {}
            fn flatten(&self, out: &mut Vec<$T>) { out.push(*self); }
        }

        impl From<$T> for Array {
            fn from(value: $T) -> Array { Array::scalar(value) }
        }
    )*};
}
nested_numbers!(
    bool,
    u8,
    u16,
    u32,
    u64,
    i8,
    i16,
    i32,
    i64,
    f32,
    f64,
    crate::f16,
    crate::bf16,
    crate::Complex32
);

impl<T: Nested, const N: usize> Nested for [T; N] {
    type Element = T::Element;
    fn shape(&self, shape: &mut Vec<usize>) {
        shape.push(N);
        if let Some(first) = self.first() {
            first.shape(shape);
        }
    }
    fn flatten(&self, out: &mut Vec<T::Element>) {
        self.iter().for_each(|x| x.flatten(out));
    }
}

impl Array {
    /// An array of nested Rust arrays: `Array::new([[1.0f32, 2.0], [3.0, 4.0]])` has shape (2, 2).
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    pub fn new<T: Nested>(data: T) -> Result<Array> {
        let (mut shape, mut flat) = (Vec::new(), Vec::new());
        data.shape(&mut shape);
        data.flatten(&mut flat);
        Array::from_slice(&flat, &shape)
    }

    /// The category of the array's dtype.
    pub fn category(&self) -> Category {
        self.dtype().category()
    }
}

/// An array of numbers: `array![1, 2, 3]`, `array![[1.0, 2.0], [3.0, 4.0]]`. A type after a
/// semicolon converts the elements: `array![1.0, 2.0; f32]`.
///
/// # Panics
/// If there is no memory for it.
#[macro_export]
macro_rules! array {
    ($($x:expr),* $(,)? ; $T:ty) => {
        $crate::operators::new_or_panic([$($x),*])
            .astype(<$T as $crate::Element>::DTYPE)
            .unwrap_or_else(|error| panic!("{error}"))
    };
    ($($x:expr),* $(,)?) => { $crate::operators::new_or_panic([$($x),*]) };
}

/// What `array!` expands to.
#[doc(hidden)]
#[track_caller]
pub fn new_or_panic<T: Nested>(data: T) -> Array {
    or_panic(Array::new(data))
}
