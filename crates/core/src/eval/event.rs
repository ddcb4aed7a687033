//! The end of an evaluation: waiting for it, and asking for it early.

use crate::error::Result;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The end of one evaluation, for others to wait for.
#[derive(Debug, Default)]
pub struct Event {
    done: Mutex<Option<Result<()>>>,
    changed: Condvar,
    /// True once the evaluation's jobs have their places in the streams.
    begun: AtomicBool,
    /// True once somebody who waits asked the evaluation to end early.
    pub(super) stopped: AtomicBool,
}

thread_local! {
    /// Whether the calling thread wants its evaluations to end early; see [`interruptible`].
    static WANTS_STOP: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// How often a thread that waits or computes asks whether to stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// Runs `f`, in which evaluations that the calling thread waits for end early once `wants_stop` says
/// so. It is asked every 50 milliseconds, between steps. The evaluation then fails with kind
/// `Kernel`, and what it was still to compute is lazy again. Other threads that wait for the same evaluation
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
pub(super) struct Patience {
    wants_stop: Option<fn() -> bool>,
    asked: Instant,
    /// Steps until the clock is read again, and how many there were the last time.
    left: u32,
    stride: u32,
}

impl Patience {
    /// The most steps between two readings: their cost vanishes beside that of as many steps.
    const LONGEST: u32 = 64;

    pub(super) fn new() -> Patience {
        Patience { wants_stop: WANTS_STOP.get(), asked: Instant::now(), left: 1, stride: 1 }
    }

    /// True iff the thread wants to stop now.
    pub(super) fn is_over(&mut self) -> bool {
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

    /// Marks the jobs of the evaluation as queued.
    pub(super) fn begin(&self) {
        // Under the lock, so that nobody looks and then misses the call.
        let _done = self.done.lock();
        self.begun.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits, for a short while, until the jobs of the evaluation have their places: a job that waits
    /// for this evaluation must not come before them in a stream.
    pub(super) fn wait_until_begun(&self) {
        let mut done = self.done.lock();
        while done.is_none() && !self.begun.load(Ordering::Relaxed) {
            self.changed.wait(&mut done);
        }
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
