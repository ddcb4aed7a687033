//! Device memory: blocks of plain device memory, kept for reuse, with exact counters.
//!
//! A block is free for new work as soon as the host lets it go, although kernels that use it may
//! still be queued: on the same stream the order of the queue keeps them apart, and another stream
//! first waits for the uses that the block remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lazulite_core::backend::{Buffer, Limit, Memory, MemoryStats, Operand};
use lazulite_core::{Device, Error, ErrorKind, Literal, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::driver::{self, CUdeviceptr, Context};
use crate::landing::Landed;
use crate::record::{self, Pool};
use crate::stream::Queue;

/// The position of a piece of work in a stream: the stream's number and its count of work then.
pub(crate) type Use = (u32, u64);

/// Who wrote and who reads a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses {
    /// The last step that wrote it.
    pub writer: Option<Use>,
    /// The last use on each stream, of any kind.
    pub all: SmallVec<[Use; 2]>,
    /// The same bytes in the host's memory, since the last step that wrote the block.
    pub landed: Option<Landed>,
}

impl Uses {
    /// Notes a use; a later one on the same stream replaces an earlier one.
    pub fn note(&mut self, stream: u32, ticket: u64) {
        match self.all.iter_mut().find(|u| u.0 == stream) {
            Some(u) => u.1 = u.1.max(ticket),
            None => self.all.push((stream, ticket)),
        }
    }
}

/// Random words that are not written yet: whoever reads the memory makes them, and a kernel that only
/// needs them once makes them in registers.
#[derive(Clone)]
pub(crate) struct RandomWords {
    /// One key, contiguous.
    pub key: Operand,
    /// How many words there are; the memory holds no more.
    pub words: usize,
    /// The stream that is to write them where no stream reads them.
    pub stream: u32,
}

/// What attention knows of its result besides, for its gradients.
#[derive(Clone)]
pub(crate) struct Logarithms {
    /// Scale, flags and length of a head's row.
    pub of: (u64, u32, usize),
    /// The logarithms to base 2 of the softmax's sums, `(b * h, length)`.
    pub at: Operand,
}

/// A buffer in device memory.
pub(crate) struct DeviceMemory {
    device: Device,
    at: CUdeviceptr,
    size: usize,
    pub uses: Mutex<Uses>,
    /// The number that the memory holds, until somebody writes to it.
    pub literal: Mutex<Option<Literal>>,
    /// Of a result of attention, until somebody else writes to it: what its gradients need.
    pub logarithms: Mutex<Option<Logarithms>>,
    /// What is to be written before anything reads.
    pub pending: Mutex<Option<RandomWords>>,
    home: Home,
}

/// Where memory goes when its last handle is dropped.
enum Home {
    /// To the allocator that gave a block of `block` bytes.
    Allocator { block: usize, allocator: Arc<Allocator> },
    /// To the pool of a recording. The memory is empty only while it is dropped.
    Pool { memory: Option<Box<DeviceMemory>>, pool: Arc<Pool> },
    /// Nowhere: somebody else has it.
    Alias,
}

impl DeviceMemory {
    /// The address of the first byte.
    pub fn address(&self) -> CUdeviceptr {
        self.at
    }

    /// A handle on memory that somebody else has.
    pub fn alias(device: Device, at: CUdeviceptr, size: usize) -> DeviceMemory {
        let (uses, pending) = (Mutex::default(), Mutex::new(None));
        let (literal, logarithms) = (Mutex::default(), Mutex::default());
        DeviceMemory { device, at, size, uses, literal, logarithms, pending, home: Home::Alias }
    }

    /// True iff the handle was made by [`DeviceMemory::alias`].
    pub fn is_alias(&self) -> bool {
        matches!(self.home, Home::Alias)
    }

    /// True iff the memory belongs to a recording.
    pub fn is_pooled(&self) -> bool {
        matches!(self.home, Home::Pool { .. })
    }

    /// True iff no recording has to do with the memory.
    pub fn is_outside(&self) -> bool {
        matches!(self.home, Home::Allocator { .. })
    }
}

impl Memory for DeviceMemory {
    fn device(&self) -> Device {
        self.device
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host_bytes(&self) -> Option<&[u8]> {
        None
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        match &mut self.home {
            Home::Allocator { block, allocator } => {
                let mut uses = std::mem::take(self.uses.get_mut());
                uses.landed = None;
                allocator.release(self.at, self.size, *block, uses);
            }
            Home::Pool { memory, pool } => {
                if let Some(mut memory) = memory.take() {
                    *memory.uses.get_mut() = std::mem::take(self.uses.get_mut());
                    pool.give(*memory);
                }
            }
            Home::Alias => {}
        }
    }
}

#[derive(Default)]
struct State {
    free: BTreeMap<usize, Vec<(CUdeviceptr, Uses)>>,
    active: usize,
    peak: usize,
    cache: usize,
    memory_limit: usize,
    cache_limit: usize,
    wired_limit: usize,
}

/// The allocator of one device.
pub(crate) struct Allocator {
    device: Device,
    context: Context,
    state: Mutex<State>,
    poisoned: AtomicBool,
    /// The device's streams: work that waits to be queued may use blocks that are free.
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// The size of the block for a request: a multiple of an eighth of its power of two, so that arrays
/// that grow a little reuse blocks, at most 12.5 % larger than asked.
fn block_size(bytes: usize) -> usize {
    let bytes = bytes.max(512);
    let step = (bytes.next_power_of_two() / 16).max(512);
    bytes.div_ceil(step) * step
}

impl Allocator {
    /// The allocator of a device with `total` bytes.
    pub fn new(device: Device, context: Context, total: usize) -> Allocator {
        let limit = total / 20 * 19;
        let state =
            State { memory_limit: limit, cache_limit: limit, wired_limit: 0, ..State::default() };
        Allocator {
            device,
            context,
            state: Mutex::new(state),
            poisoned: AtomicBool::new(false),
            queues: Mutex::default(),
        }
    }

    /// Tells of a stream of the device.
    pub fn serve(&self, queue: Arc<Queue>) {
        self.queues.lock().push(queue);
    }

    /// Queues all work that waits: the driver must know of it before it frees what it uses.
    fn flush(&self) {
        self.queues.lock().iter().for_each(|queue| queue.flush());
    }

    /// Uninitialised memory; that of the recording where the calling thread records.
    ///
    /// # Errors
    /// Kind `OutOfMemory` if the limit or the device does not allow it.
    pub fn allocate(self: &Arc<Allocator>, bytes: usize) -> Result<DeviceMemory> {
        let Some(pool) = record::pool() else { return self.allocate_outside(bytes) };
        let memory = match pool.take(bytes) {
            Some(memory) => memory,
            None => self.allocate_outside(bytes)?,
        };
        let uses = memory.uses.lock().clone();
        Ok(DeviceMemory {
            device: self.device,
            at: memory.at,
            size: bytes,
            uses: Mutex::new(uses),
            literal: Mutex::default(),
            logarithms: Mutex::default(),
            pending: Mutex::new(None),
            home: Home::Pool { memory: Some(Box::new(memory)), pool },
        })
    }

    /// Uninitialised memory that belongs to no recording.
    ///
    /// # Errors
    /// As [`Allocator::allocate`].
    pub fn allocate_outside(self: &Arc<Allocator>, bytes: usize) -> Result<DeviceMemory> {
        let block = block_size(bytes);
        let (at, block, uses) = self.block(bytes, block)?;
        if self.poisoned.load(Ordering::Relaxed) && !record::active() {
            self.flush();
            driver::fill_ones(at, block)?;
        }
        Ok(DeviceMemory {
            device: self.device,
            at,
            size: bytes,
            uses: Mutex::new(uses),
            literal: Mutex::default(),
            logarithms: Mutex::default(),
            pending: Mutex::new(None),
            home: Home::Allocator { block, allocator: Arc::clone(self) },
        })
    }

    /// From now on new blocks are full of ones, so that a test sees elements that no kernel wrote.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// As [`Allocator::allocate`], as a handle.
    pub fn buffer(self: &Arc<Allocator>, bytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(self.allocate(bytes)?))
    }

    fn block(&self, bytes: usize, block: usize) -> Result<(CUdeviceptr, usize, Uses)> {
        let mut state = self.state.lock();
        if state.active + bytes > state.memory_limit {
            let message = format!(
                "{bytes} bytes on {}: {} bytes are live, and the limit is {}",
                self.device, state.active, state.memory_limit
            );
            return Err(Error::new(ErrorKind::OutOfMemory, "allocate", message));
        }
        let near = state.free.range(block..=block + block / 4).next().map(|(&size, _)| size);
        let found = match near {
            Some(size) => {
                let list = state.free.get_mut(&size);
                let taken = list.and_then(|l| l.pop());
                if state.free.get(&size).is_some_and(|l| l.is_empty()) {
                    state.free.remove(&size);
                }
                taken.map(|(at, uses)| (at, size, uses))
            }
            None => None,
        };
        let got = match found {
            Some((at, size, uses)) => {
                state.cache -= size;
                (at, size, uses)
            }
            None => {
                self.context.bind()?;
                if state.active + state.cache + block > state.memory_limit {
                    self.drain(&mut state);
                }
                let at = driver::allocate(block).or_else(|_| {
                    self.drain(&mut state);
                    driver::allocate(block)
                });
                let at = at.map_err(|error| {
                    let message = format!(
                        "{bytes} bytes on {}: {} bytes are live; {}",
                        self.device,
                        state.active,
                        error.message()
                    );
                    Error::new(ErrorKind::OutOfMemory, "allocate", message)
                })?;
                (at, block, Uses::default())
            }
        };
        state.active += bytes;
        state.peak = state.peak.max(state.active);
        Ok(got)
    }

    fn release(&self, at: CUdeviceptr, bytes: usize, block: usize, uses: Uses) {
        let mut state = self.state.lock();
        state.active -= bytes;
        if state.cache + block > state.cache_limit {
            if self.context.bind().is_ok() {
                self.flush();
                driver::free(at);
            }
            return;
        }
        state.cache += block;
        state.free.entry(block).or_default().push((at, uses));
    }

    /// The counters.
    pub fn stats(&self) -> MemoryStats {
        let state = self.state.lock();
        MemoryStats { active: state.active, peak: state.peak, cache: state.cache }
    }

    /// Sets the peak to the live bytes.
    pub fn reset_peak(&self) {
        let mut state = self.state.lock();
        state.peak = state.active;
    }

    /// Gives all kept blocks back to the driver.
    pub fn clear_cache(&self) {
        if self.context.bind().is_ok() {
            self.drain(&mut self.state.lock());
        }
    }

    /// Sets a limit and returns the former one.
    pub fn set_limit(&self, limit: Limit, bytes: usize) -> usize {
        let mut state = self.state.lock();
        let former = std::mem::replace(
            match limit {
                Limit::Memory => &mut state.memory_limit,
                Limit::Cache => &mut state.cache_limit,
                Limit::Wired => &mut state.wired_limit,
            },
            bytes,
        );
        if state.cache > state.cache_limit && self.context.bind().is_ok() {
            self.drain(&mut state);
        }
        former
    }

    /// Frees all kept blocks. Freeing waits for the kernels that use them.
    fn drain(&self, state: &mut State) {
        self.flush();
        for (at, _) in std::mem::take(&mut state.free).into_values().flatten() {
            driver::free(at);
        }
        state.cache = 0;
    }

    /// A limit.
    pub fn limit(&self, limit: Limit) -> usize {
        let state = self.state.lock();
        match limit {
            Limit::Memory => state.memory_limit,
            Limit::Cache => state.cache_limit,
            Limit::Wired => state.wired_limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_little_larger_than_requests() {
        for bytes in [0, 1, 511, 513, 4097, 100_000, 1 << 20, (1 << 20) + 1, 3_000_000_000] {
            let block = block_size(bytes);
            assert!(block >= bytes && block.is_multiple_of(512), "{bytes}");
            assert!(block <= bytes + bytes / 8 + 512, "{bytes} {block}");
        }
    }

    #[test]
    fn a_later_use_replaces_an_earlier_one_of_the_same_stream() {
        let mut uses = Uses::default();
        uses.note(0, 3);
        uses.note(1, 1);
        uses.note(0, 7);
        assert_eq!(uses.all.as_slice(), &[(0, 7), (1, 1)]);
    }
}
