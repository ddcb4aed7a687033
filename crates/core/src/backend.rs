//! The boundary to the devices: few verbs, and the run-time registry of who implements them.
//!
//! Core never names a device library. A backend crate adds itself to [`BACKENDS`] at link time, and
//! everything else here is found through it.

use crate::device::{Device, DeviceKind, Stream};
use crate::dtype::{Dtype, Literal};
use crate::error::{Error, ErrorKind, Result};
use crate::op::Primitive;
use crate::plan::Tape;
use crate::shape::Layout;
use linkme::distributed_slice;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Memory on a device. Dropping the last handle gives it back to the device's allocator.
pub trait Memory: Send + Sync + Any {
    /// The device that holds the memory.
    fn device(&self) -> Device;
    /// The size in bytes, as asked for.
    fn size(&self) -> usize;
    /// The bytes, where the host can read them in place. No step may be writing them.
    fn host_bytes(&self) -> Option<&[u8]>;
    /// The concrete type, for the backend that made it.
    fn as_any(&self) -> &dyn Any;
}

/// A shared handle on device memory.
///
/// Invariant: once the step that fills a buffer has finished, its bytes change only while one
/// evaluation holds the sole handle (donation).
#[derive(Clone)]
pub struct Buffer(Arc<dyn Memory>);

impl Buffer {
    /// A handle on `memory`.
    pub fn new(memory: impl Memory) -> Buffer {
        Buffer(Arc::new(memory))
    }

    /// The memory.
    pub fn memory(&self) -> &dyn Memory {
        &*self.0
    }

    /// The memory as the backend's own type.
    pub fn downcast<M: Memory>(&self) -> Option<&M> {
        self.0.as_any().downcast_ref()
    }

    /// How many handles there are.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// True iff both are handles on the same memory.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.0.size(), self.0.device())
    }
}

/// An array as a kernel sees it.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Where the elements are.
    pub buffer: Buffer,
    /// What they are.
    pub dtype: Dtype,
    /// How they lie.
    pub layout: Layout,
}

impl Operand {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }
}

/// One step of a plan with its operands bound. Outputs are contiguous from their buffer's start,
/// unshared, and uninitialised unless the step was given an input's buffer (`same`), which it then
/// overwrites in place.
pub enum Call<'a> {
    /// A single primitive that is not a view.
    Op {
        /// Which.
        op: &'a Primitive,
        /// Its inputs in order.
        inputs: &'a [Operand],
        /// Its outputs in order.
        outputs: &'a [Operand],
    },
    /// A fused step.
    Tape {
        /// The program; `tape.loads` of the operands are inputs.
        tape: &'a Tape,
        /// The loads.
        inputs: &'a [Operand],
        /// The stores.
        outputs: &'a [Operand],
        /// The shape over which the program runs.
        space: &'a [usize],
    },
    /// A product whose finished tiles pass through a program before they are stored. The program's
    /// load 0 is the product; its space is the product's shape.
    Product {
        /// The product: `Matmul` or `QuantizedMatmul`.
        op: &'a Primitive,
        /// The product's inputs.
        inputs: &'a [Operand],
        /// The program.
        epilogue: &'a Tape,
        /// The program's loads from 1 on.
        extra: &'a [Operand],
        /// The program's only store.
        output: &'a Operand,
    },
}

/// A piece of work for a stream.
pub type Job = Box<dyn FnOnce() + Send>;

/// Byte counts of one device's allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Bytes in live buffers.
    pub active: usize,
    /// The most bytes that were live at once since the last reset.
    pub peak: usize,
    /// Bytes kept for reuse.
    pub cache: usize,
}

/// The allocator's limits, each in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Live bytes above which an allocation is refused.
    Memory,
    /// Bytes above which freed buffers are not kept.
    Cache,
    /// Bytes that may be kept resident; advisory.
    Wired,
}

/// Work that was queued once and can be queued again as it was, for other arguments of the same
/// sizes, without being planned.
pub trait Recording: Send + Sync {
    /// True iff the work overwrites this argument, so that it must belong to nobody else.
    fn overwrites(&self, argument: usize) -> bool;
    /// Queues the work again, and returns the buffers of its results in the recorded order; `None`
    /// if it cannot take these arguments, because a large one is not where the recorded one was.
    ///
    /// # Errors
    /// Kind `OutOfMemory` or `Kernel`.
    fn replay(&self, arguments: &[Buffer]) -> Result<Option<Vec<Buffer>>>;
}

/// The work of a recording: it gets handles on the arguments' memory, which nobody else holds, and
/// returns the buffers of its results.
pub type Recorded<'a> = dyn FnMut(Vec<Buffer>) -> Result<Vec<Buffer>> + 'a;

/// What a family of devices can do.
pub trait Backend: Send + Sync {
    /// The family.
    fn kind(&self) -> DeviceKind;
    /// How many devices there are now.
    fn device_count(&self) -> u32;
    /// Facts about a device, as key and value, for `info`.
    fn describe(&self, device: Device) -> Vec<(String, String)>;
    /// Uninitialised memory.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    fn allocate(&self, device: Device, bytes: usize) -> Result<Buffer>;
    /// Memory holding a copy of `bytes`.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    fn upload(&self, device: Device, bytes: &[u8]) -> Result<Buffer>;
    /// Memory holding one number; the backend may remember its value.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    fn literal(&self, device: Device, value: Literal) -> Result<Buffer> {
        self.upload(device, &value.bits().to_le_bytes()[..value.dtype().size()])
    }
    /// Copies all bytes of a buffer to the host.
    ///
    /// # Errors
    /// Kind `Kernel` if the device failed.
    fn download(&self, buffer: &Buffer) -> Result<Vec<u8>>;
    /// Runs one step, or queues it where the device has queues of its own.
    ///
    /// # Errors
    /// Whatever the step finds wrong in its data, such as an index out of range. The inputs are then as they
    /// were, also one that the step overwrites in place.
    fn execute(&self, stream: Stream, call: &Call<'_>) -> Result<()>;
    /// Runs `job` after all earlier jobs of `stream`: on the calling thread if `inline` is set and
    /// the stream is idle, otherwise on the stream's own.
    fn submit(&self, stream: Stream, inline: bool, job: Job);
    /// Records what `work` queues on `stream` from this thread; nothing of it runs. `None` where the
    /// backend cannot: `work` was not called, or needed something else than queues.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    fn record(
        &self,
        _stream: Stream,
        _arguments: &[Buffer],
        _work: &mut Recorded<'_>,
    ) -> Result<Option<Arc<dyn Recording>>> {
        Ok(None)
    }
    /// Waits until every job of `stream` has run.
    ///
    /// # Errors
    /// Kind `Kernel` if the device failed.
    fn synchronize(&self, stream: Stream) -> Result<()>;
    /// Waits, for `most` at most, until the threads of all streams are idle, if they may not outlive the
    /// libraries of the backend.
    fn finish(&self, _most: Duration) {}
    /// The allocator's counters.
    fn memory(&self, device: Device) -> MemoryStats;
    /// Sets the peak counter to the live bytes.
    fn reset_peak(&self, device: Device);
    /// Frees all bytes kept for reuse.
    fn clear_cache(&self, device: Device);
    /// Sets a limit and returns the former one.
    fn set_limit(&self, device: Device, limit: Limit, bytes: usize) -> usize;
    /// A limit's value.
    fn limit(&self, device: Device, limit: Limit) -> usize;
}

/// Every backend that is linked in.
#[distributed_slice]
pub static BACKENDS: [fn() -> Option<Arc<dyn Backend>>];

fn registry() -> &'static [Arc<dyn Backend>] {
    static REGISTRY: OnceLock<Vec<Arc<dyn Backend>>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut found: Vec<_> = BACKENDS.iter().filter_map(|make| make()).collect();
        found.sort_by_key(|b| b.kind());
        found
    })
}

/// The backend of `device`.
///
/// # Errors
/// Kind `BackendUnavailable` if none is linked in or the device is not there.
pub fn get(device: Device) -> Result<&'static Arc<dyn Backend>> {
    registry()
        .iter()
        .find(|b| b.kind() == device.kind && device.index < b.device_count())
        .ok_or_else(|| {
            let have: Vec<_> = registry()
                .iter()
                .flat_map(|b| (0..b.device_count()).map(|i| (b.kind(), i)))
                .map(|(kind, index)| Device { kind, index }.to_string())
                .collect();
            let have = if have.is_empty() { "none".to_string() } else { have.join(", ") };
            let message = format!("{device} is not available; available devices: {have}");
            Error::new(ErrorKind::BackendUnavailable, "device", message)
        })
}

/// Waits, for `most` at most, for what streams' own threads may not leave behind when the process ends.
/// Programs in Rust need not call it.
pub fn finish(most: Duration) {
    registry().iter().for_each(|backend| backend.finish(most));
}

/// True iff a backend for the device is linked in and the device is present.
pub fn is_available(device: Device) -> bool {
    get(device).is_ok()
}

/// The default device: 0 if none was chosen, else its number as [`packed`].
static DEFAULT: AtomicU64 = AtomicU64::new(0);

fn packed(device: Device) -> u64 {
    1 << 63 | (device.kind as u64) << 32 | u64::from(device.index)
}

/// The device on which new work is placed: the first accelerator if there is one, else the
/// processor, unless [`set_default_device`] said otherwise.
pub fn default_device() -> Device {
    let chosen = DEFAULT.load(Ordering::Relaxed);
    if chosen != 0 {
        let gpu = chosen >> 32 & 1 == DeviceKind::Gpu as u64;
        let kind = if gpu { DeviceKind::Gpu } else { DeviceKind::Cpu };
        return Device { kind, index: chosen as u32 };
    }
    static FOUND: OnceLock<Device> = OnceLock::new();
    *FOUND.get_or_init(|| if is_available(Device::GPU) { Device::GPU } else { Device::CPU })
}

/// Makes `device` the default one.
///
/// # Errors
/// Kind `BackendUnavailable` if it is not there.
pub fn set_default_device(device: Device) -> Result<()> {
    get(device)?;
    DEFAULT.store(packed(device), Ordering::Relaxed);
    Ok(())
}
