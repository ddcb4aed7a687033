//! Matrix products.
//!
//! Transposed, strided and broadcast operands cost nothing: the kernels take any strides. Half
//! types accumulate in `float32` and round once.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes, show};

/// `(..., m, k) @ (..., k, n) -> (..., m, n)`; both inputs have one dtype and at least two axes, and
/// their leading axes broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matmul;

impl Rules for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (a, b) = (inputs[0].shape(), inputs[1].shape());
        let (la, lb) = (a.len(), b.len());
        if a[la - 1] != b[lb - 2] {
            let message = format!(
                "inner dimensions differ: lhs {}, rhs {}; lhs axis -1 must equal rhs axis -2",
                show(a),
                show(b)
            );
            return Err(Error::shape("matmul", &[a, b], message));
        }
        let mut shape: Shape = broadcast_shapes("matmul", &a[..la - 2], &b[..lb - 2])?;
        shape.extend([a[la - 2], b[lb - 1]]);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Bilinear(0, 1)
    }
}
