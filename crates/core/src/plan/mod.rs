//! The planner: a graph in, a printable list of steps out. It computes nothing and knows no device.
//!
//! The passes, in order: 1. `collect` (which nodes), 2. [`rules`] (other nodes for a part of the
//! graph), 3. `rewrite` (slots with equal values), 4. `fuse` (tapes and epilogues, put in order by
//! `order`), 5. `memory` (lifetimes and reuse). After `collect`, [`cache`] asks whether the plan of
//! such a graph is known; only if it is not do the other passes run. A plan speaks of slots of the
//! graph that it was made for; another graph of the same structural key numbers its slots alike, so
//! the plan runs on it with other sizes and values.

pub mod cache;
pub(crate) mod collect;
pub(crate) mod cost;
mod dot;
mod explain;
mod fuse;
pub(crate) mod lineage;
mod memory;
mod order;
mod page;
mod rewrite;
pub mod rules;
pub mod tape;

pub use cache::{CacheStats, with_only_rules, without_rules};
pub use collect::{NodeId, Slot};
pub(crate) use cost::bytes;
pub use cost::{Estimate, StepCost, estimate};
pub use dot::dot;
pub use explain::{Report, StepReport, explain, profile, report};
pub use tape::{Extent, Instr, Tape, TapeValue, ValueId};

use crate::device::Stream;
use crate::dtype::Literal;
use cache::Enabled;
use collect::Graph;
use smallvec::SmallVec;

/// What to do for one evaluation, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What must hold of a graph besides its structure.
    pub guards: Vec<Guard>,
    /// Slots whose value is that of another slot: (copy, original), in order.
    pub aliases: Vec<(Slot, Slot)>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it does.
    pub work: Work,
    /// Slots that nothing reads after this step.
    pub frees: SmallVec<[Slot; 2]>,
    /// The rule or pass that made the step something else than one op, for `explain`.
    pub rule: Option<&'static str>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Work {
    /// A view of `input`: arithmetic on layouts, or a copy where strides cannot express it.
    View {
        /// The viewing node.
        node: NodeId,
        /// What it views.
        input: Slot,
    },
    /// The node's outputs are its first inputs (a custom function).
    Forward {
        /// The node.
        node: NodeId,
    },
    /// A primitive by itself.
    Op {
        /// The node.
        node: NodeId,
        /// Its inputs.
        inputs: SmallVec<[Slot; 3]>,
        /// True iff input 0 may be overwritten if nobody else sees it.
        reuse: bool,
    },
    /// A fused program.
    Tape(TapeWork),
    /// A product whose tiles pass through a program; the program's load 0 is the product.
    Product {
        /// The product's node.
        node: NodeId,
        /// The product's inputs.
        inputs: SmallVec<[Slot; 3]>,
        /// The program, with load 0 left out of `loads`.
        epilogue: TapeWork,
    },
}

/// A program with its operands named.
#[derive(Clone, Debug)]
pub struct TapeWork {
    /// The program.
    pub tape: Tape,
    /// The operands of the loads.
    pub loads: Vec<LoadFrom>,
    /// The slots that are stored.
    pub stores: Vec<Slot>,
    /// The slot whose shape is the index space.
    pub space: Slot,
    /// For each store the load whose buffer it may take over, if nobody else sees it.
    pub reuse: Vec<Option<u16>>,
}

/// Where a load's operand comes from, and how it lies in the index space: it is broadcast to the
/// shape of `frame`, which has the elements of the space (or of its rows) in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadFrom {
    /// The operand.
    pub slot: Slot,
    /// The slot whose shape the operand broadcasts to.
    pub frame: Slot,
    /// True iff the frame has one element for each row.
    pub row: bool,
}

/// A fact about a graph's parameters that a plan relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Two nodes have equal ops, params included.
    SameOp(NodeId, NodeId),
    /// A node is this scalar.
    Value(NodeId, Literal),
}

/// Plans a graph.
pub(crate) fn make(graph: &Graph, enabled: Enabled) -> Plan {
    let mut plan = fuse::fuse(graph, rewrite::rewrite(graph, enabled), enabled);
    memory::assign(graph, &mut plan, enabled.has("in place"));
    plan
}

impl Work {
    /// The node whose stream the step runs on.
    pub(crate) fn node(&self, graph: &Graph) -> NodeId {
        match self {
            Work::View { node, .. }
            | Work::Forward { node }
            | Work::Op { node, .. }
            | Work::Product { node, .. } => *node,
            Work::Tape(tape) => graph.node_of[tape.stores[0] as usize],
        }
    }

    /// The stream that the step runs on.
    pub(crate) fn stream(&self, graph: &Graph) -> Stream {
        graph.nodes[self.node(graph) as usize].node.stream
    }

    /// The slots that the step makes.
    pub(crate) fn writes(&self, graph: &Graph) -> SmallVec<[Slot; 2]> {
        match self {
            Work::Tape(tape) | Work::Product { epilogue: tape, .. } => {
                tape.stores.iter().copied().collect()
            }
            Work::View { node, .. } | Work::Forward { node } | Work::Op { node, .. } => {
                let n = &graph.nodes[*node as usize];
                (n.first..n.first + n.node.outputs.len() as Slot).collect()
            }
        }
    }

    /// The slots that the step reads.
    pub(crate) fn reads(&self, graph: &Graph) -> SmallVec<[Slot; 4]> {
        match self {
            Work::View { input, .. } => SmallVec::from_iter([*input]),
            Work::Forward { node } => {
                let n = &graph.nodes[*node as usize];
                n.inputs[..n.node.outputs.len()].iter().copied().collect()
            }
            Work::Op { inputs, .. } => inputs.iter().copied().collect(),
            Work::Tape(tape) => tape.loads.iter().map(|l| l.slot).collect(),
            Work::Product { inputs, epilogue, .. } => {
                inputs.iter().copied().chain(epilogue.loads.iter().map(|l| l.slot)).collect()
            }
        }
    }
}

/// Plans the evaluation of `outputs` without running it, so that the next one finds its plan.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn warm(outputs: &[crate::array::Array]) -> crate::error::Result<()> {
    cache::plan(collect::collect(outputs)?);
    Ok(())
}
