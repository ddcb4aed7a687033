//! `checkpoint`: less memory for more arithmetic.

use super::Tracing;
use super::autodiff::vjp_arrays;
use super::trace::Traced;
use super::tree::Tree;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::op::Batched;
use crate::op::custom::{CustomFunction, CustomRules, Transform};
use std::sync::Arc;

/// `f`, whose intermediate results are computed again when cotangents go back through it, instead
/// of being kept until then. Arrays that `f` captures are differentiated too.
///
/// ```no_run
/// use lazulite_core::{Array, Dtype, checkpoint, grad};
/// let layer = checkpoint(|(w, x): (Array, Array)| w.matmul(&x)?.tanh()?.exp());
/// let x = Array::ones(&[4, 8], Dtype::F32)?;
/// let g = grad(|w: Array| layer((w, x.clone()))?.sum(None, false));
/// assert_eq!(g(Array::zeros(&[2, 4], Dtype::F32)?)?.shape(), [2, 4]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// The returned function fails with those of `f`.
pub fn checkpoint<A: Tree, B: Tree>(f: impl Fn(A) -> Result<B>) -> impl Fn(A) -> Result<B> {
    move |args: A| {
        let primals = args.leaves();
        let tracing = Tracing::begin();
        let aliases: Vec<Array> = primals.iter().map(|x| tracing.alias(x)).collect();
        let outputs = f(args.with_leaves(aliases.clone())?)?;
        let leaves = outputs.leaves();
        let traced = Traced::between(&aliases, &leaves, false);
        drop(tracing);
        // Captured arrays of a trace that goes on may be differentiated: they are primals as well.
        let followed: Vec<usize> = (traced.captured().iter().enumerate())
            .filter(|(_, x)| x.node.trace.as_ref().is_some_and(|t| t.is_active()))
            .map(|(i, _)| i)
            .collect();
        let captured = followed.iter().map(|&i| traced.captured()[i].clone());
        let all: Vec<Array> = primals.into_iter().chain(captured).collect();
        let rules = Arc::new(Recompute { traced, followed });
        outputs.with_leaves(CustomFunction::wrap(rules, &leaves, &all)?)
    }
}

/// Cotangents by running a recording again.
struct Recompute {
    traced: Traced,
    /// Which of the recording's captured arrays are the last primals.
    followed: Vec<usize>,
}

fn not_overridden() -> Error {
    Error::argument("checkpoint", "only cotangents are computed in another way")
}

impl CustomRules for Recompute {
    fn overrides(&self, transform: Transform) -> bool {
        transform == Transform::Vjp
    }

    fn vjp(
        &self,
        primals: &[Array],
        _outputs: &[Array],
        cotangents: &[Array],
    ) -> Result<Vec<Option<Array>>> {
        // What is computed from these is not what the function computed before, so that nothing
        // of that is kept for it; and it is not computed before the cotangents are.
        let later =
            primals.iter().map(|x| x.depends(cotangents)).collect::<Result<Vec<Array>>>()?;
        let n = self.traced.inputs().len();
        let (_, results) = vjp_arrays(
            |x| {
                let mut captured = self.traced.captured().to_vec();
                for (&i, x) in self.followed.iter().zip(&x[n..]) {
                    captured[i] = x.clone();
                }
                self.traced.call_with(&x[..n], &captured)
            },
            &later,
            |_| Ok(cotangents.to_vec()),
        )?;
        Ok(results.into_iter().map(Some).collect())
    }

    fn jvp(&self, _primals: &[Array], _tangents: &[Option<Array>]) -> Result<Vec<Option<Array>>> {
        Err(not_overridden())
    }

    fn vmap(&self, _primals: &[Array], _axes: &[Option<usize>]) -> Result<Batched> {
        Err(not_overridden())
    }
}
