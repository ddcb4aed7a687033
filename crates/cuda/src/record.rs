//! Recordings: all that one thread queues on one stream, captured as a CUDA graph that is queued again
//! in one call.
//!
//! While a thread records, its launches go to a stream that captures them, and nothing runs. Memory
//! comes from a pool that belongs to the recording, so that every replay finds its intermediates where
//! they were and nobody else has them. Small arguments are copied into memory of the recording;
//! large ones must be where they were. What the work reads besides is kept alive.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lazulite_core::backend::{Buffer, Recorded, Recording};
use lazulite_core::{Device, Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::allocator::DeviceMemory;
use crate::args::Args;
use crate::backend;
use crate::device::Gpu;
use crate::driver::{self, CUdeviceptr, CUstream, Graph};
use crate::held::Held;
use crate::landing::{Landed, Landing};
use crate::module::Rounding;
use crate::stream::{Launch, Queue, TRANSFER};

/// Arguments of up to so many bytes are copied; larger ones stay where they are.
const COPIED: usize = 64 << 10;

/// Blocks of up to so many bytes rest before they are used again.
const SMALL: usize = 64 << 10;
/// For so many blocks that are taken after they came back: what is written right after a block's last
/// reader can be one launch with that reader, where it is written elsewhere.
const REST: u64 = 32;

/// The memory of a recording that is not in use while it is made.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Free>);

#[derive(Default)]
struct Free {
    /// With the number of blocks that were taken before it came back.
    blocks: Vec<(u64, DeviceMemory)>,
    taken: u64,
}

impl Pool {
    /// Memory for `bytes` that was given back, if it is not much larger.
    pub fn take(&self, bytes: usize) -> Option<DeviceMemory> {
        use lazulite_core::backend::Memory;
        let free = &mut *self.0.lock();
        free.taken += 1;
        let place = free.blocks.iter().position(|(since, m)| {
            let fits = m.size() >= bytes && m.size() <= bytes + bytes / 4 + 512;
            fits && (m.size() > SMALL || since + REST < free.taken)
        });
        Some(free.blocks.remove(place?).1)
    }

    /// Takes memory back.
    pub fn give(&self, memory: DeviceMemory) {
        let free = &mut *self.0.lock();
        free.blocks.push((free.taken, memory));
    }
}

/// What a thread records.
struct Active {
    queue: u32,
    stream: CUstream,
    pool: Arc<Pool>,
    /// Memory from outside that the work reads.
    kept: FxHashMap<CUdeviceptr, Buffer>,
    /// What else must live as long as the recording.
    held: Vec<Arc<dyn Any + Send + Sync>>,
    written: FxHashSet<CUdeviceptr>,
    waiting: Option<Held>,
    /// True iff the work needs something that a replay does not do.
    spoiled: bool,
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut Active) -> R) -> Option<R> {
    ACTIVE.with_borrow_mut(|active| active.as_mut().map(f))
}

/// True iff the calling thread records.
pub(crate) fn active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// The stream that captures what the calling thread queues on stream `queue`, if it records.
pub(crate) fn stream(queue: u32) -> Option<CUstream> {
    with(|a| {
        a.spoiled |= queue != a.queue && queue != TRANSFER;
        (queue == a.queue).then_some(a.stream)
    })?
}

/// Calls `f` with the launches of the recording that wait.
pub(crate) fn with_waiting<R>(f: impl FnOnce(&mut Option<Held>) -> R) -> R {
    ACTIVE.with_borrow_mut(|active| match active {
        Some(active) => f(&mut active.waiting),
        None => f(&mut None),
    })
}

/// Where the calling thread's memory comes from, if it records.
pub(crate) fn pool() -> Option<Arc<Pool>> {
    with(|a| a.pool.clone())
}

/// Notes that a step reads memory from outside.
pub(crate) fn keep(at: CUdeviceptr, buffer: &Buffer) {
    with(|a| {
        a.kept.entry(at).or_insert_with(|| buffer.clone());
    });
}

/// Notes that a step uses something that must live as long as the recording, if there is one.
pub(crate) fn hold<T: Any + Send + Sync>(thing: &Arc<T>) {
    with(|a| a.held.push(Arc::clone(thing) as _));
}

/// Notes that a step writes memory.
pub(crate) fn note_written(at: CUdeviceptr) {
    with(|a| a.written.insert(at));
}

/// True iff the calling thread records, and no work of the recording so far writes the block at `at`: a
/// kernel may read it before those queued ahead of it have ended.
pub(crate) fn is_settled(at: CUdeviceptr) -> bool {
    with(|a| !a.written.contains(&at)).unwrap_or(false)
}

/// An error for what cannot wait for a replay.
///
/// # Errors
/// Kind `Kernel` iff the calling thread records.
pub(crate) fn refuse(what: &'static str) -> Result<()> {
    let spoiled = with(|a| a.spoiled = true).is_some();
    let message = "the values of a step that is being recorded are not there";
    if spoiled { Err(Error::new(ErrorKind::Kernel, what, message)) } else { Ok(()) }
}

/// How often recordings were made and queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordStats {
    /// Recordings made.
    pub made: u64,
    /// Times that one was queued.
    pub replayed: u64,
}

static MADE: AtomicU64 = AtomicU64::new(0);
static REPLAYED: AtomicU64 = AtomicU64::new(0);

/// The counters, over all devices.
pub(crate) fn stats() -> RecordStats {
    RecordStats { made: MADE.load(Ordering::Relaxed), replayed: REPLAYED.load(Ordering::Relaxed) }
}

enum Argument {
    /// It is copied here before each replay.
    Copied(Buffer),
    /// It must be here.
    Place { at: CUdeviceptr, written: bool },
}

enum Outcome {
    /// The memory of an argument.
    Argument(usize),
    /// Memory of the recording, which is copied after each replay.
    Own(Buffer),
    /// Memory that no replay changes.
    Constant(Buffer),
}

struct Captured {
    device: Device,
    queue: u32,
    graph: Graph,
    arguments: Vec<Argument>,
    results: Vec<Outcome>,
    kept: Vec<Buffer>,
    #[expect(dead_code, reason = "it is only kept alive")]
    held: Vec<Arc<dyn Any + Send + Sync>>,
    pool: Arc<Pool>,
    /// Where small results land on the host. One replay's copies and graph are queued together.
    landing: Mutex<Landing>,
}

/// Ends the recording of this thread, also if the work panics.
struct Ending(CUstream);

impl Ending {
    fn end(self) -> (Option<Active>, Result<Graph>) {
        let stream = self.0;
        std::mem::forget(self);
        let active = ACTIVE.take();
        (active, Graph::end_capture(stream))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        ACTIVE.take();
        // A panic is under way: what was captured goes.
        let _ = Graph::end_capture(self.0);
    }
}

/// Records `work` on `queue`.
pub(crate) fn record(
    gpu: &Gpu,
    queue: &Arc<Queue>,
    arguments: &[Buffer],
    work: &mut Recorded<'_>,
) -> Result<Option<Arc<dyn Recording>>> {
    use lazulite_core::backend::Memory;
    if active() {
        return Ok(None);
    }
    // Made on first use, by a step that must run.
    queue.counters()?;
    let mut taken = Vec::new();
    let mut places = Vec::new();
    for buffer in arguments {
        let Some(memory) = buffer.downcast::<DeviceMemory>() else { return Ok(None) };
        let size = memory.size();
        let at = if size <= COPIED {
            let own = gpu.allocator.allocate(size)?;
            let at = own.address();
            taken.push(Argument::Copied(Buffer::new(own)));
            at
        } else {
            taken.push(Argument::Place { at: memory.address(), written: false });
            memory.address()
        };
        places.push((at, size));
    }
    let device = gpu.device();
    let aliases =
        places.iter().map(|&(at, size)| Buffer::new(DeviceMemory::alias(device, at, size)));
    let aliases = aliases.collect();
    let stream = driver::begin_capture()?;
    let active = Active {
        queue: queue.index,
        stream,
        pool: Arc::default(),
        kept: FxHashMap::default(),
        held: Vec::new(),
        written: FxHashSet::default(),
        waiting: None,
        spoiled: false,
    };
    ACTIVE.set(Some(active));
    let ending = Ending(stream);
    let results = work(aliases);
    let (active, graph) = ending.end();
    let (Some(active), Ok(graph), Ok(results)) = (active, graph, results) else {
        return Ok(None);
    };
    if active.spoiled {
        return Ok(None);
    }
    let outcome = |buffer: Buffer| {
        let memory = buffer.downcast::<DeviceMemory>()?;
        let argument = places.iter().position(|p| p.0 == memory.address() && memory.is_alias());
        Some(match argument.map(|i| (i, &taken[i])) {
            Some((i, Argument::Place { .. })) => Outcome::Argument(i),
            Some((_, Argument::Copied(own))) => Outcome::Own(own.clone()),
            None if memory.is_pooled() => Outcome::Own(buffer),
            None => Outcome::Constant(buffer),
        })
    };
    let Some(results) = results.into_iter().map(outcome).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    for argument in &mut taken {
        if let Argument::Place { at, written } = argument {
            *written = active.written.contains(at);
        }
    }
    MADE.fetch_add(1, Ordering::Relaxed);
    Ok(Some(Arc::new(Captured {
        device,
        queue: queue.index,
        graph,
        arguments: taken,
        results,
        kept: active.kept.into_values().collect(),
        held: active.held,
        pool: active.pool,
        landing: Mutex::default(),
    })))
}

pub(crate) const SOURCE: &str = include_str!("record.cu");

/// Copies between blocks of the device, queued as few kernels: a copy by the driver takes as long.
#[derive(Default)]
struct Copies {
    /// From, to, to the host or nowhere, bytes.
    all: SmallVec<[[u64; 4]; 4]>,
}

impl Copies {
    /// The copies of a launch.
    const EACH: usize = 16;
    /// The most blocks of a copy.
    const BLOCKS: usize = 64;

    /// All of `from`, to a block of as many bytes.
    fn push(&mut self, from: &DeviceMemory, to: &DeviceMemory, host: Option<CUdeviceptr>) {
        use lazulite_core::backend::Memory;
        let (from, to, bytes) = (from.address(), to.address(), from.size().min(to.size()));
        self.all.push([from, to, host.unwrap_or(0), bytes as u64]);
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        const THREADS: usize = 256;
        let modules = &launch.gpu.modules;
        for part in self.all.chunks(Self::EACH) {
            let kernel = modules.kernel(SOURCE, "copies", "", Rounding::Separate)?;
            let most = part.iter().map(|copy| copy[3]).max().unwrap_or(0) as usize;
            let mut words: SmallVec<[u64; 64]> = part.iter().flatten().copied().collect();
            words.resize(4 * Self::EACH, 0);
            let mut args = Args::new();
            args.words(&words);
            let blocks = most.div_ceil(16 * THREADS).clamp(1, Self::BLOCKS);
            let (grid, block) = ([blocks as u32, part.len() as u32, 1], [THREADS as u32, 1, 1]);
            // SAFETY: the blocks have these sizes and are different blocks, which the launch owns.
            unsafe { args.launch(kernel, grid, block, 0, launch.queue)? };
        }
        Ok(())
    }
}

impl Recording for Captured {
    fn overwrites(&self, argument: usize) -> bool {
        matches!(self.arguments.get(argument), Some(Argument::Place { written: true, .. }))
    }

    fn replay(&self, arguments: &[Buffer]) -> Result<Option<Vec<Buffer>>> {
        use lazulite_core::backend::Memory;
        let foreign = || Error::new(ErrorKind::Kernel, "replay", "an argument is elsewhere");
        if active() {
            return Ok(None);
        }
        let memories: Vec<&DeviceMemory> = arguments
            .iter()
            .map(|b| b.downcast::<DeviceMemory>().ok_or_else(foreign))
            .collect::<Result<_>>()?;
        let there = |(argument, memory): (&Argument, &&DeviceMemory)| match argument {
            Argument::Copied(own) => own.memory().size() == memory.size(),
            Argument::Place { at, .. } => *at == memory.address(),
        };
        if memories.len() != self.arguments.len()
            || !self.arguments.iter().zip(&memories).all(there)
        {
            return Ok(None);
        }
        backend::with_gpu(self.device, |gpu| {
            let mut landing = self.landing.lock();
            let queue = gpu.queue(self.queue)?;
            let launch = Launch::new(gpu, &queue);
            let mut copies = Copies::default();
            for (argument, memory) in self.arguments.iter().zip(&memories) {
                launch.settle(memory)?;
                match argument {
                    Argument::Place { written: true, .. } => launch.own(memory)?,
                    Argument::Place { .. } => launch.share(memory)?,
                    Argument::Copied(own) => {
                        let own = own.downcast::<DeviceMemory>().ok_or_else(foreign)?;
                        launch.share(memory)?;
                        launch.own(own)?;
                        copies.push(memory, own, None);
                    }
                }
            }
            copies.launch(&launch)?;
            driver::launch_graph(&self.graph, queue.raw())?;
            let mut results = Vec::with_capacity(self.results.len());
            let (mut copies, mut strip) = (Copies::default(), landing.next(self.queue)?);
            for outcome in &self.results {
                results.push(match outcome {
                    Outcome::Argument(i) => arguments[*i].clone(),
                    Outcome::Constant(buffer) => buffer.clone(),
                    Outcome::Own(buffer) => {
                        let own = buffer.downcast::<DeviceMemory>().ok_or_else(foreign)?;
                        let fresh = gpu.allocator.allocate(own.size())?;
                        launch.own(&fresh)?;
                        let landed = strip.room(own.size());
                        copies.push(own, &fresh, landed.as_ref().map(Landed::address));
                        fresh.uses.lock().landed = landed;
                        Buffer::new(fresh)
                    }
                });
            }
            copies.launch(&launch)?;
            strip.close(queue.raw())?;
            REPLAYED.fetch_add(1, Ordering::Relaxed);
            Ok(Some(results))
        })
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // Whoever gets the blocks next, on any stream, comes after the last replay.
        let own = self.arguments.iter().filter_map(|a| match a {
            Argument::Copied(own) => own.downcast::<DeviceMemory>(),
            Argument::Place { .. } => None,
        });
        let results = self.results.iter().filter_map(|o| match o {
            Outcome::Own(buffer) => buffer.downcast::<DeviceMemory>(),
            _ => None,
        });
        let kept = self.kept.iter().filter_map(|b| b.downcast::<DeviceMemory>());
        let ended = backend::with_gpu(self.device, |gpu| {
            let queue = gpu.queue(self.queue)?;
            let launch = Launch::new(gpu, &queue);
            own.chain(results).chain(kept).for_each(|memory| launch.note_use(memory));
            self.pool.0.lock().blocks.iter().for_each(|(_, memory)| launch.note_use(memory));
            Ok(())
        });
        // Without its device the process has no other work for the blocks.
        drop(ended);
    }
}
