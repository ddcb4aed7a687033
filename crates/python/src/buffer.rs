//! The buffer protocol, both ways: NumPy and everything else that has host memory.
//!
//! Reading copies once, since the owner may write to its memory later. Exporting copies nothing:
//! the view keeps the array's buffer alive and is read-only.

use crate::array::PyArray;
use crate::convert::evaluate;
use crate::errors::Answer;
use lazulite::backend::Buffer;
use lazulite::{Array, Dtype};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::{CStr, c_char, c_int, c_void};

/// A copy of, or a view on, a host array in row-major order.
pub struct HostArray {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    data: Data,
}

enum Data {
    /// Contiguous and of an element type that the engine has: the owner's memory.
    View(View),
    Owned(Vec<u8>),
}

impl HostArray {
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::View(view) => view.bytes(),
            Data::Owned(bytes) => bytes,
        }
    }

    pub fn into_array(self) -> Answer<Array> {
        Ok(Array::from_bytes(self.bytes(), self.dtype, &self.shape)?)
    }
}

/// A buffer that some object lends, given back on drop.
struct View(Box<ffi::Py_buffer>);

impl View {
    /// The object's buffer; nothing if it has none, or none in a form that can be read.
    fn of(obj: &Bound<'_, PyAny>) -> Option<View> {
        // SAFETY: `obj` is alive, and a zeroed `Py_buffer` is what `PyObject_GetBuffer` fills.
        unsafe {
            if ffi::PyObject_CheckBuffer(obj.as_ptr()) == 0 {
                return None;
            }
            let mut view: Box<ffi::Py_buffer> = Box::new(std::mem::zeroed());
            let flags = ffi::PyBUF_STRIDED_RO | ffi::PyBUF_FORMAT;
            if ffi::PyObject_GetBuffer(obj.as_ptr(), &mut *view, flags) != 0 {
                ffi::PyErr_Clear();
                return None;
            }
            Some(View(view))
        }
    }

    fn sizes(&self, pointer: *const ffi::Py_ssize_t) -> &[isize] {
        if pointer.is_null() {
            return &[];
        }
        // SAFETY: the exporter fills `ndim` entries of `shape` and `strides`, which live as long
        // as the view.
        unsafe { std::slice::from_raw_parts(pointer, self.0.ndim as usize) }
    }

    fn shape(&self) -> Vec<usize> {
        self.sizes(self.0.shape).iter().map(|&n| n as usize).collect()
    }

    fn format(&self) -> &str {
        if self.0.format.is_null() {
            return "B";
        }
        // SAFETY: the exporter's format is a C string that lives as long as the view.
        unsafe { CStr::from_ptr(self.0.format) }.to_str().unwrap_or("?unreadable")
    }

    fn is_contiguous(&self) -> bool {
        // SAFETY: the view was filled by `PyObject_GetBuffer` and not yet released.
        unsafe { ffi::PyBuffer_IsContiguous(&*self.0, b'C' as c_char) != 0 }
    }

    /// All bytes of a contiguous view.
    fn bytes(&self) -> &[u8] {
        if self.0.buf.is_null() || self.0.len == 0 {
            return &[];
        }
        // SAFETY: a contiguous view has `len` readable bytes from `buf` on. Python code that would
        // write to them cannot run while the thread is attached and this borrow lasts.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast::<u8>(), self.0.len as usize) }
    }

    /// A copy of the elements in row-major order, whatever their strides.
    fn copy(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; self.0.len as usize];
        // SAFETY: `bytes` has the `len` bytes that the copy writes, and the view is filled.
        let failed = unsafe {
            let to = bytes.as_mut_ptr().cast::<c_void>();
            ffi::PyBuffer_ToContiguous(to, &*self.0, self.0.len, b'C' as c_char)
        };
        if failed != 0 {
            // SAFETY: the thread is attached to Python, since it holds a view.
            unsafe { ffi::PyErr_Clear() };
        }
        bytes
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the view was filled once, and is released once, by an attached thread: views do
        // not leave the functions of this module and of `convert`.
        unsafe { ffi::PyBuffer_Release(&mut *self.0) };
    }
}

/// What the elements of a buffer are.
enum Layout {
    Native(Dtype),
    /// 8-byte reals, which arrays keep as `float32` unless asked for more.
    Double,
    /// 16-byte complex numbers.
    DoubleComplex,
}

fn layout(format: &str, size: usize) -> Option<Layout> {
    let code = match format.as_bytes() {
        [b'@' | b'=', rest @ ..] => rest,
        [b'<', rest @ ..] if cfg!(target_endian = "little") => rest,
        [b'>' | b'!', rest @ ..] if size == 1 || cfg!(target_endian = "big") => rest,
        [b'|', rest @ ..] => rest,
        all => all,
    };
    let dtype = match (code, size) {
        (b"?", 1) => Dtype::Bool,
        (b"b", 1) => Dtype::I8,
        (b"B" | b"c", 1) => Dtype::U8,
        (b"h", 2) => Dtype::I16,
        (b"H", 2) => Dtype::U16,
        (b"i" | b"l" | b"q" | b"n", 4) => Dtype::I32,
        (b"I" | b"L" | b"Q" | b"N", 4) => Dtype::U32,
        (b"i" | b"l" | b"q" | b"n", 8) => Dtype::I64,
        (b"I" | b"L" | b"Q" | b"N", 8) => Dtype::U64,
        (b"e", 2) => Dtype::F16,
        (b"f", 4) => Dtype::F32,
        (b"Zf", 8) => Dtype::C64,
        (b"d", 8) => return Some(Layout::Double),
        (b"Zd", 16) => return Some(Layout::DoubleComplex),
        _ => return None,
    };
    Some(Layout::Native(dtype))
}

/// The host array of `obj`, with `float64` narrowed to `float32`; nothing if it lends no buffer
/// whose elements an array can hold.
pub fn read(obj: &Bound<'_, PyAny>) -> Answer<Option<HostArray>> {
    read_as(obj, false)
}

/// As [`read`], but `float64` stays.
pub fn read_wide(obj: &Bound<'_, PyAny>) -> Answer<Option<HostArray>> {
    read_as(obj, true)
}

fn read_as(obj: &Bound<'_, PyAny>, wide: bool) -> Answer<Option<HostArray>> {
    let Some(view) = View::of(obj) else { return read_bfloat16(obj) };
    let shape = view.shape();
    let Some(layout) = layout(view.format(), view.0.itemsize as usize) else { return Ok(None) };
    let (dtype, data) = match layout {
        Layout::Native(Dtype::Bool) => {
            // Any byte but zero is true in a foreign array.
            let bytes = view.copy().into_iter().map(|b| u8::from(b != 0)).collect();
            (Dtype::Bool, Data::Owned(bytes))
        }
        Layout::Native(dtype) if view.is_contiguous() => (dtype, Data::View(view)),
        Layout::Native(dtype) => (dtype, Data::Owned(view.copy())),
        Layout::Double if wide => (Dtype::F64, Data::Owned(view.copy())),
        Layout::Double => (Dtype::F32, Data::Owned(narrow(&view))),
        Layout::DoubleComplex => (Dtype::C64, Data::Owned(narrow(&view))),
    };
    Ok(Some(HostArray { dtype, shape, data }))
}

/// Reals of 8 bytes as reals of 4.
fn narrow(view: &View) -> Vec<u8> {
    let strided;
    let bytes = if view.is_contiguous() {
        view.bytes()
    } else {
        strided = view.copy();
        &strided
    };
    let (doubles, _) = bytes.as_chunks::<8>();
    let narrowed = doubles.iter().map(|&b| (f64::from_ne_bytes(b) as f32).to_ne_bytes());
    narrowed.flatten().collect()
}

/// NumPy arrays of `ml_dtypes.bfloat16` do not lend their buffer; their words do.
fn read_bfloat16(obj: &Bound<'_, PyAny>) -> Answer<Option<HostArray>> {
    let py = obj.py();
    let Ok(dtype) = obj.getattr(intern!(py, "dtype")) else { return Ok(None) };
    let Ok(name) = dtype.getattr(intern!(py, "name")) else { return Ok(None) };
    if !name.eq("bfloat16")? || !obj.hasattr(intern!(py, "view"))? {
        return Ok(None);
    }
    let words = obj.call_method1(intern!(py, "view"), (intern!(py, "uint16"),))?;
    let Some(host) = read(&words)? else { return Ok(None) };
    Ok((host.dtype == Dtype::U16).then_some(HostArray { dtype: Dtype::BF16, ..host }))
}

/// The buffer code of a dtype; nothing for `bfloat16`, which the protocol does not have.
pub fn code(dtype: Dtype) -> Option<&'static CStr> {
    Some(match dtype {
        Dtype::Bool => c"?",
        Dtype::U8 => c"B",
        Dtype::U16 => c"H",
        Dtype::U32 => c"I",
        Dtype::U64 => c"Q",
        Dtype::I8 => c"b",
        Dtype::I16 => c"h",
        Dtype::I32 => c"i",
        Dtype::I64 => c"q",
        Dtype::F16 => c"e",
        Dtype::F32 => c"f",
        Dtype::F64 => c"d",
        Dtype::C64 => c"Zf",
        Dtype::BF16 => return None,
    })
}

/// An evaluated array in host memory, with its strides in bytes.
pub struct Exported {
    pub buffer: Buffer,
    pub shape: Vec<isize>,
    pub strides: Vec<isize>,
    pub offset: usize,
}

impl Exported {
    /// Where the first element is.
    pub fn pointer(&self) -> *mut c_void {
        let bytes = self.buffer.memory().host_bytes().unwrap_or_default();
        bytes.as_ptr().wrapping_add(self.offset).cast_mut().cast()
    }
}

/// Evaluates the array and finds its elements in host memory, without a copy where it is there.
pub fn export(py: Python<'_>, array: &Array) -> Answer<Exported> {
    evaluate(py, std::slice::from_ref(array))?;
    let (mut buffer, mut layout) = array.buffer()?;
    if buffer.memory().host_bytes().is_none() {
        (buffer, layout) = on_host(array)?.buffer()?;
    }
    let size = array.dtype().size();
    Ok(Exported {
        shape: layout.shape.iter().map(|&n| n as isize).collect(),
        strides: layout.strides.iter().map(|&s| s * size as isize).collect(),
        offset: layout.offset * size,
        buffer,
    })
}

/// A copy in host memory of an array of another device.
fn on_host(array: &Array) -> Answer<Array> {
    use lazulite::{Device, Stream, with_element, with_stream};
    with_stream(Stream::default_of(Device::CPU), || {
        with_element!(array.dtype(), T => {
            let elements = array.as_slice::<T>()?;
            Ok(Array::from_slice(&elements, array.shape())?)
        })
    })
}

/// What a lent `Py_buffer` points into.
struct Lent {
    exported: Exported,
    format: &'static CStr,
}

/// Fills `view` for a consumer of the buffer protocol.
///
/// # Safety
/// `view` must be the structure that Python handed to the type's buffer slot.
pub unsafe fn lend(
    array: &Bound<'_, PyArray>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let refuse = |message: &str| Err(PyBufferError::new_err(message.to_string()));
    let inner = array.get().array();
    let Some(format) = code(inner.dtype()) else {
        return refuse("the buffer protocol has no bfloat16");
    };
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return refuse("arrays are read-only");
    }
    let mut exported = export(array.py(), &inner)?;
    let contiguous = lazulite::shape::contiguous_strides(inner.shape());
    let size = inner.dtype().size() as isize;
    let dense = exported.strides.iter().zip(&contiguous).all(|(&s, &c)| s == c * size);
    if !dense && flags & ffi::PyBUF_STRIDES != ffi::PyBUF_STRIDES {
        exported = export(array.py(), &inner.contiguous().map_err(crate::errors::Fault::from)?)?;
    }
    let lent = Box::new(Lent { exported, format });
    // SAFETY: by the contract `view` may be written. All pointers lead into `lent`, which
    // `give_back` frees when the consumer is done, or into the buffer that `lent` keeps alive.
    unsafe {
        (*view).buf = lent.exported.pointer();
        (*view).len = inner.nbytes() as isize;
        (*view).readonly = 1;
        (*view).itemsize = size;
        (*view).format = std::ptr::null_mut();
        if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
            (*view).format = lent.format.as_ptr().cast_mut();
        }
        (*view).ndim = lent.exported.shape.len() as c_int;
        (*view).shape = std::ptr::null_mut();
        if flags & ffi::PyBUF_ND == ffi::PyBUF_ND {
            (*view).shape = lent.exported.shape.as_ptr().cast_mut();
        }
        (*view).strides = std::ptr::null_mut();
        if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES {
            (*view).strides = lent.exported.strides.as_ptr().cast_mut();
        }
        (*view).suboffsets = std::ptr::null_mut();
        (*view).internal = Box::into_raw(lent).cast();
        (*view).obj = array.clone().into_any().into_ptr();
    }
    Ok(())
}

/// Frees what [`lend`] made.
///
/// # Safety
/// `view` must have been filled by [`lend`] and not been given back yet.
pub unsafe fn give_back(view: *mut ffi::Py_buffer) {
    // SAFETY: `internal` is the box that `lend` leaked, by the contract for the first time.
    unsafe { drop(Box::from_raw((*view).internal.cast::<Lent>())) };
}

/// The array as a NumPy array, without a copy unless one is asked for.
pub fn to_numpy<'py>(
    array: &Bound<'py, PyArray>,
    dtype: Option<Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> Answer<Bound<'py, PyAny>> {
    let py = array.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let inner = array.get().array();
    let view = if inner.dtype() == Dtype::BF16 {
        match py.import(intern!(py, "ml_dtypes")) {
            Ok(ml_dtypes) => {
                let words = Bound::new(py, PyArray::from(inner.view(Dtype::U16)?))?;
                let words = numpy.call_method1(intern!(py, "asarray"), (words,))?;
                words.call_method1(intern!(py, "view"), (ml_dtypes.getattr("bfloat16")?,))?
            }
            Err(_) => {
                let wide = Bound::new(py, PyArray::from(inner.astype(Dtype::F32)?))?;
                numpy.call_method1(intern!(py, "asarray"), (wide,))?
            }
        }
    } else {
        let view = pyo3::types::PyMemoryView::from(array.as_any())?;
        numpy.call_method1(intern!(py, "asarray"), (view,))?
    };
    match (dtype, copy) {
        (Some(dtype), _) => {
            let options = PyDict::new(py);
            options.set_item("copy", copy.unwrap_or(false))?;
            Ok(view.call_method("astype", (dtype,), Some(&options))?)
        }
        (None, Some(true)) => Ok(view.call_method0("copy")?),
        (None, _) => Ok(view),
    }
}
