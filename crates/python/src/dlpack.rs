//! DLPack, both ways: PyTorch, JAX, NumPy and others share memory with arrays.
//!
//! Layouts are those of dlpack.h, versions 0.8 (`dltensor`) and 1.0 (`dltensor_versioned`).

use crate::array::PyArray;
use crate::buffer::{Exported, export};
use crate::errors::{Answer, Fault, type_error, value_error};
use lazulite::{Array, Device, Dtype};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::{CStr, c_void};

const CPU: i32 = 1;
const READ_ONLY: u64 = 1;
const COPIED: u64 = 2;

const PLAIN: &CStr = c"dltensor";
const PLAIN_USED: &CStr = c"used_dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
const VERSIONED_USED: &CStr = c"used_dltensor_versioned";

#[repr(C)]
#[derive(Clone, Copy)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct Managed {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

#[repr(C)]
struct ManagedVersioned {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    tensor: Tensor,
}

/// What an exported tensor points into.
struct Lent {
    exported: Exported,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

fn data_type(dtype: Dtype) -> DataType {
    let code = match dtype {
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => 0,
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => 1,
        Dtype::F16 | Dtype::F32 | Dtype::F64 => 2,
        Dtype::BF16 => 4,
        Dtype::C64 => 5,
        Dtype::Bool => 6,
    };
    DataType { code, bits: 8 * dtype.size() as u8, lanes: 1 }
}

fn dtype_of(t: DataType) -> Option<Dtype> {
    let all = Dtype::ALL.into_iter();
    all.into_iter().find(|&d| {
        let other = data_type(d);
        (other.code, other.bits, other.lanes) == (t.code, t.bits, t.lanes)
    })
}

/// The DLPack device of an array: its type and number.
pub fn device(array: &Array) -> (i32, i32) {
    match array.device() {
        Device::CPU => (CPU, 0),
        // Exported tensors lie in host memory whatever computed them.
        _ => (CPU, 0),
    }
}

/// A capsule with the array's memory, which is not copied unless `copy` asks for it.
pub fn capsule(
    array: &Bound<'_, PyArray>,
    versioned: bool,
    copy: Option<bool>,
) -> Answer<Py<PyAny>> {
    let py = array.py();
    let mut inner = array.get().array();
    if copy == Some(true) {
        let host = export(py, &inner.contiguous()?)?;
        let bytes = host.buffer.memory().host_bytes().unwrap_or_default();
        let range = host.offset..host.offset + inner.nbytes();
        let bytes = bytes.get(range).unwrap_or_default();
        inner = Array::from_bytes(bytes, inner.dtype(), inner.shape())?;
    }
    let exported = export(py, &inner)?;
    let size = inner.dtype().size() as i64;
    let shape = exported.shape.iter().map(|&n| n as i64).collect();
    let strides = exported.strides.iter().map(|&s| s as i64 / size).collect();
    let mut lent = Box::new(Lent { exported, shape, strides });
    let tensor = Tensor {
        data: lent.exported.pointer(),
        device_type: CPU,
        device_id: 0,
        ndim: lent.shape.len() as i32,
        dtype: data_type(inner.dtype()),
        shape: lent.shape.as_mut_ptr(),
        strides: lent.strides.as_mut_ptr(),
        byte_offset: 0,
    };
    let context = Box::into_raw(lent).cast::<c_void>();
    let (pointer, name) = if versioned {
        let flags = if copy == Some(true) { COPIED } else { READ_ONLY };
        let managed = ManagedVersioned {
            major: 1,
            minor: 0,
            context,
            deleter: Some(free_versioned),
            flags,
            tensor,
        };
        (Box::into_raw(Box::new(managed)).cast::<c_void>(), VERSIONED)
    } else {
        let managed = Managed { tensor, context, deleter: Some(free_plain) };
        (Box::into_raw(Box::new(managed)).cast::<c_void>(), PLAIN)
    };
    // SAFETY: `pointer` is a leaked box of the kind that `name` says, which the destructor frees
    // if no consumer renamed the capsule and took it over.
    unsafe {
        let capsule = ffi::PyCapsule_New(pointer, name.as_ptr(), Some(drop_capsule));
        Ok(Bound::from_owned_ptr_or_err(py, capsule)?.unbind())
    }
}

unsafe extern "C" fn free_plain(managed: *mut Managed) {
    // SAFETY: DLPack's consumers call the deleter once, with the tensor that it came in; both
    // boxes were leaked by `capsule`.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.context.cast::<Lent>()));
    }
}

unsafe extern "C" fn free_versioned(managed: *mut ManagedVersioned) {
    // SAFETY: as in `free_plain`.
    unsafe {
        let managed = Box::from_raw(managed);
        drop(Box::from_raw(managed.context.cast::<Lent>()));
    }
}

unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: Python passes the capsule that is going away. A consumer that took the tensor over
    // renamed it, so that neither name is valid any more.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, PLAIN.as_ptr()) != 0 {
            free_plain(ffi::PyCapsule_GetPointer(capsule, PLAIN.as_ptr()).cast());
        } else if ffi::PyCapsule_IsValid(capsule, VERSIONED.as_ptr()) != 0 {
            free_versioned(ffi::PyCapsule_GetPointer(capsule, VERSIONED.as_ptr()).cast());
        }
    }
}

/// An array with a copy of the tensor that `obj` lends.
///
/// A copy is made since the owner may write to its memory, while arrays never change; with
/// `copy=False` that is refused.
pub fn import(obj: &Bound<'_, PyAny>, copy: Option<bool>) -> Answer<Array> {
    let py = obj.py();
    if let Ok(array) = obj.cast::<PyArray>() {
        return Ok(array.get().array());
    }
    if copy == Some(false) {
        let message = "from_dlpack: arrays never change, so foreign memory is always copied";
        return Err(PyBufferError::new_err(message).into());
    }
    let (kind, _): (i32, i64) = match obj.call_method0(intern!(py, "__dlpack_device__")) {
        Ok(device) => device.extract()?,
        Err(_) => (CPU, 0),
    };
    let options = PyDict::new(py);
    options.set_item("max_version", (1, 0))?;
    if kind != CPU {
        options.set_item("dl_device", (CPU, 0))?;
    }
    let name = intern!(py, "__dlpack__");
    let capsule = match obj.call_method(name, (), Some(&options)) {
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyTypeError>(py) => {
            obj.call_method0(name)?
        }
        other => other?,
    };
    let pointer = capsule.as_ptr();
    // SAFETY: the capsule is alive; a valid name tells the type behind its pointer. The tensor is
    // taken over by renaming the capsule, and its deleter is called once, after the copy.
    unsafe {
        if ffi::PyCapsule_IsValid(pointer, VERSIONED.as_ptr()) != 0 {
            let managed = ffi::PyCapsule_GetPointer(pointer, VERSIONED.as_ptr());
            let managed = managed.cast::<ManagedVersioned>();
            let array = copy_tensor(&(*managed).tensor);
            ffi::PyCapsule_SetName(pointer, VERSIONED_USED.as_ptr());
            if let Some(deleter) = (*managed).deleter {
                deleter(managed);
            }
            array
        } else if ffi::PyCapsule_IsValid(pointer, PLAIN.as_ptr()) != 0 {
            let managed = ffi::PyCapsule_GetPointer(pointer, PLAIN.as_ptr()).cast::<Managed>();
            let array = copy_tensor(&(*managed).tensor);
            ffi::PyCapsule_SetName(pointer, PLAIN_USED.as_ptr());
            if let Some(deleter) = (*managed).deleter {
                deleter(managed);
            }
            array
        } else {
            Err(type_error("__dlpack__ returned no DLPack capsule"))
        }
    }
}

fn refuse(message: &str) -> Fault {
    value_error(format!("from_dlpack: {message}"))
}

/// # Safety
/// The tensor must be as its producer described it, and alive.
unsafe fn copy_tensor(tensor: &Tensor) -> Answer<Array> {
    if tensor.device_type != CPU {
        return Err(refuse("the tensor is not in host memory"));
    }
    let dtype = dtype_of(tensor.dtype);
    let dtype = dtype.ok_or_else(|| refuse("arrays do not have the tensor's element type"))?;
    let ndim = usize::try_from(tensor.ndim).map_err(|_| refuse("a negative number of axes"))?;
    let sizes = |pointer: *const i64| -> Vec<i64> {
        if pointer.is_null() || ndim == 0 {
            return Vec::new();
        }
        // SAFETY: DLPack's `shape` and `strides` have `ndim` entries.
        unsafe { std::slice::from_raw_parts(pointer, ndim) }.to_vec()
    };
    let shape: Vec<usize> = sizes(tensor.shape).iter().map(|&n| n.max(0) as usize).collect();
    let len = lazulite::shape::checked_len("from_dlpack", &shape)?;
    if len == 0 {
        return Ok(Array::from_bytes(&[], dtype, &shape)?);
    }
    let dense: Vec<i64> =
        lazulite::shape::contiguous_strides(&shape).iter().map(|&s| s as i64).collect();
    let strides = if tensor.strides.is_null() { dense.clone() } else { sizes(tensor.strides) };
    let size = dtype.size();
    let base = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
    let matches = |(i, (s, d)): (usize, (&i64, &i64))| s == d || shape[i] == 1;
    if strides.iter().zip(&dense).enumerate().all(matches) {
        // SAFETY: a dense tensor has `len` elements from its base on.
        let bytes = unsafe { std::slice::from_raw_parts(base, len * size) };
        return Ok(Array::from_bytes(bytes, dtype, &shape)?);
    }
    let mut bytes = Vec::with_capacity(len * size);
    let mut place = vec![0usize; ndim];
    for _ in 0..len {
        let steps = place.iter().zip(&strides).map(|(&i, &s)| i as i64 * s).sum::<i64>();
        let from = base.wrapping_offset(steps as isize * size as isize);
        // SAFETY: `place` is within the shape, so the element is one of the tensor's.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from, size) });
        for axis in (0..ndim).rev() {
            place[axis] += 1;
            if place[axis] < shape[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    Ok(Array::from_bytes(&bytes, dtype, &shape)?)
}
