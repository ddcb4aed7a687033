//! One pool of threads for the whole process.
//!
//! A job is a number of tasks, cut by the caller by shape alone, so that results never depend on how
//! many threads take them. The caller works too. Workers spin for some microseconds after a job, and
//! longer while an evaluation is under way, so that the next small kernel finds them awake, and then
//! park. A job that finds the workers busy with another caller's, or that starts inside a task, runs
//! on its caller alone: nothing nests and nothing waits for a lock.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long an idle worker spins before it parks.
const SPIN: Duration = Duration::from_micros(40);
/// How long it spins while somebody holds [`Awake`]: waking takes longer than many kernels do.
const AWAKE: Duration = Duration::from_micros(500);
/// The most tasks that `parallel_for` makes.
const MOST_TASKS: usize = 256;
/// The most threads of the pool, the caller included.
const MOST_THREADS: usize = 256;

/// Set in the gate while a job may be joined.
const OPEN: usize = 1 << 16;
/// One job in the gate's upper part; the lower 16 bits count the workers inside.
const EPOCH: usize = 1 << 17;
const INSIDE: usize = OPEN - 1;

type Call = unsafe fn(*const (), usize);

#[derive(Clone, Copy)]
struct Job {
    data: *const (),
    call: Call,
    tasks: usize,
    /// Workers with an id below this may join.
    workers: usize,
    /// The core of the caller.
    core: usize,
}

struct Worker {
    thread: Thread,
    asleep: &'static AtomicBool,
}

struct Pool {
    /// Held by the caller whose job the workers see.
    busy: AtomicBool,
    gate: AtomicUsize,
    job: UnsafeCell<Job>,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    workers: Mutex<Vec<Worker>>,
    threads: AtomicUsize,
    /// How many [`Awake`] there are.
    awake: AtomicUsize,
}

// SAFETY: the pointer in a job is to a closure that may be shared.
unsafe impl Send for Pool {}
// SAFETY: `job` is written only by the holder of `busy` while the gate is closed and empty, and read
// by workers only after they have joined through the open gate, which orders the two.
unsafe impl Sync for Pool {}

thread_local! {
    /// True iff this thread is inside a task.
    static INSIDE_TASK: Cell<bool> = const { Cell::new(false) };
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let asked = std::env::var("LAZULITE_NUM_THREADS").ok().and_then(|s| s.trim().parse().ok());
        let threads = match asked {
            Some(n) if n > 0 => n,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get()),
        };
        unsafe fn nothing(_: *const (), _: usize) {}
        Pool {
            busy: AtomicBool::new(false),
            gate: AtomicUsize::new(0),
            job: UnsafeCell::new(Job {
                data: std::ptr::null(),
                call: nothing,
                tasks: 0,
                workers: 0,
                core: usize::MAX,
            }),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            workers: Mutex::new(Vec::new()),
            threads: AtomicUsize::new(threads.min(MOST_THREADS)),
            awake: AtomicUsize::new(0),
        }
    })
}

/// While it lives, more jobs are to be expected soon.
pub(crate) struct Awake(());

impl Awake {
    pub(crate) fn new() -> Awake {
        pool().awake.fetch_add(1, Ordering::Relaxed);
        Awake(())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        pool().awake.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of threads that a job may use, its caller included: `LAZULITE_NUM_THREADS`, or the
/// cores that this process may use, until `set_num_threads` says otherwise.
pub fn num_threads() -> usize {
    pool().threads.load(Ordering::Relaxed)
}

/// Sets the number of threads for jobs that start later, between 1 and 256. Results do not change.
pub fn set_num_threads(n: usize) {
    pool().threads.store(n.clamp(1, MOST_THREADS), Ordering::Relaxed);
}

/// Calls `task(0)` to `task(tasks - 1)`, each once, on any threads, and returns when all have
/// returned.
///
/// # Panics
/// With the payload of the first task that panicked, after all tasks have ended.
pub fn run(tasks: usize, task: &(impl Fn(usize) + Sync)) {
    // SAFETY: `call_of` gives the function for this pointer, and the closure outlives the call.
    unsafe { run_job(tasks, std::ptr::from_ref(task).cast(), call_of(task)) }
}

/// `run` behind pointers: one copy serves all kernels.
///
/// # Safety
/// `call` may be called with `data` from any thread until this returns.
unsafe fn run_job(tasks: usize, data: *const (), call: Call) {
    if tasks == 0 {
        return;
    }
    let p = pool();
    let threads = p.threads.load(Ordering::Relaxed).min(tasks);
    if threads <= 1
        || INSIDE_TASK.get()
        || p.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        // SAFETY: the caller's promise.
        (0..tasks).for_each(|i| unsafe { call(data, i) });
        return;
    }
    let job = Job { data, call, tasks, workers: threads - 1, core: current_core() };
    // SAFETY: this thread holds `busy`, and the last job's holder left the gate closed and empty.
    unsafe { *p.job.get() = job };
    p.next.store(0, Ordering::Relaxed);
    p.gate.fetch_add(EPOCH + OPEN, Ordering::SeqCst);
    p.wake(threads - 1);
    INSIDE_TASK.set(true);
    p.work(job);
    INSIDE_TASK.set(false);
    p.gate.fetch_sub(OPEN, Ordering::AcqRel);
    let mut spins = 0u32;
    while p.gate.load(Ordering::Acquire) & INSIDE != 0 {
        pause(&mut spins);
    }
    let panic = p.panic.lock().take();
    p.busy.store(false, Ordering::Release);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// The function that calls a closure of this type behind a pointer.
fn call_of<F: Fn(usize)>(_: &F) -> Call {
    unsafe fn call<F: Fn(usize)>(f: *const (), i: usize) {
        // SAFETY: `f` points to the closure of the job, which outlives it.
        unsafe { (*f.cast::<F>())(i) }
    }
    call::<F>
}

/// Calls `f` with ranges that cover `0..n` in order of their start, each on any thread. Bounds are
/// multiples of `grain` (but for the last), and depend on `n` and `grain` alone.
///
/// # Panics
/// As `run`.
pub fn parallel_for(n: usize, grain: usize, f: impl Fn(Range<usize>) + Sync) {
    if n == 0 {
        return;
    }
    let grain = grain.max(1);
    if n <= grain {
        return f(0..n);
    }
    let chunk = n.div_ceil(grain).div_ceil(MOST_TASKS) * grain;
    run(n.div_ceil(chunk), &|i| f(i * chunk..n.min((i + 1) * chunk)));
}

impl Pool {
    /// Takes tasks until none is left. A panic is kept for the caller.
    fn work(&self, job: Job) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= job.tasks {
                return;
            }
            // SAFETY: the closure lives until `run` returns, and `run` waits for every thread that
            // is in here.
            let done = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(job.data, i) }));
            if let Err(payload) = done {
                self.panic.lock().get_or_insert(payload);
            }
        }
    }

    /// Starts missing workers and wakes those of the first `n` that sleep.
    fn wake(&'static self, n: usize) {
        let mut workers = self.workers.lock();
        while workers.len() < n {
            let id = workers.len();
            let asleep: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
            let started = std::thread::Builder::new()
                .name(format!("lazulite-{id}"))
                .spawn(move || self.serve(id, asleep));
            match started {
                Ok(handle) => workers.push(Worker { thread: handle.thread().clone(), asleep }),
                // Without the worker the job is done by fewer threads.
                Err(_) => break,
            }
        }
        for w in workers.iter().take(n) {
            if w.asleep.swap(false, Ordering::SeqCst) {
                w.thread.unpark();
            }
        }
    }

    /// The life of a worker.
    fn serve(&self, id: usize, asleep: &AtomicBool) {
        INSIDE_TASK.set(true);
        let mut seen = 0;
        loop {
            let gate = self.next_job(seen, asleep);
            seen = gate / EPOCH;
            // Join only if the job is still the same and open.
            let joined = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |g| {
                (g / EPOCH == seen && g & OPEN != 0).then_some(g + 1)
            });
            if joined.is_err() {
                continue;
            }
            // SAFETY: the gate was open when this worker joined, and the job stays until it leaves.
            let job = unsafe { *self.job.get() };
            if id < job.workers {
                leave_core(job.core);
                self.work(job);
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open gate of another job than `seen`, and returns it.
    fn next_job(&self, seen: usize, asleep: &AtomicBool) -> usize {
        let is_new = |g: usize| g & OPEN != 0 && g / EPOCH != seen;
        loop {
            let start = Instant::now();
            let mut spins = 0u32;
            loop {
                let gate = self.gate.load(Ordering::Acquire);
                if is_new(gate) {
                    return gate;
                }
                let awake = self.awake.load(Ordering::Relaxed) > 0;
                if start.elapsed() >= if awake { AWAKE } else { SPIN } {
                    break;
                }
                pause(&mut spins);
            }
            // Announce sleep first, then look again, so that no wake-up is lost.
            asleep.store(true, Ordering::SeqCst);
            let gate = self.gate.load(Ordering::SeqCst);
            if is_new(gate) {
                asleep.store(false, Ordering::SeqCst);
                return gate;
            }
            while asleep.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
    }
}

/// Waits a moment, and after some moments lets other threads have this core: the one that is waited
/// for may be among them.
fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins > 100 && (*spins).is_multiple_of(8) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

#[cfg(target_os = "linux")]
fn current_core() -> usize {
    // SAFETY: no arguments; a failure is negative.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(usize::MAX)
}

/// Moves this worker off the caller's core, where the kernel likes to wake it: the balancer would
/// take milliseconds to part the two (a product of 50 microseconds was five times slower).
#[cfg(target_os = "linux")]
fn leave_core(core: usize) {
    if core >= 1024 || current_core() != core {
        return;
    }
    // SAFETY: `cpu_set_t` is plain bits; its size is passed along; process 1 thread 0 is the caller.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        // The process's main thread tells which cores are allowed at all.
        if libc::sched_getaffinity(libc::getpid(), size, &mut set) == 0 && libc::CPU_COUNT(&set) > 1
        {
            libc::CPU_CLR(core, &mut set);
            libc::sched_setaffinity(0, size, &set);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn current_core() -> usize {
    usize::MAX
}

#[cfg(not(target_os = "linux"))]
fn leave_core(_: usize) {}

/// A pointer that a job may send to its threads, each of which writes a part of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedPtr<T>(*mut T);

// SAFETY: the users of the pointer name the disjoint parts that their threads touch.
unsafe impl<T: Send> Send for SharedPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedPtr<T> {}

impl<T> SharedPtr<T> {
    pub(crate) fn new(p: *mut T) -> Self {
        SharedPtr(p)
    }

    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counts(tasks: usize) -> Vec<u32> {
        let hits: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
        run(tasks, &|i| {
            hits[i].fetch_add(1, Ordering::Relaxed);
        });
        hits.into_iter().map(AtomicU32::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for tasks in [0, 1, 2, 3, 7, 100, 1000] {
            for _ in 0..50 {
                assert!(counts(tasks).iter().all(|&c| c == 1), "{tasks} tasks");
            }
        }
    }

    #[test]
    fn callers_on_many_threads_and_nested_calls_do_not_wait_for_each_other() {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..200 {
                        let total = AtomicUsize::new(0);
                        run(5, &|i| {
                            run(3, &|j| {
                                total.fetch_add(i * 3 + j, Ordering::Relaxed);
                            });
                        });
                        assert_eq!(total.into_inner(), (0..15).sum());
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        for bad in [0, 3, 15] {
            let ran = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                run(16, &|i| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    assert!(i != bad, "task {bad}");
                });
            }));
            let text = *result.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(text, format!("task {bad}"));
            assert!(counts(64).iter().all(|&c| c == 1));
        }
    }

    #[test]
    fn ranges_cover_and_respect_the_grain() {
        for (n, grain) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 1), (100_000, 7), (99, 100)] {
            let seen = Mutex::new(vec![]);
            parallel_for(n, grain, |r| seen.lock().push(r));
            let mut seen = seen.into_inner();
            seen.sort_by_key(|r| r.start);
            let mut at = 0;
            for r in &seen {
                assert_eq!(r.start, at, "{n} {grain}");
                assert!(r.end == n || r.end % grain == 0, "{n} {grain} {r:?}");
                at = r.end;
            }
            assert_eq!(at, n);
        }
    }
}
