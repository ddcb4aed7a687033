//! Pass 1: the nodes that an evaluation reaches, in depth-first, consumer-first order.
//!
//! Depth-first order keeps few intermediates alive: everything below one input is finished before
//! the next input is begun. The walk is iterative, since graphs may be a million nodes deep.

use crate::array::{Array, NodeRef, Progress, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::eval::Event;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::ops::Range;
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
    pub(crate) retired: Vec<NodeRef>,
    /// Of the retired nodes those whose value a slot has.
    pub(crate) replaced: Vec<(NodeRef, Slot)>,
    /// What stays until something is computed: (that, what stays). As it was asked for, the former is
    /// computed from the latter, and after an error it is so again.
    pub(crate) until: Vec<(Slot, Slot)>,
    /// Bytes of all outputs of nodes that are no leaves.
    pub(crate) bytes: usize,
}

pub(crate) struct GraphNode {
    pub(crate) node: NodeRef,
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
        let value = n.node.outputs[(slot - n.first) as usize].value();
        value.ok_or_else(|| lost(n.node.op.name()))
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

    /// The number of a node among those that were found. A mark of an earlier walk names another
    /// node, or none.
    fn get(&self, found: &[Found], node: &NodeRef) -> Option<u32> {
        match self {
            Numbers::Marks { .. } => {
                let id = node.mark.load(Ordering::Relaxed);
                let here = found.get(id as usize)?.address == node.address();
                here.then_some(id)
            }
            Numbers::Table(ids) => ids.get(&node.address()).copied(),
        }
    }

    fn set(&mut self, node: &NodeRef, id: u32) {
        match self {
            Numbers::Marks { .. } => node.mark.store(id, Ordering::Relaxed),
            Numbers::Table(ids) => {
                ids.insert(node.address(), id);
            }
        }
    }
}

/// A node that the walk has met.
struct Found {
    address: usize,
    /// The node, until the walk enters it.
    node: Option<NodeRef>,
    /// Its number in the graph and its first slot, once everything below it has one.
    id: NodeId,
    first: Slot,
    /// How many edges lead to it so far.
    edges: u32,
    /// How many handles there were when the walk entered it; one was the walk's own.
    handles: u32,
    /// True iff an active trace needs it.
    traced: bool,
}

/// A node some of whose inputs the walk has yet to enter.
struct Frame {
    node: NodeRef,
    place: u32,
    /// Its edges, and the next one to follow.
    edges: Range<usize>,
    next: usize,
}

/// A walk that enters each node once, and takes its list of inputs once.
struct Walk {
    graph: Graph,
    numbers: Numbers,
    found: Vec<Found>,
    /// The inputs of the nodes entered so far: which node that was found, and which output.
    edges: Vec<(u32, u32)>,
    frames: Vec<Frame>,
}

impl Walk {
    fn number(&mut self, node: &NodeRef) -> u32 {
        if let Some(place) = self.numbers.get(&self.found, node) {
            return place;
        }
        let place = self.found.len() as u32;
        self.numbers.set(node, place);
        let (address, node) = (node.address(), Some(node.clone()));
        let (id, first, edges, handles, traced) = (0, 0, 0, 0, false);
        self.found.push(Found { address, node, id, first, edges, handles, traced });
        place
    }

    /// True iff the node has a value, or will have one that another evaluation computes. Some of several
    /// outputs may be gone, which nothing reads.
    fn is_leaf(&mut self, node: &NodeRef) -> Result<bool> {
        let mut states = node.outputs.iter().map(|output| output.progress());
        let there = states.find(|state| !matches!(state, Progress::Consumed));
        match there.unwrap_or(Progress::Consumed) {
            Progress::Lazy => Ok(false),
            Progress::Ready => Ok(true),
            Progress::Pending(event) => {
                self.graph.pending.push(event);
                Ok(true)
            }
            Progress::Consumed => Err(lost(node.op.name())),
        }
    }

    /// Lists the inputs of a node that was found; nothing if the walk was there.
    fn enter(&mut self, place: u32) -> Result<()> {
        let found = &mut self.found[place as usize];
        let Some(node) = found.node.take() else { return Ok(()) };
        found.handles = NodeRef::strong_count(&node) as u32;
        found.traced = node.trace.as_ref().is_some_and(|t| t.is_active());
        if self.is_leaf(&node)? {
            self.leave(node, place, 0..0, true);
            return Ok(());
        }
        if matches!(node.op, crate::op::Primitive::Placeholder(_)) {
            return Err(crate::transform::evaluated_inside_trace());
        }
        let start = self.edges.len();
        node.with_inputs(|inputs| {
            for input in inputs {
                let child = self.number(&input.node);
                self.found[child as usize].edges += 1;
                self.edges.push((child, input.output));
            }
        });
        let edges = start..self.edges.len();
        if edges.is_empty() {
            // It has none, or another thread has computed it since and let them go.
            let leaf = self.is_leaf(&node)?;
            self.leave(node, place, edges, leaf);
        } else {
            self.frames.push(Frame { node, place, next: start, edges });
        }
        Ok(())
    }

    /// Gives a node its number, when all below it have theirs.
    fn leave(&mut self, node: NodeRef, place: u32, edges: Range<usize>, leaf: bool) {
        let slot = |&(child, output): &(u32, u32)| self.found[child as usize].first + output;
        let inputs = self.edges[edges].iter().map(slot).collect();
        let found = &mut self.found[place as usize];
        (found.id, found.first) = (self.graph.nodes.len() as NodeId, self.graph.slots() as Slot);
        self.graph.push(node, inputs, leaf);
    }
}

/// The graph below `outputs`.
pub(crate) fn collect(outputs: &[Array]) -> Result<Graph> {
    let mut walk = Walk {
        graph: Graph {
            nodes: Vec::with_capacity(16),
            node_of: Vec::with_capacity(16),
            ..Graph::default()
        },
        numbers: Numbers::new(),
        found: Vec::with_capacity(16),
        edges: Vec::with_capacity(32),
        frames: Vec::with_capacity(16),
    };
    for output in outputs {
        let place = walk.number(&output.node);
        walk.enter(place)?;
        while let Some(frame) = walk.frames.last_mut() {
            if frame.next < frame.edges.end {
                let (child, _) = walk.edges[frame.next];
                frame.next += 1;
                walk.enter(child)?;
            } else if let Some(done) = walk.frames.pop() {
                walk.leave(done.node, done.place, done.edges, false);
            }
        }
        let slot = walk.found[place as usize].first + output.output;
        walk.graph.outputs.push(slot);
    }
    let Walk { mut graph, found, .. } = walk;
    for f in &found {
        let n = &mut graph.nodes[f.id as usize];
        n.edges = f.edges;
        // One handle is the graph's own; each edge is one in the user's inputs.
        n.held = f.handles > f.edges + 1 || f.traced;
    }
    Ok(graph)
}

impl Graph {
    pub(crate) fn push(&mut self, node: NodeRef, inputs: SmallVec<[Slot; 2]>, leaf: bool) {
        if !leaf {
            let bytes = node.outputs.iter().map(|o| o.len().saturating_mul(o.dtype.size()));
            self.bytes = bytes.fold(self.bytes, usize::saturating_add);
        }
        let first = self.node_of.len() as Slot;
        let id = self.nodes.len() as NodeId;
        self.node_of.extend(std::iter::repeat_n(id, node.outputs.len()));
        let (edges, held, stands_for, rule) = (0, false, None, None);
        self.nodes.push(GraphNode { node, inputs, first, leaf, edges, held, stands_for, rule });
    }
}
