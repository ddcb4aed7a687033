//! What the rules made of a graph, kept so that the next graph that is equal in all that they looked
//! at becomes the same one without asking them again.

use crate::array::{Array, Inputs, NodeRef};
use crate::device::Stream;
use crate::op::{Aval, Avals, Primitive};
use crate::plan::cache::{KeyReader, KeyWriter};
use crate::plan::collect::{Graph, NodeId, Slot};
use crate::transform::Trace;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// Sizes and parameters of the nodes that rules looked at.
pub(crate) struct Facts {
    seen: Vec<NodeId>,
    words: Vec<u64>,
}

impl Facts {
    pub(super) fn of(graph: &Graph, seen: Vec<NodeId>) -> Facts {
        let mut words = KeyWriter::default();
        feed(graph, &seen, &mut words);
        Facts { seen, words: words.0 }
    }

    /// True iff they are those of `graph`, which must be of the same structure.
    pub(crate) fn hold(&self, graph: &Graph) -> bool {
        let mut words = KeyReader::new(&self.words);
        // A part at a time, so that graphs that differ are found out early.
        self.seen.chunks(16).all(|part| {
            feed(graph, part, &mut words);
            words.matches()
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len() + self.seen.len() / 2
    }
}

fn feed(graph: &Graph, seen: &[NodeId], state: &mut impl Hasher) {
    for &id in seen {
        let n = &graph.nodes[id as usize].node;
        let stream = n.stream;
        state.write_u64(
            u64::from(stream.index)
                | u64::from(stream.device.index) << 32
                | (stream.device.kind as u64) << 63,
        );
        if !graph.nodes[id as usize].leaf {
            n.op.hash(state);
        }
        for output in &n.outputs {
            output.shape.iter().for_each(|&n| state.write_usize(n));
        }
    }
}

/// Which nodes a graph had, by their addresses.
pub(super) struct Origins(FxHashMap<usize, NodeId>);

impl Origins {
    pub(super) fn of(graph: &Graph) -> Origins {
        Origins((0..).zip(&graph.nodes).map(|(id, n)| (n.node.address(), id)).collect())
    }
}

/// Where a node of the made graph comes from.
enum Source {
    /// It is this node of the graph that was asked for.
    Asked(NodeId),
    /// It is made anew.
    Made(Box<Template>),
    /// It is the same each time: data that rules took from parameters.
    Same(NodeRef),
}

/// What a node is made of.
struct Template {
    op: Primitive,
    avals: Avals,
    stream: Stream,
}

struct Part {
    from: Source,
    inputs: SmallVec<[Slot; 2]>,
    edges: u32,
    stands_for: Option<Slot>,
    rule: Option<&'static str>,
}

/// How to make the graph again that rules made of another one.
pub(crate) struct Recipe {
    facts: Facts,
    /// The nodes; none if the graph stays as it is.
    parts: Vec<Part>,
    outputs: Vec<Slot>,
    /// Those of the graph that was asked for whose value a slot has.
    replaced: Vec<(NodeId, Slot)>,
    until: Vec<(Slot, Slot)>,
}

impl Recipe {
    /// The recipe of a graph that no rule changed.
    pub(super) fn nothing(facts: Facts) -> Recipe {
        let (parts, outputs) = (Vec::new(), Vec::new());
        Recipe { facts, parts, outputs, replaced: Vec::new(), until: Vec::new() }
    }

    pub(super) fn of(made: &Graph, origins: &Origins, facts: Facts) -> Recipe {
        let parts = made.nodes.iter().map(|n| {
            let from = match origins.0.get(&n.node.address()) {
                Some(&id) => Source::Asked(id),
                None if n.leaf => Source::Same(n.node.clone()),
                None => Source::Made(Box::new(Template {
                    op: n.node.op.clone(),
                    avals: (n.node.outputs.iter())
                        .map(|o| Aval { shape: o.shape.clone(), dtype: o.dtype })
                        .collect(),
                    stream: n.node.stream,
                })),
            };
            let inputs = n.inputs.clone();
            Part { from, inputs, edges: n.edges, stands_for: n.stands_for, rule: n.rule }
        });
        let replaced = made.replaced.iter().map(|(node, slot)| (origins.0[&node.address()], *slot));
        Recipe {
            facts,
            parts: parts.collect(),
            outputs: made.outputs.clone(),
            replaced: replaced.collect(),
            until: made.until.clone(),
        }
    }

    /// True iff the recipe is for `graph`, which must be of the structure that it was written for.
    pub(crate) fn fits(&self, graph: &Graph) -> bool {
        self.facts.hold(graph)
    }

    /// The room that the recipe takes, in words.
    pub(crate) fn len(&self) -> usize {
        self.facts.len()
            + self.parts.len() * (size_of::<Part>() / 8)
            + self.replaced.len()
            + self.until.len()
    }

    /// The graph that the rules would make of `asked`, which the recipe fits.
    pub(crate) fn make(&self, asked: Graph) -> Graph {
        if self.parts.is_empty() {
            return asked;
        }
        let mut old: Vec<Option<_>> = asked.nodes.into_iter().map(Some).collect();
        let mut graph = Graph { pending: asked.pending, ..Graph::default() };
        for part in &self.parts {
            let (node, leaf, held) = match &part.from {
                Source::Asked(id) => match old[*id as usize].take() {
                    Some(n) => (n.node, n.leaf, n.held),
                    None => continue,
                },
                Source::Same(node) => (node.clone(), true, false),
                Source::Made(of) => {
                    let inputs: Inputs = part.inputs.iter().map(|&s| graph.array(s)).collect();
                    let trace =
                        Trace::outermost(inputs.iter().filter_map(|i| i.node.trace.as_ref()));
                    let (op, avals) = (of.op.clone(), of.avals.clone());
                    let made = Array::node(op, inputs, avals, of.stream, trace);
                    (made[0].node.clone(), false, false)
                }
            };
            graph.push(node, part.inputs.clone(), leaf);
            if let Some(n) = graph.nodes.last_mut() {
                (n.edges, n.held) = (part.edges, held);
                (n.stands_for, n.rule) = (part.stands_for, part.rule);
            }
        }
        let node = |id: NodeId| old[id as usize].as_ref().map(|n| n.node.clone());
        let replaced = self.replaced.iter().filter_map(|&(id, slot)| Some((node(id)?, slot)));
        graph.replaced = replaced.collect();
        graph.until = self.until.clone();
        graph.retired = old.into_iter().flatten().map(|n| n.node).collect();
        graph.outputs = self.outputs.clone();
        graph
    }
}
