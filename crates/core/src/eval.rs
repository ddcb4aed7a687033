//! `eval` = plan, then run.
//!
//! The nodes that somebody may ask for later are claimed first (pending on an [`Event`]), so that
//! other threads wait instead of computing them again. The steps of one stream are one job; where
//! a graph spans several streams, each consecutive part is a job that waits for the parts it reads.
//! When all is done the claimed nodes get their values and let their inputs go; after an error they
//! are lazy again, and everything else is as it was.

use crate::array::{Array, NodeRef, Progress, State, Value};
use crate::backend::{self, Buffer, Call, Limit, Operand};
use crate::device::{Device, Stream};
use crate::dtype::{Dtype, Literal};
use crate::error::{Error, ErrorKind, Result};
use crate::observe::{self, Clock, Planned, What};
use crate::op::Primitive;
use crate::plan::collect::{Graph, NodeId, Slot, collect};
use crate::plan::cost::{self, StepCost};
use crate::plan::{Extent, Instr, LoadFrom, Plan, Step, Tape, TapeValue, TapeWork, Work, cache};
use crate::shape::{Layout, Shape, contiguous_strides};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The end of one evaluation, for others to wait for.
#[derive(Debug, Default)]
pub struct Event {
    done: Mutex<Option<Result<()>>>,
    changed: Condvar,
    /// True once somebody who waits asked the evaluation to end early.
    stopped: AtomicBool,
}

thread_local! {
    /// Whether the calling thread wants its evaluations to end early; see [`interruptible`].
    static WANTS_STOP: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// How often a thread that waits or computes asks whether to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// Runs `f`, in which evaluations that the calling thread waits for end early once `wants_stop` says
/// so. It is asked every 50 milliseconds, between steps. The evaluation then fails with kind
/// `Kernel`, and what it was to compute is lazy again. Other threads that wait for the same evaluation
/// get the same error.
pub fn interruptible<R>(wants_stop: fn() -> bool, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<fn() -> bool>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WANTS_STOP.set(self.0);
        }
    }
    let _restore = Restore(WANTS_STOP.replace(Some(wants_stop)));
    f()
}

/// Asks whether to stop, between steps, and reads the clock the less often the shorter steps are.
struct Patience {
    wants_stop: Option<fn() -> bool>,
    asked: Instant,
    /// Steps until the clock is read again, and how many there were the last time.
    left: u32,
    stride: u32,
}

impl Patience {
    /// The most steps between two readings: their cost vanishes beside that of as many steps.
    const LONGEST: u32 = 64;

    fn new() -> Patience {
        Patience { wants_stop: WANTS_STOP.get(), asked: Instant::now(), left: 1, stride: 1 }
    }

    /// True iff the thread wants to stop now.
    fn is_over(&mut self) -> bool {
        let Some(wants_stop) = self.wants_stop else { return false };
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let late = self.asked.elapsed() >= PATIENCE;
        self.stride = if late { 1 } else { (2 * self.stride).min(Patience::LONGEST) };
        self.left = self.stride;
        if late {
            self.asked = Instant::now();
        }
        late && wants_stop()
    }
}

impl Event {
    /// Marks the evaluation as ended.
    pub fn signal(&self, result: Result<()>) {
        *self.done.lock() = Some(result);
        self.changed.notify_all();
    }

    /// Waits for the end and returns how it went.
    ///
    /// # Errors
    /// Those of the evaluation.
    pub fn wait(&self) -> Result<()> {
        let mut done = self.done.lock();
        loop {
            if let Some(result) = &*done {
                return result.clone();
            }
            match WANTS_STOP.get() {
                None => self.changed.wait(&mut done),
                Some(wants_stop) => {
                    let late = self.changed.wait_for(&mut done, PATIENCE).timed_out();
                    // The question may run the user's code, which may want to evaluate.
                    if late && MutexGuard::unlocked(&mut done, wants_stop) {
                        self.stopped.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

impl Array {
    /// Computes the array if it has no data yet, and waits for it.
    ///
    /// # Errors
    /// Whatever a step finds wrong in its data, and a lack of memory.
    #[track_caller]
    pub fn eval(&self) -> Result<()> {
        if self.out().is_ready() { Ok(()) } else { eval(std::slice::from_ref(self)) }
    }
}

/// Computes all of `arrays` in one plan, and waits for them.
///
/// # Errors
/// Whatever a step finds wrong in its data, and a lack of memory.
#[track_caller]
pub fn eval(arrays: &[Array]) -> Result<()> {
    let clock = Clock::start();
    let scheduled = schedule(arrays, true)?;
    let result = scheduled.events.into_iter().try_for_each(|event| event.wait());
    if let Some(seen) = scheduled.seen {
        clock.record(Some(Location::caller()), || seen);
    }
    result
}

/// Begins to compute all of `arrays` in one plan, and returns at once. Errors come with the next
/// call that needs the values.
///
/// # Errors
/// Those of planning: a value is needed inside a function transform, or the plan does not fit in
/// memory.
#[track_caller]
pub fn async_eval(arrays: &[Array]) -> Result<()> {
    let clock = Clock::start();
    if let Some(seen) = schedule(arrays, false)?.seen {
        clock.record(Some(Location::caller()), || seen);
    }
    Ok(())
}

/// Waits until all work of `stream` has run.
///
/// # Errors
/// Kind `BackendUnavailable` if the stream's device is not there.
pub fn synchronize(stream: Stream) -> Result<()> {
    backend::get(stream.device)?.synchronize(stream)
}

/// An evaluation that was handed to the streams.
struct Scheduled {
    /// What to wait for.
    events: Vec<Arc<Event>>,
    /// What to record of it, if something observes.
    seen: Option<What>,
}

/// Hands the work to the streams.
fn schedule(arrays: &[Array], inline: bool) -> Result<Scheduled> {
    loop {
        let clock = Clock::start();
        let graph = collect(arrays)?;
        if graph.nodes.iter().all(|n| n.leaf) {
            return Ok(Scheduled { events: graph.pending, seen: None });
        }
        let (graph, plan, planned) = cache::plan(graph);
        fits(&graph, &plan)?;
        let event = Arc::new(Event::default());
        let claimed = match claim(&graph, &event) {
            Ok(claimed) => claimed,
            Err(other) => {
                other.wait()?;
                continue;
            }
        };
        let segments = segments(&graph, &plan);
        let slots = Mutex::new(vec![None; graph.slots()]);
        let remaining = AtomicUsize::new(segments.len().max(1));
        let failure = Mutex::new(None);
        let finished = event.clone();
        let (seen, observed) =
            observe::active().then(|| observed(&graph, &plan, planned, clock.seconds())).unzip();
        let run = Run { graph, plan, claimed, slots, remaining, failure, finished, observed };
        let run = Arc::new(run);
        if segments.is_empty() {
            run.segment_done(Ok(()));
        }
        let alone = segments.len() == 1;
        for segment in segments {
            let run = Arc::clone(&run);
            let backend = backend::get(segment.stream.device);
            let stream = segment.stream;
            let job = Box::new(move || {
                let finish = Finish(Some(&run));
                finish.with(run.segment(&segment, alone));
            });
            match backend {
                Ok(backend) => backend.submit(stream, inline && alone, job),
                // The job itself meets and reports the missing backend.
                Err(_) => job(),
            }
        }
        return Ok(Scheduled { events: vec![event], seen });
    }
}

/// An error if the plan would take more memory than the limit of its device leaves.
fn fits(graph: &Graph, plan: &Plan) -> Result<()> {
    let Some(&slot) = graph.outputs.first() else { return Ok(()) };
    let device = graph.of(slot).node.stream.device;
    let Ok(backend) = backend::get(device) else { return Ok(()) };
    let limit = backend.limit(device, Limit::Memory);
    cost::check(graph, plan, backend.memory(device).active, limit)
}

/// What observers learn of the steps of one evaluation.
struct Observed {
    evaluation: u64,
    costs: Vec<StepCost>,
}

fn observed(graph: &Graph, plan: &Plan, planned: Planned, planning: f64) -> (What, Observed) {
    let (costs, estimate) = cost::walk(graph, plan);
    let id = observe::fresh_id();
    let size = |&s: &Slot| graph.shape(s).iter().product::<usize>() * graph.dtype(s).size();
    let seen = What::Evaluation {
        id,
        nodes: graph.nodes.len(),
        steps: estimate.steps,
        planned,
        planning,
        peak: estimate.peak,
        results: graph.outputs.iter().map(size).sum::<usize>() as u64,
    };
    (seen, Observed { evaluation: id, costs })
}

/// Makes every node that keeps its value pending on `event`. If another evaluation got hold of one
/// first, all are released and that evaluation's event is returned.
fn claim(graph: &Graph, event: &Arc<Event>) -> std::result::Result<Vec<NodeId>, Arc<Event>> {
    let mut wanted = vec![false; graph.nodes.len()];
    for &slot in &graph.outputs {
        wanted[graph.node_of[slot as usize] as usize] = true;
    }
    let mut claimed = Vec::new();
    for (id, n) in graph.nodes.iter().enumerate() {
        if n.leaf || !(n.held || wanted[id]) {
            continue;
        }
        for (i, output) in n.node.outputs.iter().enumerate() {
            if output.claim(event) {
                continue;
            }
            for output in &n.node.outputs[..i] {
                output.set(State::Lazy);
            }
            release(graph, &claimed);
            return Err(match output.progress() {
                Progress::Pending(other) => other,
                _ => {
                    let done = Event::default();
                    done.signal(Ok(()));
                    Arc::new(done)
                }
            });
        }
        claimed.push(id as NodeId);
    }
    Ok(claimed)
}

fn release(graph: &Graph, claimed: &[NodeId]) {
    for &id in claimed {
        for output in &graph.nodes[id as usize].node.outputs {
            output.set(State::Lazy);
        }
    }
}

/// Consecutive steps of one stream.
struct Segment {
    stream: Stream,
    steps: std::ops::Range<usize>,
    /// The ends of earlier segments, of other streams, whose results this one reads.
    after: SmallVec<[Arc<Event>; 2]>,
    /// For later segments to wait for; none if there are no others.
    done: Option<Arc<Event>>,
}

fn segments(graph: &Graph, plan: &Plan) -> SmallVec<[Segment; 1]> {
    let mut out: SmallVec<[Segment; 1]> = SmallVec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        let stream = step.work.stream(graph);
        match out.last_mut() {
            Some(last) if last.stream == stream => last.steps.end = i + 1,
            _ => out.push(Segment { stream, steps: i..i + 1, after: smallvec![], done: None }),
        }
    }
    if out.len() < 2 {
        return out;
    }
    let mut made_by = vec![usize::MAX; graph.slots()];
    for here in 0..out.len() {
        let mut after = SmallVec::<[usize; 2]>::new();
        for step in &plan.steps[out[here].steps.clone()] {
            for slot in step.work.reads(graph) {
                let maker = made_by[slot as usize];
                if maker != usize::MAX && maker != here && !after.contains(&maker) {
                    after.push(maker);
                }
            }
            for slot in step.work.writes(graph) {
                made_by[slot as usize] = here;
            }
        }
        out[here].after = after.iter().filter_map(|&i| out[i].done.clone()).collect();
        out[here].done = Some(Arc::default());
    }
    out
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

    fn stream(&self, graph: &Graph) -> Stream {
        graph.nodes[self.node(graph) as usize].node.stream
    }

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
}

type Slots = Vec<Option<Value>>;

/// One evaluation under way.
struct Run {
    graph: Graph,
    plan: Arc<Plan>,
    claimed: Vec<NodeId>,
    slots: Mutex<Slots>,
    remaining: AtomicUsize,
    failure: Mutex<Option<Error>>,
    finished: Arc<Event>,
    /// Set iff something observes the evaluation.
    observed: Option<Observed>,
}

/// Ends a segment even if it panics, so that nobody waits for ever.
struct Finish<'a>(Option<&'a Run>);

impl Finish<'_> {
    fn with(mut self, result: Result<()>) {
        if let Some(run) = self.0.take() {
            run.segment_done(result);
        }
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if let Some(run) = self.0 {
            run.segment_done(Err(Error::new(ErrorKind::Kernel, "eval", "a kernel panicked")));
        }
    }
}

/// A step with its operands bound.
struct Bound {
    inputs: SmallVec<[Operand; 4]>,
    outputs: SmallVec<[Operand; 2]>,
    space: Shape,
    results: SmallVec<[(Slot, Value); 2]>,
}

impl Run {
    fn segment(&self, segment: &Segment, alone: bool) -> Result<()> {
        let result = self.wait_for_inputs(segment).and_then(|()| {
            let mut patience = Patience::new();
            if alone {
                let mut slots = self.slots.lock();
                for (i, step) in self.plan.steps.iter().enumerate() {
                    self.go_on(&mut patience)?;
                    let clock = Clock::start();
                    let bound = self.bind(step, &mut slots)?;
                    self.execute(segment.stream, step, &bound)?;
                    self.record(&clock, i);
                    commit(step, bound, &mut slots);
                }
                return Ok(());
            }
            for i in segment.steps.clone() {
                self.go_on(&mut patience)?;
                let step = &self.plan.steps[i];
                let clock = Clock::start();
                let bound = self.bind(step, &mut self.slots.lock())?;
                self.execute(segment.stream, step, &bound)?;
                self.record(&clock, i);
                commit(step, bound, &mut self.slots.lock());
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
        let cost = observed.costs[index];
        clock.record(None, || What::Step {
            evaluation: observed.evaluation,
            index,
            op: if matches!(step.work, Work::Tape(_)) { "tape" } else { n.node.op.name() },
            stream: n.node.stream.to_string(),
            bytes: cost.read + cost.written,
            flops: cost.flops,
            dtype: n.node.outputs[0].dtype,
        });
    }

    fn wait_for_inputs(&self, segment: &Segment) -> Result<()> {
        for event in &self.graph.pending {
            event.wait()?;
        }
        segment.after.iter().try_for_each(|earlier| earlier.wait())
    }

    /// Called once for each segment; the last one publishes the results.
    fn segment_done(&self, result: Result<()>) {
        if let Err(error) = result {
            self.failure.lock().get_or_insert(error);
        }
        if self.remaining.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut slots = std::mem::take(&mut *self.slots.lock());
        let failure = self.failure.lock().take();
        let outcome = match failure {
            Some(error) => Err(error),
            None => self.publish(&mut slots),
        };
        if outcome.is_err() {
            release(&self.graph, &self.claimed);
        }
        drop(slots);
        self.finished.signal(outcome);
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

    fn bind(&self, step: &Step, slots: &mut Slots) -> Result<Bound> {
        let graph = &self.graph;
        let id = step.work.node(graph);
        let n = &graph.nodes[id as usize];
        let device = n.node.stream.device;
        let mut bound = Bound {
            inputs: smallvec![],
            outputs: smallvec![],
            space: Shape::new(),
            results: smallvec![],
        };
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
                    self.output(slot, device, donor, graph.shape(slot), &mut bound)?;
                }
            }
            Work::Tape(work) => self.bind_tape(work, device, slots, &mut bound)?,
            Work::Product { inputs, epilogue, .. } => {
                for &slot in inputs {
                    bound.inputs.push(self.operand(slot, device, slots)?);
                }
                self.bind_tape(epilogue, device, slots, &mut bound)?;
            }
        }
        Ok(bound)
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

fn commit(step: &Step, bound: Bound, slots: &mut Slots) {
    for (slot, value) in bound.results {
        slots[slot as usize] = Some(value);
    }
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
    synchronize(stream)?;
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
    let bytes = literal.bits().to_le_bytes();
    let buffer = backend::get(device)?.upload(device, &bytes[..literal.dtype().size()])?;
    recent.insert((device, literal), buffer.clone());
    Ok(buffer)
}
