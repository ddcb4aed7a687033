//! The cotangents of attention's queries, keys and values as one step, which never writes the
//! weights out.

use super::fast::Attention;
use super::{Aval, Avals, Batched, Derivative, Rules, like, vmap_by_loop};
use crate::array::Array;
use crate::device::{DeviceKind, current_stream};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;
use serde::{Deserialize, Serialize};

/// The cotangents `(dq, dk, dv)` of [`Attention`]. Inputs: those of `forward`, then its output
/// `out (b, h, t, e)` and the output's cotangent `c`, of the same shape and dtype.
///
/// With the weights `P`: `dv = P^T c`, `dq = scale dS k`, `dk = scale dS^T q` where
/// `dS = P (c v^T - rowsum(c out))`; keys and values that several heads share get the sum over those
/// (Dao, "FlashAttention-2", 2023, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct AttentionGrad {
    /// The op whose cotangents these are.
    pub forward: Attention,
}

impl AttentionGrad {
    /// True iff the step is better than the composition for this type, on the current stream.
    pub(super) fn pays(dtype: Dtype) -> bool {
        dtype != Dtype::F64 && current_stream().device.kind == DeviceKind::Gpu
    }
}

/// The cotangents of queries, keys and values, given the inputs of `forward`, its output and the
/// output's cotangent.
///
/// # Shapes
/// `q (b, h, t, d)`, `k (b, g, s, d)`, `v (b, g, s, e)`, `out` and `ct (b, h, t, e)`; the results have
/// the shapes of q, k and v.
///
/// # Errors
/// As [`scaled_dot_product_attention`](super::fast::scaled_dot_product_attention), and kind `Argument`
/// if `out` or `ct` does not fit.
pub fn attention_cotangents(
    forward: Attention,
    inputs: &[Array],
    out: &Array,
    ct: &Array,
) -> Result<Vec<Array>> {
    let mut all = inputs.to_vec();
    all.extend([out.clone(), ct.clone()]);
    Array::apply_all(AttentionGrad { forward }, &all)
}

/// How many inputs follow those of the forward op.
const LATER: usize = 2;

impl Rules for AttentionGrad {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention_vjp"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (given, later) = inputs.split_at(inputs.len().saturating_sub(LATER));
        let avals = self.forward.infer(given)?;
        let out = &avals[0];
        for x in later {
            if x.shape() != &out.shape[..] || x.dtype() != out.dtype {
                let message = format!(
                    "the output and its cotangent are {} of {}, not {} of {}",
                    show(&out.shape),
                    out.dtype,
                    show(x.shape()),
                    x.dtype()
                );
                return Err(Error::argument(self.name(), message));
            }
        }
        Ok(given[..3].iter().map(|x| Aval::new(x.shape(), x.dtype())).collect())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Composed
    }

    fn compose(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let given = &inputs[..inputs.len() - LATER];
        let dtype = inputs[0].dtype();
        let wide = |x: &Array| x.astype(dtype.compute());
        let (groups, heads) = (inputs[1].shape()[1] as i64, inputs[0].shape()[1] as i64);
        let grouped = |x: &Array| wide(x)?.unflatten(1, &[groups, heads / groups]);
        let shared = |x: &Array| wide(x)?.expand_dims(&[2]);
        let turned = |x: &Array| x.swapaxes(-1, -2);
        let (q, k, v) = (grouped(&inputs[0])?, shared(&inputs[1])?, shared(&inputs[2])?);
        let ct = grouped(&inputs[inputs.len() - 1])?;
        let weights = self.forward.weights(given)?;
        let products = ct.matmul(&turned(&v)?)?;
        let mean = products.multiply(&weights)?.sum(Some(&[-1]), true)?;
        let scores = weights.multiply(&products.subtract(&mean)?)?;
        let scores = scores.multiply(&like(&scores, self.forward.scale.get()))?;
        let dq = scores.matmul(&k)?.flatten(1, 2)?;
        let over_heads = |x: Array| x.sum(Some(&[2]), false);
        let dk = over_heads(turned(&scores)?.matmul(&q)?)?;
        let dv = over_heads(turned(&weights)?.matmul(&ct)?)?;
        [dq, dk, dv].iter().map(|x| x.astype(dtype)).collect()
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let last = inputs.len() - LATER;
        if self.forward.sinks && axes[last - 1].is_some() {
            return vmap_by_loop(self, inputs, axes, batch);
        }
        let places = [0, 1, 2, last, last + 1];
        let (all, sizes) = self.forward.merged(inputs, axes, batch, &places)?;
        let out = Array::apply_all(*self, &all)?;
        let out: Vec<Array> = out.iter().map(|x| x.unflatten(0, &sizes)).collect::<Result<_>>()?;
        Ok((out, vec![Some(0); 3]))
    }
}
