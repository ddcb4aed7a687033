//! Rotary embedding of positions.

use super::Module;
use crate::fast::{self, Frequencies};
use crate::{Array, Result};

/// Turns pairs of the last axis by angles that grow with the position (Su et al., 2021): pair `i`
/// at position `p` by `scale (p + offset) base^(-2i / dims)`.
///
/// # Shapes
/// `x: (..., t, d) -> (..., t, d)`; elements past `dims` stay.
#[derive(Clone, Debug, PartialEq, Module)]
pub struct Rope {
    /// How many elements of the last axis are turned.
    #[module(skip)]
    pub dims: usize,
    /// If true, pairs are neighbours; if false, an element and the one `dims / 2` further.
    #[module(skip)]
    pub traditional: bool,
    /// The base of the angles.
    #[module(skip)]
    pub base: f64,
    /// A factor of the positions.
    #[module(skip)]
    pub scale: f64,
    /// What pair `i` is divided by in place of `base^(2i / dims)`, for models with frequencies of
    /// their own.
    #[module(skip)]
    pub divisors: Option<Vec<f32>>,
}

impl Rope {
    /// The usual layer: a base of 10000, pairs `dims / 2` apart.
    pub fn new(dims: usize) -> Rope {
        Rope { dims, traditional: false, base: 10_000.0, scale: 1.0, divisors: None }
    }

    /// The layer's result for positions from `offset` on.
    ///
    /// # Errors
    /// Kind `Shape` if `dims` is odd or larger than the axis, `Dtype` if x is not floating.
    pub fn forward(&self, x: &Array, offset: usize) -> Result<Array> {
        self.forward_at(x, &Array::scalar(offset as i32))
    }

    /// The layer's result for positions from `offset` on, which is 0-d or has one number for each
    /// element of x's first axis.
    ///
    /// # Errors
    /// As [`Rope::forward`], and kind `Argument` if the offsets do not fit.
    pub fn forward_at(&self, x: &Array, offset: &Array) -> Result<Array> {
        let divisors = self.divisors.as_ref();
        let divisors = divisors.map(|d| Array::from_slice(d, &[d.len()])).transpose()?;
        let frequencies =
            divisors.as_ref().map_or(Frequencies::Base(self.base), Frequencies::Array);
        fast::rope(x, self.dims, self.traditional, frequencies, self.scale, offset)
    }
}
