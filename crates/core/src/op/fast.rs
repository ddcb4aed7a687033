//! Ops that are worth a kernel of their own although other ops could write them. Each states its
//! composition, from which its derivatives come.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::error::Result;
use crate::shape::Shape;

/// A float that is compared and hashed by its bits, for use in params.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FloatBits(u64);

impl FloatBits {
    /// The bits of `x`.
    pub fn new(x: f64) -> FloatBits {
        FloatBits(x.to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl std::fmt::Debug for FloatBits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// Rotary position embedding of the last axis of `x (..., t, d)`. Inputs: `x`, `offset` (0-d or
/// one for each element of the first axis, integer), and frequencies `(dims / 2)` in `float32` if
/// `base` is `None`.
///
/// With `p = (offset + t) * scale` and pair `i` turned by the angle `p * base^(-2i / dims)`
/// (`p / freqs[i]`), pairs are elements `(2i, 2i + 1)` if `traditional`, else `(i, i + dims / 2)`;
/// elements from `dims` on stay. (Su et al., "RoFormer", 2021.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rope {
    /// How many leading elements of the last axis are turned; even.
    pub dims: usize,
    /// Which elements make a pair.
    pub traditional: bool,
    /// The base of the frequencies, or none if they are an input.
    pub base: Option<FloatBits>,
    /// A factor on positions.
    pub scale: FloatBits,
    /// True iff the turn is undone, which is the transpose.
    pub inverse: bool,
}

/// `softmax(scale * q k^T + mask) v`, computed in `float32`. Inputs `q (b, h, t, d)`,
/// `k (b, g, s, d)`, `v (b, g, s, e)` with `h` a multiple of `g` (head `i` of q uses head
/// `i * g / h` of k and v), then the mask if there is one (bool, true where attended, or additive;
/// broadcastable to `(b, h, t, s)`), then sinks `(h)` if there are: logits that take part in the
/// softmax's sum but have no value. Output `(b, h, t, e)`.
///
/// A causal mask lets query `i` attend to keys up to `s - t + i`. A row that attends to nothing
/// gives zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// The factor on the products.
    pub scale: FloatBits,
    /// True iff later keys are hidden.
    pub causal: bool,
    /// True iff there is a mask input.
    pub mask: bool,
    /// True iff there is a sinks input.
    pub sinks: bool,
}

impl Rules for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[0].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }
}

impl Rules for Attention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (q, v) = (inputs[0].shape(), inputs[2].shape());
        let mut shape: Shape = q.into();
        shape[3] = v[3];
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Composed
    }
}
