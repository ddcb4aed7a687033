//! Ops that return their input: markers for transforms and for the order of evaluation.

use super::{Aval, Avals, Batched, Derivative, Rules, one};
use crate::array::Array;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// The first input itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Identity {
    /// No derivative passes.
    StopGradient,
    /// The other inputs are evaluated first.
    Depends,
    /// A distinct node for a transform to tell from the original.
    Alias,
}

impl Array {
    /// The array, through which no derivative passes.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn stop_gradient(&self) -> Result<Array> {
        Array::apply(Identity::StopGradient, std::slice::from_ref(self))
    }

    /// The array, evaluated only after all of `dependencies`.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn depends(&self, dependencies: &[Array]) -> Result<Array> {
        let mut inputs = vec![self.clone()];
        inputs.extend_from_slice(dependencies);
        Array::apply(Identity::Depends, &inputs)
    }
}

impl Rules for Identity {
    fn name(&self) -> &'static str {
        match self {
            Identity::StopGradient => "stop_gradient",
            Identity::Depends => "depends",
            Identity::Alias => "alias",
        }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[0].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        match self {
            Identity::StopGradient => Derivative::Zero,
            Identity::Depends | Identity::Alias => Derivative::Linear(&[0]),
        }
    }

    fn transpose(
        &self,
        place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        Ok(if place == 0 { cotangents[0].clone() } else { None })
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(*self, inputs)?], vec![axes[0]]))
    }
}

/// A leaf without data: an argument of a function that is being traced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placeholder {
    /// Shape and dtype of the argument.
    pub aval: Aval,
}

impl Rules for Placeholder {
    fn name(&self) -> &'static str {
        "placeholder"
    }

    fn infer(&self, _inputs: &[Array]) -> Result<Avals> {
        one(self.aval.shape.clone(), self.aval.dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    /// A placeholder is replaced before rules are applied to the graph.
    fn vmap(&self, _inputs: &[Array], _axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(self.clone(), &[])?], vec![None]))
    }
}
