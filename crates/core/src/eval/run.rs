//! One evaluation under way: binds each step's operands to memory, executes it, gives nodes their
//! values.

use super::event::{Event, Patience};
use super::{Observed, Segment};
use crate::array::{Array, NodeRef, State, Value};
use crate::backend::{self, Buffer, Call, Operand};
use crate::device::{Device, Stream};
use crate::dtype::{Dtype, Literal};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{Clock, What};
use crate::op::Primitive;
use crate::plan::collect::{Graph, NodeId, Slot};
use crate::plan::{Extent, Instr, LoadFrom, Plan, Step, Tape, TapeValue, TapeWork, Work};
use crate::shape::{Layout, Shape, contiguous_strides};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

type Slots = Vec<Option<Value>>;

/// One evaluation under way.
pub(super) struct Run {
    pub(super) graph: Graph,
    pub(super) plan: Arc<Plan>,
    pub(super) claimed: Vec<NodeId>,
    pub(super) slots: Mutex<Slots>,
    pub(super) remaining: AtomicUsize,
    pub(super) failure: Mutex<Option<Error>>,
    pub(super) finished: Arc<Event>,
    /// True once a kernel panicked: what it was writing over is half-written.
    pub(super) panicked: AtomicBool,
    /// Set iff something observes the evaluation.
    pub(super) observed: Option<Observed>,
}

/// Ends a segment even if it panics, so that nobody waits for ever.
pub(super) struct Finish(Option<Arc<Run>>);

impl Finish {
    pub(super) fn new(run: Arc<Run>) -> Finish {
        Finish(Some(run))
    }

    pub(super) fn with(mut self, segment: impl FnOnce(&Run) -> Result<()>) {
        let Some(run) = &self.0 else { return };
        let result = segment(run);
        self.end(result);
    }

    /// Ends the segment. Whoever waits finds the evaluation's own handles gone: what nobody else holds may be
    /// overwritten by the next one.
    fn end(&mut self, result: Result<()>) {
        let Some(run) = self.0.take() else { return };
        let Some(outcome) = run.segment_done(result) else { return };
        let finished = Arc::clone(&run.finished);
        drop(run);
        finished.signal(outcome);
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(run) = &self.0 {
            run.panicked.store(true, Ordering::Relaxed);
        }
        self.end(Err(Error::new(ErrorKind::Kernel, "eval", "a kernel panicked")));
    }
}

/// A step with its operands bound; the room is the next step's, too.
#[derive(Default)]
struct Bound {
    inputs: SmallVec<[Operand; 4]>,
    outputs: SmallVec<[Operand; 2]>,
    space: Shape,
    results: SmallVec<[(Slot, Value); 2]>,
}

impl Run {
    pub(super) fn segment(&self, segment: &Segment, alone: bool) -> Result<()> {
        let result = self.wait_for_inputs(segment).and_then(|()| {
            let (mut patience, mut bound) = (Patience::new(), Bound::default());
            if alone {
                let mut slots = self.slots.lock();
                for (i, step) in self.plan.steps.iter().enumerate() {
                    self.go_on(&mut patience)?;
                    let clock = Clock::start();
                    self.bind(step, &mut slots, &mut bound)?;
                    self.execute(segment.stream, step, &bound)?;
                    self.record(&clock, i);
                    commit(step, &mut bound, &mut slots);
                }
                return Ok(());
            }
            for i in segment.steps.clone() {
                self.go_on(&mut patience)?;
                let step = &self.plan.steps[i];
                let clock = Clock::start();
                self.bind(step, &mut self.slots.lock(), &mut bound)?;
                self.execute(segment.stream, step, &bound)?;
                self.record(&clock, i);
                commit(step, &mut bound, &mut self.slots.lock());
            }
            Ok(())
        });
        if let Some(done) = &segment.done {
            done.signal(result.clone());
        }
        result
    }

    /// An error if somebody wants the evaluation to end early.
    fn go_on(&self, patience: &mut Patience) -> Result<()> {
        if patience.is_over() || self.finished.stopped.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Kernel, "eval", "interrupted"));
        }
        Ok(())
    }

    /// Records step `index`, if something observes.
    fn record(&self, clock: &Clock, index: usize) {
        let Some(observed) = &self.observed else { return };
        let step = &self.plan.steps[index];
        let n = &self.graph.nodes[step.work.node(&self.graph) as usize];
        let (cost, lineage) = (observed.costs[index], &observed.lineage[index]);
        clock.record(None, || What::Step {
            evaluation: observed.evaluation,
            index,
            op: if matches!(step.work, Work::Tape(_)) { "tape" } else { n.node.op.name() },
            stream: n.node.stream.to_string(),
            bytes: cost.read + cost.written,
            flops: cost.flops,
            dtype: n.node.outputs[0].dtype,
            depth: lineage.depth,
            arrays: lineage.arrays.clone(),
        });
    }

    fn wait_for_inputs(&self, segment: &Segment) -> Result<()> {
        for event in &self.graph.pending {
            event.wait()?;
        }
        segment.after.iter().try_for_each(|earlier| earlier.wait())
    }

    /// Called once for each segment; the last one publishes the results, and has the outcome of all.
    fn segment_done(&self, result: Result<()>) -> Option<Result<()>> {
        if let Err(error) = result {
            self.failure.lock().get_or_insert(error);
        }
        if self.remaining.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let mut slots = std::mem::take(&mut *self.slots.lock());
        let failure = self.failure.lock().take();
        let outcome = match failure {
            Some(error) => Err(error),
            None => self.publish(&mut slots),
        };
        if outcome.is_err() {
            self.salvage(&mut slots);
        }
        Some(outcome)
    }

    /// After a failure: what was computed before it stays, since the buffers that it was made of may
    /// have been overwritten, and the other claimed nodes are lazy again. Whatever they need is then in
    /// a node: a step's operands are in slots until the step has run, and a step that fails has not
    /// written over them ([`Backend::execute`](backend::Backend::execute)).
    fn salvage(&self, slots: &mut Slots) {
        for &(copy, original) in &self.plan.aliases {
            if slots[copy as usize].is_none() {
                slots[copy as usize] = slots[original as usize].clone();
            }
        }
        let claimed = |id: &NodeId| self.claimed.binary_search(id).is_ok();
        // After a panic only what no step writes over is known to be whole: the claimed nodes.
        let whole = !self.panicked.load(Ordering::Relaxed);
        let nodes = if whole { self.graph.nodes.len() as NodeId } else { 0 };
        // They come last: once they are lazy, other threads may walk below them.
        let rest = (0..nodes).filter(|id| !claimed(id));
        let mut computed = Vec::new();
        for (node, slot) in self.graph.replaced.iter().filter(|_| whole) {
            if let Some(value) = slots[*slot as usize].clone() {
                node.outputs[0].set(State::Ready(Box::new(value)));
                computed.push(node);
            }
        }
        for id in rest.chain(self.claimed.iter().copied()) {
            let n = &self.graph.nodes[id as usize];
            let values = &mut slots[n.first as usize..n.first as usize + n.node.outputs.len()];
            if n.leaf {
                // The step that took it did not run.
                let taken = n.node.outputs.iter().zip(values);
                taken.for_each(|(output, value)| output.restore(value.take()));
                continue;
            }
            let is_claimed = claimed(&id);
            let done = match is_claimed {
                true => values.iter().all(Option::is_some),
                // Nobody reads the other outputs any more.
                false => values.iter().any(Option::is_some),
            };
            if done {
                computed.push(&n.node);
            } else {
                n.node.detach_unread();
            }
            for (output, value) in n.node.outputs.iter().zip(values) {
                match value.take().filter(|_| done) {
                    Some(value) => output.set(State::Ready(Box::new(value))),
                    None if done => output.set(State::Consumed),
                    None if is_claimed => output.set(State::Lazy),
                    None => {}
                }
            }
        }
        computed.into_iter().for_each(|node| node.detach());
    }

    fn publish(&self, slots: &mut Slots) -> Result<()> {
        let claimed =
            |slot: Slot| self.claimed.binary_search(&self.graph.node_of[slot as usize]).is_ok();
        for &(copy, original) in &self.plan.aliases {
            if claimed(copy) {
                slots[copy as usize] = Some(self.value(original, slots)?);
            }
        }
        let mut ready = Vec::with_capacity(self.claimed.len());
        for &id in &self.claimed {
            let n = &self.graph.nodes[id as usize];
            for i in 0..n.node.outputs.len() {
                ready.push(self.value(n.first + i as Slot, slots)?);
            }
        }
        let mut ready = ready.into_iter();
        for &id in &self.claimed {
            let n = &self.graph.nodes[id as usize];
            for (output, value) in n.node.outputs.iter().zip(&mut ready) {
                output.set(State::Ready(Box::new(value)));
            }
        }
        for &id in &self.claimed {
            self.graph.nodes[id as usize].node.detach();
        }
        Ok(())
    }

    /// The value of a slot that has been computed, is a leaf, or is a scalar.
    fn value(&self, slot: Slot, slots: &mut Slots) -> Result<Value> {
        if let Some(value) = &slots[slot as usize] {
            return Ok(value.clone());
        }
        let n = self.graph.of(slot);
        let value = match &n.node.op {
            Primitive::Scalar(literal) if !n.leaf => Value {
                buffer: literal_buffer(n.node.stream.device, *literal)?,
                strides: SmallVec::new(),
                offset: 0,
            },
            _ => self.graph.leaf_value(slot)?,
        };
        slots[slot as usize] = Some(value.clone());
        Ok(value)
    }

    fn operand(&self, slot: Slot, device: Device, slots: &mut Slots) -> Result<Operand> {
        let v = self.value(slot, slots)?;
        let layout =
            Layout { shape: self.graph.shape(slot).into(), strides: v.strides, offset: v.offset };
        let dtype = self.graph.dtype(slot);
        on_device(Operand { buffer: v.buffer, dtype, layout }, device)
    }

    fn load(
        &self,
        load: &LoadFrom,
        space: &[usize],
        rows: &[usize],
        device: Device,
        slots: &mut Slots,
    ) -> Result<Operand> {
        let mut operand = self.operand(load.slot, device, slots)?;
        let frame = self.graph.shape(load.frame);
        let target = if load.row { rows } else { space };
        if operand.layout.shape.as_slice() != frame {
            operand.layout = operand.layout.broadcast_to(frame);
        }
        if frame != target {
            operand.layout = operand.layout.with_units(target);
        }
        Ok(operand)
    }

    fn allocate(&self, slot: Slot, device: Device) -> Result<Buffer> {
        let bytes =
            self.graph.shape(slot).iter().product::<usize>() * self.graph.dtype(slot).size();
        backend::get(device)?.allocate(device, bytes)
    }

    /// The buffer of `slot`, an input of the step, for the step's result `result`, if the input
    /// fills it in row-major order and nobody sees it afterwards.
    fn take_buffer(&self, slot: Slot, result: Slot, slots: &mut Slots) -> Option<Buffer> {
        let value = slots[slot as usize].as_ref()?;
        let bytes =
            self.graph.shape(result).iter().product::<usize>() * self.graph.dtype(result).size();
        if value.offset != 0
            || value.strides != contiguous_strides(self.graph.shape(slot))
            || value.buffer.memory().size() != bytes
        {
            return None;
        }
        // Handles: the slot's, the bound operand's, and a leaf's own.
        let n = self.graph.of(slot);
        if value.buffer.handles() != 2 + usize::from(n.leaf) {
            return None;
        }
        let buffer = value.buffer.clone();
        if n.leaf {
            let unseen = !n.held && NodeRef::strong_count(&n.node) == n.edges as usize + 1;
            let output = &n.node.outputs[(slot - n.first) as usize];
            return unseen.then(|| output.consume()).flatten().map(|_| buffer);
        }
        Some(buffer)
    }

    fn bind(&self, step: &Step, slots: &mut Slots, bound: &mut Bound) -> Result<()> {
        let graph = &self.graph;
        let id = step.work.node(graph);
        let n = &graph.nodes[id as usize];
        let device = n.node.stream.device;
        match &step.work {
            Work::View { input, .. } => {
                let operand = self.operand(*input, device, slots)?;
                let (buffer, layout) = view(&n.node.op, operand, n.node.stream)?;
                let value = Value { buffer, strides: layout.strides, offset: layout.offset };
                bound.results.push((n.first, value));
            }
            Work::Forward { .. } => {
                for i in 0..n.node.outputs.len() {
                    let value = self.value(n.inputs[i], slots)?;
                    bound.results.push((n.first + i as Slot, value));
                }
            }
            Work::Op { inputs, reuse, .. } => {
                for &slot in inputs {
                    bound.inputs.push(self.operand(slot, device, slots)?);
                }
                for i in 0..n.node.outputs.len() {
                    let slot = n.first + i as Slot;
                    let donor = match (*reuse, inputs.first()) {
                        (true, Some(&input)) => self.take_buffer(input, slot, slots),
                        _ => None,
                    };
                    self.output(slot, device, donor, graph.shape(slot), bound)?;
                }
            }
            Work::Tape(work) => self.bind_tape(work, device, slots, bound)?,
            Work::Product { inputs, epilogue, .. } => {
                for &slot in inputs {
                    bound.inputs.push(self.operand(slot, device, slots)?);
                }
                self.bind_tape(epilogue, device, slots, bound)?;
            }
        }
        Ok(())
    }

    fn bind_tape(
        &self,
        work: &TapeWork,
        device: Device,
        slots: &mut Slots,
        bound: &mut Bound,
    ) -> Result<()> {
        bound.space = self.graph.shape(work.space).into();
        let mut rows = bound.space.clone();
        for axis in work.tape.reduced_axes(rows.len()) {
            rows[axis] = 1;
        }
        for load in &work.loads {
            bound.inputs.push(self.load(load, &bound.space, &rows, device, slots)?);
        }
        let product = usize::from(work.tape.inputs as usize > work.loads.len());
        for (i, (&slot, &value)) in work.stores.iter().zip(&work.tape.stores).enumerate() {
            let full = work.tape.values[value as usize].extent == Extent::Full;
            let donor = match work.reuse[i] {
                Some(load) if product == 0 => {
                    self.take_buffer(work.loads[load as usize].slot, slot, slots)
                }
                _ => None,
            };
            let shape = if full { bound.space.clone() } else { rows.clone() };
            self.output(slot, device, donor, &shape, bound)?;
        }
        Ok(())
    }

    /// Binds an output of `slot`, contiguous under `shape`, to a donated or a new buffer.
    fn output(
        &self,
        slot: Slot,
        device: Device,
        donor: Option<Buffer>,
        shape: &[usize],
        bound: &mut Bound,
    ) -> Result<()> {
        let buffer = match donor {
            Some(buffer) => buffer,
            None => self.allocate(slot, device)?,
        };
        let strides = contiguous_strides(self.graph.shape(slot));
        bound.results.push((slot, Value { buffer: buffer.clone(), strides, offset: 0 }));
        let (dtype, layout) = (self.graph.dtype(slot), Layout::contiguous(shape));
        bound.outputs.push(Operand { buffer, dtype, layout });
        Ok(())
    }

    fn execute(&self, stream: Stream, step: &Step, bound: &Bound) -> Result<()> {
        let op = &self.graph.nodes[step.work.node(&self.graph) as usize].node.op;
        let call = match &step.work {
            Work::View { .. } | Work::Forward { .. } => return Ok(()),
            Work::Op { .. } => Call::Op { op, inputs: &bound.inputs, outputs: &bound.outputs },
            Work::Tape(work) => Call::Tape {
                tape: &work.tape,
                inputs: &bound.inputs,
                outputs: &bound.outputs,
                space: &bound.space,
            },
            Work::Product { inputs, epilogue, .. } => {
                let (inputs, extra) = bound.inputs.split_at(inputs.len());
                let output = &bound.outputs[0];
                Call::Product { op, inputs, epilogue: &epilogue.tape, extra, output }
            }
        };
        backend::get(stream.device)?.execute(stream, &call)
    }
}

fn commit(step: &Step, bound: &mut Bound, slots: &mut Slots) {
    for (slot, value) in bound.results.drain(..) {
        slots[slot as usize] = Some(value);
    }
    bound.inputs.clear();
    bound.outputs.clear();
    for &slot in &step.frees {
        slots[slot as usize] = None;
    }
}

/// `operand` with its bytes on `device`, copied there if they are elsewhere.
fn on_device(operand: Operand, device: Device) -> Result<Operand> {
    let home = operand.buffer.memory().device();
    if home == device {
        return Ok(operand);
    }
    let clock = Clock::start();
    let bytes = backend::get(home)?.download(&operand.buffer)?;
    let buffer = backend::get(device)?.upload(device, &bytes)?;
    clock.record(None, || What::Copy { bytes: bytes.len() as u64 });
    Ok(Operand { buffer, ..operand })
}

/// The buffer and layout of a view; the elements are copied where strides cannot express it.
fn view(op: &Primitive, operand: Operand, stream: Stream) -> Result<(Buffer, Layout)> {
    if let Some(layout) = op.view(&operand.layout, operand.dtype) {
        return Ok((operand.buffer, layout));
    }
    let copy = contiguous_copy(stream, operand)?;
    match op.view(&copy.layout, copy.dtype) {
        Some(layout) => Ok((copy.buffer, layout)),
        None => Err(Error::unsupported(op.name(), "the view has no layout")),
    }
}

/// A row-major copy, made by a tape of one load and one store.
fn contiguous_copy(stream: Stream, from: Operand) -> Result<Operand> {
    let bytes = from.layout.len() * from.dtype.size();
    let backend = backend::get(stream.device)?;
    let to = Operand {
        buffer: backend.allocate(stream.device, bytes)?,
        dtype: from.dtype,
        layout: Layout::contiguous(&from.layout.shape),
    };
    let load =
        TapeValue { instr: Instr::Load { operand: 0 }, dtype: from.dtype, extent: Extent::Full };
    let tape = Tape { values: vec![load], stores: vec![0], inputs: 1, axes: 0 };
    let space = from.layout.shape.clone();
    let outputs = std::slice::from_ref(&to);
    let inputs = &[from];
    backend.execute(stream, &Call::Tape { tape: &tape, inputs, outputs, space: &space })?;
    Ok(to)
}

/// A row-major copy of the elements that `layout` picks.
pub(crate) fn copy_contiguous(buffer: Buffer, dtype: Dtype, layout: Layout) -> Result<Array> {
    let stream = Stream::default_of(buffer.memory().device());
    let copy = contiguous_copy(stream, Operand { buffer, dtype, layout })?;
    Array::from_buffer(copy.buffer, dtype, copy.layout)
}

/// The buffer of a 0-d constant; recent ones are kept, since programs use few.
fn literal_buffer(device: Device, literal: Literal) -> Result<Buffer> {
    const KEPT: usize = 4096;
    static RECENT: Mutex<Option<FxHashMap<(Device, Literal), Buffer>>> = Mutex::new(None);
    let mut guard = RECENT.lock();
    let recent = guard.get_or_insert_default();
    if let Some(buffer) = recent.get(&(device, literal)) {
        return Ok(buffer.clone());
    }
    if recent.len() >= KEPT {
        recent.clear();
    }
    let buffer = backend::get(device)?.literal(device, literal)?;
    recent.insert((device, literal), buffer.clone());
    Ok(buffer)
}
