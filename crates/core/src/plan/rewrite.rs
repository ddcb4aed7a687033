//! Pass 3: slots that have the value of another slot (aliases): equal subexpressions, ops that change
//! no value, and nodes that a rule of `rules` replaced.

use super::Guard;
use super::cache::Enabled;
use super::collect::{Graph, GraphNode, NodeId, Slot};
use crate::dtype::Literal;
use crate::op::identity::Identity;
use crate::op::{BinaryOp, Primitive};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// What the rules found.
#[derive(Default)]
pub(crate) struct Rewritten {
    /// For each slot the slot whose value it has; itself if no rule applied.
    pub(crate) alias: Vec<Slot>,
    /// What the rules relied on.
    pub(crate) guards: Vec<Guard>,
}

/// Applies every rule to every node, in topological order.
pub(crate) fn rewrite(graph: &Graph, enabled: Enabled) -> Rewritten {
    let alias = (0..graph.slots() as Slot).collect();
    let mut out = Rewritten { alias, guards: Vec::new() };
    let (no_ops, equal) = (enabled.has("no-op"), enabled.has("equal subexpressions"));
    let mut seen = FxHashMap::<u64, SmallVec<[NodeId; 1]>>::default();
    for id in 0..graph.nodes.len() as NodeId {
        let n = &graph.nodes[id as usize];
        if let Some(slot) = n.stands_for {
            out.alias[n.first as usize] = out.alias[slot as usize];
            continue;
        }
        if n.leaf || matches!(n.node.op, Primitive::CustomFunction(_) | Primitive::Load(_)) {
            continue;
        }
        if no_ops && let Some(slot) = same_value(graph, n, &mut out.guards) {
            out.alias[n.first as usize] = out.alias[slot as usize];
            continue;
        }
        if equal {
            common_subexpression(graph, id, &mut seen, &mut out);
        }
    }
    out
}

/// The input whose value the node has: markers for transforms, and products with a factor of one.
fn same_value(graph: &Graph, n: &GraphNode, guards: &mut Vec<Guard>) -> Option<Slot> {
    match n.node.op {
        Primitive::Identity(Identity::StopGradient | Identity::Alias) => {
            let input = n.inputs[0];
            (graph.of(input).node.stream == n.node.stream).then_some(input)
        }
        _ => unit_factor(graph, n, guards),
    }
}

/// `x * 1`, `1 * x` and `x / 1` are `x`, exactly, where the other operand does not widen the
/// result's shape.
fn unit_factor(graph: &Graph, n: &GraphNode, guards: &mut Vec<Guard>) -> Option<Slot> {
    let Primitive::Binary(op) = n.node.op else { return None };
    let tries: &[(usize, usize)] = match op {
        BinaryOp::Multiply => &[(0, 1), (1, 0)],
        BinaryOp::Divide => &[(0, 1)],
        _ => return None,
    };
    for &(x, factor) in tries {
        let (x, factor) = (n.inputs[x], n.inputs[factor]);
        let scalar = graph.of(factor);
        if let Primitive::Scalar(value) = scalar.node.op
            && !scalar.leaf
            && value == Literal::from_f64(1.0, value.dtype())
            && graph.shape(x) == graph.shape(n.first)
        {
            guards.push(Guard::Value(graph.node_of[factor as usize], value));
            return Some(x);
        }
    }
    None
}

/// A node with the op and inputs of an earlier one has its value.
fn common_subexpression(
    graph: &Graph,
    id: NodeId,
    seen: &mut FxHashMap<u64, SmallVec<[NodeId; 1]>>,
    out: &mut Rewritten,
) {
    let n = &graph.nodes[id as usize];
    let inputs = |n: &GraphNode, alias: &[Slot]| -> SmallVec<[Slot; 4]> {
        n.inputs.iter().map(|&s| alias[s as usize]).collect()
    };
    let mine = inputs(n, &out.alias);
    let mut hash = FxHasher::default();
    n.node.op.hash(&mut hash);
    mine.hash(&mut hash);
    let list = seen.entry(hash.finish()).or_default();
    for &other in list.iter() {
        let o = &graph.nodes[other as usize];
        if o.node.op == n.node.op && o.node.stream == n.node.stream && inputs(o, &out.alias) == mine
        {
            for i in 0..n.node.outputs.len() as Slot {
                out.alias[(n.first + i) as usize] = out.alias[(o.first + i) as usize];
            }
            out.guards.push(Guard::SameOp(other, id));
            return;
        }
    }
    list.push(id);
}
