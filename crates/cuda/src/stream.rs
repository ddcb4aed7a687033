//! Streams: one CUDA stream for each stream of lazulite, and the order between them.
//!
//! Work is counted: each step takes the next ticket of its stream, and blocks of memory remember
//! the tickets that use them. Only a step that meets a use on another stream makes its stream wait,
//! and so does a read by the host: through the event of the job that made the use, or one recorded at
//! that moment. Steps of one stream cost no events.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use lazulite_core::backend::{Buffer, Operand};
use lazulite_core::{Dtype, Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::allocator::DeviceMemory;
use crate::device::Gpu;
use crate::driver::{self, CUdeviceptr, CUstream, Event};
use crate::held::Held;
use crate::{random, record};

/// The number of the stream that copies from the host; no stream of the engine has it.
pub(crate) const TRANSFER: u32 = u32::MAX;
/// The number of the stream that copies to the host.
pub(crate) const READS: u32 = u32::MAX - 1;

/// What a kernel reports when it meets bad data; lies in pinned memory. `code` is 0 while all is
/// well, else 1 + the place of the op's name in [`OPS`].
#[repr(C)]
struct Fault {
    code: u64,
    index: i64,
    axis: i64,
    size: i64,
}

/// The ops whose kernels check their data.
pub(crate) const OPS: [&str; 15] = [
    "gather",
    "take_along_axis",
    "dynamic_slice",
    "scatter",
    "put_along_axis",
    "dynamic_slice_update",
    "masked_scatter",
    "gather_mm",
    "gather_qmm",
    "cholesky",
    "solve",
    "svd",
    "eigh",
    "eig",
    "index",
];

/// A CUDA stream with its count of work.
pub(crate) struct Queue {
    pub index: u32,
    raw: CUstream,
    tickets: AtomicU64,
    /// Steps under way, whose work may not be in the stream yet.
    under_way: AtomicU64,
    /// The ends of the latest jobs: all tickets up to the number are done when the event is.
    ends: Mutex<VecDeque<(u64, Arc<Event>)>>,
    /// For each other stream, the ticket up to which this one has waited for it.
    seen: Mutex<FxHashMap<u32, u64>>,
    fault: *mut Fault,
    /// What may be one launch with what comes next.
    waiting: Mutex<Option<Held>>,
    /// What went wrong with launches that waited.
    refused: Mutex<Option<Error>>,
    /// Zeros, which kernels that count their blocks leave as they found them.
    counters: OnceLock<CUdeviceptr>,
}

/// How many ends of jobs a stream remembers.
const ENDS: usize = 8;

/// How many counters a stream has.
pub(crate) const COUNTERS: usize = 1 << 14;

// SAFETY: CUDA streams may be used from any thread, and the fault record is only read and written
// through volatile accesses.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A new stream of the current context.
    pub fn new(index: u32) -> Result<Queue> {
        let raw = driver::create_stream()?;
        let fault = driver::allocate_pinned(size_of::<Fault>())?.cast::<Fault>();
        // SAFETY: the allocation is large enough and aligned, and nobody else has it yet.
        unsafe { fault.write_volatile(Fault { code: 0, index: 0, axis: 0, size: 0 }) };
        Ok(Queue {
            index,
            raw,
            tickets: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            ends: Mutex::default(),
            seen: Mutex::default(),
            fault,
            waiting: Mutex::default(),
            refused: Mutex::default(),
            counters: OnceLock::new(),
        })
    }

    /// The address of [`COUNTERS`] words that are zero between kernels.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    pub fn counters(&self) -> Result<CUdeviceptr> {
        if let Some(&at) = self.counters.get() {
            return Ok(at);
        }
        let at = driver::allocate(COUNTERS * 4)?;
        // SAFETY: the block was just made, with this size.
        unsafe { driver::fill_zero(at, COUNTERS * 4, self.raw())? };
        // Another thread may have been first; then this block stays unused until the process ends.
        Ok(*self.counters.get_or_init(|| at))
    }

    /// The driver's handle, after all launches that wait.
    pub fn raw(&self) -> CUstream {
        self.flush();
        self.handle()
    }

    /// The driver's handle; that of the recording where the calling thread records.
    pub fn handle(&self) -> CUstream {
        record::stream(self.index).unwrap_or(self.raw)
    }

    /// Changes what waits (the calling thread's own, if it records), and queues what `change` returns.
    fn with_waiting(&self, change: impl FnOnce(&mut Option<Held>) -> Option<Held>) {
        if record::active() {
            let held = record::with_waiting(change);
            return self.hand_over(held);
        }
        // Under the lock, so that it keeps its place before what other threads launch.
        let mut waiting = self.waiting.lock();
        let held = change(&mut waiting);
        self.hand_over(held);
    }

    /// Lets work wait for what it may join. The job under way ends with a [`Queue::flush`].
    pub fn hold(&self, work: Held) {
        self.with_waiting(|waiting| match waiting.take() {
            None => waiting.replace(work),
            Some(held) => {
                let (held, rest) = held.join(work);
                match rest {
                    None => waiting.replace(held),
                    Some(rest) => {
                        *waiting = Some(rest);
                        Some(held)
                    }
                }
            }
        });
    }

    /// Queues what waits.
    pub fn flush(&self) {
        self.with_waiting(Option::take);
    }

    fn hand_over(&self, held: Option<Held>) {
        if let Some(Err(error)) = held.map(|held| held.launch(self)) {
            self.refused.lock().get_or_insert(error);
        }
    }

    /// Runs a job, after which nothing waits.
    pub fn job(&self, job: impl FnOnce()) {
        /// Ends the job even if it panics.
        struct End<'a>(&'a Queue);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.flush();
                if let Err(error) = self.0.end_job() {
                    self.0.refused.lock().get_or_insert(error);
                }
            }
        }
        let _end = End(self);
        job();
    }

    /// Notes the end of a job.
    fn end_job(&self) -> Result<()> {
        let ticket = self.tickets.load(Ordering::SeqCst);
        // Another thread's step may have its ticket and not be queued yet.
        if record::active() || self.under_way.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let mut ends = self.ends.lock();
        if ends.back().map_or(0, |end| end.0) == ticket {
            return Ok(());
        }
        let mut event = None;
        if ends.len() == ENDS
            && let Some((_, oldest)) = ends.pop_front()
        {
            // Whoever waits for it keeps it.
            event = Arc::try_unwrap(oldest).ok();
        }
        let event = event.map_or_else(Event::new, Ok)?;
        event.record(self.raw)?;
        ends.push_back((ticket, Arc::new(event)));
        Ok(())
    }

    /// The first end of a job by which the step of a ticket is done; none if it was not recorded.
    fn end_of(&self, ticket: u64) -> Option<Arc<Event>> {
        let ends = self.ends.lock();
        ends.iter().find(|end| end.0 >= ticket).map(|end| Arc::clone(&end.1))
    }

    /// Waits for the step of a ticket, and for as little after it as is known of; reports what the work that
    /// has run found wrong.
    ///
    /// # Errors
    /// As [`Queue::synchronize`].
    pub fn wait_for(&self, ticket: u64) -> Result<()> {
        match self.end_of(ticket) {
            Some(end) => end.wait()?,
            None => driver::synchronize(self.raw())?,
        }
        self.report()
    }

    /// The address at which kernels report bad data.
    pub fn fault_address(&self) -> CUdeviceptr {
        self.fault as CUdeviceptr
    }

    /// Waits until all work has run, and reports what it found wrong.
    ///
    /// # Errors
    /// Kind `Kernel` if the device failed, kind `Axis` or `Argument` for bad data.
    pub fn synchronize(&self) -> Result<()> {
        record::refuse("synchronize")?;
        driver::synchronize(self.raw())?;
        self.report()
    }

    /// What the work that has run found wrong.
    ///
    /// # Errors
    /// As [`Queue::synchronize`].
    pub fn report(&self) -> Result<()> {
        if let Some(error) = self.refused.lock().take() {
            return Err(error);
        }
        // SAFETY: the record lives as long as the stream.
        let fault = unsafe { self.fault.read_volatile() };
        if fault.code == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { self.fault.write_volatile(Fault { code: 0, index: 0, axis: 0, size: 0 }) };
        let op = OPS.get(fault.code as usize - 1).copied().unwrap_or("index");
        let not_factored = |op, what: &str| Error::new(ErrorKind::Kernel, op, what.to_string());
        Err(match op {
            "masked_scatter" => Error::argument(
                op,
                format!("{} elements are under the mask, but src has {}", fault.index, fault.size),
            ),
            "cholesky" => not_factored(op, "a matrix is not positive definite"),
            "solve" => not_factored(op, "a matrix is singular"),
            "svd" | "eigh" | "eig" => not_factored(op, "the iteration did not converge"),
            _ => Error::index(op, fault.index, fault.axis, fault.size as usize),
        })
    }
}

/// One step's view of its stream: operands become addresses, in the right order of work.
pub(crate) struct Launch<'a> {
    pub gpu: &'a Gpu,
    pub queue: &'a Queue,
    ticket: u64,
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        self.queue.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

fn foreign() -> Error {
    Error::new(ErrorKind::Kernel, "cuda", "an operand is not in device memory")
}

impl<'a> Launch<'a> {
    /// The next step of `queue`, which is under way until the value is dropped.
    pub fn new(gpu: &'a Gpu, queue: &'a Queue) -> Launch<'a> {
        queue.under_way.fetch_add(1, Ordering::SeqCst);
        let ticket = queue.tickets.fetch_add(1, Ordering::SeqCst) + 1;
        Launch { gpu, queue, ticket }
    }

    /// Makes this stream wait for a use on another one.
    fn follow(&self, (stream, ticket): (u32, u64)) -> Result<()> {
        if stream == self.queue.index {
            return Ok(());
        }
        let mut seen = self.queue.seen.lock();
        if seen.get(&stream).is_some_and(|&s| s >= ticket) {
            return Ok(());
        }
        let other = self.gpu.queue(stream)?;
        // All tickets up to it are in the queue by now, since a use is noted by the thread that queues
        // it, before others can see it.
        if record::active() {
            // A replay does not wait for what is done already.
            driver::synchronize(other.raw)?;
        } else if let Some(end) = other.end_of(ticket) {
            end.hold_up(self.queue.raw())?;
        } else {
            driver::wait_for(self.queue.raw(), other.raw())?;
        }
        seen.insert(stream, ticket);
        Ok(())
    }

    /// The address of the first element of an input.
    pub fn read(&self, operand: &Operand) -> Result<CUdeviceptr> {
        let memory = operand.buffer.downcast::<DeviceMemory>().ok_or_else(foreign)?;
        self.settle(memory)?;
        self.share(memory)?;
        if memory.is_outside() {
            record::keep(memory.address(), &operand.buffer);
        }
        Ok(memory.address() + (operand.layout.offset * operand.dtype.size()) as u64)
    }

    /// True iff no work that may still run when this step begins writes the operand's block.
    pub fn is_settled(&self, operand: &Operand) -> bool {
        let memory = operand.buffer.downcast::<DeviceMemory>();
        memory.is_some_and(|m| record::is_settled(m.address()) && m.pending.lock().is_none())
    }

    /// Makes this step a reader of a block.
    pub fn share(&self, memory: &DeviceMemory) -> Result<()> {
        let mut uses = memory.uses.lock();
        if let Some(writer) = uses.writer {
            self.follow(writer)?;
        }
        uses.note(self.queue.index, self.ticket);
        Ok(())
    }

    /// Notes that work before this step used a block.
    pub fn note_use(&self, memory: &DeviceMemory) {
        memory.uses.lock().note(self.queue.index, self.ticket);
    }

    /// The address of an output.
    pub fn write(&self, operand: &Operand) -> Result<CUdeviceptr> {
        let memory = operand.buffer.downcast::<DeviceMemory>().ok_or_else(foreign)?;
        self.settle(memory)?;
        self.own(memory)?;
        memory.literal.lock().take();
        memory.logarithms.lock().take();
        Ok(memory.address() + (operand.layout.offset * operand.dtype.size()) as u64)
    }

    /// Writes what is pending for a block.
    pub fn settle(&self, memory: &DeviceMemory) -> Result<()> {
        let pending = memory.pending.lock().take();
        match pending {
            None => Ok(()),
            Some(random) => {
                self.own(memory)?;
                random::fill(self, &random.key, random.words, memory.address())
            }
        }
    }

    /// Makes this step the writer of a block.
    pub fn own(&self, memory: &DeviceMemory) -> Result<()> {
        record::note_written(memory.address());
        let mut uses = memory.uses.lock();
        for &earlier in &uses.all {
            self.follow(earlier)?;
        }
        uses.writer = Some((self.queue.index, self.ticket));
        uses.landed = None;
        uses.all.clear();
        uses.note(self.queue.index, self.ticket);
        Ok(())
    }

    /// Memory for the time of this step.
    pub fn scratch(&self, bytes: usize) -> Result<DeviceMemory> {
        let memory = self.gpu.allocator.allocate(bytes)?;
        self.own(&memory)?;
        Ok(memory)
    }

    /// A contiguous array for the time of this step.
    pub fn temporary(&self, dtype: Dtype, shape: &[usize]) -> Result<Operand> {
        let layout = lazulite_core::shape::Layout::contiguous(shape);
        let buffer: Buffer = self.gpu.allocator.buffer(layout.len() * dtype.size())?;
        Ok(Operand { buffer, dtype, layout })
    }
}
