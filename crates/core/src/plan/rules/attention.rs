//! Attention written with products and a softmax becomes the fused step.
//!
//! Recognised is `softmax(s) @ v`, with or without the subtraction of the greatest score, where
//! `s` is `q @ k^T` under any chain of constant factors, added masks and choices between a score
//! and a constant. Keys and values that were repeated for groups of heads are taken unrepeated.
//! The fused step keeps scores in `float32`, so half types gain accuracy; a row that attends to
//! nothing gives zeros where the written form divides by zero.

use super::site::Site;
use super::{Found, Rule};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::op::fast::{Mask, scaled_dot_product_attention};
use crate::op::{BinaryOp, Primitive, ReduceOp, UnaryOp, like};
use crate::plan::collect::{GraphNode, NodeId, Slot};

pub(super) const RULE: Rule =
    Rule { name: "attention", root: |op| matches!(op, Primitive::Matmul(_)), build };

/// What is known of the scores, from the softmax down.
struct Scores {
    factor: f64,
    /// Added to the scores.
    added: Vec<Array>,
    /// Bool: where scores count, and what stands in their place elsewhere.
    chosen: Vec<(Array, f64)>,
    product: NodeId,
}

fn build(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    let Some(logits) = softmax_of(site, n.inputs[0]) else { return Ok(Found::Nothing) };
    let Some(scores) = peel(site, logits)? else { return Ok(Found::Nothing) };
    let product = site.node(scores.product);
    Ok(fused(site, n, product, scores)?.map_or(Found::OtherValues, Found::Instead))
}

/// The slot whose softmax over the last axis is in `slot`.
fn softmax_of(site: &Site<'_>, slot: Slot) -> Option<Slot> {
    let mut n = site.inner(slot)?;
    if let Primitive::Cast(_) = n.node.op {
        n = site.inner(n.inputs[0])?;
    }
    let Primitive::Binary(op @ (BinaryOp::Divide | BinaryOp::Multiply)) = n.node.op else {
        return None;
    };
    let (exp, mut total) = (n.inputs[0], site.inner(n.inputs[1])?);
    if op == BinaryOp::Multiply {
        let Primitive::Unary(UnaryOp::Reciprocal) = total.node.op else { return None };
        total = site.inner(total.inputs[0])?;
    }
    if !reduces_last(total, ReduceOp::Sum) || total.inputs[0] != exp {
        return None;
    }
    let e = site.computed(exp).filter(|e| !e.held && site.uses(exp) == 2)?;
    let Primitive::Unary(UnaryOp::Exp) = e.node.op else { return None };
    let shifted = site.inner(e.inputs[0])?;
    if let Primitive::Binary(BinaryOp::Subtract) = shifted.node.op
        && let Some(top) = site.computed(site.unmarked(shifted.inputs[1]))
        && reduces_last(top, ReduceOp::Max)
        && top.inputs[0] == shifted.inputs[0]
    {
        let logits = shifted.inputs[0];
        let apart = site.uses(logits) == 2 && !top.held;
        return apart.then_some(logits);
    }
    (site.uses(e.inputs[0]) == 1).then_some(e.inputs[0])
}

fn reduces_last(n: &GraphNode, op: ReduceOp) -> bool {
    let last = n.node.outputs[0].shape.len().wrapping_sub(1);
    matches!(&n.node.op, Primitive::Reduce(r) if r.op == op && r.axes.as_slice() == [last])
}

/// Follows the scores down to their product.
fn peel(site: &Site<'_>, logits: Slot) -> Result<Option<Scores>> {
    let (mut slot, shape) = (logits, site.shape(logits));
    let mut scores = Scores { factor: 1.0, added: vec![], chosen: vec![], product: 0 };
    loop {
        let Some(n) = site.computed(slot).filter(|n| !n.held) else { return Ok(None) };
        if slot != logits && site.uses(slot) != 1 {
            return Ok(None);
        }
        let leads = |s: Slot| site.inner(s).is_some() && site.shape(s) == shape;
        match &n.node.op {
            Primitive::Matmul(_) => {
                scores.product = site.node_of(slot);
                return Ok(Some(scores));
            }
            Primitive::Cast(_) => slot = n.inputs[0],
            Primitive::Binary(op @ (BinaryOp::Multiply | BinaryOp::Divide)) => {
                let (a, b) = (n.inputs[0], n.inputs[1]);
                let (next, factor) = match (op, site.constant(a), site.constant(b)) {
                    (BinaryOp::Divide, _, Some(by)) => (a, 1.0 / by),
                    (BinaryOp::Multiply, _, Some(by)) => (a, by),
                    (BinaryOp::Multiply, Some(by), _) => (b, by),
                    _ => return Ok(None),
                };
                scores.factor *= factor;
                slot = next;
            }
            Primitive::Binary(BinaryOp::Add) => {
                let (a, b) = (n.inputs[0], n.inputs[1]);
                // Of two operands that might be the scores, a mask is rarely a product.
                let is_product = |s: Slot| {
                    matches!(site.computed(s), Some(n) if matches!(n.node.op, Primitive::Matmul(_)
                        | Primitive::Binary(BinaryOp::Multiply | BinaryOp::Divide)))
                };
                let swap = !leads(a) || (leads(b) && !is_product(a) && is_product(b));
                let (next, mask) = if swap { (b, a) } else { (a, b) };
                if !leads(next) {
                    return Ok(None);
                }
                scores.added.push(scaled(&site.array(mask), scores.factor)?);
                slot = next;
            }
            Primitive::Select(_) => {
                let (c, a, b) = (n.inputs[0], n.inputs[1], n.inputs[2]);
                let (keep, next, fill) = match (site.constant(a), site.constant(b)) {
                    (None, Some(fill)) => (site.array(c), a, fill),
                    (Some(fill), None) => (site.array(c).logical_not()?, b, fill),
                    _ => return Ok(None),
                };
                scores.chosen.push((keep, fill * scores.factor));
                slot = next;
            }
            _ => return Ok(None),
        }
    }
}

fn scaled(x: &Array, factor: f64) -> Result<Array> {
    if factor == 1.0 { Ok(x.clone()) } else { x.multiply(&like(x, factor)) }
}

/// A slot below a widening conversion, which the fused step makes itself.
fn narrow(site: &Site<'_>, slot: Slot) -> Slot {
    match site.inner(slot) {
        Some(n) if matches!(n.node.op, Primitive::Cast(_)) => {
            let from = site.dtype(n.inputs[0]);
            if from.is_half() && site.dtype(slot) == Dtype::F32 { n.inputs[0] } else { slot }
        }
        _ => slot,
    }
}

/// Keys or values `(b, g, s, d)` below a repetition of each head to `(b, h, s, d)`.
fn unrepeated(site: &Site<'_>, slot: Slot) -> Slot {
    let below = || {
        let reshape = site.computed(slot)?;
        let wide = site.computed(*reshape.inputs.first()?)?;
        let narrow = site.computed(*wide.inputs.first()?)?;
        let views = matches!(reshape.node.op, Primitive::Reshape(_))
            && matches!(wide.node.op, Primitive::Broadcast(_))
            && matches!(narrow.node.op, Primitive::Reshape(_));
        let heads = *narrow.inputs.first()?;
        let ([b, h, s, d], [b0, g0, s0, d0]) = (site.shape(slot), site.shape(heads)) else {
            return None;
        };
        let one = [*b0, *g0, 1, *s0, *d0];
        let each = [*b0, *g0, h / (*g0).max(1), *s0, *d0];
        let fits = views
            && (b, s, d) == (b0, s0, d0)
            && site.shape(narrow.first) == one
            && site.shape(wide.first) == each;
        fits.then_some(heads)
    };
    below().unwrap_or(slot)
}

/// The fused step, if shapes and types fit it.
fn fused(
    site: &Site<'_>,
    root: &GraphNode,
    product: &GraphNode,
    mut scores: Scores,
) -> Result<Option<Array>> {
    let mut q = narrow(site, product.inputs[0]);
    if let Some(n) = site.inner(q)
        && let Primitive::Binary(BinaryOp::Multiply) = n.node.op
        && let Some(factor) = site.constant(n.inputs[1])
    {
        scores.factor *= factor;
        q = narrow(site, n.inputs[0]);
    }
    let k = narrow(site, product.inputs[1]);
    let (k, turned) = match site.swapped(k) {
        Some(k) => (narrow(site, unrepeated(site, k)), false),
        None => (k, true),
    };
    let v = narrow(site, unrepeated(site, narrow(site, root.inputs[1])));
    let (q, k, v) = (site.array(q), site.array(k), site.array(v));
    let k = if turned { k.swapaxes(-1, -2)? } else { k };
    let ndim = site.shape(product.first).len();
    if [&k, &v].iter().any(|x| x.ndim() != q.ndim()) || q.ndim() != ndim {
        return Ok(None);
    }
    let four = |x: &Array, heads: bool| -> Result<Option<Array>> {
        match x.ndim() {
            2 => x.expand_dims(&[0, 1]).map(Some),
            3 => x.expand_dims(&[1]).map(Some),
            4 => Ok(Some(x.clone())),
            5 if heads || x.shape()[2] == 1 => x.flatten(1, 2).map(Some),
            _ => Ok(None),
        }
    };
    let (Some(q), Some(k), Some(v)) = (four(&q, true)?, four(&k, false)?, four(&v, false)?) else {
        return Ok(None);
    };
    let dtype = root.node.outputs[0].dtype;
    let heads = (q.shape()[1], k.shape()[1]);
    if [&q, &k, &v].iter().any(|x| x.dtype() != dtype)
        || q.shape()[0] != k.shape()[0]
        || heads.1 == 0
        || heads.0 % heads.1 != 0
    {
        return Ok(None);
    }
    let mask = match mask(&scores, ndim)? {
        Masks::None => None,
        Masks::One(mask) => Some(mask),
        Masks::Unfit => return Ok(None),
    };
    let mask = mask.as_ref().map_or(Mask::None, Mask::Array);
    let out = scaled_dot_product_attention(&q, &k, &v, scores.factor, mask, None)?;
    out.reshape(&root.node.outputs[0].shape).map(Some)
}

enum Masks {
    None,
    One(Array),
    Unfit,
}

/// One mask for all that is added to or chosen instead of scores with `ndim` axes.
fn mask(scores: &Scores, ndim: usize) -> Result<Masks> {
    let mut all = scores.added.clone();
    match scores.chosen.as_slice() {
        [(keep, fill)] if all.is_empty() && *fill == f64::NEG_INFINITY => all.push(keep.clone()),
        chosen => {
            for (keep, fill) in chosen {
                let (zero, fill) = (Array::scalar(0.0f32), Array::scalar(*fill as f32));
                all.push(keep.select(&zero, &fill)?);
            }
        }
    }
    let Some((first, rest)) = all.split_first() else { return Ok(Masks::None) };
    let sum = rest.iter().try_fold(first.clone(), |sum, x| sum.add(x))?;
    let shape = sum.shape();
    Ok(match (ndim, shape.len()) {
        (2 | 4, _) | (_, 0..=2) => Masks::One(sum),
        (3, 3) => Masks::One(sum.expand_dims(&[1])?),
        (5, 5) if shape[1] == 1 && shape[2] == 1 => Masks::One(sum.squeeze(Some(&[2]))?),
        _ => Masks::Unfit,
    })
}
