//! Functions whose transforms the user writes.

use super::{Aval, Avals, Batched, Derivative, Rules};
use crate::array::Array;
use crate::error::Result;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Transforms of a user's function. `None` stands for the transform of the function's own graph.
pub trait CustomRules: Send + Sync {
    /// The primals' cotangents.
    fn vjp(
        &self,
        primals: &[Array],
        outputs: &[Array],
        cotangents: &[Array],
    ) -> Option<Result<Vec<Array>>>;
    /// The outputs' tangents; `None` tangents are zero.
    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Option<Result<Vec<Array>>>;
    /// The outputs for a batch of primals, with the places of their batch axes.
    fn vmap(&self, primals: &[Array], axes: &[Option<usize>]) -> Option<Result<Batched>>;
    /// The function itself.
    fn call(&self, primals: &[Array]) -> Result<Vec<Array>>;
}

/// Inputs: the function's outputs as it computed them (`outputs` of them), then its primals. The
/// results are the outputs themselves, but transforms go by `rules`.
#[derive(Clone)]
pub struct CustomFunction {
    /// The user's transforms.
    pub rules: Arc<dyn CustomRules>,
    /// How many inputs are outputs.
    pub outputs: usize,
}

impl fmt::Debug for CustomFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomFunction")
    }
}

impl PartialEq for CustomFunction {
    fn eq(&self, other: &CustomFunction) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) && self.outputs == other.outputs
    }
}

impl Eq for CustomFunction {}

impl Hash for CustomFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.rules).addr().hash(state);
    }
}

impl Rules for CustomFunction {
    fn name(&self) -> &'static str {
        "custom_function"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        Ok(inputs[..self.outputs].iter().map(|x| Aval::new(x.shape(), x.dtype())).collect())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn key(&self, state: &mut impl Hasher) {
        self.outputs.hash(state);
    }
}
