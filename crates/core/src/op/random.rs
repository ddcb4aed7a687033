//! Random numbers: a counter-based generator with explicit keys, and a default state.
//!
//! Words come from Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3", 2011), in the layout that MLX uses, so that equal keys give equal numbers.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::shape::Shape;
use std::hash::{Hash, Hasher};

/// Input `key (..., 2)` of `uint32`; output `(...) + shape` of `width`-byte unsigned integers. For
/// `n` words and `h = n / 2`: words `i` and `i + h + n % 2` are the two halves of the hash of the
/// counters `(i, i + h + n % 2)`, and the middle word of an odd number is the first half of
/// `(h, 0)`. Narrow widths truncate the byte stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RandomBits {
    /// The shape for one key.
    pub shape: Shape,
    /// 1, 2 or 4.
    pub width: usize,
}

impl Rules for RandomBits {
    fn name(&self) -> &'static str {
        "random_bits"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let key = inputs[0].shape();
        let mut shape: Shape = key[..key.len() - 1].into();
        shape.extend_from_slice(&self.shape);
        let dtype = match self.width {
            1 => Dtype::U8,
            2 => Dtype::U16,
            _ => Dtype::U32,
        };
        one(shape, dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn key(&self, state: &mut impl Hasher) {
        self.width.hash(state);
    }
}
