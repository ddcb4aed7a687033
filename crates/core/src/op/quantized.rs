//! Group-wise quantised matrices and products with them.
//!
//! Format: groups of `group` elements along the last axis; each row is a little-endian bit stream in
//! `uint32` words, lowest element in the lowest bits. `affine`: `w = scale * q + bias` with
//! scales and biases of shape `(..., k / group)` in the matrix's dtype.

use super::{Aval, Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::shape::Shape;
use smallvec::SmallVec;

/// How elements of a group are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantMode {
    /// Unsigned integers of 2, 3, 4, 5, 6 or 8 bits, a scale and a bias for each group.
    Affine,
    /// E2M1 elements, an E8M0 scale for each group of 32.
    Mxfp4,
    /// E2M1 elements, an E4M3 scale for each group of 16.
    Nvfp4,
    /// E4M3 elements, an E8M0 scale for each group of 32.
    Mxfp8,
}

/// The parameters of a quantised format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantFormat {
    /// Elements in a group.
    pub group: usize,
    /// Bits of an element.
    pub bits: usize,
    /// The encoding.
    pub mode: QuantMode,
}

/// Input `w (..., k)`; outputs `wq (..., k * bits / 32)`, scales and, if affine, biases
/// `(..., k / group)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantize {
    /// The format.
    pub format: QuantFormat,
}

/// Inputs `wq`, scales and, if affine, biases; output `(..., k)` of `dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dequantize {
    /// The format.
    pub format: QuantFormat,
    /// The result's dtype.
    pub dtype: Dtype,
}

/// Inputs `x (..., m, k)`, `wq`, scales and, if affine, biases; output `(..., m, n)` in x's dtype:
/// `x @ w^T` with `w (..., n, k)` if `transpose`, else `x @ w` with `w (..., k, n)`. Leading axes
/// broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuantizedMatmul {
    /// The format of `w`, packed along its last axis.
    pub format: QuantFormat,
    /// True iff `w` is multiplied transposed.
    pub transpose: bool,
}

impl Rules for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let w = inputs[0].shape();
        let k = w[w.len() - 1];
        let with_last = |n: usize| {
            let mut shape: Shape = w.into();
            shape[w.len() - 1] = n;
            shape
        };
        let packed = Aval::new(with_last(k * self.format.bits / 32), Dtype::U32);
        let groups = with_last(k / self.format.group);
        let dtype = inputs[0].dtype();
        Ok(match self.format.mode {
            QuantMode::Affine => SmallVec::from_vec(vec![
                packed,
                Aval::new(groups.clone(), dtype),
                Aval::new(groups, dtype),
            ]),
            _ => SmallVec::from_vec(vec![packed, Aval::new(groups, Dtype::U8)]),
        })
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }
}

impl Rules for Dequantize {
    fn name(&self) -> &'static str {
        "dequantize"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let mut shape: Shape = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = *last * 32 / self.format.bits;
        }
        one(shape, self.dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }
}

impl Rules for QuantizedMatmul {
    fn name(&self) -> &'static str {
        "quantized_matmul"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (x, w) = (inputs[0].shape(), inputs[1].shape());
        let n =
            if self.transpose { w[w.len() - 2] } else { w[w.len() - 1] * 32 / self.format.bits };
        let mut shape =
            crate::shape::broadcast_shapes(self.name(), &x[..x.len() - 2], &w[..w.len() - 2])?;
        shape.extend([x[x.len() - 2], n]);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }
}
