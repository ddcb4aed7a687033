//! Pass 2: rules that put other nodes in the place of a part of the graph.
//!
//! A rule looks at one node, the *root* of what it would replace, and at the nodes below it, and
//! builds what should be computed instead from the same operands, with the ops that a user would
//! have called. The result is a graph like any other: it has a structural key and a plan of its
//! own, so a rule may look at sizes and values. What the cache keeps is where a rule's structure
//! was found; whether its values fit is asked at every evaluation.

mod attention;
mod batch;
mod catalogue;
mod quantized;
mod splice;

pub use catalogue::{CATALOGUE, RuleInfo};

use super::cache::FastMap;
use super::collect::{Graph, GraphNode, NodeId, Slot};
use crate::array::Array;
use crate::device::with_stream;
use crate::error::Result;
use crate::op::identity::Identity;
use crate::op::{BinaryOp, Primitive};

/// One rule.
pub(super) struct Rule {
    /// Its name in the catalogue.
    pub(super) name: &'static str,
    /// True iff the rule may apply at a node of this op.
    root: fn(&Primitive) -> bool,
    /// What the rule finds at a root.
    build: fn(&Site<'_>, NodeId) -> Result<Found>,
}

/// What a rule says of one root.
pub(super) enum Found {
    /// The structure is another one.
    Nothing,
    /// The structure is right, but sizes or values are not; those of another graph may be.
    OtherValues,
    /// This array, of the root's shape and dtype, has the root's value.
    Instead(Array),
}

/// The rules, in the order in which they are tried at a node.
static RULES: &[Rule] = &[quantized::RULE, attention::RULE, batch::STACK, batch::SUM];

/// A place where the structure of a rule was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    root: NodeId,
    rule: u8,
}

/// A node that is computed in another way.
pub(super) struct Replacement {
    root: NodeId,
    array: Array,
    rule: &'static str,
}

/// A graph with what the rules have replaced so far, as a rule sees it.
pub(super) struct Site<'a> {
    graph: &'a Graph,
    /// For each slot how often it is read.
    uses: Vec<u32>,
    /// For each slot whether a sum adds something to it.
    added_to: Vec<bool>,
    instead: FastMap<Slot, Array>,
}

impl<'a> Site<'a> {
    fn new(graph: &'a Graph) -> Site<'a> {
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
        Site { graph, uses, added_to, instead: FastMap::default() }
    }

    fn node(&self, id: NodeId) -> &'a GraphNode {
        &self.graph.nodes[id as usize]
    }

    /// The array of a slot; what stands in its place if it was replaced.
    fn array(&self, slot: Slot) -> Array {
        self.instead.get(&slot).cloned().unwrap_or_else(|| {
            let n = self.graph.of(slot);
            Array { node: n.node.clone(), output: slot - n.first }
        })
    }

    /// The node that computes a slot in this evaluation: none for leaves and replaced slots.
    fn computed(&self, slot: Slot) -> Option<&'a GraphNode> {
        let n = self.graph.of(slot);
        (!n.leaf && !self.instead.contains_key(&slot)).then_some(n)
    }

    /// As [`Site::computed`], where nothing else needs the slot, so that it need not be computed
    /// if its only reader is replaced.
    fn inner(&self, slot: Slot) -> Option<&'a GraphNode> {
        self.computed(slot).filter(|n| !n.held && self.uses[slot as usize] == 1)
    }

    fn shape(&self, slot: Slot) -> &'a [usize] {
        self.graph.shape(slot)
    }

    /// True iff the slot's only reader is a sum of it and something else.
    fn is_added_to(&self, slot: Slot) -> bool {
        self.added_to[slot as usize] && self.inner(slot).is_some()
    }

    /// The slot below markers that leave values as they are.
    fn unmarked(&self, mut slot: Slot) -> Slot {
        while let Some(n) = self.computed(slot)
            && matches!(n.node.op, Primitive::Identity(Identity::StopGradient | Identity::Alias))
        {
            slot = n.inputs[0];
        }
        slot
    }

    /// The value of a constant, if the slot is one.
    fn constant(&self, slot: Slot) -> Option<f64> {
        match self.computed(slot)?.node.op {
            Primitive::Scalar(value) => Some(value.to_f64()),
            _ => None,
        }
    }

    /// If the slot is a view that swaps the last two axes of another one and leaves the rest,
    /// that one.
    fn swapped(&self, slot: Slot) -> Option<Slot> {
        let n = self.computed(slot)?;
        let Primitive::Transpose(op) = &n.node.op else { return None };
        let last = op.axes.len().checked_sub(2)?;
        let kept = op.axes[..last].iter().enumerate().all(|(i, &a)| i == a);
        (kept && op.axes[last..] == [last + 1, last]).then(|| n.inputs[0])
    }
}

/// Where rules may apply, for graphs of this structure.
pub(super) fn candidates(graph: &Graph) -> Vec<Candidate> {
    let mut found = Vec::new();
    if graph.nodes.iter().any(|n| !n.leaf && RULES.iter().any(|r| (r.root)(&n.node.op))) {
        walk(graph, None, &mut found);
    }
    found
}

/// The graph with every rule applied that fits at one of `candidates`, or the graph itself.
pub(super) fn apply(graph: Graph, candidates: &[Candidate]) -> Graph {
    let instead = walk(&graph, Some(candidates), &mut Vec::new());
    if instead.is_empty() { graph } else { splice::splice(graph, &instead) }
}

/// Tries rules from inputs to users, so that later ones see what earlier ones replaced.
fn walk(graph: &Graph, only: Option<&[Candidate]>, found: &mut Vec<Candidate>) -> Vec<Replacement> {
    let mut site = Site::new(graph);
    let mut instead = Vec::new();
    let mut attempt = |root: NodeId, rule: u8, found: &mut Vec<Candidate>| {
        let n = &graph.nodes[root as usize];
        if site.instead.contains_key(&n.first) {
            return;
        }
        // A rule that cannot build its ops leaves the graph as it is.
        let build = || (RULES[rule as usize].build)(&site, root).unwrap_or(Found::Nothing);
        match with_stream(n.node.stream, build) {
            Found::Nothing => return,
            Found::OtherValues => {}
            Found::Instead(array) => {
                if array.aval() == site.array(n.first).aval() {
                    site.instead.insert(n.first, array.clone());
                    instead.push(Replacement { root, array, rule: RULES[rule as usize].name });
                }
            }
        }
        found.push(Candidate { root, rule });
    };
    match only {
        Some(candidates) => candidates.iter().for_each(|c| attempt(c.root, c.rule, found)),
        None => {
            for (id, n) in graph.nodes.iter().enumerate().filter(|(_, n)| !n.leaf) {
                for (r, _) in RULES.iter().enumerate().filter(|(_, r)| (r.root)(&n.node.op)) {
                    attempt(id as NodeId, r as u8, found);
                }
            }
        }
    }
    instead
}
