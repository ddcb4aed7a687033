//! Writing at places that are arrays or slices: scatter, put_along_axis, slice_update, masked
//! updates. All return a new array; the planner writes in place where nobody else sees the old one.
//!
//! Indices are checked as in `gather.rs`.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::error::Result;
use crate::shape::{Axes, Strides};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// How an update meets the element that is there. Where several updates meet one element, the last
/// in row-major order wins (`Set`), or all join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateMode {
    /// Replaces it.
    Set,
    /// Is added.
    Add,
    /// Is multiplied in.
    Multiply,
    /// The greater one stays.
    Max,
    /// The lesser one stays.
    Min,
}

/// Inputs: `dst`, `updates`, then one index array for each of `axes`, all of one shape `I`.
/// `updates` has shape `I + slice` with an axis in `slice` for each axis of `dst`; element `(i, s)`
/// goes to `dst[s + index(i)]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scatter {
    /// The indexed axes of `dst`.
    pub axes: Axes,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `indices`, `updates`, the latter two of one shape and, but for `axis`, of `dst`'s
/// sizes. Element `i` of `updates` goes to `dst` at `i` with `indices[i]` along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScatterAxis {
    /// The axis.
    pub axis: usize,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `update`. Element `i` of `update` goes to `dst[start + i * step]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceUpdate {
    /// The first element along each axis.
    pub start: SmallVec<[usize; 4]>,
    /// The step along each axis, not zero.
    pub step: Strides,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `update`, `start` (1-d, one place for each of `axes`). The update goes to the place
/// that begins at `start` along `axes` and at 0 along the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DynamicSliceUpdate {
    /// The axes that `start` speaks of.
    pub axes: Axes,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `mask` (bool, of `dst`'s shape), `src` (1-d). The elements of `dst` under the mask,
/// in row-major order, become consecutive elements of `src`, which must have at least as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskedScatter;

macro_rules! update_rules {
    ($($Op:ty, $name:literal, $derivative:expr, |$op:ident, $state:ident| $key:expr;)*) => {
        $(impl Rules for $Op {
            fn name(&self) -> &'static str {
                $name
            }

            fn infer(&self, inputs: &[Array]) -> Result<Avals> {
                one(inputs[0].shape(), inputs[0].dtype())
            }

            fn derivative(&self) -> Derivative {
                $derivative
            }

            fn key(&self, $state: &mut impl Hasher) {
                let $op = self;
                $key
            }
        })*
    };
}
update_rules! {
    Scatter, "scatter", Derivative::Custom, |op, state| op.hash(state);
    ScatterAxis, "put_along_axis", Derivative::Custom, |op, state| op.hash(state);
    SliceUpdate, "slice_update", Derivative::Custom, |op, state| op.mode.hash(state);
    DynamicSliceUpdate, "dynamic_slice_update", Derivative::Custom, |op, state| op.hash(state);
    MaskedScatter, "masked_scatter", Derivative::Custom, |op, state| op.hash(state);
}
