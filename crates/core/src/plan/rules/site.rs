//! A graph as rules see it: what they looked at is noted, so that what they decided holds for every
//! graph of the same structure that is equal there.

use super::Replaced;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::op::identity::Identity;
use crate::op::{BinaryOp, Primitive};
use crate::plan::collect::{Graph, GraphNode, NodeId, Slot};
use rustc_hash::FxHashMap;
use rustc_hash::FxHasher;
use std::cell::{Cell, OnceCell};
use std::hash::{Hash, Hasher};

/// A graph with what the rules have replaced so far.
pub(super) struct Site<'a> {
    graph: &'a Graph,
    /// For each slot how often it is read.
    uses: Vec<u32>,
    /// For each slot whether a sum adds something to it.
    added_to: Vec<bool>,
    instead: FxHashMap<Slot, Array>,
    /// For each node whether the program may ask for its value later.
    kept: Vec<bool>,
    /// Nodes that one batch computes together.
    tied: Vec<Vec<NodeId>>,
    /// Kept nodes of equal structure, once somebody asked.
    alike: OnceCell<Vec<Vec<NodeId>>>,
    /// For each node whether a rule looked at it.
    seen: Vec<Cell<bool>>,
}

/// Fewer kept nodes than this are no loop.
const FEWEST: usize = 4;

/// For each node whether the program may ask for its value later.
fn kept(graph: &Graph) -> Vec<bool> {
    let mut kept: Vec<bool> = graph.nodes.iter().map(|n| n.held && !n.leaf).collect();
    for &slot in &graph.outputs {
        let id = graph.node_of[slot as usize] as usize;
        kept[id] = !graph.nodes[id].leaf;
    }
    kept
}

/// True iff there may be kept nodes of equal structure.
pub(super) fn has_alike(graph: &Graph) -> bool {
    let computed = graph.nodes.iter().filter(|n| n.held && !n.leaf).count();
    computed.max(graph.outputs.len()) >= FEWEST
}

/// Lists of nodes that the program keeps, each with one output, that are computed by equal
/// expressions of leaves of equal shapes, parameters aside. The structural key tells them.
fn alike(graph: &Graph, kept: &[bool]) -> Vec<Vec<NodeId>> {
    let mut hashes: Vec<u64> = Vec::with_capacity(graph.nodes.len());
    let mut places: FxHashMap<u64, usize> = FxHashMap::default();
    let mut lists: Vec<Vec<NodeId>> = Vec::new();
    for (id, n) in graph.nodes.iter().enumerate() {
        let mut hash = FxHasher::default();
        hash.write_u8(u8::from(n.leaf));
        if !n.leaf {
            n.node.op.key(&mut hash);
            n.node.stream.hash(&mut hash);
            for &input in &n.inputs {
                let of = graph.node_of[input as usize];
                hash.write_u64(hashes[of as usize]);
                hash.write_u32(input - graph.nodes[of as usize].first);
            }
        }
        for output in &n.node.outputs {
            output.shape.hash(&mut hash);
            hash.write_u8(output.dtype as u8);
        }
        let hash = hash.finish();
        hashes.push(hash);
        if kept[id] && n.node.outputs.len() == 1 {
            let place = *places.entry(hash).or_insert_with(|| {
                lists.push(Vec::new());
                lists.len() - 1
            });
            lists[place].push(id as NodeId);
        }
    }
    lists.retain(|list| list.len() >= FEWEST);
    lists.sort_by_key(|list| list[list.len() - 1]);
    lists
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
        let (instead, tied, alike) = (FxHashMap::default(), Vec::new(), OnceCell::new());
        Site { graph, uses, added_to, instead, kept: kept(graph), tied, alike, seen }
    }

    /// Lists of kept nodes that are computed by equal expressions, by their last nodes.
    pub(super) fn alike(&self) -> &[Vec<NodeId>] {
        self.alike.get_or_init(|| alike(self.graph, &self.kept))
    }

    /// The last node of each list of [`Site::alike`].
    pub(super) fn last_alike(&self) -> Vec<NodeId> {
        self.alike().iter().filter_map(|list| list.last().copied()).collect()
    }

    /// True iff one of `to` needs one of `from`, through what is computed now.
    pub(super) fn reaches(&self, from: &[Slot], to: &[Slot]) -> bool {
        let computed = |slot: &Slot| !self.graph.of(*slot).leaf;
        if from.is_empty() || !to.iter().any(computed) {
            return false;
        }
        let mut needs = vec![false; self.graph.nodes.len()];
        from.iter().for_each(|&slot| needs[self.node_of(slot) as usize] = true);
        loop {
            for (id, n) in self.graph.nodes.iter().enumerate().filter(|(_, n)| !n.leaf) {
                needs[id] |= n.inputs.iter().any(|&slot| needs[self.node_of(slot) as usize]);
            }
            let mut more = false;
            for tied in &self.tied {
                let count = tied.iter().filter(|&&id| needs[id as usize]).count();
                if count > 0 && count < tied.len() {
                    tied.iter().for_each(|&id| needs[id as usize] = true);
                    more = true;
                }
            }
            if !more {
                return to.iter().any(|&slot| needs[self.node_of(slot) as usize]);
            }
        }
    }

    /// True iff the program may ask for the slot's value later.
    pub(super) fn is_kept(&self, slot: Slot) -> bool {
        self.kept[self.node_of(slot) as usize]
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

    /// Has the nodes computed in other ways, together.
    pub(super) fn replace(&mut self, nodes: &[Replaced]) {
        for r in nodes {
            self.instead.insert(self.graph.nodes[r.root as usize].first, r.array.clone());
        }
        if nodes.len() > 1 {
            self.tied.push(nodes.iter().map(|r| r.root).collect());
        }
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
