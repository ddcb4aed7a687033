//! Conversion between dtypes.

use super::{Avals, Batched, Derivative, Rules, one, shape_of};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Conversion to `dtype`: integers wrap, floats truncate toward zero, saturate as 64-bit integers and
/// then wrap, NaN becomes 0, anything non-zero is true, complex numbers keep their real part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Cast {
    /// The result's dtype.
    pub dtype: Dtype,
}

impl Array {
    /// The elements converted to `dtype`; the array itself if it has that type already.
    ///
    /// Integers wrap, floats truncate toward zero, saturate as 64-bit integers and then wrap, NaN
    /// becomes 0, anything non-zero is true, complex numbers keep their real part.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn astype(&self, dtype: Dtype) -> Result<Array> {
        if self.dtype() == dtype {
            return Ok(self.clone());
        }
        if let super::Primitive::Scalar(value) = &self.node.op
            && self.node.trace.is_none()
        {
            return Ok(Array::literal(value.cast(dtype)));
        }
        Array::apply(Cast { dtype }, std::slice::from_ref(self))
    }
}

impl Rules for Cast {
    fn name(&self) -> &'static str {
        "astype"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(shape_of(&inputs[0]), self.dtype)
    }

    fn derivative(&self) -> Derivative {
        if self.dtype.is_inexact() { Derivative::Linear(&[]) } else { Derivative::Zero }
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        cotangents[0].as_ref().map(|ct| ct.astype(inputs[0].dtype())).transpose()
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![inputs[0].astype(self.dtype)?], vec![axes[0]]))
    }
}
