//! Joining arrays: concatenate, stack, tile, repeat, pad.

use super::{Avals, Derivative, Rules, one};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::shape::{Shape, show};

/// The inputs, of one dtype, one after another along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concatenate {
    /// The axis.
    pub axis: usize,
}

impl Rules for Concatenate {
    fn name(&self) -> &'static str {
        "concatenate"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let mut shape: Shape = inputs[0].shape().into();
        shape[self.axis] = 0;
        for x in inputs {
            let fits = x.ndim() == shape.len()
                && (0..shape.len()).all(|a| a == self.axis || x.shape()[a] == shape[a]);
            if !fits {
                let message = format!(
                    "shapes {} and {} differ in another axis than {}",
                    show(inputs[0].shape()),
                    show(x.shape()),
                    self.axis
                );
                return Err(Error::shape("concatenate", &[inputs[0].shape(), x.shape()], message));
            }
            shape[self.axis] += x.shape()[self.axis];
        }
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }
}
