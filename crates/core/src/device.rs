//! Devices and streams: small copyable names, and the calling thread's current choice of them.

use crate::backend;
use crate::error::Result;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// The two families of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceKind {
    /// The processor and its main memory.
    Cpu,
    /// An accelerator with memory of its own.
    Gpu,
}

/// One device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// The family.
    pub kind: DeviceKind,
    /// The device's number within its family.
    pub index: u32,
}

impl Device {
    /// The processor.
    pub const CPU: Device = Device { kind: DeviceKind::Cpu, index: 0 };
    /// The first accelerator.
    pub const GPU: Device = Device { kind: DeviceKind::Gpu, index: 0 };
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Gpu => "gpu",
        };
        write!(f, "Device({kind}, {})", self.index)
    }
}

/// An ordered queue of work on a device. Work on two streams may overlap; where one needs the
/// other's result, the evaluation orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// The device whose queue this is.
    pub device: Device,
    /// The stream's number; 0 is the device's default stream.
    pub index: u32,
}

impl Stream {
    /// A new stream on `device`.
    ///
    /// # Errors
    /// Kind `BackendUnavailable` if the device is not there.
    pub fn new(device: Device) -> Result<Stream> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        backend::get(device)?;
        Ok(Stream { device, index: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// The default stream of `device`.
    pub const fn default_of(device: Device) -> Stream {
        Stream { device, index: 0 }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({}, {})", self.device, self.index)
    }
}

thread_local! {
    static CURRENT: Cell<Option<Stream>> = const { Cell::new(None) };
}

/// The stream on which the calling thread's next ops are placed.
pub fn current_stream() -> Stream {
    CURRENT.get().unwrap_or_else(|| Stream::default_of(backend::default_device()))
}

/// Makes `stream` the calling thread's current one, or the default device's with `None`;
/// returns what it was.
pub fn set_current_stream(stream: Option<Stream>) -> Option<Stream> {
    CURRENT.replace(stream)
}

/// Runs `f` with `stream` as the current one and restores the former one afterwards.
pub fn with_stream<R>(stream: Stream, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Stream>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(stream)));
    f()
}
