//! Pass 1: the nodes that an evaluation reaches, in depth-first, consumer-first order.
//!
//! Depth-first order keeps few intermediates alive: everything below one input is finished before
//! the next input is begun. The walk is iterative, since graphs may be a million nodes deep.

use crate::array::{Array, Node, Progress, State, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::eval::Event;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The number of a node in a [`Graph`].
pub type NodeId = u32;
/// The number of one output of one node of a [`Graph`].
pub type Slot = u32;

/// What one evaluation works on: nodes in topological order, inputs before users.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<GraphNode>,
    /// The node of each slot.
    pub(crate) node_of: Vec<NodeId>,
    /// The slots that were asked for.
    pub(crate) outputs: Vec<Slot>,
    /// Evaluations under way that produce some of the leaves.
    pub(crate) pending: Vec<Arc<Event>>,
    /// Nodes that a rule made unnecessary. They stay alive, since the counts of handles on the
    /// other nodes include theirs.
    pub(crate) retired: Vec<Arc<Node>>,
}

pub(crate) struct GraphNode {
    pub(crate) node: Arc<Node>,
    pub(crate) inputs: SmallVec<[Slot; 2]>,
    /// The first of the node's slots; output `i` has slot `first + i`.
    pub(crate) first: Slot,
    /// True iff the node has data, or will have it from another evaluation.
    pub(crate) leaf: bool,
    /// How many edges of this graph lead to the node.
    pub(crate) edges: u32,
    /// True iff somebody outside this graph may ask for the node's data later.
    pub(crate) held: bool,
    /// The slot whose value the node's only output has, if a rule replaced the node; it then has
    /// no inputs.
    pub(crate) stands_for: Option<Slot>,
    /// The rule that made the node, if one did.
    pub(crate) rule: Option<&'static str>,
}

impl Graph {
    pub(crate) fn of(&self, slot: Slot) -> &GraphNode {
        &self.nodes[self.node_of[slot as usize] as usize]
    }

    pub(crate) fn shape(&self, slot: Slot) -> &[usize] {
        let n = self.of(slot);
        &n.node.outputs[(slot - n.first) as usize].shape
    }

    pub(crate) fn dtype(&self, slot: Slot) -> crate::dtype::Dtype {
        let n = self.of(slot);
        n.node.outputs[(slot - n.first) as usize].dtype
    }

    /// The array of a slot.
    pub(crate) fn array(&self, slot: Slot) -> Array {
        let n = self.of(slot);
        Array { node: n.node.clone(), output: slot - n.first }
    }

    pub(crate) fn slots(&self) -> usize {
        self.node_of.len()
    }

    /// The value of a leaf's slot.
    pub(crate) fn leaf_value(&self, slot: Slot) -> Result<Value> {
        let n = self.of(slot);
        match n.node.outputs[(slot - n.first) as usize].state() {
            State::Ready(value) => Ok(value),
            _ => Err(lost(n.node.op.name())),
        }
    }
}

fn lost(op: &'static str) -> Error {
    let message = "an input's buffer was given to an evaluation that failed; make the input anew";
    Error::new(ErrorKind::Kernel, op, message)
}

/// Which nodes a walk has numbered. One walk at a time writes the numbers into the nodes; others
/// under way keep a table.
enum Numbers {
    Marks { _turn: MutexGuard<'static, ()> },
    Table(FxHashMap<usize, NodeId>),
}

impl Numbers {
    fn new() -> Numbers {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.try_lock()
            .map_or_else(|| Numbers::Table(Default::default()), |_turn| Numbers::Marks { _turn })
    }

    /// The number of a node in `graph`. A mark of an earlier walk names another node.
    fn get(&self, graph: &Graph, node: &Arc<Node>) -> Option<NodeId> {
        match self {
            Numbers::Marks { .. } => {
                let id = node.mark.load(Ordering::Relaxed);
                graph
                    .nodes
                    .get(id as usize)
                    .is_some_and(|n| Arc::ptr_eq(&n.node, node))
                    .then_some(id)
            }
            Numbers::Table(ids) => ids.get(&Arc::as_ptr(node).addr()).copied(),
        }
    }

    fn set(&mut self, node: &Arc<Node>, id: NodeId) {
        match self {
            Numbers::Marks { .. } => node.mark.store(id, Ordering::Relaxed),
            Numbers::Table(ids) => {
                ids.insert(Arc::as_ptr(node).addr(), id);
            }
        }
    }
}

/// The graph below `outputs`.
pub(crate) fn collect(outputs: &[Array]) -> Result<Graph> {
    let mut graph = Graph::default();
    let mut numbers = Numbers::new();
    // Nodes to visit, and whether their inputs have been.
    let mut stack: Vec<(Arc<Node>, bool)> = Vec::with_capacity(64);
    for output in outputs.iter().rev() {
        stack.push((output.node.clone(), false));
    }
    while let Some((node, expanded)) = stack.pop() {
        if numbers.get(&graph, &node).is_some() {
            continue;
        }
        let mut leaf = false;
        if !expanded {
            match node.outputs[0].progress() {
                Progress::Lazy => {}
                Progress::Ready => leaf = true,
                Progress::Pending(event) => {
                    graph.pending.push(event);
                    leaf = true;
                }
                Progress::Consumed => return Err(lost(node.op.name())),
            }
            if !leaf {
                if matches!(node.op, crate::op::Primitive::Placeholder(_)) {
                    return Err(crate::transform::evaluated_inside_trace());
                }
                let place = stack.len();
                node.with_inputs(|inputs| {
                    for input in inputs.iter().rev() {
                        if numbers.get(&graph, &input.node).is_none() {
                            stack.push((input.node.clone(), false));
                        }
                    }
                });
                if stack.len() > place {
                    stack.insert(place, (node, true));
                    continue;
                }
            }
        }
        let mut inputs = SmallVec::new();
        if !leaf {
            node.with_inputs(|list| {
                for input in list {
                    if let Some(id) = numbers.get(&graph, &input.node) {
                        let n = &mut graph.nodes[id as usize];
                        n.edges += 1;
                        inputs.push(n.first + input.output);
                    }
                }
            });
        }
        numbers.set(&node, graph.nodes.len() as NodeId);
        graph.push(node, inputs, leaf);
    }
    for output in outputs {
        if let Some(id) = numbers.get(&graph, &output.node) {
            graph.outputs.push(graph.nodes[id as usize].first + output.output);
        }
    }
    for n in &mut graph.nodes {
        // One handle is the graph's own; each edge is one in the user's inputs.
        n.held = Arc::strong_count(&n.node) > n.edges as usize + 1
            || n.node.trace.as_ref().is_some_and(|t| t.is_active());
    }
    Ok(graph)
}

impl Graph {
    pub(crate) fn push(&mut self, node: Arc<Node>, inputs: SmallVec<[Slot; 2]>, leaf: bool) {
        let first = self.node_of.len() as Slot;
        let id = self.nodes.len() as NodeId;
        self.node_of.extend(std::iter::repeat_n(id, node.outputs.len()));
        let (edges, held, stands_for, rule) = (0, false, None, None);
        self.nodes.push(GraphNode { node, inputs, first, leaf, edges, held, stands_for, rule });
    }
}
