//! Ops that are worth a kernel of their own although other ops could write them. Each states its
//! composition, from which its derivatives come.

pub use super::attention_grad::{AttentionGrad, attention_cotangents};
pub use super::delta::gated_delta_update;

use super::{
    Avals, Batched, Derivative, Rules, batch_first, index_dtype, like, one, vmap_by_loop,
    with_batch,
};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes, show};
use serde::{Deserialize, Serialize};

/// A float that is compared and hashed by its bits, for use in params.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
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
        let (x, offset) = (inputs[0].shape(), &inputs[1]);
        if x.len() < 2 || !self.dims.is_multiple_of(2) || self.dims > x[x.len() - 1] {
            let message = format!(
                "dims is {} for x of {}; x (..., t, d) and an even dims of at most d are needed",
                self.dims,
                show(x)
            );
            return Err(Error::shape("rope", &[x], message));
        }
        if !inputs[0].dtype().is_floating() {
            return Err(Error::dtype("rope", &[inputs[0].dtype()], "a floating type"));
        }
        let fits = offset.ndim() == 0 || (offset.ndim() == 1 && offset.len() == x[0]);
        if !fits || !offset.dtype().is_integer() {
            let message = format!(
                "offset {} of {}; an integer, or one for each of the {} examples, is needed",
                show(offset.shape()),
                offset.dtype(),
                x[0]
            );
            return Err(Error::argument("rope", message));
        }
        if let Some(freqs) = inputs.get(2)
            && (freqs.shape() != [self.dims / 2] || freqs.dtype() != Dtype::F32)
        {
            let message = format!(
                "frequencies {} of {}; ({},) of float32 are needed",
                show(freqs.shape()),
                freqs.dtype(),
                self.dims / 2
            );
            return Err(Error::argument("rope", message));
        }
        one(x, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let mut all = inputs.to_vec();
        all[0] = ct.clone();
        Array::apply(Rope { inverse: !self.inverse, ..*self }, &all).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        if axes.get(2).copied().flatten().is_some() {
            return vmap_by_loop(self, inputs, axes, batch);
        }
        let mut all = inputs.to_vec();
        all[0] = with_batch(&inputs[0], axes[0], batch)?;
        let shape: Shape = all[0].shape().into();
        let each = axes[1].is_some() || inputs[1].ndim() > 0;
        if each {
            // One offset for each element of the first axis: the batch merges with that axis.
            let mut offset = with_batch(&inputs[1], axes[1], batch)?;
            if shape.len() > 3 {
                if offset.ndim() == 1 {
                    offset = offset.expand_dims(&[1])?;
                }
                all[0] = all[0].flatten(0, 1)?;
                offset = offset.broadcast_to(&shape[..2])?;
            }
            all[1] = offset.reshape(&[all[0].shape()[0]])?;
        }
        let out = Array::apply(*self, &all)?.reshape(&shape)?;
        Ok((vec![out], vec![Some(0)]))
    }
}

impl Attention {
    /// Where the mask input is.
    fn mask_place(self) -> Option<usize> {
        self.mask.then_some(3)
    }

    /// The weights `softmax(scale * q k^T + mask)` `(b, g, h / g, t, s)`, in `float32` at least.
    pub(super) fn weights(self, inputs: &[Array]) -> Result<Array> {
        let dtype = inputs[0].dtype();
        let wide = |x: &Array| x.astype(dtype.compute());
        let (q, k) = (wide(&inputs[0])?, wide(&inputs[1])?);
        let (h, t) = (q.shape()[1], q.shape()[2]);
        let (g, s) = (k.shape()[1], k.shape()[2]);
        // Heads that share keys and values are one more axis: (b, g, h / g, t, s).
        let grouped = |x: &Array| x.unflatten(1, &[g as i64, (h / g) as i64]);
        let scores = grouped(&q)?.matmul(&k.expand_dims(&[2])?.swapaxes(-1, -2)?)?;
        let mut scores = scores.multiply(&like(&scores, self.scale.get()))?;
        let hidden = like(&scores, f64::NEG_INFINITY);
        if self.causal {
            let dtype = index_dtype(s.max(t));
            let query = Array::iota(s as f64 - t as f64, 1.0, t, dtype)?.expand_dims(&[1])?;
            let seen = query.greater_equal(&Array::iota(0.0, 1.0, s, dtype)?)?;
            scores = seen.select(&scores, &hidden)?;
        }
        if let Some(place) = self.mask_place() {
            let mask = &inputs[place];
            let mut shape: Shape = mask.shape().into();
            shape.insert_many(0, std::iter::repeat_n(1, 4 - mask.ndim()));
            let mask = mask.reshape(&shape)?;
            let mask = if shape[1] == 1 { mask.expand_dims(&[2])? } else { grouped(&mask)? };
            scores = match mask.dtype() {
                Dtype::Bool => mask.select(&scores, &hidden)?,
                _ => scores.add(&wide(&mask)?)?,
            };
        }
        let sinks = match self.sinks {
            true => {
                let shape = [1, g, h / g, 1, 1];
                Some(wide(&inputs[inputs.len() - 1])?.reshape(&shape)?)
            }
            false => None,
        };
        let mut top = if s == 0 { hidden.clone() } else { scores.max(Some(&[-1]), true)? };
        if let Some(sinks) = &sinks {
            top = top.maximum(sinks)?;
        }
        let top = top.stop_gradient()?;
        let zero = like(&scores, 0.0);
        let shift = top.equal(&hidden)?.select(&zero, &top)?;
        let weights = scores.subtract(&shift)?.exp()?;
        let mut total = weights.sum(Some(&[-1]), true)?;
        if let Some(sinks) = &sinks {
            total = total.add(&sinks.subtract(&shift)?.exp()?)?;
        }
        // A row that attends to nothing has no weights, and gives zeros.
        let total = total.equal(&zero)?.select(&like(&total, 1.0), &total)?;
        weights.divide(&total)
    }

    /// The inputs with the batch of a vmap merged into the first axis of those at `places`, and the
    /// sizes that part the two again.
    pub(super) fn merged(
        self,
        inputs: &[Array],
        axes: &[Option<usize>],
        batch: usize,
        places: &[usize],
    ) -> Result<(Vec<Array>, [i64; 2])> {
        let mut all = inputs.to_vec();
        let examples = inputs[0].shape()[if axes[0] == Some(0) { 1 } else { 0 }];
        for &i in places {
            all[i] = with_batch(&inputs[i], axes[i], batch)?.flatten(0, 1)?;
        }
        let merged = all[0].shape()[0];
        if let Some(place) = self.mask_place() {
            let mut mask = batch_first(&inputs[place], axes[place])?;
            let own = mask.ndim() - usize::from(axes[place].is_some());
            let shared = axes[place].is_none() && (own < 4 || mask.shape()[0] == 1);
            if !shared {
                let lead = usize::from(axes[place].is_some());
                let mut shape: Shape = mask.shape().into();
                shape.insert_many(lead, std::iter::repeat_n(1, 4 - own));
                if lead == 0 {
                    shape.insert(0, 1);
                }
                mask = mask.reshape(&shape)?;
                (shape[0], shape[1]) = (batch, examples);
                mask = mask.broadcast_to(&shape)?.flatten(0, 1)?;
            }
            all[place] = mask;
        }
        Ok((all, [batch as i64, (merged / batch.max(1)) as i64]))
    }
}

impl Rules for Attention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let name = self.name();
        let (q, k, v) = (inputs[0].shape(), inputs[1].shape(), inputs[2].shape());
        let ([b, h, t, d], [bk, g, s, dk], [bv, gv, sv, e]) = (q, k, v) else {
            let message =
                format!("q {}, k {}, v {}; four axes each are needed", show(q), show(k), show(v));
            return Err(Error::shape(name, &[q, k, v], message));
        };
        let fits = b == bk && b == bv && g == gv && s == sv && d == dk;
        if !fits || *g == 0 || h % g != 0 {
            let message = format!(
                "q {}, k {}, v {} do not fit: (b, h, t, d), (b, g, s, d), (b, g, s, e) with h a \
                 multiple of g are needed",
                show(q),
                show(k),
                show(v)
            );
            return Err(Error::shape(name, &[q, k, v], message));
        }
        if let Some(place) = self.mask_place() {
            let mask = inputs[place].shape();
            let scores = [*b, *h, *t, *s];
            if broadcast_shapes(name, mask, &scores)?.as_slice() != scores {
                let message =
                    format!("a mask of {} does not broadcast to {}", show(mask), show(&scores));
                return Err(Error::shape(name, &[mask, &scores], message));
            }
        }
        if self.sinks && inputs[inputs.len() - 1].shape() != [*h] {
            let sinks = inputs[inputs.len() - 1].shape();
            let message = format!("sinks of {}, one for each of {h} heads are needed", show(sinks));
            return Err(Error::shape(name, &[sinks], message));
        }
        one(Shape::from_slice(&[*b, *h, *t, *e]), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Composed
    }

    fn compose(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let dtype = inputs[0].dtype();
        let values = inputs[2].astype(dtype.compute())?.expand_dims(&[2])?;
        let out = self.weights(inputs)?.matmul(&values)?;
        Ok(vec![out.flatten(1, 2)?.astype(dtype)?])
    }

    fn fused_vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Option<Vec<Option<Array>>>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let sized = inputs.iter().all(|x| !x.is_empty());
        if !sized || wanted[3..].contains(&true) || !AttentionGrad::pays(inputs[0].dtype()) {
            return Ok(None);
        }
        let gradients = attention_cotangents(*self, inputs, &outputs[0], ct)?;
        let mut found: Vec<Option<Array>> = gradients.into_iter().map(Some).collect();
        found.resize(inputs.len(), None);
        Ok(Some(found))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        if self.sinks && axes[inputs.len() - 1].is_some() {
            return vmap_by_loop(self, inputs, axes, batch);
        }
        let (all, sizes) = self.merged(inputs, axes, batch, &[0, 1, 2])?;
        let out = Array::apply(*self, &all)?;
        Ok((vec![out.unflatten(0, &sizes)?], vec![Some(0)]))
    }
}

/// What hides keys from queries.
#[derive(Clone, Copy, Debug, Default)]
pub enum Mask<'a> {
    /// Every query attends to every key.
    #[default]
    None,
    /// Query `i` of `t` attends to keys up to `s - t + i` of `s`.
    Causal,
    /// Bool, true where attended, or a number that is added to the logits; broadcastable to
    /// `(b, h, t, s)`.
    Array(&'a Array),
}

/// `softmax(scale * q k^T + mask) v`, computed in `float32`.
///
/// # Shapes
/// `q (b, h, t, d)`, `k (b, g, s, d)`, `v (b, g, s, e)` with `h` a multiple of `g`, `sinks (h)`
/// `-> (b, h, t, e)`.
///
/// # Dtypes
/// The promoted floating type of q, k and v.
///
/// # Errors
/// Kind `Shape` if shapes do not fit, `Dtype` if a type is not floating.
pub fn scaled_dot_product_attention(
    q: &Array,
    k: &Array,
    v: &Array,
    scale: f64,
    mask: Mask<'_>,
    sinks: Option<&Array>,
) -> Result<Array> {
    let dtype = q.dtype().promote(k.dtype()).promote(v.dtype());
    if !dtype.is_floating() {
        let dtypes = [q.dtype(), k.dtype(), v.dtype()];
        return Err(Error::dtype("scaled_dot_product_attention", &dtypes, "floating types"));
    }
    let op = Attention {
        scale: FloatBits::new(scale),
        causal: matches!(mask, Mask::Causal),
        mask: matches!(mask, Mask::Array(_)),
        sinks: sinks.is_some(),
    };
    let mut inputs = vec![q.astype(dtype)?, k.astype(dtype)?, v.astype(dtype)?];
    if let Mask::Array(mask) = mask {
        inputs.push(if mask.dtype() == Dtype::Bool { mask.clone() } else { mask.astype(dtype)? });
    }
    inputs.extend(sinks.map(|s| s.astype(dtype)).transpose()?);
    Array::apply(op, &inputs)
}

/// The frequencies of [`rope`].
#[derive(Clone, Copy, Debug)]
pub enum Frequencies<'a> {
    /// Pair `i` is divided by `base^(2i / dims)`.
    Base(f64),
    /// Pair `i` is divided by element `i`; `(dims / 2)` of `float32`.
    Array(&'a Array),
}

/// Rotary position embedding of the first `dims` elements of the last axis; the axis before it
/// counts positions from `offset` on (0-d, or one for each element of the first axis).
///
/// # Shapes
/// `x (..., t, d) -> (..., t, d)`.
///
/// # Errors
/// Kind `Shape` if `dims` is odd or larger than the axis, `Dtype` if x is not floating, `Argument`
/// if offset or frequencies do not fit.
pub fn rope(
    x: &Array,
    dims: usize,
    traditional: bool,
    frequencies: Frequencies<'_>,
    scale: f64,
    offset: &Array,
) -> Result<Array> {
    let base = match frequencies {
        Frequencies::Base(base) => Some(FloatBits::new(base)),
        Frequencies::Array(_) => None,
    };
    let op = Rope { dims, traditional, base, scale: FloatBits::new(scale), inverse: false };
    let mut inputs = vec![x.clone(), offset.clone()];
    if let Frequencies::Array(freqs) = frequencies {
        inputs.push(freqs.astype(Dtype::F32)?);
    }
    Array::apply(op, &inputs)
}

/// The cross entropy of classes, `logsumexp(logits) - logits[target]` along the last axis, in
/// `float32` (`float64` if the logits are).
///
/// # Shapes
/// `logits: (..., k), targets: (...) -> (...)`
///
/// # Dtypes
/// Logits of half precision are read as `float32` before anything is rounded; targets are
/// integers in `[0, k)`.
///
/// # Errors
/// Kind `Axis` if the logits are a scalar, `Shape` if the shapes do not fit, `Dtype` if targets
/// are not integers.
pub fn cross_entropy(logits: &Array, targets: &Array) -> Result<Array> {
    let wide = match logits.dtype() {
        Dtype::F64 => logits.clone(),
        _ => logits.astype(Dtype::F32)?,
    };
    // Picked before they are widened: the wide logits stay inside the sum's step.
    let picked = logits.take_along_axis(&targets.expand_dims(&[-1])?, Some(-1))?;
    let picked = picked.squeeze(Some(&[-1]))?.astype(wide.dtype())?;
    wide.logsumexp(Some(&[-1]), false)?.subtract(&picked)
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in `float32` for half types.
///
/// # Shapes
/// `x (..., d)`, `weight (d)` `-> (..., d)`.
///
/// # Dtypes
/// The promoted type of x and the weight.
///
/// # Errors
/// Kind `Shape` if the weight does not fit or x is 0-d, `Dtype` if x is not floating.
pub fn rms_norm(x: &Array, weight: Option<&Array>, eps: f64) -> Result<Array> {
    norm("rms_norm", x, [weight, None], eps, |x| Ok(x.clone()))
}

/// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the last axis, in `float32` for half
/// types.
///
/// # Shapes
/// `x (..., d)`, `weight (d)`, `bias (d)` `-> (..., d)`.
///
/// # Dtypes
/// The promoted type of x, weight and bias.
///
/// # Errors
/// Kind `Shape` if weight or bias do not fit or x is 0-d, `Dtype` if x is not floating.
pub fn layer_norm(
    x: &Array,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f64,
) -> Result<Array> {
    norm("layer_norm", x, [weight, bias], eps, |x| x.subtract(&x.mean(Some(&[-1]), true)?))
}

fn norm(
    op: &'static str,
    x: &Array,
    params: [Option<&Array>; 2],
    eps: f64,
    centre: impl Fn(&Array) -> Result<Array>,
) -> Result<Array> {
    if !x.dtype().is_floating() {
        return Err(Error::dtype(op, &[x.dtype()], "a floating type"));
    }
    let Some(&d) = x.shape().last() else {
        return Err(Error::shape(op, &[x.shape()], "at least one axis is needed, got ()"));
    };
    for p in params.iter().flatten() {
        if p.shape() != [d] {
            let message = format!(
                "a weight or bias of shape {} for x of {}; ({d},) is needed",
                show(p.shape()),
                show(x.shape())
            );
            return Err(Error::shape(op, &[p.shape(), x.shape()], message));
        }
    }
    let dtype = params.iter().flatten().fold(x.dtype(), |t, p| t.promote(p.dtype()));
    let wide = |x: &Array| x.astype(dtype.compute());
    let centred = centre(&wide(x)?)?;
    let square = centred.square()?.mean(Some(&[-1]), true)?;
    let mut out = centred.multiply(&square.add(&like(&square, eps))?.rsqrt()?)?;
    if let Some(weight) = params[0] {
        out = out.multiply(&wide(weight)?)?;
    }
    if let Some(bias) = params[1] {
        out = out.add(&wide(bias)?)?;
    }
    out.astype(dtype)
}
