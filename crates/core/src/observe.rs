//! What a program does, as it does it: evaluations, steps, reads, copies, promotions and traces, each
//! with its time and the line of the user's program that asked for it.
//!
//! Nothing is recorded, and nothing but one relaxed load is paid, unless an [`Observation`] is
//! under way.

use crate::array::Array;
use crate::dtype::Dtype;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A line of the user's program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How an evaluation came to its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// It was in the cache.
    Found,
    /// The structure was new.
    New,
    /// The structure was known, but a guard failed.
    Guard,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Arrays were computed; the time is from the call until the work was done or queued.
    Evaluation {
        /// Tells the evaluation's steps.
        id: u64,
        /// Nodes of the graph.
        nodes: usize,
        /// Steps of the plan.
        steps: usize,
        /// Whether it was planned anew.
        planned: Planned,
        /// Seconds until the plan was there.
        planning: f64,
        /// The plan's prediction of the bytes allocated at the highest point.
        peak: u64,
        /// Bytes of what was asked for.
        results: u64,
    },
    /// A step ran, or was queued where the device has queues.
    Step {
        /// The evaluation it belongs to.
        evaluation: u64,
        /// Its number in the plan.
        index: usize,
        /// The op, or `tape`.
        op: &'static str,
        /// The stream, as text.
        stream: String,
        /// Bytes read and written, by the plan's account.
        bytes: u64,
        /// Operations, by the plan's account.
        flops: u64,
        /// The type of the result.
        dtype: Dtype,
        /// How many steps must run before it at least, one after the other. Of two steps of one
        /// evaluation with equal depths neither needs the other.
        depth: u32,
        /// Numbers, within the evaluation, of the arrays of more than one element that it reads; a
        /// view has the number of what it shows.
        arrays: SmallVec<[u32; 4]>,
    },
    /// The program read values, and waited for them.
    Read {
        /// How many bytes.
        bytes: u64,
    },
    /// Bytes came from the program to a device.
    Upload {
        /// How many.
        bytes: u64,
    },
    /// An operand was copied between devices.
    Copy {
        /// How many bytes.
        bytes: u64,
    },
    /// An op on a half type and `float32` gives `float32`. It takes no time by itself.
    Promotion {
        /// The op.
        op: &'static str,
        /// Elements of the result.
        elements: u64,
        /// The types of the operands.
        from: [Dtype; 2],
    },
    /// A compiled function was traced.
    Trace {
        /// The function.
        function: u64,
        /// How many recordings the function had before.
        before: usize,
    },
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What.
    pub what: What,
    /// Seconds from the beginning of the observation.
    pub start: f64,
    /// How long it took.
    pub seconds: f64,
    /// The thread, numbered in the order of its first record.
    pub thread: u64,
    /// The line that asked for it; steps have none of their own.
    pub place: Option<Place>,
}

static ACTIVE: AtomicBool = AtomicBool::new(false);
static TURN: Mutex<()> = Mutex::new(());
static SINK: Mutex<Option<Sink>> = Mutex::new(None);
static LOCATOR: OnceLock<fn() -> Option<Place>> = OnceLock::new();

struct Sink {
    began: Instant,
    records: Vec<Record>,
}

/// Records that are kept at most; a program that makes more is not reported beyond them.
const MOST: usize = 4 << 20;

/// The time during which everything is recorded, in all threads.
pub struct Observation {
    _turn: MutexGuard<'static, ()>,
}

/// Begins to record. Observations take turns: a second one waits for the first to end.
pub fn observe() -> Observation {
    let turn = TURN.lock();
    *SINK.lock() = Some(Sink { began: Instant::now(), records: Vec::new() });
    ACTIVE.store(true, Ordering::Release);
    Observation { _turn: turn }
}

impl Observation {
    /// Stops, and returns the records in the order of their ends.
    pub fn finish(self) -> Vec<Record> {
        ACTIVE.store(false, Ordering::Release);
        SINK.lock().take().map(|s| s.records).unwrap_or_default()
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        ACTIVE.store(false, Ordering::Release);
        *SINK.lock() = None;
    }
}

/// Says where the calling thread is in the user's program, for a front door in another language.
/// Only the first call counts.
pub fn set_locator(locator: fn() -> Option<Place>) {
    let _ = LOCATOR.set(locator);
}

/// True iff an observation is under way.
pub(crate) fn active() -> bool {
    ACTIVE.load(Ordering::Relaxed)
}

/// The time of something that may be recorded; free of cost if nothing is.
pub(crate) struct Clock(Option<Instant>);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(active().then(Instant::now))
    }

    /// Seconds since the start; 0 if nothing is recorded.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.map_or(0.0, |t| t.elapsed().as_secs_f64())
    }

    /// Records what happened since the start, for the line at `caller`.
    pub(crate) fn record(&self, caller: Option<&Location<'_>>, what: impl FnOnce() -> What) {
        let Some(start) = self.0 else { return };
        let seconds = start.elapsed().as_secs_f64();
        let place = caller.and_then(|caller| match LOCATOR.get() {
            Some(locator) => locator(),
            None => Some(Place { file: caller.file().into(), line: caller.line() }),
        });
        let (what, thread) = (what(), thread_number());
        let mut guard = SINK.lock();
        if let Some(sink) = guard.as_mut().filter(|s| s.records.len() < MOST) {
            let start = start.saturating_duration_since(sink.began).as_secs_f64();
            sink.records.push(Record { what, start, seconds, thread, place });
        }
    }
}

/// Records an op that gives `float32` because only one of its operands is of a half type.
#[track_caller]
pub(crate) fn promotion(op: &'static str, x: &Array, y: &Array, result: Dtype) {
    if !active() || result != Dtype::F32 {
        return;
    }
    let from = [x.dtype(), y.dtype()];
    if from.contains(&Dtype::F32) && from.iter().any(|d| d.is_half()) {
        let elements = x.len().max(y.len()) as u64;
        let what = || What::Promotion { op, elements, from };
        Clock::start().record(Some(Location::caller()), what);
    }
}

/// Records that a function, which had `before` recordings, was traced since `start`, for front
/// doors with traces of their own.
#[track_caller]
pub fn traced(start: Instant, function: u64, before: usize) {
    let clock = Clock(active().then_some(start));
    clock.record(Some(Location::caller()), || What::Trace { function, before });
}

/// A number that no other caller gets.
pub(crate) fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn thread_number() -> u64 {
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}
