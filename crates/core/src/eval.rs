//! `eval` = plan, then run.
//!
//! The nodes that somebody may ask for later are claimed first (pending on an [`Event`]), so that
//! other threads wait instead of computing them again. The steps of one stream are one job; where
//! a graph spans several streams, each consecutive part is a job that waits for the parts it reads.
//! When all is done the claimed nodes get their values and let their inputs go. After an error every node
//! whose value is there does, since the buffers that it was made of may have been overwritten; the other
//! claimed ones are lazy again.

mod event;
mod run;

pub use event::{Event, interruptible};
pub(crate) use run::copy_contiguous;

use crate::array::{Array, Progress};
use crate::backend::{self, Job, Limit};
use crate::device::Stream;
use crate::error::Result;
use crate::observe::{self, Clock, Planned, What};
use crate::plan::collect::{Graph, NodeId, Slot, collect};
use crate::plan::cost::{self, StepCost};
use crate::plan::lineage::{Lineage, lineage};
use crate::plan::{Plan, cache};
use parking_lot::Mutex;
use run::{Finish, Run};
use smallvec::{SmallVec, smallvec};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

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

/// Computes all of `arrays` in one plan, and waits for them. On a device with queues of its own,
/// such as a GPU, it waits only until the work is queued: call [`synchronize`] before reading a
/// clock.
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
        graph.pending.iter().for_each(|other| other.wait_until_begun());
        let segments = segments(&graph, &plan);
        let slots = Mutex::new(vec![None; graph.slots()]);
        let remaining = AtomicUsize::new(segments.len().max(1));
        let failure = Mutex::new(None);
        let finished = event.clone();
        let (seen, observed) =
            observe::active().then(|| observed(&graph, &plan, planned, clock.seconds())).unzip();
        let panicked = AtomicBool::new(false);
        let run =
            Run { graph, plan, claimed, slots, remaining, failure, finished, panicked, observed };
        let run = Arc::new(run);
        if segments.is_empty() {
            Finish::new(Arc::clone(&run)).with(|_| Ok(()));
        }
        let alone = segments.len() == 1;
        for segment in segments {
            let run = Arc::clone(&run);
            let backend = backend::get(segment.stream.device);
            let stream = segment.stream;
            let job: Job = Box::new(move || {
                if alone {
                    run.finished.begin();
                }
                Finish::new(run).with(|run| run.segment(&segment, alone));
            });
            match backend {
                Ok(backend) => backend.submit(stream, inline && alone, job),
                // The job itself meets and reports the missing backend.
                Err(_) => job(),
            }
        }
        event.begin();
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
    lineage: Vec<Lineage>,
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
    (seen, Observed { evaluation: id, costs, lineage: lineage(graph, plan) })
}

/// Makes every node that keeps its value pending on `event`, or none: if another evaluation got hold of
/// one first, its event is returned. Claims are made one at a time, so that nobody ever sees a part of
/// one and waits for an evaluation that never begins.
fn claim(graph: &Graph, event: &Arc<Event>) -> std::result::Result<Vec<NodeId>, Arc<Event>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let mut wanted = vec![false; graph.nodes.len()];
    for &slot in &graph.outputs {
        wanted[graph.node_of[slot as usize] as usize] = true;
    }
    let is_kept = |&id: &NodeId| {
        let n = &graph.nodes[id as usize];
        !n.leaf && (n.held || wanted[id as usize])
    };
    let kept: Vec<NodeId> = (0..graph.nodes.len() as NodeId).filter(is_kept).collect();
    let outputs = || kept.iter().flat_map(|&id| &graph.nodes[id as usize].node.outputs);

    let alone = ONE_AT_A_TIME.lock();
    for output in outputs() {
        match output.progress() {
            Progress::Lazy => {}
            Progress::Pending(other) => return Err(other),
            _ => {
                let done = Event::default();
                done.signal(Ok(()));
                return Err(Arc::new(done));
            }
        }
    }
    // Nothing but a claim makes a lazy output anything else.
    for output in outputs() {
        output.claim(event);
    }
    drop(alone);
    Ok(kept)
}

/// Consecutive steps of one stream.
struct Segment {
    stream: Stream,
    steps: std::ops::Range<usize>,
    /// The ends of earlier segments, of other streams, whose results this one reads, or that read what it frees.
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
    if let (true, false, Some(&output)) =
        (out.is_empty(), graph.pending.is_empty(), graph.outputs.first())
    {
        // Nothing is to be computed, but what another evaluation computes is to be waited for.
        let stream = graph.of(output).node.stream;
        out.push(Segment { stream, steps: 0..0, after: smallvec![], done: None });
    }
    if out.len() < 2 {
        return out;
    }
    let mut made_by = vec![usize::MAX; graph.slots()];
    let mut read_by = vec![SmallVec::<[usize; 2]>::new(); graph.slots()];
    for here in 0..out.len() {
        let mut after = SmallVec::<[usize; 2]>::new();
        let mut wait_for = |earlier: usize| {
            if earlier != here && !after.contains(&earlier) {
                after.push(earlier);
            }
        };
        for step in &plan.steps[out[here].steps.clone()] {
            for slot in step.work.reads(graph) {
                let maker = made_by[slot as usize];
                if maker != usize::MAX {
                    wait_for(maker);
                }
                read_by[slot as usize].push(here);
            }
            // What a step frees or writes over, others have read.
            for &slot in &step.frees {
                read_by[slot as usize].iter().for_each(|&reader| wait_for(reader));
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
