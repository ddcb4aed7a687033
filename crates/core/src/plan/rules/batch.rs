//! Work that a loop wrote once for each item becomes one batch.
//!
//! The roots are a stack of n results and a sum of n terms. From there the n expressions are
//! walked in lockstep: where all n nodes are the same op on inputs of the same shapes, the op's
//! vmap rule makes the batched node; where all read the same array, it is shared; where they read
//! consecutive slices of one array, the batch is a view of it; anything else is stacked. Chains,
//! where one item needs another one's result, are left alone.

use super::site::Site;
use super::{Found, Rule};
use crate::array::Array;
use crate::error::Result;
use crate::op::identity::Identity;
use crate::op::view::Slice;
use crate::op::{BinaryOp, Primitive, ReduceOp};
use crate::plan::cache::FastMap;
use crate::plan::collect::{NodeId, Slot};
use crate::shape::Shape;
use smallvec::SmallVec;

/// Fewer items than this are not worth a batch.
const FEWEST: usize = 4;
/// Batched values beyond this many bytes stay a loop, whose intermediates die one by one.
const LARGEST: usize = 32 << 20;
/// Items that must be copied to one place may have this many bytes each.
const LARGEST_COPY: usize = 64 << 10;

pub(super) const STACK: Rule =
    Rule { name: "batch_loop", root: |op| matches!(op, Primitive::Concatenate(_)), build: stack };

pub(super) const SUM: Rule = Rule {
    name: "batch_sum",
    root: |op| matches!(op, Primitive::Binary(BinaryOp::Add)),
    build: sum,
};

fn stack(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    let Primitive::Concatenate(join) = &n.node.op else { return Ok(Found::Nothing) };
    if n.inputs.len() < FEWEST {
        return Ok(Found::Nothing);
    }
    let (x, place) = match Lockstep::run(site, &n.inputs)? {
        Ok(batch) => batch,
        Err(found) => return Ok(found),
    };
    // (.., items, axis, ..) is the concatenation in row-major order.
    x.moveaxis(place as i64, join.axis as i64)?
        .reshape(&n.node.outputs[0].shape)
        .map(Found::Instead)
}

/// `((t0 + t1) + t2) + ...`, as a loop adds terms up, with or without a first constant. The sum
/// of the batch joins the terms in another order, whose error is smaller.
fn sum(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    let is_sum = |slot: Slot| matches!(site.inner(slot), Some(n) if n.node.op == Primitive::Binary(BinaryOp::Add));
    // Only the last sum of a chain is a root.
    let out = &n.node.outputs[0];
    if site.is_added_to(n.first) || !is_sum(n.inputs[0]) || !out.dtype.is_floating() {
        return Ok(Found::Nothing);
    }
    let (mut at, mut terms) = (root, SmallVec::<[Slot; 8]>::new());
    loop {
        let n = site.node(at);
        terms.push(n.inputs[1]);
        if !is_sum(n.inputs[0]) {
            terms.push(n.inputs[0]);
            break;
        }
        at = site.node_of(n.inputs[0]);
    }
    terms.reverse();
    let start = site.constant(terms[0]).map(|_| terms.remove(0));
    let shape = site.shape(n.first);
    if terms.len() < FEWEST || terms.iter().any(|&t| site.shape(t) != shape) {
        return Ok(Found::Nothing);
    }
    if site.array(n.first).nbytes() > LARGEST_COPY {
        return Ok(Found::OtherValues);
    }
    let (x, place) = match Lockstep::run(site, &terms)? {
        Ok(batch) => batch,
        Err(found) => return Ok(found),
    };
    let total = crate::op::reduce::reduce(ReduceOp::Sum, &x, Some(&[place as i64]), false)?;
    let total = match start {
        Some(start) => site.array(start).add(&total)?,
        None => total,
    };
    Ok(Found::Instead(total))
}

/// What became of n slots.
#[derive(Clone)]
enum Batch {
    /// One array, with the axis of the items, or without one if all items are this array.
    Made(Array, Option<usize>),
    /// Too large for a batch, or of different shapes.
    Unfit,
}

type Items = SmallVec<[Slot; 8]>;

struct Lockstep<'s, 'a> {
    site: &'s Site<'a>,
    made: std::collections::HashMap<
        Items,
        Batch,
        std::hash::BuildHasherDefault<rustc_hash::FxHasher>,
    >,
    /// Which item a slot was computed for.
    item: FastMap<Slot, usize>,
    /// How many ops were batched that move or compute elements.
    ops: usize,
    /// How many stacks were made of separate arrays.
    stacks: usize,
}

impl Lockstep<'_, '_> {
    /// The batch of the slots' expressions and the axis of the items, or why there is none.
    fn run(site: &Site<'_>, roots: &[Slot]) -> Result<std::result::Result<(Array, usize), Found>> {
        let (made, item) = (Default::default(), FastMap::default());
        let mut walk = Lockstep { site, made, item, ops: 0, stacks: 0 };
        let roots: Items = roots.iter().copied().collect();
        let mut stack = vec![(roots.clone(), false)];
        while let Some((items, expanded)) = stack.pop() {
            if walk.made.contains_key(&items) {
                continue;
            }
            if expanded {
                let batch = walk.apply(&items)?;
                walk.made.insert(items, batch);
                continue;
            }
            if let Some(batch) = walk.shared(&items)? {
                walk.made.insert(items, batch);
                continue;
            }
            for (i, &slot) in items.iter().enumerate() {
                // A computed slot that serves two items makes them depend on each other.
                let computed = site.computed(slot).is_some();
                if computed && *walk.item.entry(slot).or_insert(i) != i {
                    return Ok(Err(Found::OtherValues));
                }
            }
            if !walk.same_op(&items) {
                let batch = walk.gathered(&items)?;
                walk.made.insert(items, batch);
                continue;
            }
            let inputs = walk.site.of(items[0]).inputs.len();
            stack.push((items.clone(), true));
            for place in (0..inputs).rev() {
                stack.push((walk.inputs(&items, place), false));
            }
        }
        Ok(match walk.made.remove(&roots) {
            Some(Batch::Made(x, Some(axis))) if walk.ops > walk.stacks => Ok((x, axis)),
            _ if walk.ops == 0 => Err(Found::Nothing),
            _ => Err(Found::OtherValues),
        })
    }

    fn inputs(&self, items: &Items, place: usize) -> Items {
        items.iter().map(|&s| self.site.of(s).inputs[place]).collect()
    }

    /// The batch of items that are one array, equal constants, or parts of one array.
    fn shared(&self, items: &Items) -> Result<Option<Batch>> {
        let (site, first) = (self.site, items[0]);
        let constant = |n: &crate::plan::collect::GraphNode| {
            matches!(n.node.op, Primitive::Scalar(_) | Primitive::Arange(_))
        };
        let equal = |&s: &Slot| {
            s == first
                || matches!((site.computed(s), site.computed(first)), (Some(n), Some(o))
                    if constant(n) && n.node.op == o.node.op && site.shape(s) == site.shape(first))
        };
        if items.iter().all(equal) {
            return Ok(Some(Batch::Made(site.array(first), None)));
        }
        self.consecutive(items)
    }

    /// Separate arrays of one shape, copied to one place.
    fn gathered(&mut self, items: &Items) -> Result<Batch> {
        let arrays: Vec<Array> = items.iter().map(|&s| self.site.array(s)).collect();
        if arrays.iter().any(|a| a.aval() != arrays[0].aval()) || arrays[0].nbytes() > LARGEST_COPY
        {
            return Ok(Batch::Unfit);
        }
        if let Some(values) = self.constants(items)? {
            return Ok(Batch::Made(values, Some(0)));
        }
        self.stacks += 1;
        Ok(Batch::Made(Array::stack(&arrays, 0)?, Some(0)))
    }

    /// Different constants as one array.
    fn constants(&self, items: &Items) -> Result<Option<Array>> {
        let literal = |&s: &Slot| match self.site.computed(s)?.node.op {
            Primitive::Scalar(value) => Some(value),
            _ => None,
        };
        let Some(values) = items.iter().map(literal).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let dtype = values[0].dtype();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|v| v.bits().to_le_bytes().into_iter().take(dtype.size()))
            .collect();
        Array::from_bytes(&bytes, dtype, &[values.len()]).map(Some)
    }

    /// True iff all items are the same op, which batches without a loop, on inputs of the same
    /// shapes, for nobody outside.
    fn same_op(&self, items: &Items) -> bool {
        let site = self.site;
        let Some(first) = site.computed(items[0]) else { return false };
        let batches = matches!(
            first.node.op,
            Primitive::Cast(_)
                | Primitive::Unary(_)
                | Primitive::Binary(_)
                | Primitive::Select(_)
                | Primitive::Reduce(_)
                | Primitive::ArgReduce(_)
                | Primitive::Scan(_)
                | Primitive::Broadcast(_)
                | Primitive::Reshape(_)
                | Primitive::Transpose(_)
                | Primitive::Slice(_)
                | Primitive::Identity(Identity::StopGradient | Identity::Alias)
                | Primitive::Concatenate(_)
                | Primitive::GatherAxis(_)
                | Primitive::Gather(_)
                | Primitive::SliceUpdate(_)
                | Primitive::Sort(_)
                | Primitive::ArgSort(_)
                | Primitive::Matmul(_)
                | Primitive::QuantizedMatmul(_)
        );
        batches
            && items.iter().all(|&s| {
                site.computed(s).is_some_and(|n| {
                    !n.held
                        && n.node.op == first.node.op
                        && n.node.stream == first.node.stream
                        && n.inputs.len() == first.inputs.len()
                        && n.inputs.iter().zip(&first.inputs).all(|(&a, &b)| {
                            site.shape(a) == site.shape(b) && site.dtype(a) == site.dtype(b)
                        })
                })
            })
    }

    /// Slices of one array that follow each other along an axis, as a view of it.
    fn consecutive(&self, items: &Items) -> Result<Option<Batch>> {
        let site = self.site;
        let slice = |&s: &Slot| {
            let n = site.computed(s).filter(|n| !n.held)?;
            let Primitive::Slice(op) = &n.node.op else { return None };
            Some((n.inputs[0], op))
        };
        let Some((source, first)) = slice(&items[0]) else { return Ok(None) };
        let Some((_, second)) = slice(&items[1]) else { return Ok(None) };
        let Some(axis) = (0..first.start.len()).find(|&a| first.start[a] != second.start[a]) else {
            return Ok(None);
        };
        let by = second.start[axis] as isize - first.start[axis] as isize;
        let len = first.shape[axis];
        let follows = |(i, s): (usize, &Slot)| {
            slice(s).is_some_and(|(from, op)| {
                from == source
                    && op.shape == first.shape
                    && op.step == first.step
                    && (0..op.start.len()).all(|a| {
                        let moved = if a == axis { i as isize * by } else { 0 };
                        op.start[a] as isize == first.start[a] as isize + moved
                    })
            })
        };
        let touching = len == 1 || (first.step[axis] == 1 && by == len as isize);
        if by == 0 || !touching || !items.iter().enumerate().all(follows) {
            return Ok(None);
        }
        let (mut step, mut shape) = (first.step.clone(), first.shape.clone());
        step[axis] = if len == 1 { by } else { 1 };
        shape[axis] = items.len() * len;
        let op = Slice { start: first.start.clone(), step, shape, ends: first.ends };
        let whole = site.array(source).slice_by(op)?;
        let mut apart: Shape = first.shape.clone();
        apart.insert(axis, items.len());
        Ok(Some(Batch::Made(whole.reshape(&apart)?, Some(axis))))
    }

    /// One op on the batches of its inputs.
    fn apply(&mut self, items: &Items) -> Result<Batch> {
        let first = self.site.of(items[0]);
        let (mut inputs, mut axes) = (Vec::new(), Vec::new());
        for place in 0..first.inputs.len() {
            match &self.made[&self.inputs(items, place)] {
                Batch::Made(x, axis) => {
                    inputs.push(x.clone());
                    axes.push(*axis);
                }
                Batch::Unfit => return Ok(Batch::Unfit),
            }
        }
        if axes.iter().all(Option::is_none) {
            return Ok(Batch::Made(Array::apply(first.node.op.clone(), &inputs)?, None));
        }
        let (mut out, places) = first.node.op.vmap(&inputs, &axes, items.len())?;
        let out = out.swap_remove(0);
        if out.nbytes() > LARGEST {
            return Ok(Batch::Unfit);
        }
        self.ops += usize::from(!first.node.op.is_view());
        Ok(Batch::Made(out, places[0]))
    }
}
