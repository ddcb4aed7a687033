//! The jobs of a backend's streams: ordered queues, each with a thread of its own while it has work.
//!
//! Invariant: at most one job of a stream runs at a time, in the order of submission. A job may wait
//! for another stream's, since that one never needs this one's thread. Threads start with the first
//! queued job and end after some idle seconds, so that thousands of streams cost little.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::backend::Job;
use crate::error::{Error, ErrorKind, Result};

/// How long a thread waits for another job before it ends.
const IDLE: Duration = Duration::from_secs(3);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// True iff a job runs, on whichever thread.
    running: bool,
    /// True iff the stream has a thread.
    worker: bool,
    /// How many threads wait until nothing is left to run.
    waiting: usize,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

thread_local! {
    /// The queue whose job this thread runs, as an address.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The jobs of all streams of a device, by the stream's number.
#[derive(Default)]
pub struct Jobs(Mutex<HashMap<u32, Arc<Queue>>>);

impl Jobs {
    fn queue(&self, index: u32) -> Arc<Queue> {
        self.0.lock().entry(index).or_default().clone()
    }

    /// Runs `job` after all earlier ones of the stream: here and now if `inline` is set and the
    /// stream is idle, or if a job of the stream submits it, else on the stream's thread. A job's panic
    /// ends with the job.
    pub fn submit(&self, index: u32, inline: bool, job: Job) {
        let queue = self.queue(index);
        if CURRENT.get() == Arc::as_ptr(&queue).addr() {
            // The job under way may wait for this one.
            return job();
        }
        let mut state = queue.state.lock();
        if inline && !state.running && state.jobs.is_empty() {
            state.running = true;
            drop(state);
            queue.run(job);
            return;
        }
        state.jobs.push_back(job);
        queue.ensure_worker(state);
    }

    /// Waits until no stream has jobs, or for `most`: what a process does before it ends, where a backend's
    /// libraries end with it. No job may call it.
    pub fn finish(&self, most: Duration) {
        let end = Instant::now() + most;
        let queues: Vec<Arc<Queue>> = self.0.lock().values().cloned().collect();
        for queue in queues {
            let mut state = queue.state.lock();
            state.waiting += 1;
            while state.running || !state.jobs.is_empty() {
                if queue.changed.wait_until(&mut state, end).timed_out() {
                    break;
                }
            }
            state.waiting -= 1;
        }
    }

    /// Waits until every job of the stream has run.
    ///
    /// # Errors
    /// Kind `Kernel` if called by a job of that stream, which would wait for itself.
    pub fn synchronize(&self, index: u32) -> Result<()> {
        let queue = self.queue(index);
        if CURRENT.get() == Arc::as_ptr(&queue).addr() {
            let message = format!("a job of stream {index} cannot wait for its own stream");
            return Err(Error::new(ErrorKind::Kernel, "synchronize", message));
        }
        let mut state = queue.state.lock();
        state.waiting += 1;
        while state.running || !state.jobs.is_empty() {
            queue.changed.wait(&mut state);
        }
        state.waiting -= 1;
        Ok(())
    }
}

impl Queue {
    /// Runs a job for which `running` is set already, and clears it.
    fn run(self: &Arc<Queue>, job: Job) {
        let outer = CURRENT.replace(Arc::as_ptr(self).addr());
        // A job reports its errors and its panics through its own event; a panic that gets here
        // has nobody to go to.
        let _ = catch_unwind(AssertUnwindSafe(job));
        CURRENT.set(outer);
        let mut state = self.state.lock();
        state.running = false;
        // The stream's own thread has nothing to wake up for, unless there are jobs: a program that
        // has used it lately would pay for a switch of threads with every evaluation.
        if state.waiting > 0 {
            self.changed.notify_all();
        }
        if !state.jobs.is_empty() {
            self.ensure_worker(state);
        }
    }

    /// Makes sure that somebody will run the queued jobs.
    fn ensure_worker(self: &Arc<Queue>, mut state: parking_lot::MutexGuard<'_, State>) {
        if state.worker {
            self.changed.notify_all();
            return;
        }
        let queue = Arc::clone(self);
        let started =
            std::thread::Builder::new().name("lazulite-stream".into()).spawn(move || queue.serve());
        if started.is_ok() {
            state.worker = true;
            return;
        }
        // No thread to be had: the jobs run here, or when the running one ends.
        if state.running {
            return;
        }
        if let Some(job) = state.jobs.pop_front() {
            state.running = true;
            drop(state);
            self.run(job);
        }
    }

    /// The life of a stream's thread.
    fn serve(self: Arc<Queue>) {
        loop {
            let mut state = self.state.lock();
            while state.running || state.jobs.is_empty() {
                let late = self.changed.wait_for(&mut state, IDLE).timed_out();
                if late && !state.running && state.jobs.is_empty() {
                    state.worker = false;
                    return;
                }
            }
            if let Some(job) = state.jobs.pop_front() {
                state.running = true;
                drop(state);
                self.run(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Event;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn jobs_of_a_stream_run_in_order_and_alone() {
        let jobs = Jobs::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let inside = Arc::new(AtomicBool::new(false));
        for i in 0..500 {
            let (seen, inside) = (seen.clone(), inside.clone());
            jobs.submit(
                7,
                i % 3 == 0,
                Box::new(move || {
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    seen.lock().push(i);
                    inside.store(false, Ordering::SeqCst);
                }),
            );
        }
        jobs.synchronize(7).unwrap();
        assert_eq!(*seen.lock(), (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn an_idle_stream_runs_inline_on_the_caller() {
        let jobs = Jobs::default();
        let here = std::thread::current().id();
        let ran = Arc::new(Mutex::new(None));
        let place = ran.clone();
        jobs.submit(0, true, Box::new(move || *place.lock() = Some(std::thread::current().id())));
        assert_eq!(*ran.lock(), Some(here));
    }

    #[test]
    fn streams_may_wait_for_each_other() {
        let jobs = Jobs::default();
        let (first, second) = (Arc::new(Event::default()), Arc::new(Event::default()));
        let (f, s) = (first.clone(), second.clone());
        jobs.submit(
            1,
            false,
            Box::new(move || {
                f.wait().unwrap();
                s.signal(Ok(()));
            }),
        );
        jobs.submit(2, false, Box::new(move || first.signal(Ok(()))));
        second.wait().unwrap();
        jobs.synchronize(1).unwrap();
        jobs.synchronize(2).unwrap();
    }

    #[test]
    fn a_panic_ends_with_its_job() {
        let jobs = Jobs::default();
        let done = Arc::new(AtomicUsize::new(0));
        for inline in [true, false] {
            jobs.submit(3, inline, Box::new(|| panic!("job")));
            let done = done.clone();
            jobs.submit(
                3,
                inline,
                Box::new(move || {
                    done.fetch_add(1, Ordering::SeqCst);
                }),
            );
        }
        jobs.synchronize(3).unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn finish_waits_for_all_streams_and_no_longer_than_asked() {
        let jobs = Jobs::default();
        let done = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        for stream in 0..3 {
            let done = done.clone();
            let job = move || {
                done.fetch_add(1, Ordering::SeqCst);
            };
            jobs.submit(stream, false, Box::new(job));
        }
        jobs.finish(Duration::from_secs(60));
        assert_eq!(done.load(Ordering::SeqCst), 3);
        jobs.submit(3, false, Box::new(move || assert!(rx.recv().is_err())));
        jobs.finish(Duration::from_millis(1));
        drop(tx);
        jobs.synchronize(3).unwrap();
    }

    #[test]
    fn a_job_of_a_job_runs_within_it() {
        let jobs = Arc::new(Jobs::default());
        let (tx, rx) = std::sync::mpsc::channel();
        let same = jobs.clone();
        let outer = move || {
            let inner = tx.clone();
            same.submit(1, false, Box::new(move || inner.send("inner").unwrap()));
            tx.send("outer").unwrap();
        };
        jobs.submit(1, false, Box::new(outer));
        assert_eq!(rx.iter().collect::<Vec<_>>(), ["inner", "outer"]);
    }

    #[test]
    fn a_job_that_waits_for_its_own_stream_gets_an_error() {
        let (tx, rx) = std::sync::mpsc::channel();
        let jobs = Arc::new(Jobs::default());
        let same = jobs.clone();
        jobs.submit(
            7,
            false,
            Box::new(move || {
                let _ = tx.send(same.synchronize(7));
            }),
        );
        assert_eq!(rx.recv().unwrap().unwrap_err().kind(), ErrorKind::Kernel);
    }

    #[test]
    fn many_threads_and_streams() {
        let jobs = Jobs::default();
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for t in 0..4u32 {
                let (jobs, count) = (&jobs, &count);
                scope.spawn(move || {
                    for i in 0..200u32 {
                        let count = count.clone();
                        jobs.submit(
                            (t + i) % 8,
                            i % 2 == 0,
                            Box::new(move || {
                                count.fetch_add(1, Ordering::SeqCst);
                            }),
                        );
                    }
                });
            }
        });
        (0..8).for_each(|s| jobs.synchronize(s).unwrap());
        assert_eq!(count.load(Ordering::SeqCst), 800);
    }
}
