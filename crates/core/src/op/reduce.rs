//! Reductions over axes and arg-reductions along one.
//!
//! The primitives keep reduced axes with size 1; the public functions drop them on request by a
//! reshape, which is a view.

use super::{Avals, Batched, Derivative, Rules, conjugated, like, one};
use crate::array::Array;
use crate::dtype::{Category, Dtype};
use crate::error::{Error, Result};
use crate::for_each_reduction;
use crate::shape::{Axes, Shape, normalize_axes, normalize_axis, show};
use serde::{Deserialize, Serialize};

/// The dtype rule of a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceClass {
    /// Bool and narrow integers become `int32` (unsigned: `uint32`); others stay.
    Additive,
    /// All types stay.
    Ordered,
    /// Any type, taken as bool; returns bool.
    Logical,
}

impl ReduceClass {
    /// The dtype that the input is converted to, which is also the result's.
    pub fn resolve(self, dtype: Dtype) -> Dtype {
        match (self, dtype.category()) {
            (ReduceClass::Logical, _) => Dtype::Bool,
            (ReduceClass::Additive, Category::Bool) => Dtype::I32,
            (ReduceClass::Additive, Category::SignedInteger) if dtype.size() < 4 => Dtype::I32,
            (ReduceClass::Additive, Category::UnsignedInteger) if dtype.size() < 4 => Dtype::U32,
            _ => dtype,
        }
    }
}

/// What the table says of one reduction.
#[derive(Clone, Copy, Debug)]
pub struct ReduceInfo {
    /// The op.
    pub op: ReduceOp,
    /// The function's name.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The dtype rule.
    pub class: ReduceClass,
    /// The functor's text.
    pub cuda: &'static str,
}

macro_rules! define_reductions {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, start: $start:ident, cpu: |$x:ident, $y:ident| $cpu:expr,
        cuda: $cuda:literal,
    })*) => {
        /// The reduction rows of the op table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub enum ReduceOp { $($(#[doc = $doc])* $Op,)* }

        /// Every reduction, in the table's order.
        pub static REDUCTIONS: &[ReduceInfo] = &[$(ReduceInfo {
            op: ReduceOp::$Op, name: stringify!($name), doc: concat!($($doc),*),
            class: ReduceClass::$class, cuda: $cuda,
        }),*];

        impl Array {
            $(
                $(#[doc = $doc])*
                ///
                /// `axes` are the axes to reduce, all if `None`; they stay with size 1 if
                /// `keepdims`.
                ///
                /// # Errors
                /// Kind `Axis` if an axis is out of range; `Argument` if one is named twice, or
                /// if an empty axis has no least or greatest element.
                pub fn $name(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
                    reduce(ReduceOp::$Op, self, axes, keepdims)
                }
            )*
        }
    };
}
for_each_reduction!(define_reductions);

impl ReduceOp {
    /// The op's row.
    pub fn info(self) -> &'static ReduceInfo {
        &REDUCTIONS[self as usize]
    }

    /// The op's name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

/// The axes that `axes` names, all if `None`.
pub(crate) fn resolve_axes(op: &'static str, x: &Array, axes: Option<&[i64]>) -> Result<Axes> {
    match axes {
        Some(axes) => normalize_axes(op, axes, x.ndim()),
        None => Ok((0..x.ndim()).collect()),
    }
}

/// Drops axes of size 1.
pub(crate) fn drop_axes(x: &Array, axes: &[usize]) -> Result<Array> {
    let keep = |(a, &n): (usize, &usize)| (!axes.contains(&a)).then_some(n);
    let shape: Shape = x.shape().iter().enumerate().filter_map(keep).collect();
    x.reshape(&shape)
}

/// `op` over `axes` (all if `None`), which stay with size 1 if `keepdims`.
///
/// # Errors
/// Kind `Axis` if an axis is out of range; `Argument` if one is named twice, or if an empty axis
/// has no least or greatest element.
pub fn reduce(op: ReduceOp, x: &Array, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
    let axes = resolve_axes(op.name(), x, axes)?;
    let x = x.astype(op.info().class.resolve(x.dtype()))?;
    if axes.is_empty() {
        return Ok(x);
    }
    let out = Array::apply(Reduce { op, axes: axes.clone() }, [x])?;
    if keepdims { Ok(out) } else { drop_axes(&out, &axes) }
}

/// A reduction over `axes` (increasing, not empty), which stay with size 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Reduce {
    /// Which row.
    pub op: ReduceOp,
    /// The reduced axes, in order.
    pub axes: Axes,
}

fn reduced_shape(shape: &[usize], axes: &[usize]) -> Shape {
    shape.iter().enumerate().map(|(a, &n)| if axes.contains(&a) { 1 } else { n }).collect()
}

impl Rules for Reduce {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let shape = inputs[0].shape();
        let empty = self.axes.iter().any(|&a| shape[a] == 0);
        if empty && matches!(self.op, ReduceOp::Min | ReduceOp::Max) {
            let message =
                format!("no element to choose from along an empty axis of {}", show(shape));
            return Err(Error::shape(self.op.name(), &[shape], message));
        }
        one(reduced_shape(shape, &self.axes), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        match self.op {
            ReduceOp::Sum => Derivative::Linear(&[]),
            ReduceOp::Prod | ReduceOp::Min | ReduceOp::Max => Derivative::Custom,
            ReduceOp::All | ReduceOp::Any => Derivative::Zero,
        }
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        cotangents[0].as_ref().map(|ct| ct.broadcast_like(&inputs[0])).transpose()
    }

    fn jvp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let Some(t) = &tangents[0] else { return Ok(vec![None]) };
        let weighted = t.multiply(&self.weights(&inputs[0], &outputs[0])?)?;
        let sum = Reduce { op: ReduceOp::Sum, axes: self.axes.clone() };
        Ok(vec![Some(Array::apply(sum, &[weighted])?)])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let Some(ct) = &cotangents[0] else { return Ok(vec![None]) };
        let weights = conjugated(&self.weights(&inputs[0], &outputs[0])?)?;
        Ok(vec![Some(ct.multiply(&weights)?)])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(self.clone(), inputs)?], vec![None]));
        };
        let shift = |&a: &usize| if a >= batch { a + 1 } else { a };
        let op = Reduce { op: self.op, axes: self.axes.iter().map(shift).collect() };
        Ok((vec![Array::apply(op, inputs)?], vec![Some(batch)]))
    }
}

impl Reduce {
    /// dy/dx of a product, least or greatest element, as an array of x's shape. Elements that tie
    /// for the least or greatest share its derivative equally.
    fn weights(&self, x: &Array, y: &Array) -> Result<Array> {
        if self.op == ReduceOp::Prod {
            return self.other_factors(x);
        }
        let hit = x.equal(y)?.astype(x.dtype())?;
        let sum = Reduce { op: ReduceOp::Sum, axes: self.axes.clone() };
        let count = Array::apply(sum, std::slice::from_ref(&hit))?;
        hit.divide(&count)
    }

    /// The product of all other elements along the reduced axes: an exclusive product from the
    /// left times one from the right, so that zeros need no special case.
    fn other_factors(&self, x: &Array) -> Result<Array> {
        let ndim = x.ndim();
        let kept: Axes = (0..ndim).filter(|a| !self.axes.contains(a)).collect();
        let order: Vec<i64> = kept.iter().chain(&self.axes).map(|&a| a as i64).collect();
        let moved = x.transpose(Some(&order))?;
        let mut flat: Shape = moved.shape()[..kept.len()].into();
        flat.push(moved.shape()[kept.len()..].iter().product());
        let rows = moved.reshape(&flat)?;
        let left = rows.cumprod(-1, false, false)?;
        let right = rows.cumprod(-1, true, false)?;
        let product = left.multiply(&right)?.reshape(moved.shape())?;
        let mut back = vec![0i64; ndim];
        for (i, &a) in order.iter().enumerate() {
            back[a as usize] = i as i64;
        }
        product.transpose(Some(&back))
    }
}

/// Which end an arg-reduction looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum ArgReduceOp {
    /// The least element.
    Min,
    /// The greatest element.
    Max,
}

/// The first place of the least or greatest element along `axis`, which stays with size 1. NaN
/// counts as the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ArgReduce {
    /// Which end.
    pub op: ArgReduceOp,
    /// The axis.
    pub axis: usize,
}

impl Array {
    /// The first place of the least element along `axis` (of the flattened array if `None`), as
    /// `uint32`; NaN counts as least.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if it is empty.
    pub fn argmin(&self, axis: Option<i64>, keepdims: bool) -> Result<Array> {
        arg_reduce(ArgReduceOp::Min, self, axis, keepdims)
    }

    /// The first place of the greatest element along `axis` (of the flattened array if `None`), as
    /// `uint32`; NaN counts as greatest.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if it is empty.
    pub fn argmax(&self, axis: Option<i64>, keepdims: bool) -> Result<Array> {
        arg_reduce(ArgReduceOp::Max, self, axis, keepdims)
    }
}

fn arg_reduce(op: ArgReduceOp, x: &Array, axis: Option<i64>, keepdims: bool) -> Result<Array> {
    let (input, axis, ndim) = match axis {
        Some(axis) => (x.clone(), axis, x.ndim()),
        None => (x.reshape(&[x.len()])?, 0, 1),
    };
    let rule = ArgReduce { op, axis: 0 };
    let axis_at = normalize_axis(rule.name(), axis, ndim)?;
    let out = Array::apply(ArgReduce { op, axis: axis_at }, std::slice::from_ref(&input))?;
    match (keepdims, input.ndim() == x.ndim()) {
        (true, true) => Ok(out),
        (true, false) => out.reshape(&Shape::from_elem(1, x.ndim())),
        (false, _) => drop_axes(&out, &[axis_at]),
    }
}

impl Rules for ArgReduce {
    fn name(&self) -> &'static str {
        match self.op {
            ArgReduceOp::Min => "argmin",
            ArgReduceOp::Max => "argmax",
        }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let shape = inputs[0].shape();
        if shape[self.axis] == 0 {
            let message =
                format!("no element to choose from along an empty axis of {}", show(shape));
            return Err(Error::shape(self.name(), &[shape], message));
        }
        if shape[self.axis] > u32::MAX as usize {
            let message = format!("axis {} has more than 2^32 elements", self.axis);
            return Err(Error::shape(self.name(), &[shape], message));
        }
        one(reduced_shape(shape, &[self.axis]), Dtype::U32)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let axis = axes[0].map_or(self.axis, |b| self.axis + usize::from(self.axis >= b));
        let op = ArgReduce { op: self.op, axis };
        Ok((vec![Array::apply(op, inputs)?], vec![axes[0]]))
    }
}

impl Array {
    /// `log(sum(exp(x)))` over axes, without overflow; accumulated in `float32` for half types.
    ///
    /// # Errors
    /// As [`Array::sum`].
    pub fn logsumexp(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
        let axes = resolve_axes("logsumexp", self, axes)?;
        let signed: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let dtype = self.dtype().to_inexact();
        let x = self.astype(dtype)?.astype(dtype.compute())?;
        let max = x.max(Some(&signed), true)?.stop_gradient()?;
        // An infinite maximum would make inf - inf; any finite shift is as good there.
        let finite = max.abs()?.not_equal(&like(&max, f64::INFINITY))?;
        let shift = finite.select(&max, &like(&max, 0.0))?;
        let sum = x.subtract(&shift)?.exp()?.sum(Some(&signed), true)?;
        let out = sum.log()?.add(&shift)?.astype(dtype)?;
        if keepdims { Ok(out) } else { drop_axes(&out, &axes) }
    }
}
