//! Elementwise ops: the expansion of the table's unary and binary rows, and `where`.
//!
//! Operands of a binary op broadcast implicitly: no `Broadcast` nodes are made, and the cotangent
//! of a broadcast operand is summed back to its shape in `transform/autodiff.rs`.

use super::Partial::{Minus, Of, One, Where, Zero};
use super::{Aval, Avals, Batched, Derivative, Partial, Rules, batch_first, like, one, shape_of};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes};
use crate::{for_each_binary, for_each_unary};
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use std::f64::consts::{LN_2, LN_10};

const TWO_OVER_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

/// The dtype rule of a unary op: what its input is converted to and what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryClass {
    /// Integers and bool become `float32`; floating and complex types stay.
    Inexact,
    /// As `Inexact`, but complex is refused.
    Real,
    /// All numbers keep their type; bool is refused, except by those that leave 0 and 1 as they are.
    Number,
    /// Floating types keep their type; integers and bool are returned as they are; complex is
    /// refused.
    Rounding,
    /// Integers and bool only.
    Bits,
    /// Any type, taken as bool; returns bool.
    Logical,
    /// `complex64` only; returns `float32`. The function takes real types too.
    Part,
    /// `complex64` only; returns `complex64`. The function takes real types too.
    Conjugate,
}

impl UnaryClass {
    /// The input's and the output's dtype for an argument of `dtype`.
    ///
    /// # Errors
    /// Kind `Dtype` if the op does not take it.
    pub fn resolve(self, op: &'static str, dtype: Dtype) -> Result<(Dtype, Dtype)> {
        let refuse = |expected| Err(Error::dtype(op, &[dtype], expected));
        match self {
            UnaryClass::Inexact => Ok((dtype.to_inexact(), dtype.to_inexact())),
            UnaryClass::Real | UnaryClass::Rounding if dtype.is_complex() => refuse("a real type"),
            UnaryClass::Real => Ok((dtype.to_inexact(), dtype.to_inexact())),
            UnaryClass::Number if dtype == Dtype::Bool => refuse("a numeric type"),
            UnaryClass::Number | UnaryClass::Rounding => Ok((dtype, dtype)),
            UnaryClass::Bits if dtype.is_inexact() => refuse("an integer type or bool"),
            UnaryClass::Bits => Ok((dtype, dtype)),
            UnaryClass::Logical => Ok((Dtype::Bool, Dtype::Bool)),
            UnaryClass::Part | UnaryClass::Conjugate if !dtype.is_complex() => refuse("complex64"),
            UnaryClass::Part => Ok((Dtype::C64, Dtype::F32)),
            UnaryClass::Conjugate => Ok((Dtype::C64, Dtype::C64)),
        }
    }
}

/// The dtype rule of a binary op: what its inputs are converted to and what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryClass {
    /// The promoted type of both; on bool, sum is or, product is and, and others are computed with
    /// the integers 0 and 1.
    Arith,
    /// The promoted type, integers and bool becoming `float32`.
    Inexact,
    /// As `Inexact`, but complex is refused.
    Real,
    /// The promoted type; returns bool.
    Compare,
    /// Any types, taken as bool; returns bool.
    Logical,
    /// The promoted type, integers and bool only.
    Bits,
    /// The promoted type, integers only; two of bool become `uint8`.
    Shift,
    /// `float32` and `float32` to `complex64`.
    Build,
}

impl BinaryClass {
    /// The inputs' common and the output's dtype for arguments of type `a` and `b`.
    ///
    /// # Errors
    /// Kind `Dtype` if the op does not take them.
    pub fn resolve(self, op: &'static str, a: Dtype, b: Dtype) -> Result<(Dtype, Dtype)> {
        let both = a.promote(b);
        let refuse = |expected| Err(Error::dtype(op, &[a, b], expected));
        match self {
            BinaryClass::Arith => Ok((both, both)),
            BinaryClass::Inexact => Ok((both.to_inexact(), both.to_inexact())),
            BinaryClass::Real if both.is_complex() => refuse("real types"),
            BinaryClass::Real => Ok((both.to_inexact(), both.to_inexact())),
            BinaryClass::Compare => Ok((both, Dtype::Bool)),
            BinaryClass::Logical => Ok((Dtype::Bool, Dtype::Bool)),
            BinaryClass::Bits if both.is_inexact() => refuse("integer types or bool"),
            BinaryClass::Bits => Ok((both, both)),
            BinaryClass::Shift if both == Dtype::Bool => Ok((Dtype::U8, Dtype::U8)),
            BinaryClass::Shift if !both.is_integer() => refuse("integer types"),
            BinaryClass::Shift => Ok((both, both)),
            BinaryClass::Build => Ok((Dtype::F32, Dtype::C64)),
        }
    }
}

/// What the table says of one op, for documentation, bindings and tests.
#[derive(Clone, Copy, Debug)]
pub struct UnaryInfo {
    /// The op.
    pub op: UnaryOp,
    /// The function's name.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The dtype rule.
    pub class: UnaryClass,
    /// The functor's text.
    pub cuda: &'static str,
    /// NumPy's or SciPy's name of the function.
    pub numpy: &'static str,
    /// An interval inside which the function is smooth.
    pub domain: (f64, f64),
    /// The bound on the error, in units in the last place.
    pub ulp: u32,
}

/// What the table says of one op, for documentation, bindings and tests.
#[derive(Clone, Copy, Debug)]
pub struct BinaryInfo {
    /// The op.
    pub op: BinaryOp,
    /// The function's name.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The dtype rule.
    pub class: BinaryClass,
    /// The functor's text.
    pub cuda: &'static str,
    /// NumPy's name of the function.
    pub numpy: &'static str,
    /// The bound on the error, in units in the last place.
    pub ulp: u32,
}

macro_rules! define_unary_rows {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, cpu: |$cx:ident| $cpu:expr, cuda: $cuda:literal,
        partial: |$x:ident, $y:ident| $partial:expr,
        numpy: $numpy:literal, domain: ($low:expr, $high:expr), ulp: $ulp:literal,
    })*) => {
        /// The unary rows of the op table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub enum UnaryOp { $($(#[doc = $doc])* $Op,)* }

        /// Every unary op, in the table's order.
        pub static UNARY_OPS: &[UnaryInfo] = &[$(UnaryInfo {
            op: UnaryOp::$Op, name: stringify!($name), doc: concat!($($doc),*),
            class: UnaryClass::$class, cuda: $cuda, numpy: $numpy, domain: ($low, $high), ulp: $ulp,
        }),*];

        impl UnaryOp {
            /// dy/dx at `x`, where the op has the value `y`.
            fn partial(self, x: &Array, y: &Array) -> Result<Partial> {
                match self { $(UnaryOp::$Op => {
                    let ($x, $y) = (x, y);
                    let _ = ($x, $y);
                    Ok($partial)
                })* }
            }
        }

        impl Array {
            $(
                $(#[doc = $doc])*
                ///
                /// Elementwise. The dtype rule is the class that the op table states.
                ///
                /// # Errors
                /// Kind `Dtype` if the op does not take the array's type.
                pub fn $name(&self) -> Result<Array> { unary(UnaryOp::$Op, self) }
            )*
        }
    };
}
for_each_unary!(define_unary_rows);

macro_rules! define_binary_rows {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, cpu: |$cx:ident, $cy:ident| $cpu:expr, cuda: $cuda:literal,
        partial: |$x:ident, $y:ident, $z:ident| $partial:expr,
        numpy: $numpy:literal, ulp: $ulp:literal,
    })*) => {
        /// The binary rows of the op table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub enum BinaryOp { $($(#[doc = $doc])* $Op,)* }

        /// Every binary op, in the table's order.
        pub static BINARY_OPS: &[BinaryInfo] = &[$(BinaryInfo {
            op: BinaryOp::$Op, name: stringify!($name), doc: concat!($($doc),*),
            class: BinaryClass::$class, cuda: $cuda, numpy: $numpy, ulp: $ulp,
        }),*];

        impl BinaryOp {
            /// dz/dx and dz/dy at `x`, `y`, where the op has the value `z`.
            fn partials(self, x: &Array, y: &Array, z: &Array) -> Result<[Partial; 2]> {
                match self { $(BinaryOp::$Op => {
                    let ($x, $y, $z) = (x, y, z);
                    let _ = ($x, $y, $z);
                    Ok($partial)
                })* }
            }
        }

        impl Array {
            $(
                $(#[doc = $doc])*
                ///
                /// Elementwise, with broadcasting. The dtype rule is the class that the op table
                /// states.
                ///
                /// # Errors
                /// Kind `Shape` if the shapes cannot be broadcast, `Dtype` if the op does not take
                /// the types.
                #[track_caller]
                pub fn $name(&self, other: &Array) -> Result<Array> {
                    binary(BinaryOp::$Op, self, other)
                }
            )*
        }
    };
}
for_each_binary!(define_binary_rows);

fn one_minus_square(x: &Array) -> Result<Array> {
    like(x, 1.0).subtract(&x.square()?)
}

/// `y * x^(y - 1)`, which is 0 where `y` is 0, whatever `x`.
fn power_partial_base(x: &Array, y: &Array) -> Result<Array> {
    let d = y.multiply(&x.power(&y.subtract(&like(y, 1.0))?)?)?;
    y.equal(&like(y, 0.0))?.select(&like(y, 0.0), &d)
}

/// `x^y * log(x)`, which is 0 where `x` is 0.
fn power_partial_exponent(x: &Array, z: &Array) -> Result<Array> {
    let zero = x.equal(&like(x, 0.0))?;
    let safe = zero.select(&like(x, 1.0), x)?;
    z.multiply(&safe.log()?)
}

/// `op(x)`, with the conversions that the op's class asks for. Absolute values of complex numbers
/// are real, conjugates and parts of real numbers are those of complex numbers.
///
/// # Errors
/// Kind `Dtype` if the op does not take the array's type.
pub fn unary(op: UnaryOp, x: &Array) -> Result<Array> {
    let info = op.info();
    let unchanged = match op {
        UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Square => x.dtype() == Dtype::Bool,
        UnaryOp::Conjugate | UnaryOp::Real => !x.dtype().is_complex(),
        _ => info.class == UnaryClass::Rounding && !x.dtype().is_inexact(),
    };
    if unchanged {
        return Ok(x.clone());
    }
    if op == UnaryOp::Imag && !x.dtype().is_complex() {
        return x.zeros_like();
    }
    if op == UnaryOp::Abs && x.dtype().is_complex() {
        return x.modulus();
    }
    let (input, _) = info.class.resolve(info.name, x.dtype())?;
    Array::apply(op, [x.astype(input)?])
}

/// `op(x, y)`, with the conversions that the op's class asks for.
///
/// # Errors
/// Kind `Shape` if the shapes cannot be broadcast, `Dtype` if the op does not take the types.
#[track_caller]
pub fn binary(op: BinaryOp, x: &Array, y: &Array) -> Result<Array> {
    let info = op.info();
    let (input, _) = info.class.resolve(info.name, x.dtype(), y.dtype())?;
    if matches!(op, BinaryOp::FloorDivide | BinaryOp::Remainder) && input.is_complex() {
        return Err(Error::dtype(info.name, &[x.dtype(), y.dtype()], "real types"));
    }
    crate::observe::promotion(info.name, x, y, input);
    let op = match op {
        op if input != Dtype::Bool => op,
        BinaryOp::Add | BinaryOp::Maximum => BinaryOp::LogicalOr,
        BinaryOp::Multiply | BinaryOp::Minimum => BinaryOp::LogicalAnd,
        BinaryOp::Subtract => BinaryOp::BitwiseXor,
        BinaryOp::Power | BinaryOp::FloorDivide | BinaryOp::Remainder => {
            return binary(op, &x.astype(Dtype::I32)?, &y.astype(Dtype::I32)?)?.astype(input);
        }
        op => op,
    };
    Array::apply(op, [x.astype(input)?, y.astype(input)?])
}

impl UnaryOp {
    /// The op's row.
    pub fn info(self) -> &'static UnaryInfo {
        &UNARY_OPS[self as usize]
    }

    /// The op's name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

impl BinaryOp {
    /// The op's row.
    pub fn info(self) -> &'static BinaryInfo {
        &BINARY_OPS[self as usize]
    }

    /// The op's name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

impl Rules for UnaryOp {
    fn name(&self) -> &'static str {
        self.info().name
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let info = self.info();
        one(shape_of(&inputs[0]), info.class.resolve(info.name, inputs[0].dtype())?.1)
    }

    fn derivative(&self) -> Derivative {
        match self {
            // Linear over the reals only, or not holomorphic.
            UnaryOp::Real | UnaryOp::Imag | UnaryOp::Conjugate => Derivative::Linear(&[]),
            UnaryOp::Modulus => Derivative::Composed,
            _ => Derivative::Partials,
        }
    }

    fn partials(&self, inputs: &[Array], output: &Array) -> Result<SmallVec<[Partial; 2]>> {
        Ok(smallvec![self.partial(&inputs[0], output)?])
    }

    fn transpose(
        &self,
        _place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        Ok(Some(match self {
            UnaryOp::Imag => like(ct, 0.0).make_complex(ct)?,
            UnaryOp::Conjugate => ct.conjugate()?,
            _ => ct.make_complex(&like(ct, 0.0))?,
        }))
    }

    /// `|z| = sqrt(re^2 + im^2)`, with derivative 0 at 0.
    fn compose(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (re, im) = (inputs[0].real()?, inputs[0].imag()?);
        let square = re.square()?.add(&im.square()?)?;
        let zero = square.equal(&like(&square, 0.0))?;
        let safe = zero.select(&like(&square, 1.0), &square)?;
        Ok(vec![zero.select(&like(&square, 0.0), &safe.sqrt()?)?])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(*self, inputs)?], vec![axes[0]]))
    }
}

/// Inputs of an elementwise op with batch axes in front and ranks made equal, so that the op's
/// broadcasting pairs the right axes.
pub(crate) fn align_batches(inputs: &[Array], axes: &[Option<usize>]) -> Result<Vec<Array>> {
    let rank = |(x, axis): (&Array, &Option<usize>)| x.ndim() - usize::from(axis.is_some());
    let ndim = inputs.iter().zip(axes).map(rank).max().unwrap_or(0);
    let mut out = Vec::with_capacity(inputs.len());
    for (x, axis) in inputs.iter().zip(axes) {
        let missing = ndim - rank((x, axis));
        let x = batch_first(x, *axis)?;
        out.push(if axis.is_some() && missing > 0 {
            let mut shape: Shape = x.shape().into();
            shape.insert_many(1, std::iter::repeat_n(1, missing));
            x.reshape(&shape)?
        } else {
            x
        });
    }
    Ok(out)
}

impl Rules for BinaryOp {
    fn name(&self) -> &'static str {
        self.info().name
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let info = self.info();
        let (x, y) = (&inputs[0], &inputs[1]);
        let dtype = info.class.resolve(info.name, x.dtype(), y.dtype())?.1;
        one(broadcast_shapes(info.name, x.shape(), y.shape())?, dtype)
    }

    fn derivative(&self) -> Derivative {
        match self {
            BinaryOp::MakeComplex => Derivative::Linear(&[0, 1]),
            _ => Derivative::Partials,
        }
    }

    fn partials(&self, inputs: &[Array], output: &Array) -> Result<SmallVec<[Partial; 2]>> {
        let [a, b] = BinaryOp::partials(*self, &inputs[0], &inputs[1], output)?;
        Ok(smallvec![a, b])
    }

    fn transpose(
        &self,
        place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        Ok(Some(if place == 0 { ct.real()? } else { ct.imag()? }))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(*self, &align_batches(inputs, axes)?)?], vec![Some(0)]))
    }
}

/// `where`: inputs condition (bool), a, b of one dtype; all broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Select;

impl Array {
    /// `a` where `self` is non-zero, else `b`; all three broadcast.
    ///
    /// # Dtypes
    /// `self` is taken as bool; `a` and `b` are promoted to a common type, which is the result's.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes cannot be broadcast.
    pub fn select(&self, a: &Array, b: &Array) -> Result<Array> {
        let dtype = a.dtype().promote(b.dtype());
        Array::apply(Select, &[self.astype(Dtype::Bool)?, a.astype(dtype)?, b.astype(dtype)?])
    }
}

impl Rules for Select {
    fn name(&self) -> &'static str {
        "where"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let values = broadcast_shapes("where", inputs[1].shape(), inputs[2].shape())?;
        let shape = broadcast_shapes("where", inputs[0].shape(), &values)?;
        Ok(SmallVec::from_iter([Aval { shape, dtype: inputs[1].dtype() }]))
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[1, 2])
    }

    fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let zero = like(ct, 0.0);
        let (a, b) = if place == 1 { (ct, &zero) } else { (&zero, ct) };
        Ok(Some(inputs[0].select(a, b)?))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(Select, &align_batches(inputs, axes)?)?], vec![Some(0)]))
    }
}
