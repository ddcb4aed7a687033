//! Memory counters and limits, of the default device.

use crate::convert::Count;
use crate::device::device_info;
use crate::errors::{Answer, value_error};
use crate::functions::add_functions;
use crate::trees;
use lazulite::backend::{self, Limit, MemoryStats};
use lazulite::device::current_stream;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

fn stats() -> Answer<MemoryStats> {
    let device = current_stream().device;
    Ok(backend::get(device)?.memory(device))
}

fn set_limit(limit: Limit, bytes: usize) -> Answer<usize> {
    let device = current_stream().device;
    Ok(backend::get(device)?.set_limit(device, limit, bytes))
}

/// Bytes in live buffers.
///
/// >>> mx.get_active_memory() >= 0
/// True
#[pyfunction]
fn get_active_memory() -> Answer<usize> {
    Ok(stats()?.active)
}

/// The most bytes that were live at once since the last reset.
///
/// >>> mx.get_peak_memory() >= 0
/// True
#[pyfunction]
fn get_peak_memory() -> Answer<usize> {
    Ok(stats()?.peak)
}

/// Sets the peak to the live bytes.
///
/// >>> mx.reset_peak_memory()
#[pyfunction]
fn reset_peak_memory() -> Answer<()> {
    let device = current_stream().device;
    backend::get(device)?.reset_peak(device);
    Ok(())
}

/// Bytes kept for reuse.
///
/// >>> mx.get_cache_memory() >= 0
/// True
#[pyfunction]
fn get_cache_memory() -> Answer<usize> {
    Ok(stats()?.cache)
}

/// Frees the bytes kept for reuse.
///
/// >>> mx.clear_cache()
#[pyfunction]
fn clear_cache() -> Answer<()> {
    let device = current_stream().device;
    backend::get(device)?.clear_cache(device);
    Ok(())
}

/// Live bytes above which an allocation is refused.
///
/// >>> mx.get_memory_limit() > 0
/// True
#[pyfunction]
fn get_memory_limit() -> Answer<usize> {
    let device = current_stream().device;
    Ok(backend::get(device)?.limit(device, Limit::Memory))
}

/// Sets the live bytes above which an allocation is refused; returns the former limit.
///
/// A negative number raises ValueError.
///
/// >>> mx.set_memory_limit(mx.get_memory_limit()) > 0
/// True
#[pyfunction]
fn set_memory_limit(limit: Count) -> Answer<usize> {
    set_limit(Limit::Memory, limit.size("set_memory_limit", "limit")?)
}

/// Sets the bytes above which freed buffers are not kept; returns the former limit.
///
/// A negative number raises ValueError.
///
/// >>> mx.set_cache_limit(2**30) >= 0
/// True
#[pyfunction]
fn set_cache_limit(limit: Count) -> Answer<usize> {
    set_limit(Limit::Cache, limit.size("set_cache_limit", "limit")?)
}

/// Sets the bytes that may be kept resident, where the system knows such a limit; returns the
/// former one.
///
/// A negative number raises ValueError.
///
/// >>> mx.set_wired_limit(0) >= 0
/// True
#[pyfunction]
fn set_wired_limit(limit: Count) -> Answer<usize> {
    set_limit(Limit::Wired, limit.size("set_wired_limit", "limit")?)
}

/// The bytes of the buffers behind evaluated arrays, each counted once. An array that is not
/// evaluated raises ValueError.
///
/// >>> x = mx.arange(4)
/// >>> mx.eval(x)
/// >>> mx.get_array_buffer_size(x) >= 16
/// True
#[pyfunction]
#[pyo3(signature = (*args))]
fn get_array_buffer_size(args: &Bound<'_, PyTuple>) -> Answer<usize> {
    let mut seen: Vec<lazulite::backend::Buffer> = Vec::new();
    for array in trees::flatten(args.as_any())? {
        if !array.is_evaluated() {
            let why = "[get_array_buffer_size] an array is not evaluated; call mx.eval on it first";
            return Err(value_error(why));
        }
        let (buffer, _) = array.buffer()?;
        if !seen.iter().any(|b| b.same(&buffer)) {
            seen.push(buffer);
        }
    }
    Ok(seen.iter().map(|b| b.memory().size()).sum())
}

/// Starts the recording of a trace of the graphics card; here, nothing is recorded.
#[pyfunction]
fn start_capture(path: &str) {
    let _ = path;
}

/// Ends the recording of a trace.
#[pyfunction]
fn stop_capture() {}

/// Facts about the device.
#[pyfunction(name = "device_info")]
fn metal_device_info(py: Python<'_>) -> Answer<Bound<'_, PyDict>> {
    device_info(py, None)
}

/// True if Apple's graphics are there: never.
#[pyfunction(name = "is_available")]
fn metal_is_available() -> bool {
    false
}

/// True if an NVIDIA GPU can be used.
#[pyfunction(name = "is_available")]
fn cuda_is_available() -> bool {
    let device = lazulite::Device { kind: lazulite::DeviceKind::Gpu, index: 0 };
    backend::is_available(device)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, get_active_memory, get_peak_memory, reset_peak_memory, get_cache_memory);
    add_functions!(m, clear_cache, get_memory_limit, set_memory_limit, set_cache_limit);
    add_functions!(m, set_wired_limit, get_array_buffer_size);
    Ok(())
}

pub fn register_metal(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, get_active_memory, get_peak_memory, reset_peak_memory, get_cache_memory);
    add_functions!(m, clear_cache, set_memory_limit, set_cache_limit, set_wired_limit);
    add_functions!(m, start_capture, stop_capture);
    m.add_function(wrap_pyfunction!(metal_device_info, m)?)?;
    m.add_function(wrap_pyfunction!(metal_is_available, m)?)
}

pub fn register_cuda(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(cuda_is_available, m)?)
}
