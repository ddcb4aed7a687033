//! Work that a loop wrote once for each item becomes one batch.
//!
//! The roots are a stack of n results, a sum of n terms, and n results that the program keeps. From
//! there the n expressions are walked in lockstep: where all n nodes are the same op on inputs of the
//! same shapes, the op's vmap rule makes the batched node; where all read the same array, it is
//! shared; where they read consecutive slices of one array, the batch is a view of it; anything else
//! is stacked. What the program keeps of an item is a view of its part of the batch. Chains, where one
//! item needs another one's result, are left alone.

use super::site::Site;
use super::{Found, Replaced, Rule};
use crate::array::Array;
use crate::error::Result;
use crate::op::identity::Identity;
use crate::op::view::{Ends, Slice};
use crate::op::{BinaryOp, Primitive, ReduceOp};
use crate::plan::collect::{GraphNode, NodeId, Slot};
use crate::shape::Shape;
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

/// Fewer items than this are not worth a batch.
const FEWEST: usize = 4;
/// Batched values beyond this many bytes stay a loop, whose intermediates die one by one.
const LARGEST: usize = 32 << 20;
/// Items that must be copied to one place, or that share a buffer afterwards, may have this many
/// bytes each.
const LARGEST_COPY: usize = 64 << 10;
/// Items that share a buffer may have this many bytes together: one that is kept keeps all.
const LARGEST_SHARED: usize = 1 << 20;

pub(super) const STACK: Rule =
    Rule { name: "batch_loop", root: |op| matches!(op, Primitive::Concatenate(_)), build: stack };

pub(super) const SUM: Rule = Rule {
    name: "batch_sum",
    root: |op| matches!(op, Primitive::Binary(BinaryOp::Add)),
    build: sum,
};

/// Its roots are no single nodes; see [`Site::alike`].
pub(super) const ITEMS: Rule = Rule { name: "batch_items", root: |_| false, build: items };

fn stack(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    let Primitive::Concatenate(join) = &n.node.op else { return Ok(Found::Nothing) };
    if n.inputs.len() < FEWEST {
        return Ok(Found::Nothing);
    }
    let batched = match Lockstep::run(site, &n.inputs)? {
        Ok(batched) => batched,
        Err(unfit) => return Ok(unfit.found()),
    };
    // (.., items, axis, ..) is the concatenation in row-major order.
    let x = batched.x.moveaxis(batched.axis as i64, join.axis as i64)?;
    Ok(batched.and(root, x.reshape(&n.node.outputs[0].shape)?))
}

/// Results of a loop over items that the program keeps, each by itself; `root` is the last one.
fn items(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let Some(items) = site.alike().iter().find(|items| items.last() == Some(&root)) else {
        return Ok(Found::Nothing);
    };
    let roots: Items = items.iter().map(|&id| site.node(id).first).collect();
    if roots.iter().any(|&slot| site.is_replaced(slot)) {
        return Ok(Found::Nothing);
    }
    match Lockstep::run(site, &roots)? {
        // Items with nothing in common are left: they are no loop over one thing's parts.
        Ok(batched) if batched.common > 0 => Ok(Found::All(batched.parts)),
        Err(unfit) if !unfit.apart => Ok(unfit.found()),
        _ => Ok(Found::Nothing),
    }
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
    let batched = match Lockstep::run(site, &terms)? {
        Ok(batched) => batched,
        Err(unfit) => return Ok(unfit.found()),
    };
    let axes = [batched.axis as i64];
    let total = crate::op::reduce::reduce(ReduceOp::Sum, &batched.x, Some(&axes), false)?;
    let total = match start {
        Some(start) => site.array(start).add(&total)?,
        None => total,
    };
    Ok(batched.and(root, total))
}

/// What n expressions became.
struct Batched {
    x: Array,
    /// The axis of the items.
    axis: usize,
    /// What the program keeps of the items, as views of the batch.
    parts: Vec<Replaced>,
    /// How many operands all items share, or are parts of.
    common: usize,
}

impl Batched {
    /// `x` stands for `root`, besides the parts.
    fn and(mut self, root: NodeId, x: Array) -> Found {
        self.parts.push(Replaced { root, array: x });
        Found::All(self.parts)
    }
}

/// Why there is no batch.
struct Unfit {
    /// True iff nothing in the structure can be batched.
    never: bool,
    /// True iff the items have nothing in common, whatever their values.
    apart: bool,
}

impl Unfit {
    fn found(&self) -> Found {
        if self.never { Found::Nothing } else { Found::OtherValues }
    }
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
    item: FxHashMap<Slot, usize>,
    /// How many ops were batched that move or compute elements.
    ops: usize,
    /// How many stacks were made of separate arrays.
    stacks: usize,
    /// How many operands all items share, or are parts of.
    common: usize,
    /// What the batches are made of.
    operands: Vec<Slot>,
    /// What the program keeps of the items: the slot, which item's it is, and the batch.
    kept: Vec<(Slot, usize, Array, Option<usize>)>,
    /// True iff some operands are slices, which may be parts of one array in another graph.
    sliced: bool,
}

impl Lockstep<'_, '_> {
    /// The batch of the slots' expressions, or why there is none.
    fn run(site: &Site<'_>, roots: &[Slot]) -> Result<std::result::Result<Batched, Unfit>> {
        let (made, item) = (Default::default(), FxHashMap::default());
        let (ops, stacks, common, sliced) = (0, 0, 0, false);
        let (operands, kept) = (Vec::new(), Vec::new());
        let mut walk = Lockstep { site, made, item, ops, stacks, common, sliced, operands, kept };
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
                    return Ok(Err(Unfit { never: false, ..walk.unfit() }));
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
        let Some(Batch::Made(x, Some(axis))) = walk.made.remove(&roots) else {
            return Ok(Err(walk.unfit()));
        };
        // What the program keeps becomes a view of the batch, which must not need it then.
        let slots: Vec<Slot> = walk.kept.iter().map(|k| k.0).collect();
        if walk.ops <= walk.stacks || site.reaches(&slots, &walk.operands) {
            return Ok(Err(walk.unfit()));
        }
        let parts = walk.kept.iter().map(|(slot, i, batch, axis)| {
            let array = match axis {
                Some(axis) => part(batch, *axis, *i)?.reshape(site.shape(*slot))?,
                None => batch.clone(),
            };
            Ok(Replaced { root: site.node_of(*slot), array })
        });
        let (parts, common) = (parts.collect::<Result<_>>()?, walk.common);
        Ok(Ok(Batched { x, axis, parts, common }))
    }

    /// That there is no batch, and whether other values of this structure may have one.
    fn unfit(&self) -> Unfit {
        Unfit { never: self.ops == 0, apart: self.common == 0 && !self.sliced }
    }

    fn inputs(&self, items: &Items, place: usize) -> Items {
        items.iter().map(|&s| self.site.of(s).inputs[place]).collect()
    }

    /// The batch of items that are one array, equal constants, or parts of one array.
    fn shared(&mut self, items: &Items) -> Result<Option<Batch>> {
        let (site, first) = (self.site, items[0]);
        let constant =
            |n: &GraphNode| matches!(n.node.op, Primitive::Scalar(_) | Primitive::Arange(_));
        let equal = |&s: &Slot| {
            s == first
                || matches!((site.computed(s), site.computed(first)), (Some(n), Some(o))
                    if constant(n) && n.node.op == o.node.op && site.shape(s) == site.shape(first))
        };
        if items.iter().all(equal) {
            self.operands.push(first);
            self.common += usize::from(site.array(first).len() > 1);
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
        self.operands.extend_from_slice(items);
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
    /// shapes, and those that the program keeps are small.
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
        if !batches {
            return false;
        }
        let alike = |n: &GraphNode| {
            n.node.op == first.node.op
                && n.node.stream == first.node.stream
                && n.inputs.len() == first.inputs.len()
                && n.inputs.iter().zip(&first.inputs).all(|(&a, &b)| {
                    site.shape(a) == site.shape(b) && site.dtype(a) == site.dtype(b)
                })
        };
        if !items.iter().all(|&s| site.computed(s).is_some_and(alike)) {
            return false;
        }
        let bytes = site.array(items[0]).nbytes();
        let small = bytes <= LARGEST_COPY && bytes * items.len() <= LARGEST_SHARED;
        items.iter().all(|&s| small || !site.is_kept(s))
    }

    /// Slices of one array that follow each other along an axis, as a view of it.
    fn consecutive(&mut self, items: &Items) -> Result<Option<Batch>> {
        let site = self.site;
        let slice = |&s: &Slot| {
            let n = site.computed(s)?;
            let Primitive::Slice(op) = &n.node.op else { return None };
            Some((n.inputs[0], op))
        };
        let Some((source, first)) = slice(&items[0]) else { return Ok(None) };
        let Some((_, second)) = slice(&items[1]) else { return Ok(None) };
        self.sliced = true;
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
        self.operands.push(source);
        self.common += 1;
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
        let (out, axis) = if axes.iter().all(Option::is_none) {
            (Array::apply(first.node.op.clone(), &inputs)?, None)
        } else {
            let (mut out, places) = first.node.op.vmap(&inputs, &axes, items.len())?;
            self.ops += usize::from(!first.node.op.is_view());
            (out.swap_remove(0), places[0])
        };
        if out.nbytes() > LARGEST {
            return Ok(Batch::Unfit);
        }
        for (i, &slot) in items.iter().enumerate().filter(|(_, slot)| self.site.is_kept(**slot)) {
            self.kept.push((slot, i, out.clone(), axis));
        }
        Ok(Batch::Made(out, axis))
    }
}

/// Item `i` along `axis`, which stays with size 1.
fn part(batch: &Array, axis: usize, i: usize) -> Result<Array> {
    let mut op = Slice {
        start: smallvec![0; batch.ndim()],
        step: smallvec![1; batch.ndim()],
        shape: batch.shape().into(),
        ends: Ends::default(),
    };
    (op.start[axis], op.shape[axis]) = (i, 1);
    batch.slice_by(op)
}
