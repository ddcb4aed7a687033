//! Logarithms of softmaxes, and elements picked from what was computed element by element.
//!
//! `log(softmax(x))` becomes `x - max - log(sum)`, which has no division and no logarithm for each
//! element, and stays finite where a probability underflows. A `take_along_axis` of few elements
//! goes below the elementwise ops that made its source, so that only those elements are computed:
//! together they make a cross-entropy of the written probabilities the one of the logits.

use super::site::Site;
use super::{Found, Rule};
use crate::array::Array;
use crate::error::Result;
use crate::op::gather::GatherAxis;
use crate::op::identity::Identity;
use crate::op::{BinaryOp, Primitive, ReduceOp, UnaryOp};
use crate::plan::collect::{GraphNode, NodeId, Slot};
use rustc_hash::FxHashMap;

pub(super) const LOG: Rule = Rule {
    name: "log_softmax",
    root: |op| matches!(op, Primitive::Unary(UnaryOp::Log)),
    build: log_softmax,
};

pub(super) const PICK: Rule =
    Rule { name: "pick", root: |op| matches!(op, Primitive::GatherAxis(_)), build: pick };

/// What a softmax is made of.
struct Softmax {
    /// The exponent, with the greatest one of its row taken off where that was written.
    logits: Slot,
    top: Option<Slot>,
    /// The sum of the exponentials of each row.
    total: Slot,
}

/// The parts of the softmax in `slot`, over any axes, `e / sum(e)` or `e * (1 / sum(e))`.
fn softmax_of(site: &Site<'_>, slot: Slot) -> Option<Softmax> {
    let mut n = site.computed(slot)?;
    // Of a type that the softmax was rounded to.
    if let Primitive::Cast(op) = n.node.op
        && op.dtype.is_floating()
        && site.dtype(n.inputs[0]).is_floating()
    {
        n = site.computed(n.inputs[0])?;
    }
    let Primitive::Binary(op) = n.node.op else { return None };
    let (e, total) = match op {
        BinaryOp::Divide => (n.inputs[0], n.inputs[1]),
        BinaryOp::Multiply => {
            let inverse = site.computed(n.inputs[1])?;
            let Primitive::Unary(UnaryOp::Reciprocal) = inverse.node.op else { return None };
            (n.inputs[0], inverse.inputs[0])
        }
        _ => return None,
    };
    let sum = site.computed(total)?;
    let sums = matches!(&sum.node.op, Primitive::Reduce(r) if r.op == ReduceOp::Sum);
    if !sums || sum.inputs[0] != e {
        return None;
    }
    let exp = site.computed(e)?;
    let Primitive::Unary(UnaryOp::Exp) = exp.node.op else { return None };
    let exponent = exp.inputs[0];
    let shifted = site.computed(exponent).filter(|s| {
        matches!(s.node.op, Primitive::Binary(BinaryOp::Subtract))
            && site.shape(s.inputs[0]) == site.shape(exponent)
            && site.shape(s.inputs[1]) == site.shape(total)
    });
    Some(match shifted {
        Some(s) => Softmax { logits: s.inputs[0], top: Some(s.inputs[1]), total },
        None => Softmax { logits: exponent, top: None, total },
    })
}

fn log_softmax(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    if !n.node.outputs[0].dtype.is_floating() {
        return Ok(Found::Nothing);
    }
    let Some(parts) = softmax_of(site, n.inputs[0]) else { return Ok(Found::Nothing) };
    let log = logarithm(site, &parts, &site.array(parts.logits))?;
    log.astype(n.node.outputs[0].dtype).map(Found::Instead)
}

/// The logarithm of a softmax at `logits`, which are some of its own.
fn logarithm(site: &Site<'_>, parts: &Softmax, logits: &Array) -> Result<Array> {
    let shifted = match parts.top {
        Some(top) => logits.subtract(&site.array(top))?,
        None => logits.clone(),
    };
    shifted.subtract(&site.array(parts.total).log()?)
}

fn pick(site: &Site<'_>, root: NodeId) -> Result<Found> {
    /// Fewer elements than this part of the source are worth picking first.
    const PART: usize = 4;
    let n = site.node(root);
    let Primitive::GatherAxis(op) = n.node.op else { return Ok(Found::Nothing) };
    let (source, index) = (n.inputs[0], n.inputs[1]);
    let elementwise = open(site, source).is_some_and(|n| is_elementwise(&n.node.op));
    if !elementwise {
        return Ok(Found::Nothing);
    }
    let (all, some) = (site.array(source).len(), site.array(index).len());
    if some > all / PART || site.shape(source).len() != site.shape(index).len() {
        return Ok(Found::OtherValues);
    }
    let frame = site.shape(source);
    let picker = Picker { site, frame, axis: op.axis, index: site.array(index) };
    let mut made = FxHashMap::default();
    let picked = picker.pick(source, &mut made)?;
    Ok(picked.map_or(Found::OtherValues, Found::Instead))
}

fn is_elementwise(op: &Primitive) -> bool {
    matches!(
        op,
        Primitive::Unary(_) | Primitive::Binary(_) | Primitive::Select(_) | Primitive::Cast(_)
    )
}

/// The node of a slot, if its picked elements can be computed from those of its inputs.
fn open<'a>(site: &Site<'a>, slot: Slot) -> Option<&'a GraphNode> {
    let n = site.of(slot);
    let passes =
        is_elementwise(&n.node.op) || matches!(n.node.op, Primitive::Identity(Identity::Alias));
    // The logarithm of a softmax may have been replaced: its parts are as they were.
    let log = matches!(n.node.op, Primitive::Unary(UnaryOp::Log));
    (!n.leaf && passes && (log || !site.is_replaced(slot))).then_some(n)
}

struct Picker<'s, 'a> {
    site: &'s Site<'a>,
    /// The shape of the source.
    frame: &'a [usize],
    axis: usize,
    index: Array,
}

impl Picker<'_, '_> {
    /// The picked elements of what `slot` broadcasts to; none if the expression is too large.
    fn pick(&self, slot: Slot, made: &mut FxHashMap<Slot, Array>) -> Result<Option<Array>> {
        /// More ops than this are left alone.
        const MOST: usize = 24;
        let mut stack = vec![(slot, false)];
        while let Some((at, expanded)) = stack.pop() {
            if made.contains_key(&at) {
                continue;
            }
            if made.len() > MOST {
                return Ok(None);
            }
            let shape = self.site.shape(at);
            let whole = shape == self.frame;
            let Some(n) = open(self.site, at).filter(|_| whole) else {
                let Some(x) = self.end(at, whole)? else { return Ok(None) };
                made.insert(at, x);
                continue;
            };
            let softmax = match n.node.op {
                Primitive::Unary(UnaryOp::Log) => softmax_of(self.site, n.inputs[0]),
                _ => None,
            };
            let below: &[Slot] = match &softmax {
                Some(parts) => std::slice::from_ref(&parts.logits),
                None => &n.inputs,
            };
            if !expanded {
                stack.push((at, true));
                stack.extend(below.iter().map(|&s| (s, false)));
                continue;
            }
            let inputs: Vec<Array> = below.iter().map(|s| made[s].clone()).collect();
            let x = match &softmax {
                Some(parts) => {
                    let dtype = n.node.outputs[0].dtype;
                    logarithm(self.site, parts, &inputs[0])?.astype(dtype)?
                }
                None => Array::apply(n.node.op.clone(), &inputs)?,
            };
            made.insert(at, x);
        }
        Ok(made.remove(&slot))
    }

    /// The picked elements of a slot that is computed in another way than element by element.
    fn end(&self, slot: Slot, whole: bool) -> Result<Option<Array>> {
        let x = self.site.array(slot);
        if whole {
            let picked = Array::apply(GatherAxis { axis: self.axis }, [x, self.index.clone()])?;
            return Ok(Some(picked));
        }
        // The same at every place along the axis.
        let place = (self.axis + x.ndim()).checked_sub(self.frame.len());
        Ok(place.is_none_or(|a| x.shape()[a] == 1).then_some(x))
    }
}
