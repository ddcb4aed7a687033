//! Arrays from nothing: constants, ranges, and lazily loaded data.

use super::{Aval, Avals, Batched, Derivative, Rules, one};
use crate::array::Array;
use crate::dtype::{Dtype, Literal};
use crate::error::{Error, Result};
use crate::shape::{Shape, checked_len};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

impl Rules for Literal {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn infer(&self, _inputs: &[Array]) -> Result<Avals> {
        one(Shape::new(), self.dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(x) = inputs.first() else { return Ok((vec![Array::literal(*self)], vec![None])) };
        let example = axes[0].map_or_else(|| Ok(x.clone()), |axis| x.front(axis));
        Ok((vec![Array::apply(*self, &[example?])?], vec![None]))
    }

    /// With an input, the literal is the number of its elements.
    fn rebind(&self, inputs: &[Array], _old: &[Aval]) -> Result<Self> {
        Ok(inputs.first().map_or(*self, |x| Literal::from_i64(x.len() as i64, self.dtype())))
    }

    /// The value is a parameter of the plan, the type is not.
    fn key(&self, state: &mut impl Hasher) {
        self.dtype().hash(state);
    }
}

/// `start + i * step` for `i` in `0..len`. Values are computed in `float64` (floating types) or
/// with wrapping 64-bit integers, and rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Arange {
    /// The first value; its type is the result's.
    pub start: Literal,
    /// The distance of two values, as `float64` or `int64`.
    pub step: Literal,
    /// The number of values.
    pub len: usize,
}

impl Rules for Arange {
    fn name(&self) -> &'static str {
        "arange"
    }

    fn infer(&self, _inputs: &[Array]) -> Result<Avals> {
        one(Shape::from_iter([self.len]), self.start.dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, _inputs: &[Array], _axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(*self, &[])?], vec![None]))
    }

    fn key(&self, state: &mut impl Hasher) {
        self.start.dtype().hash(state);
    }
}

/// Bytes that are read when they are first needed, such as a file.
pub trait Source: Send + Sync + fmt::Debug {
    /// Fills `bytes` from byte `offset` on, in native byte order.
    ///
    /// # Errors
    /// Kind `Io` if the bytes cannot be had.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

/// A contiguous array in a [`Source`].
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the bytes come from.
    pub source: Arc<dyn Source>,
    /// The place of the first byte.
    pub offset: u64,
    /// The array's dtype.
    pub dtype: Dtype,
    /// The array's shape.
    pub shape: Shape,
}

impl PartialEq for Load {
    fn eq(&self, other: &Load) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && (self.offset, self.dtype, &self.shape) == (other.offset, other.dtype, &other.shape)
    }
}

impl Eq for Load {}

impl Hash for Load {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.source).addr().hash(state);
        (self.offset, self.dtype, &self.shape).hash(state);
    }
}

impl Array {
    /// The array that lies at byte `offset` of `source`; nothing is read before it is needed.
    ///
    /// # Errors
    /// Kind `Shape` if the shape has too many elements. Reading errors come with evaluation.
    pub fn load(
        source: Arc<dyn Source>,
        offset: u64,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<Array> {
        checked_len("load", shape)?;
        Array::apply(Load { source, offset, dtype, shape: shape.into() }, &[])
    }

    /// `len` values `start`, `start + step`, ... of `dtype`.
    ///
    /// # Errors
    /// Kind `Dtype` for bool and complex.
    pub fn iota(start: f64, step: f64, len: usize, dtype: Dtype) -> Result<Array> {
        if dtype == Dtype::Bool || dtype.is_complex() {
            return Err(Error::dtype("arange", &[dtype], "an integer or floating type"));
        }
        checked_len("arange", &[len])?;
        let step = if dtype.is_integer() { Literal::new(step as i64) } else { Literal::new(step) };
        Array::apply(Arange { start: Literal::from_f64(start, dtype), step, len }, &[])
    }

    /// `value` at every place of `shape`; a view of one element until something writes to it.
    ///
    /// # Errors
    /// Kind `Shape` if the shape has too many elements.
    pub fn full(shape: &[usize], value: Literal) -> Result<Array> {
        Array::literal(value).broadcast_to(shape)
    }

    /// Zeros.
    ///
    /// # Errors
    /// Kind `Shape` if the shape has too many elements.
    pub fn zeros(shape: &[usize], dtype: Dtype) -> Result<Array> {
        Array::full(shape, Literal::from_f64(0.0, dtype))
    }

    /// Ones.
    ///
    /// # Errors
    /// Kind `Shape` if the shape has too many elements.
    pub fn ones(shape: &[usize], dtype: Dtype) -> Result<Array> {
        Array::full(shape, Literal::from_f64(1.0, dtype))
    }

    /// Zeros of this array's shape and dtype.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn zeros_like(&self) -> Result<Array> {
        super::like(self, 0.0).broadcast_like(self)
    }

    /// Ones of this array's shape and dtype.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn ones_like(&self) -> Result<Array> {
        super::like(self, 1.0).broadcast_like(self)
    }
}

impl Rules for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn infer(&self, _inputs: &[Array]) -> Result<Avals> {
        one(self.shape.clone(), self.dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, _inputs: &[Array], _axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(self.clone(), &[])?], vec![None]))
    }

    fn key(&self, state: &mut impl Hasher) {
        self.dtype.hash(state);
    }
}
