//! The class `array`: a Python object that holds a handle on an engine array.
//!
//! Engine arrays never change; `a += b` and `a[i] = b` give the Python object another handle.
//! This file has the handle, construction, conversion and properties; [`mod@operators`] has the
//! operators, `methods` the functions that are also methods.

mod methods;
mod operators;

use crate::buffer;
use crate::convert::{array_from, evaluate, item, to_list};
use crate::dlpack;
use crate::dtype::PyDtype;
use crate::errors::{Answer, type_error, value_error};
use crate::indexing::{self, ArrayAt};
use crate::print;
use lazulite::{Array, Dtype, Result};
use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::ffi::c_int;

/// A lazy n-dimensional array.
///
/// Made from a number, nested lists or tuples, or anything that holds array data. Without a dtype,
/// Python's floats become float32, its integers int32 (int64 if one does not fit), and NumPy's
/// float64 becomes float32.
///
/// Operations return at once and compute nothing; `mx.eval`, or reading a value (`item`, `tolist`,
/// `print`, NumPy), computes what is missing. Assigning (`a[i] = b`, `a += b`) changes the object,
/// never arrays made from it before.
///
/// >>> a = mx.array([[1, 2], [3, 4]])
/// >>> a.shape, a.dtype, a[0].tolist()
/// ((2, 2), mlx.core.int32, [1, 2])
#[pyclass(name = "array", module = "lazulite.core", frozen, weakref)]
pub struct PyArray {
    handle: Mutex<Array>,
}

impl From<Array> for PyArray {
    fn from(array: Array) -> PyArray {
        PyArray { handle: Mutex::new(array) }
    }
}

/// The engine's answer as a Python array.
pub fn wrap(result: Result<Array>) -> Answer<PyArray> {
    Ok(PyArray::from(result?))
}

/// The array and axis of a scan: without an axis, the flattened array.
pub fn flat_axis(array: Array, axis: Option<i64>) -> Answer<(Array, i64)> {
    Ok(match axis {
        Some(axis) => (array, axis),
        None => (array.flatten(0, -1)?, 0),
    })
}

impl PyArray {
    /// The handle that the object holds now.
    pub fn array(&self) -> Array {
        self.handle.lock().clone()
    }

    /// Gives the object another handle.
    pub fn set(&self, array: Array) -> Array {
        std::mem::replace(&mut *self.handle.lock(), array)
    }

    fn dtype_now(&self) -> Dtype {
        self.handle.lock().dtype()
    }
}

#[pymethods]
impl PyArray {
    #[new]
    #[pyo3(signature = (val, dtype = None))]
    fn new(val: &Bound<'_, PyAny>, dtype: Option<PyDtype>) -> Answer<PyArray> {
        Ok(array_from(val, dtype.map(|d| d.0))?.into())
    }

    /// The only element as a Python number; evaluates the array. Other sizes raise ValueError.
    pub fn item(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        item(py, &self.array())
    }

    /// The elements as nested lists, or a number for a 0-d array; evaluates the array.
    fn tolist(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        to_list(py, &self.array())
    }

    fn __repr__(&self, py: Python<'_>) -> Answer<String> {
        print::show(py, &self.array())
    }

    fn __format__(&self, py: Python<'_>, spec: &str) -> Answer<String> {
        let array = self.array();
        if array.ndim() > 0 && spec.is_empty() {
            return print::show(py, &array);
        }
        if array.ndim() > 0 {
            let message = "unsupported format string passed to mx.array.__format__";
            return Err(type_error(message));
        }
        let number = item(py, &array)?;
        Ok(number.bind(py).call_method1(intern!(py, "__format__"), (spec,))?.extract()?)
    }

    fn __bool__(&self, py: Python<'_>) -> Answer<bool> {
        Ok(item(py, &self.array())?.bind(py).is_truthy()?)
    }

    fn __float__(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        Ok(py.get_type::<pyo3::types::PyFloat>().call1((item(py, &self.array())?,))?.unbind())
    }

    fn __int__(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        Ok(py.get_type::<pyo3::types::PyInt>().call1((item(py, &self.array())?,))?.unbind())
    }

    fn __complex__(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        Ok(py.get_type::<pyo3::types::PyComplex>().call1((item(py, &self.array())?,))?.unbind())
    }

    fn __index__(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        let array = self.array();
        if array.ndim() > 0 || !array.dtype().is_integer() {
            let message = "Only 0-dimensional integer arrays can be converted to an index.";
            return Err(type_error(message));
        }
        item(py, &array)
    }

    fn __len__(&self) -> Answer<usize> {
        let array = self.array();
        array.shape().first().copied().ok_or_else(|| type_error("len() 0-dimensional array."))
    }

    fn __iter__(&self) -> Answer<ArrayIterator> {
        let array = self.array();
        match array.shape().first() {
            Some(_) => Ok(ArrayIterator { array, place: Mutex::new(0) }),
            None => Err(type_error("iter() 0-dimensional array.")),
        }
    }

    fn __getitem__(&self, index: &Bound<'_, PyAny>) -> Answer<PyArray> {
        Ok(indexing::get(&self.array(), index)?.into())
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Answer<()> {
        self.set(indexing::assign(&self.array(), index, value)?);
        Ok(())
    }

    /// A helper for updates that return another array: `a.at[index].add(value)` and others.
    #[getter]
    fn at(&self) -> ArrayAt {
        ArrayAt::new(self.array())
    }

    fn __copy__(&self) -> PyArray {
        self.array().into()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyArray {
        self.array().into()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Answer<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let array = self.array();
        let rebuild = py.import(intern!(py, "lazulite.core"))?.getattr("_from_bytes")?;
        let shape = PyTuple::new(py, array.shape())?;
        let args = (self.__bytes__(py)?, array.dtype().name(), shape);
        Ok((rebuild, args.into_pyobject(py)?))
    }

    /// What `__setstate__` takes.
    fn __getstate__(&self) -> (PyArray,) {
        (PyArray::from(self.array()),)
    }

    /// Takes the array of a state, a tuple that begins with an array.
    fn __setstate__(&self, state: &Bound<'_, PyTuple>) -> Answer<()> {
        self.set(state.get_item(0)?.cast::<PyArray>()?.get().array());
        Ok(())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Answer<Bound<'py, PyBytes>> {
        let array = self.array();
        evaluate(py, std::slice::from_ref(&array))?;
        let host = buffer::export(py, &array.contiguous()?)?;
        let bytes = host.buffer.memory().host_bytes().unwrap_or_default();
        let range = host.offset..host.offset + array.nbytes();
        Ok(PyBytes::new(py, bytes.get(range).unwrap_or_default()))
    }

    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> Answer<Bound<'py, PyAny>> {
        buffer::to_numpy(slf, dtype, copy)
    }

    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__(
        slf: &Bound<'_, Self>,
        stream: Option<Bound<'_, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> Answer<Py<PyAny>> {
        let _ = stream;
        if dl_device.is_some_and(|d| d.0 != 1) {
            let message = "__dlpack__: arrays are exported in host memory only";
            return Err(pyo3::exceptions::PyBufferError::new_err(message).into());
        }
        dlpack::capsule(slf, max_version.is_some_and(|v| v.0 >= 1), copy)
    }

    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::device(&self.array())
    }

    #[pyo3(signature = (*, api_version = None))]
    fn __array_namespace__<'py>(
        &self,
        py: Python<'py>,
        api_version: Option<&str>,
    ) -> Answer<Bound<'py, PyModule>> {
        let _ = api_version;
        Ok(py.import(intern!(py, "lazulite.core"))?)
    }

    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: Python calls the slot with a structure to fill.
        unsafe { buffer::lend(slf, view, flags) }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: Python calls the slot once for each structure that `lend` filled.
        unsafe { buffer::give_back(view) }
    }

    /// The sizes of the axes.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> Answer<Bound<'py, PyTuple>> {
        Ok(PyTuple::new(py, self.array().shape())?)
    }

    /// The number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.handle.lock().ndim()
    }

    /// The number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.handle.lock().len()
    }

    /// The size of an element in bytes.
    #[getter]
    fn itemsize(&self) -> usize {
        self.dtype_now().size()
    }

    /// The number of bytes of all elements.
    #[getter]
    fn nbytes(&self) -> usize {
        self.handle.lock().nbytes()
    }

    /// The element type.
    #[getter]
    fn dtype(&self) -> PyDtype {
        PyDtype(self.dtype_now())
    }

    /// The array with its axes reversed.
    #[getter(T)]
    fn transposed(&self) -> Answer<PyArray> {
        wrap(self.array().transpose(None))
    }

    /// The array with its last two axes exchanged.
    #[getter(mT)]
    fn matrix_transposed(&self) -> Answer<PyArray> {
        wrap(self.array().swapaxes(-1, -2))
    }

    /// The real part.
    #[getter]
    fn real(&self) -> Answer<PyArray> {
        wrap(self.array().real())
    }

    /// The imaginary part.
    #[getter]
    fn imag(&self) -> Answer<PyArray> {
        wrap(self.array().imag())
    }
}

/// The elements of an array along its first axis.
#[pyclass(module = "lazulite.core", frozen)]
pub struct ArrayIterator {
    array: Array,
    place: Mutex<usize>,
}

#[pymethods]
impl ArrayIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self) -> Answer<Option<PyArray>> {
        let mut place = self.place.lock();
        if *place >= self.array.shape()[0] {
            return Ok(None);
        }
        *place += 1;
        Ok(Some(indexing::row(&self.array, *place as i64 - 1)?.into()))
    }
}

/// The array of these bytes; what pickled arrays come back through.
#[pyfunction]
fn _from_bytes(bytes: &[u8], dtype: &str, shape: Vec<usize>) -> Answer<PyArray> {
    let dtype = Dtype::from_name(dtype);
    let dtype = dtype.ok_or_else(|| value_error("unpickling: no such dtype"))?;
    wrap(Array::from_bytes(bytes, dtype, &shape))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyArray>()?;
    m.add_class::<ArrayIterator>()?;
    m.add_class::<ArrayAt>()?;
    m.add_function(wrap_pyfunction!(_from_bytes, m)?)
}
