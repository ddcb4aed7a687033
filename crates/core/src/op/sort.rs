//! Sorting along an axis. NaN sorts last; equal elements keep their order.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;

/// The elements in increasing order along `axis`. With `kth`, only so far that element `kth` is in
/// its place, none before it is greater, and none after it is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sort {
    /// The axis.
    pub axis: usize,
    /// The element that must be in its place, or all.
    pub kth: Option<usize>,
}

/// The places (`uint32`) of the elements in the order that [`Sort`] of the same params gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// The element that must be in its place, or all.
    pub kth: Option<usize>,
}

impl Rules for Sort {
    fn name(&self) -> &'static str {
        if self.kth.is_some() { "partition" } else { "sort" }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[0].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }
}

impl Rules for ArgSort {
    fn name(&self) -> &'static str {
        if self.kth.is_some() { "argpartition" } else { "argsort" }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[0].shape(), Dtype::U32)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }
}
