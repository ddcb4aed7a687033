//! Functions whose transforms the user writes.

use super::{Aval, Avals, Batched, Derivative, Rules};
use crate::array::Array;
use crate::error::Result;
use crate::transform::custom::BatchedRules;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The transforms that a user can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// Cotangents.
    Vjp,
    /// Tangents.
    Jvp,
    /// Batches.
    Vmap,
}

/// Transforms of a user's function. Those that are not overridden go through the function's own
/// graph, and their methods are not called.
pub trait CustomRules: Send + Sync {
    /// True iff `transform` is written here.
    fn overrides(&self, transform: Transform) -> bool;

    /// The primals' cotangents; `None` is zero.
    ///
    /// # Errors
    /// Those of the user's function.
    fn vjp(
        &self,
        primals: &[Array],
        outputs: &[Array],
        cotangents: &[Array],
    ) -> Result<Vec<Option<Array>>>;

    /// The outputs' tangents; `None` is zero.
    ///
    /// # Errors
    /// Those of the user's function.
    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Option<Array>>>;

    /// The outputs for a batch of primals, with the places of their batch axes.
    ///
    /// # Errors
    /// Those of the user's function.
    fn vmap(&self, primals: &[Array], axes: &[Option<usize>]) -> Result<Batched>;
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

impl CustomFunction {
    /// The outputs of a function on `primals`, as arrays to which `rules` apply.
    pub(crate) fn wrap(
        rules: Arc<dyn CustomRules>,
        outputs: &[Array],
        primals: &[Array],
    ) -> Result<Vec<Array>> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = [outputs, primals].concat();
        Array::apply_all(CustomFunction { rules, outputs: outputs.len() }, &inputs)
    }
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

    fn jvp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let n = self.outputs;
        if self.rules.overrides(Transform::Jvp) {
            return self.rules.jvp(&inputs[n..], &tangents[n..]);
        }
        Ok(tangents[..n].to_vec())
    }

    fn vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let n = self.outputs;
        let mut all = vec![None; inputs.len()];
        if !self.rules.overrides(Transform::Vjp) {
            all[..n].clone_from_slice(cotangents);
            return Ok(all);
        }
        let filled = (cotangents.iter().zip(outputs))
            .map(|(ct, y)| ct.clone().map_or_else(|| y.zeros_like(), Ok))
            .collect::<Result<Vec<Array>>>()?;
        let primals = self.rules.vjp(&inputs[n..], outputs, &filled)?;
        for (place, ct) in all[n..].iter_mut().zip(primals) {
            *place = ct;
        }
        Ok(all)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let n = self.outputs;
        if self.rules.overrides(Transform::Vmap) {
            return self.rules.vmap(&inputs[n..], &axes[n..]);
        }
        let outputs = (inputs[..n].iter().zip(axes))
            .map(|(y, axis)| super::with_batch(y, *axis, batch))
            .collect::<Result<Vec<_>>>()?;
        let (rules, primals) = (self.rules.clone(), axes[n..].into());
        let rules = Arc::new(BatchedRules { rules, primals, batch });
        Ok((CustomFunction::wrap(rules, &outputs, &inputs[n..])?, vec![Some(0); n]))
    }

    fn key(&self, state: &mut impl Hasher) {
        self.outputs.hash(state);
    }
}
