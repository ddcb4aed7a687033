//! Devices and streams.

use crate::convert::extract_one_of;
use crate::errors::Answer;
use lazulite::backend;
use lazulite::device::{current_stream, set_current_stream};
use lazulite::{Device, DeviceKind, Stream, with_stream};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use std::time::Duration;

/// A kind of device.
#[pyclass(name = "DeviceType", module = "lazulite.core", frozen, eq, hash, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum PyDeviceType {
    /// The processor.
    cpu,
    /// An NVIDIA GPU.
    gpu,
}

impl PyDeviceType {
    fn kind(self) -> DeviceKind {
        match self {
            PyDeviceType::cpu => DeviceKind::Cpu,
            PyDeviceType::gpu => DeviceKind::Gpu,
        }
    }
}

#[pymethods]
impl PyDeviceType {
    fn __repr__(&self) -> &'static str {
        match self {
            PyDeviceType::cpu => "DeviceType.cpu",
            PyDeviceType::gpu => "DeviceType.gpu",
        }
    }

    /// For `pickle` and `copy`: the class's attribute.
    fn __reduce__<'py>(&self, py: Python<'py>) -> Answer<Attribute<'py>> {
        let name = if *self == PyDeviceType::cpu { "cpu" } else { "gpu" };
        Ok((py.import("builtins")?.getattr("getattr")?, (py.get_type::<PyDeviceType>(), name)))
    }
}

/// `getattr`, a class and the name of its attribute.
type Attribute<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>, &'static str));

/// A device: its type and number.
#[pyclass(name = "Device", module = "lazulite.core", frozen, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyDevice(pub Device);

#[pymethods]
impl PyDevice {
    #[new]
    #[pyo3(signature = (r#type, index = 0))]
    fn new(r#type: PyDeviceType, index: u32) -> PyDevice {
        PyDevice(Device { kind: r#type.kind(), index })
    }

    /// The device's type.
    #[getter]
    fn r#type(&self) -> PyDeviceType {
        match self.0.kind {
            DeviceKind::Cpu => PyDeviceType::cpu,
            DeviceKind::Gpu => PyDeviceType::gpu,
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.extract::<DeviceLike>().is_ok_and(|d| d.device() == self.0)
    }

    fn __hash__(&self) -> u64 {
        (u64::from(self.0.index) << 1) | u64::from(self.0.kind == DeviceKind::Gpu)
    }

    fn __repr__(&self) -> String {
        self.0.to_string()
    }
}

/// An ordered queue of work on a device.
#[pyclass(name = "Stream", module = "lazulite.core", frozen, eq, hash, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyStream(pub Stream);

#[pymethods]
impl PyStream {
    /// The device whose queue this is.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.0.device)
    }

    /// The stream's number; 0 is the device's default stream.
    #[getter]
    fn index(&self) -> u32 {
        self.0.index
    }

    fn __repr__(&self) -> String {
        self.0.to_string()
    }
}

/// A stream for use from many threads. Any thread may use any stream here, so it is one stream.
#[pyclass(name = "ThreadLocalStream", module = "lazulite.core", frozen, eq, hash, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyThreadLocalStream(Stream);

#[pymethods]
impl PyThreadLocalStream {
    /// The device whose queue this is.
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice(self.0.device)
    }

    fn __repr__(&self) -> String {
        format!("ThreadLocal{}", self.0)
    }
}

/// A device, or a type of which the first device is meant.
#[derive(Clone, Copy)]
pub enum DeviceLike {
    Device(PyDevice),
    Type(PyDeviceType),
}
extract_one_of!(DeviceLike, "a device such as mx.cpu or mx.Device(mx.gpu, 1)": Device, Type);

impl DeviceLike {
    pub fn device(self) -> Device {
        match self {
            DeviceLike::Device(d) => d.0,
            DeviceLike::Type(t) => Device { kind: t.kind(), index: 0 },
        }
    }
}

/// A `stream` argument: a stream, or a device whose default stream is meant.
#[derive(Clone, Copy)]
pub enum StreamLike {
    Stream(PyStream),
    Device(DeviceLike),
    ThreadLocal(PyThreadLocalStream),
}
extract_one_of!(StreamLike, "a stream, or a device such as mx.cpu": Stream, Device, ThreadLocal);

impl StreamLike {
    pub fn stream(self) -> Answer<Stream> {
        let stream = match self {
            StreamLike::Stream(s) => s.0,
            StreamLike::Device(d) => default_of(d.device()),
            StreamLike::ThreadLocal(s) => s.0,
        };
        backend::get(stream.device)?;
        Ok(stream)
    }
}

/// The `stream` argument of every operation.
pub type On = Option<StreamLike>;

/// Runs `f` with the stream that the caller asked for.
pub fn on<R>(stream: On, f: impl FnOnce() -> Answer<R>) -> Answer<R> {
    match stream {
        None => f(),
        Some(s) => with_stream(s.stream()?, f),
    }
}

/// Default streams that differ from stream 0 of their device.
static DEFAULTS: Mutex<Vec<Stream>> = Mutex::new(Vec::new());

fn default_of(device: Device) -> Stream {
    let current = current_stream();
    if current.device == device {
        return current;
    }
    let set = DEFAULTS.lock().iter().find(|s| s.device == device).copied();
    set.unwrap_or(Stream::default_of(device))
}

/// The device on which new work is placed.
///
/// >>> mx.default_device()
/// Device(cpu, 0)
#[pyfunction]
fn default_device() -> PyDevice {
    PyDevice(current_stream().device)
}

/// Makes a device the one on which new work is placed.
///
/// An argument that is not a device raises TypeError; an unavailable device raises ValueError.
///
/// >>> mx.set_default_device(mx.cpu)
#[pyfunction]
fn set_default_device(device: DeviceLike) -> Answer<()> {
    let device = device.device();
    if let Err(error) = backend::get(device) {
        return Err(crate::errors::value_error(error.to_string()));
    }
    backend::set_default_device(device)?;
    let set = DEFAULTS.lock().iter().find(|s| s.device == device).copied();
    set_current_stream(set);
    Ok(())
}

/// The stream on which the device's new work is placed.
///
/// An argument that is not a device raises TypeError.
///
/// >>> mx.default_stream(mx.cpu)
/// Stream(Device(cpu, 0), 0)
#[pyfunction]
fn default_stream(device: DeviceLike) -> Answer<PyStream> {
    let device = device.device();
    backend::get(device)?;
    Ok(PyStream(default_of(device)))
}

/// Makes a stream the default of its device.
///
/// An argument that is not a stream raises TypeError.
///
/// >>> mx.set_default_stream(mx.default_stream(mx.cpu))
#[pyfunction]
fn set_default_stream(stream: PyStream) {
    let mut defaults = DEFAULTS.lock();
    defaults.retain(|s| s.device != stream.0.device);
    defaults.push(stream.0);
    if current_stream().device == stream.0.device {
        set_current_stream(Some(stream.0));
    }
}

/// A new stream on a device.
///
/// An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
///
/// >>> mx.new_stream(mx.cpu).device
/// Device(cpu, 0)
#[pyfunction]
fn new_stream(device: DeviceLike) -> Answer<PyStream> {
    Ok(PyStream(Stream::new(device.device())?))
}

/// A new stream on a device; here all streams may be used from every thread.
///
/// An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
///
/// >>> mx.new_thread_unsafe_stream(mx.cpu).device
/// Device(cpu, 0)
#[pyfunction]
#[pyo3(name = "new_thread_unsafe_stream")]
fn new_thread_stream(device: DeviceLike) -> Answer<PyStream> {
    new_stream(device)
}

/// A new stream for use from many threads.
///
/// An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
///
/// >>> mx.new_thread_local_stream(mx.cpu).device
/// Device(cpu, 0)
#[pyfunction]
fn new_thread_local_stream(device: DeviceLike) -> Answer<PyThreadLocalStream> {
    Ok(PyThreadLocalStream(Stream::new(device.device())?))
}

/// Puts the calling thread back on the default stream.
///
/// >>> mx.clear_streams()
#[pyfunction]
fn clear_streams() {
    set_current_stream(None);
}

/// Waits until all work of a stream, or of the current one, has run.
///
/// An argument that is not a stream raises TypeError.
///
/// >>> mx.synchronize()
#[pyfunction]
#[pyo3(signature = (stream = None))]
fn synchronize(py: Python<'_>, stream: On) -> Answer<()> {
    let stream = match stream {
        Some(s) => s.stream()?,
        None => current_stream(),
    };
    Ok(py.detach(|| lazulite::eval::synchronize(stream))?)
}

/// Places the work of a `with` block on a stream or device.
#[pyclass(name = "StreamContext", module = "lazulite.core", frozen)]
struct StreamContext {
    stream: Stream,
    former: Mutex<Vec<Option<Stream>>>,
}

#[pymethods]
impl StreamContext {
    #[new]
    fn new(s: StreamLike) -> Answer<StreamContext> {
        Ok(StreamContext { stream: s.stream()?, former: Mutex::default() })
    }

    fn __enter__(&self) {
        self.former.lock().push(set_current_stream(Some(self.stream)));
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        if let Some(former) = self.former.lock().pop() {
            set_current_stream(former);
        }
    }
}

/// A context in which work is placed on a stream or device.
///
/// An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
///
/// >>> with mx.stream(mx.cpu):
/// ...     print(mx.ones(2).sum())
/// array(2, dtype=float32)
#[pyfunction]
fn stream(s: StreamLike) -> Answer<StreamContext> {
    StreamContext::new(s)
}

/// True if the device can be used.
///
/// An argument that is not a device raises TypeError.
///
/// >>> mx.is_available(mx.cpu)
/// True
#[pyfunction]
fn is_available(device: DeviceLike) -> bool {
    backend::is_available(device.device())
}

/// How many devices of a type there are.
///
/// An argument that is not a device type raises TypeError.
///
/// >>> mx.device_count(mx.cpu)
/// 1
#[pyfunction]
fn device_count(device_type: PyDeviceType) -> u32 {
    let device = Device { kind: device_type.kind(), index: 0 };
    backend::get(device).map_or(0, |b| b.device_count())
}

/// Facts about a device.
///
/// An argument that is not a device raises TypeError.
///
/// >>> sorted(mx.device_info(mx.cpu))[:1] != []
/// True
#[pyfunction]
#[pyo3(signature = (d = None))]
pub fn device_info<'py>(py: Python<'py>, d: Option<DeviceLike>) -> Answer<Bound<'py, PyDict>> {
    let device = d.map_or_else(|| current_stream().device, DeviceLike::device);
    let facts = PyDict::new(py);
    for (name, value) in backend::get(device)?.describe(device) {
        match value.parse::<u64>() {
            Ok(number) => facts.set_item(name, number)?,
            Err(_) => facts.set_item(name, value)?,
        }
    }
    Ok(facts)
}

/// Waits for what streams' threads queue on devices; they may need the interpreter for it.
#[pyfunction]
fn finish(py: Python<'_>) {
    const MOST: Duration = Duration::from_secs(3600);
    py.detach(|| backend::finish(MOST));
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.py().import("atexit")?.call_method1("register", (wrap_pyfunction!(finish, m)?,))?;
    m.add_class::<PyDeviceType>()?;
    m.add_class::<PyDevice>()?;
    m.add_class::<PyStream>()?;
    m.add_class::<PyThreadLocalStream>()?;
    m.add_class::<StreamContext>()?;
    m.add("cpu", PyDeviceType::cpu)?;
    m.add("gpu", PyDeviceType::gpu)?;
    m.add_function(wrap_pyfunction!(default_device, m)?)?;
    m.add_function(wrap_pyfunction!(set_default_device, m)?)?;
    m.add_function(wrap_pyfunction!(default_stream, m)?)?;
    m.add_function(wrap_pyfunction!(set_default_stream, m)?)?;
    m.add_function(wrap_pyfunction!(new_stream, m)?)?;
    m.add_function(wrap_pyfunction!(new_thread_stream, m)?)?;
    m.add_function(wrap_pyfunction!(new_thread_local_stream, m)?)?;
    m.add_function(wrap_pyfunction!(clear_streams, m)?)?;
    m.add_function(wrap_pyfunction!(synchronize, m)?)?;
    m.add_function(wrap_pyfunction!(stream, m)?)?;
    m.add_function(wrap_pyfunction!(is_available, m)?)?;
    m.add_function(wrap_pyfunction!(device_count, m)?)?;
    m.add_function(wrap_pyfunction!(device_info, m)?)
}
