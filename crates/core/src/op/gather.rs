//! Reading at places that are arrays: gather, take, take_along_axis, dynamic slices.
//!
//! Indices are `int32`, `int64`, `uint32` or `uint64`, may be negative, and are checked against the
//! axis when the op runs: one out of range is an error that names axis, index and size.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::error::Result;
use crate::shape::{Axes, Shape};
use std::hash::{Hash, Hasher};

/// Inputs: `src`, then one index array for each of `axes`, all of one shape `I`. The result has
/// shape `I + slice`, where `slice` has an axis for each axis of `src`; its element `(i, s)` is
/// `src[s + index(i)]`, the index being 0 along axes that are not in `axes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The indexed axes of `src`.
    pub axes: Axes,
    /// The shape of one slice.
    pub slice: Shape,
}

/// Inputs `src`, `indices` of equal rank and equal sizes along all other axes. Element `i` of the
/// result, which has the shape of `indices`, is `src` at `i` with `indices[i]` along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherAxis {
    /// The axis.
    pub axis: usize,
}

/// Inputs: `src`, `start` (1-d, one place for each of `axes`). The result has `shape`; it begins at
/// `start` along `axes` and at 0 along the others. A start beyond the last possible one is an
/// error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DynamicSlice {
    /// The axes that `start` speaks of.
    pub axes: Axes,
    /// The result's shape.
    pub shape: Shape,
}

impl Rules for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let mut shape: Shape = inputs[1..].first().map_or_else(Shape::new, |i| i.shape().into());
        shape.extend_from_slice(&self.slice);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn key(&self, state: &mut impl Hasher) {
        self.axes.hash(state);
    }
}

impl Rules for GatherAxis {
    fn name(&self) -> &'static str {
        "take_along_axis"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[1].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }
}

impl Rules for DynamicSlice {
    fn name(&self) -> &'static str {
        "dynamic_slice"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(self.shape.clone(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn key(&self, state: &mut impl Hasher) {
        self.axes.hash(state);
    }
}
