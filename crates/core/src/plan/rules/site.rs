//! A graph as rules see it: what they looked at is noted, so that what they decided holds for every
//! graph of the same structure that is equal there.

use crate::array::Array;
use crate::dtype::Dtype;
use crate::op::identity::Identity;
use crate::op::{BinaryOp, Primitive};
use crate::plan::cache::FastMap;
use crate::plan::collect::{Graph, GraphNode, NodeId, Slot};
use std::cell::Cell;

/// A graph with what the rules have replaced so far.
pub(super) struct Site<'a> {
    graph: &'a Graph,
    /// For each slot how often it is read.
    uses: Vec<u32>,
    /// For each slot whether a sum adds something to it.
    added_to: Vec<bool>,
    instead: FastMap<Slot, Array>,
    /// For each node whether a rule looked at it.
    seen: Vec<Cell<bool>>,
}

impl<'a> Site<'a> {
    pub(super) fn new(graph: &'a Graph) -> Site<'a> {
        let mut uses = vec![0; graph.slots()];
        for &slot in graph.nodes.iter().flat_map(|n| &n.inputs).chain(&graph.outputs) {
            uses[slot as usize] += 1;
        }
        let mut added_to = vec![false; graph.slots()];
        for n in graph.nodes.iter().filter(|n| n.node.op == Primitive::Binary(BinaryOp::Add)) {
            if let Some(&slot) = n.inputs.first() {
                added_to[slot as usize] = true;
            }
        }
        let seen = vec![Cell::new(false); graph.nodes.len()];
        Site { graph, uses, added_to, instead: FastMap::default(), seen }
    }

    pub(super) fn node(&self, id: NodeId) -> &'a GraphNode {
        self.seen[id as usize].set(true);
        &self.graph.nodes[id as usize]
    }

    /// The number of the node that a slot is an output of.
    pub(super) fn node_of(&self, slot: Slot) -> NodeId {
        self.graph.node_of[slot as usize]
    }

    pub(super) fn of(&self, slot: Slot) -> &'a GraphNode {
        self.node(self.node_of(slot))
    }

    pub(super) fn shape(&self, slot: Slot) -> &'a [usize] {
        let n = self.of(slot);
        &n.node.outputs[(slot - n.first) as usize].shape
    }

    pub(super) fn dtype(&self, slot: Slot) -> Dtype {
        self.graph.dtype(slot)
    }

    /// How often a slot is read.
    pub(super) fn uses(&self, slot: Slot) -> u32 {
        self.uses[slot as usize]
    }

    pub(super) fn is_replaced(&self, slot: Slot) -> bool {
        self.instead.contains_key(&slot)
    }

    pub(super) fn replace(&mut self, slot: Slot, array: Array) {
        self.instead.insert(slot, array);
    }

    /// The array of a slot; what stands in its place if it was replaced.
    pub(super) fn array(&self, slot: Slot) -> Array {
        let n = self.of(slot);
        let own = || Array { node: n.node.clone(), output: slot - n.first };
        self.instead.get(&slot).cloned().unwrap_or_else(own)
    }

    /// The node that computes a slot in this evaluation: none for leaves and replaced slots.
    pub(super) fn computed(&self, slot: Slot) -> Option<&'a GraphNode> {
        let n = self.of(slot);
        (!n.leaf && !self.is_replaced(slot)).then_some(n)
    }

    /// As [`Site::computed`], where nothing else needs the slot, so that it need not be computed
    /// if its only reader is replaced.
    pub(super) fn inner(&self, slot: Slot) -> Option<&'a GraphNode> {
        self.computed(slot).filter(|n| !n.held && self.uses(slot) == 1)
    }

    /// True iff the slot's only reader is a sum of it and something else.
    pub(super) fn is_added_to(&self, slot: Slot) -> bool {
        self.added_to[slot as usize] && self.inner(slot).is_some()
    }

    /// The slot below markers that leave values as they are.
    pub(super) fn unmarked(&self, mut slot: Slot) -> Slot {
        while let Some(n) = self.computed(slot)
            && matches!(n.node.op, Primitive::Identity(Identity::StopGradient | Identity::Alias))
        {
            slot = n.inputs[0];
        }
        slot
    }

    /// The value of a constant, if the slot is one.
    pub(super) fn constant(&self, slot: Slot) -> Option<f64> {
        match self.computed(slot)?.node.op {
            Primitive::Scalar(value) => Some(value.to_f64()),
            _ => None,
        }
    }

    /// If the slot is a view that swaps the last two axes of another one and leaves the rest,
    /// that one.
    pub(super) fn swapped(&self, slot: Slot) -> Option<Slot> {
        let n = self.computed(slot)?;
        let Primitive::Transpose(op) = &n.node.op else { return None };
        let last = op.axes.len().checked_sub(2)?;
        let kept = op.axes[..last].iter().enumerate().all(|(i, &a)| i == a);
        (kept && op.axes[last..] == [last + 1, last]).then(|| n.inputs[0])
    }

    /// The nodes that rules looked at, in order.
    pub(super) fn seen(&self) -> Vec<NodeId> {
        (0..).zip(&self.seen).filter(|(_, seen)| seen.get()).map(|(id, _)| id).collect()
    }
}
