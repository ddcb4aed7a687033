//! What a plan will take, before it runs: bytes moved, FLOPs, and the memory at its highest point.
//!
//! The steps are walked with layouts instead of buffers: views share their input's bytes, results
//! take over what dies, as `eval` decides it. Kernels' own scratch memory is not counted.

use super::collect::{Graph, NodeId, Slot, collect};
use super::tape::{Extent, Instr};
use super::{Plan, Step, TapeWork, Work};
use crate::array::{Array, NodeRef};
use crate::error::{Error, ErrorKind, Result};
use crate::op::Primitive;
use crate::shape::{Layout, contiguous_strides};
use std::fmt;

/// What one step takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCost {
    /// Bytes of operands; an element that is read for many results counts once.
    pub read: u64,
    /// Bytes of results.
    pub written: u64,
    /// Floating-point (or integer) operations. A function such as `exp` counts as one.
    pub flops: u64,
    /// Bytes allocated by the plan that are live while the step runs.
    pub live: u64,
}

/// What an evaluation will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes allocated on top of what is live now, at the highest point.
    pub peak: u64,
    /// Bytes that stay allocated afterwards.
    pub kept: u64,
    /// Bytes read and written by all steps.
    pub moved: u64,
    /// Operations of all steps.
    pub flops: u64,
    /// The number of steps that compute or copy something.
    pub steps: usize,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} step{}, {} moved, {:.3} GFLOP, peak {}, kept {}",
            self.steps,
            if self.steps == 1 { "" } else { "s" },
            bytes(self.moved),
            self.flops as f64 / 1e9,
            bytes(self.peak),
            bytes(self.kept)
        )
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// What the evaluation of `outputs` will take, without running it.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn estimate(outputs: &[Array]) -> Result<Estimate> {
    let graph = collect(outputs)?;
    if graph.nodes.iter().all(|n| n.leaf) {
        return Ok(Estimate::default());
    }
    let (graph, plan, _) = super::cache::plan(graph);
    Ok(walk(&graph, &plan).1)
}

/// An error if the evaluation would need more than `limit` bytes in all, of which `active` are
/// in use now.
pub(crate) fn check(graph: &Graph, plan: &Plan, active: usize, limit: usize) -> Result<()> {
    // Every slot at once is the most that a plan can take; most plans pass without a walk.
    if active.saturating_add(graph.bytes) <= limit {
        return Ok(());
    }
    let estimate = walk(graph, plan).1;
    let needed = estimate.peak.saturating_add(active as u64);
    if needed <= limit as u64 {
        return Ok(());
    }
    let message = format!(
        "the plan would need {} on top of the {} in use, above the limit of {}; evaluate in parts, \
         drop what is not needed, or raise the limit",
        bytes(estimate.peak),
        bytes(active as u64),
        bytes(limit as u64)
    );
    Err(Error::new(ErrorKind::OutOfMemory, "eval", message))
}

fn size(graph: &Graph, slot: Slot) -> u64 {
    (graph.shape(slot).iter().product::<usize>() * graph.dtype(slot).size()) as u64
}

/// Where a slot's elements are.
#[derive(Clone)]
struct Place {
    buffer: usize,
    layout: Layout,
}

struct Memory {
    bytes: u64,
    /// Slots that lie in it.
    slots: u32,
    /// It was there before.
    given: bool,
}

struct Walk<'a> {
    graph: &'a Graph,
    places: Vec<Option<Place>>,
    memory: Vec<Memory>,
    live: u64,
    peak: u64,
}

/// The cost of every step and of the whole.
pub(crate) fn walk(graph: &Graph, plan: &Plan) -> (Vec<StepCost>, Estimate) {
    let places = vec![None; graph.slots()];
    let mut walk = Walk { graph, places, memory: Vec::new(), live: 0, peak: 0 };
    let mut total = Estimate::default();
    let mut costs = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let cost = walk.step(step);
        total.moved += cost.read + cost.written;
        total.flops += cost.flops;
        total.steps += usize::from(cost.written > 0);
        costs.push(cost);
        for &slot in &step.frees {
            walk.free(slot);
        }
    }
    (total.peak, total.kept) = (walk.peak, walk.live);
    (costs, total)
}

impl Walk<'_> {
    fn new_memory(&mut self, bytes: u64, given: bool) -> usize {
        self.memory.push(Memory { bytes, slots: 0, given });
        if !given {
            self.live += bytes;
            self.peak = self.peak.max(self.live);
        }
        self.memory.len() - 1
    }

    fn free(&mut self, slot: Slot) {
        let Some(place) = self.places[slot as usize].take() else { return };
        let memory = &mut self.memory[place.buffer];
        memory.slots -= 1;
        if memory.slots == 0 && !memory.given {
            self.live -= memory.bytes;
        }
    }

    fn put(&mut self, slot: Slot, buffer: usize, layout: Layout) {
        self.memory[buffer].slots += 1;
        self.places[slot as usize] = Some(Place { buffer, layout });
    }

    fn place(&mut self, slot: Slot) -> Place {
        if let Some(place) = &self.places[slot as usize] {
            return place.clone();
        }
        let n = self.graph.of(slot);
        let shape = self.graph.shape(slot);
        let layout = match n.node.outputs[(slot - n.first) as usize].value() {
            Some(v) => Layout { shape: shape.into(), strides: v.strides, offset: v.offset },
            None => Layout::contiguous(shape),
        };
        let buffer = self.new_memory(size(self.graph, slot), true);
        self.put(slot, buffer, layout.clone());
        Place { buffer, layout }
    }

    /// The bytes of an operand that differ from each other.
    fn read(&mut self, slot: Slot) -> u64 {
        let layout = self.place(slot).layout;
        let distinct = |(&n, &stride): (&usize, &isize)| if stride == 0 { 1 } else { n };
        let elements: usize = layout.shape.iter().zip(&layout.strides).map(distinct).product();
        (elements * self.graph.dtype(slot).size()) as u64
    }

    /// Allocates a result, or takes over the memory of `donor` where `eval` would.
    fn write(&mut self, slot: Slot, donor: Option<Slot>) -> u64 {
        let bytes = size(self.graph, slot);
        let buffer = donor.and_then(|d| self.donated(d, bytes));
        let buffer = buffer.unwrap_or_else(|| self.new_memory(bytes, false));
        self.put(slot, buffer, Layout::contiguous(self.graph.shape(slot)));
        bytes
    }

    fn donated(&mut self, donor: Slot, bytes: u64) -> Option<usize> {
        let place = self.place(donor);
        let memory = &self.memory[place.buffer];
        let n = self.graph.of(donor);
        let whole = place.layout.offset == 0
            && place.layout.strides == contiguous_strides(self.graph.shape(donor))
            && memory.bytes == bytes
            && memory.slots == 1;
        let unseen = || {
            let handles = NodeRef::strong_count(&n.node) == n.edges as usize + 1;
            // The state's own handle and the copy that was just made.
            let value = n.node.outputs[(donor - n.first) as usize].value();
            let alone = value.is_some_and(|v| v.buffer.handles() == 2);
            !n.held && handles && alone
        };
        (whole && (!n.leaf || unseen())).then_some(place.buffer)
    }

    fn step(&mut self, step: &Step) -> StepCost {
        let graph = self.graph;
        let mut cost = StepCost::default();
        match &step.work {
            Work::View { node, input } => {
                let n = &graph.nodes[*node as usize];
                let place = self.place(*input);
                match n.node.op.view(&place.layout, graph.dtype(*input)) {
                    Some(layout) => self.put(n.first, place.buffer, layout),
                    None => {
                        cost.read = self.read(*input);
                        cost.written = self.write(n.first, None);
                    }
                }
            }
            Work::Forward { node } => {
                let n = &graph.nodes[*node as usize];
                for i in 0..n.node.outputs.len() {
                    let place = self.place(n.inputs[i]);
                    self.put(n.first + i as Slot, place.buffer, place.layout);
                }
            }
            Work::Op { node, inputs, reuse } => {
                let n = &graph.nodes[*node as usize];
                cost.read = self.op_reads(*node, inputs);
                let donor = if *reuse { inputs.first().copied() } else { None };
                for slot in n.first..n.first + n.node.outputs.len() as Slot {
                    cost.written += self.write(slot, donor);
                }
                cost.flops = flops(graph, *node);
            }
            Work::Tape(work) => self.tape(work, &mut cost),
            Work::Product { node, inputs, epilogue } => {
                cost.read = self.op_reads(*node, inputs);
                cost.flops = flops(graph, *node);
                self.tape(epilogue, &mut cost);
            }
        }
        cost.live = self.live;
        cost
    }

    fn op_reads(&mut self, node: NodeId, inputs: &[Slot]) -> u64 {
        let graph = self.graph;
        let n = &graph.nodes[node as usize];
        let result = size(graph, n.first);
        let picks = matches!(
            n.node.op,
            Primitive::Gather(_) | Primitive::GatherAxis(_) | Primitive::DynamicSlice(_)
        );
        let reads = inputs.iter().enumerate().map(|(i, &s)| {
            let all = self.read(s);
            // Of what is picked from, only the picked elements are read.
            if picks && i == 0 { all.min(result) } else { all }
        });
        let sum: u64 = reads.sum();
        // A file's bytes come from outside.
        if matches!(n.node.op, Primitive::Load(_)) { sum + result } else { sum }
    }

    fn tape(&mut self, work: &TapeWork, cost: &mut StepCost) {
        let graph = self.graph;
        cost.read += work.loads.iter().map(|l| self.read(l.slot)).sum::<u64>();
        let space = graph.shape(work.space);
        let points: u64 = space.iter().product::<usize>() as u64;
        let axes: usize = work.tape.reduced_axes(space.len()).map(|a| space[a]).product();
        let rows = points / (axes as u64).max(1);
        for value in &work.tape.values {
            let each = match value.instr {
                Instr::Load { .. } | Instr::Const(_) | Instr::Cast(_) => 0,
                Instr::Reduce(..) => points,
                _ if value.extent == Extent::Full => points,
                _ => rows,
            };
            cost.flops += each;
        }
        for (i, &slot) in work.stores.iter().enumerate() {
            let product = work.tape.inputs as usize > work.loads.len();
            let donor = work.reuse[i].filter(|_| !product).map(|l| work.loads[l as usize].slot);
            cost.written += self.write(slot, donor);
        }
    }
}

/// The operations of a node that is a step by itself.
fn flops(graph: &Graph, node: NodeId) -> u64 {
    let n = &graph.nodes[node as usize];
    let elements = |slot: Slot| graph.shape(slot).iter().product::<usize>() as u64;
    let last = |slot: Slot| graph.shape(slot).last().copied().unwrap_or(1) as u64;
    let out = elements(n.first);
    match &n.node.op {
        Primitive::Matmul(_) | Primitive::QuantizedMatmul(_) | Primitive::MaskedMatmul(_) => {
            2 * out * last(n.inputs[0])
        }
        Primitive::Attention(_) => {
            let (q, k, v) = (n.inputs[0], n.inputs[1], n.inputs[2]);
            let keys = graph.shape(k).get(2).copied().unwrap_or(1) as u64;
            let scores = elements(q) / last(q).max(1) * keys;
            scores * (2 * last(q) + 2 * last(v) + 4)
        }
        // Five products of the size of the forward step's two.
        Primitive::AttentionGrad(_) => {
            let (q, k, v) = (n.inputs[0], n.inputs[1], n.inputs[2]);
            let keys = graph.shape(k).get(2).copied().unwrap_or(1) as u64;
            let scores = elements(q) / last(q).max(1) * keys;
            scores * (6 * last(q) + 4 * last(v) + 8)
        }
        Primitive::Sort(_) | Primitive::ArgSort(_) => {
            let n = elements(n.inputs[0]);
            n * u64::from(n.max(2).ilog2())
        }
        Primitive::Reduce(_) | Primitive::ArgReduce(_) | Primitive::Scan(_) => {
            elements(n.inputs[0])
        }
        Primitive::Load(_) | Primitive::Concatenate(_) | Primitive::Gather(_) => 0,
        Primitive::GatherAxis(_) | Primitive::DynamicSlice(_) => 0,
        Primitive::Scatter(_) | Primitive::ScatterAxis(_) | Primitive::SliceUpdate(_) => {
            n.inputs.get(1).map_or(0, |&s| elements(s))
        }
        _ => out,
    }
}
