//! One GPU: its context, memory, streams and kernels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lazulite_core::backend::Buffer;
use lazulite_core::jobs::Jobs;
use lazulite_core::{Device, DeviceKind, Error, ErrorKind, Literal, Result};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::allocator::{Allocator, DeviceMemory};
use crate::driver::{self, Context, DeviceFacts};
use crate::fft::Plans;
use crate::matmul::Products;
use crate::module::Modules;
use crate::record;
use crate::solver::Solvers;
use crate::stream::{Launch, Queue, READS, TRANSFER};

/// Bytes of pinned memory through which uploads pass.
const STAGING: usize = 16 << 20;
/// Uploads up to this size pass through pinned memory and do not hold up the host.
const STAGED: usize = 4 << 20;

struct Staging {
    base: *mut u8,
    next: usize,
}

// SAFETY: the memory belongs to the process, and the mutex around this orders the accesses.
unsafe impl Send for Staging {}

/// A device with all that belongs to it.
pub(crate) struct Gpu {
    device: Device,
    pub facts: DeviceFacts,
    pub context: Context,
    pub allocator: Arc<Allocator>,
    pub modules: Modules,
    pub products: Products,
    pub plans: Plans,
    pub solvers: Solvers,
    /// Steps that ran on the host because no kernel is written.
    pub host_steps: AtomicU64,
    /// What evaluations do on each stream: at most one thread at a time queues an evaluation's steps.
    pub jobs: Jobs,
    queues: RwLock<FxHashMap<u32, Arc<Queue>>>,
    staging: Mutex<Option<Staging>>,
}

impl Gpu {
    /// Sets up device `index`.
    pub fn new(index: u32, facts: &DeviceFacts) -> Result<Gpu> {
        let context = Context::of(facts)?;
        let device = Device { kind: DeviceKind::Gpu, index };
        Ok(Gpu {
            device,
            facts: facts.clone(),
            context,
            allocator: Arc::new(Allocator::new(device, context, facts.memory)),
            modules: Modules::new(facts.architecture()),
            products: Products::default(),
            plans: Plans::default(),
            solvers: Solvers::default(),
            host_steps: AtomicU64::new(0),
            jobs: Jobs::default(),
            queues: RwLock::default(),
            staging: Mutex::new(None),
        })
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The device's number.
    pub fn index(&self) -> usize {
        self.device.index as usize
    }

    /// The CUDA stream of a number; it is made on first use.
    pub fn queue(&self, index: u32) -> Result<Arc<Queue>> {
        if let Some(queue) = self.queues.read().get(&index) {
            return Ok(Arc::clone(queue));
        }
        let mut queues = self.queues.write();
        if let Some(queue) = queues.get(&index) {
            return Ok(Arc::clone(queue));
        }
        self.context.bind()?;
        let queue = Arc::new(Queue::new(index)?);
        self.allocator.serve(Arc::clone(&queue));
        queues.insert(index, Arc::clone(&queue));
        Ok(queue)
    }

    /// A buffer with a copy of `bytes`, which arrive in the order of the transfer stream.
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        self.uploaded(bytes).map(Buffer::new)
    }

    /// A buffer with one number, which products may be told of without reading it.
    pub fn literal(&self, value: Literal) -> Result<Buffer> {
        let bytes = &value.bits().to_le_bytes()[..value.dtype().size()];
        let memory = self.uploaded(bytes)?;
        *memory.literal.lock() = Some(value);
        Ok(Buffer::new(memory))
    }

    fn uploaded(&self, bytes: &[u8]) -> Result<DeviceMemory> {
        self.context.bind()?;
        let memory = self.allocator.allocate_outside(bytes.len())?;
        let queue = self.queue(TRANSFER)?;
        let launch = Launch::new(self, &queue);
        launch.own(&memory)?;
        self.copy_in(&queue, memory.address(), bytes)?;
        Ok(memory)
    }

    /// Queues a copy of `bytes`, which may be dropped afterwards.
    pub fn copy_in(&self, queue: &Queue, to: driver::CUdeviceptr, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > STAGED || queue.index != TRANSFER {
            // SAFETY: the block has room for the bytes; a copy from pageable memory returns when
            // the driver has read all of it.
            return unsafe { driver::copy_in(to, bytes.as_ptr(), bytes.len(), queue.raw()) };
        }
        let mut guard = self.staging.lock();
        if guard.is_none() {
            *guard = Some(Staging { base: driver::allocate_pinned(STAGING)?, next: 0 });
        }
        let Some(staging) = guard.as_mut() else {
            return Err(Error::new(ErrorKind::OutOfMemory, "upload", "no staging memory"));
        };
        if staging.next + bytes.len() > STAGING {
            // Every copy out of the ring is over after this, so it may be filled again.
            driver::synchronize(queue.raw())?;
            staging.next = 0;
        }
        // SAFETY: the range lies in the ring, no copy out of it is under way, and the block has
        // room for the bytes.
        unsafe {
            let from = staging.base.add(staging.next);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), from, bytes.len());
            driver::copy_in(to, from, bytes.len(), queue.raw())?;
        }
        staging.next += bytes.len().next_multiple_of(256);
        Ok(())
    }

    /// All bytes of a buffer, once the work that fills it is done.
    pub fn download(&self, memory: &DeviceMemory) -> Result<Vec<u8>> {
        use lazulite_core::backend::Memory;
        record::refuse("download")?;
        self.context.bind()?;
        let landed = memory.uses.lock().landed.clone();
        if let Some((stream, bytes)) = landed.map(|landed| landed.bytes()).transpose()?.flatten() {
            self.queue(stream)?.report()?;
            return Ok(bytes);
        }
        let pending = memory.pending.lock().as_ref().map(|p| p.stream);
        if let Some(stream) = pending {
            let queue = self.queue(stream)?;
            Launch::new(self, &queue).settle(memory)?;
        }
        let writer = memory.uses.lock().writer;
        if let Some((stream, ticket)) = writer {
            self.queue(stream)?.wait_for(ticket)?;
        }
        let mut bytes = vec![0u8; memory.size()];
        if !bytes.is_empty() {
            // On a stream of its own, since later work of the writer's may be queued already.
            let queue = self.queue(READS)?;
            // SAFETY: both ranges have this size, and the stream is waited for before either can go
            // away.
            unsafe {
                let to = bytes.as_mut_ptr();
                driver::copy_out(to, memory.address(), bytes.len(), queue.raw())?;
            }
            queue.synchronize()?;
        }
        Ok(bytes)
    }

    /// Counts a step that ran on the host.
    pub fn note_host_step(&self) {
        self.host_steps.fetch_add(1, Ordering::Relaxed);
    }
}
