//! The class `array`: a Python object that holds a handle on an engine array.
//!
//! Engine arrays never change; `a += b` and `a[i] = b` give the Python object another handle.
//! Contents: the handle, construction and conversion, operators, properties, methods.

use crate::buffer;
use crate::convert::{Axes, Operand, Scalar, array_from, evaluate, item, to_list, type_name};
use crate::device::{On, on};
use crate::dlpack;
use crate::dtype::PyDtype;
use crate::errors::{Answer, type_error, value_error};
use crate::functions::shaping::split_array;
use crate::indexing::{self, ArrayAt};
use crate::print;
use lazulite::{Array, Dtype, Result};
use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyList, PyString, PyTuple};
use std::ffi::c_int;

/// A lazy n-dimensional array.
///
/// Made from a number, nested lists or tuples, or anything that holds array data. Without a dtype,
/// Python's floats become float32, its integers int32 (int64 if one does not fit), and NumPy's
/// float64 becomes float32.
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

    fn operand(&self, other: &Bound<'_, PyAny>, what: &str) -> Answer<Option<Operand>> {
        if let Ok(array) = other.cast::<PyArray>() {
            return Ok(Some(Operand::Array(array.get().array())));
        }
        if let Some(scalar) = Scalar::of(other)? {
            return Ok(Some(Operand::Scalar(scalar)));
        }
        let text = other.is_instance_of::<PyString>();
        if text || other.is_instance_of::<PyList>() || other.is_instance_of::<PyTuple>() {
            let name = type_name(other);
            let message = format!("Cannot perform {what} on an mlx.core.array and {name}");
            return Err(value_error(message));
        }
        Ok(Operand::of(other).ok())
    }

    fn binary(
        &self,
        other: &Bound<'_, PyAny>,
        what: &str,
        op: fn(&Array, &Array) -> Result<Array>,
    ) -> Answer<Py<PyAny>> {
        let py = other.py();
        let Some(other) = self.operand(other, what)? else { return Ok(py.NotImplemented()) };
        let array = self.array();
        let other = other.beside(array.dtype())?;
        Ok(Py::new(py, wrap(op(&array, &other))?)?.into_any())
    }

    fn reflected(
        &self,
        other: &Bound<'_, PyAny>,
        what: &str,
        op: fn(&Array, &Array) -> Result<Array>,
    ) -> Answer<Py<PyAny>> {
        let py = other.py();
        let Some(other) = self.operand(other, what)? else { return Ok(py.NotImplemented()) };
        let array = self.array();
        let other = other.beside(array.dtype())?;
        Ok(Py::new(py, wrap(op(&other, &array))?)?.into_any())
    }

    fn in_place(
        &self,
        other: &Bound<'_, PyAny>,
        what: &str,
        op: fn(&Array, &Array) -> Result<Array>,
    ) -> Answer<()> {
        let Some(other) = self.operand(other, what)? else {
            let name = type_name(other);
            return Err(type_error(format!("unsupported operand for in-place {what}: {name}")));
        };
        let array = self.array();
        let other = other.beside(array.dtype())?;
        self.set(op(&array, &other)?);
        Ok(())
    }

    fn compare(
        &self,
        other: &Bound<'_, PyAny>,
        otherwise: bool,
        op: fn(&Array, &Array) -> Result<Array>,
    ) -> Answer<Py<PyAny>> {
        let py = other.py();
        match self.operand(other, "equality") {
            Ok(Some(other)) => {
                let array = self.array();
                let other = other.beside(array.dtype())?;
                Ok(Py::new(py, wrap(op(&array, &other))?)?.into_any())
            }
            _ => Ok(PyBool::new(py, otherwise).to_owned().into_any().unbind()),
        }
    }
}

#[pymethods]
impl PyArray {
    #[new]
    #[pyo3(signature = (val, dtype = None))]
    fn new(val: &Bound<'_, PyAny>, dtype: Option<PyDtype>) -> Answer<PyArray> {
        Ok(array_from(val, dtype.map(|d| d.0))?.into())
    }

    /// The only element as a Python number.
    pub fn item(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        item(py, &self.array())
    }

    /// The elements as nested lists; a number for a 0-d array.
    fn tolist(&self, py: Python<'_>) -> Answer<Py<PyAny>> {
        to_list(py, &self.array())
    }

    fn __repr__(&self, py: Python<'_>) -> Answer<String> {
        print::show(py, &self.array())
    }

    fn __format__(&self, py: Python<'_>, spec: &str) -> Answer<String> {
        let array = self.array();
        if spec.is_empty() {
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

    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.compare(other, false, Array::equal)
    }

    fn __ne__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.compare(other, true, Array::not_equal)
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
        let array = self.array();
        if array.dtype().is_complex() { wrap(array.real()) } else { Ok(array.into()) }
    }

    /// The imaginary part.
    #[getter]
    fn imag(&self) -> Answer<PyArray> {
        let array = self.array();
        if array.dtype().is_complex() { wrap(array.imag()) } else { wrap(array.zeros_like()) }
    }

    fn __neg__(&self) -> Answer<PyArray> {
        wrap(self.array().negative())
    }

    fn __pos__(&self) -> PyArray {
        self.array().into()
    }

    fn __abs__(&self) -> Answer<PyArray> {
        wrap(self.array().abs())
    }

    fn __invert__(&self) -> Answer<PyArray> {
        let array = self.array();
        let boolean = array.dtype() == Dtype::Bool;
        wrap(if boolean { array.logical_not() } else { array.bitwise_invert() })
    }

    fn __pow__(
        &self,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> Answer<Py<PyAny>> {
        let _ = modulo;
        self.binary(other, "power", Array::power)
    }

    fn __rpow__(
        &self,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> Answer<Py<PyAny>> {
        let _ = modulo;
        self.reflected(other, "power", Array::power)
    }

    fn __ipow__(&self, other: &Bound<'_, PyAny>, modulo: Option<&Bound<'_, PyAny>>) -> Answer<()> {
        let _ = modulo;
        self.in_place(other, "power", Array::power)
    }

    fn __div__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "division", Array::divide)
    }

    fn __rdiv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "division", Array::divide)
    }

    fn __matmul__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        match other.cast::<PyArray>() {
            Ok(_) => self.binary(other, "matrix multiplication", Array::matmul),
            Err(_) => Ok(other.py().NotImplemented()),
        }
    }

    fn __imatmul__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "matrix multiplication", Array::matmul)
    }

    fn __add__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "addition", Array::add)
    }

    fn __radd__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "addition", Array::add)
    }

    fn __iadd__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "addition", Array::add)
    }

    fn __sub__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "subtraction", Array::subtract)
    }

    fn __rsub__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "subtraction", Array::subtract)
    }

    fn __isub__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "subtraction", Array::subtract)
    }

    fn __mul__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "multiplication", Array::multiply)
    }

    fn __rmul__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "multiplication", Array::multiply)
    }

    fn __imul__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "multiplication", Array::multiply)
    }

    fn __truediv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "division", Array::divide)
    }

    fn __rtruediv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "division", Array::divide)
    }

    fn __itruediv__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "division", Array::divide)
    }

    fn __floordiv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "floor division", Array::floor_divide)
    }

    fn __rfloordiv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "floor division", Array::floor_divide)
    }

    fn __ifloordiv__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "floor division", Array::floor_divide)
    }

    fn __mod__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "modulus", Array::remainder)
    }

    fn __rmod__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "modulus", Array::remainder)
    }

    fn __imod__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "modulus", Array::remainder)
    }

    fn __and__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "bitwise and", Array::bitwise_and)
    }

    fn __rand__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "bitwise and", Array::bitwise_and)
    }

    fn __iand__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "bitwise and", Array::bitwise_and)
    }

    fn __or__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "bitwise or", Array::bitwise_or)
    }

    fn __ror__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "bitwise or", Array::bitwise_or)
    }

    fn __ior__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "bitwise or", Array::bitwise_or)
    }

    fn __xor__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "bitwise xor", Array::bitwise_xor)
    }

    fn __rxor__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "bitwise xor", Array::bitwise_xor)
    }

    fn __ixor__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "bitwise xor", Array::bitwise_xor)
    }

    fn __lshift__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "left shift", Array::left_shift)
    }

    fn __rlshift__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "left shift", Array::left_shift)
    }

    fn __ilshift__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "left shift", Array::left_shift)
    }

    fn __rshift__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "right shift", Array::right_shift)
    }

    fn __rrshift__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.reflected(other, "right shift", Array::right_shift)
    }

    fn __irshift__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "right shift", Array::right_shift)
    }

    fn __lt__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "less than", Array::less)
    }

    fn __le__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "less than or equal", Array::less_equal)
    }

    fn __gt__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "greater than", Array::greater)
    }

    fn __ge__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.binary(other, "greater than or equal", Array::greater_equal)
    }

    /// Absolute value.
    #[pyo3(signature = (*, stream = None))]
    fn abs(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().abs()))
    }

    /// Complex conjugate.
    #[pyo3(signature = (*, stream = None))]
    fn conj(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().conjugate()))
    }

    /// Cosine.
    #[pyo3(signature = (*, stream = None))]
    fn cos(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().cos()))
    }

    /// Exponential function.
    #[pyo3(signature = (*, stream = None))]
    fn exp(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().exp()))
    }

    /// Natural logarithm.
    #[pyo3(signature = (*, stream = None))]
    fn log(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().log()))
    }

    /// Logarithm to base 10.
    #[pyo3(signature = (*, stream = None))]
    fn log10(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().log10()))
    }

    /// Natural logarithm of one plus the array.
    #[pyo3(signature = (*, stream = None))]
    fn log1p(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().log1p()))
    }

    /// Logarithm to base 2.
    #[pyo3(signature = (*, stream = None))]
    fn log2(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().log2()))
    }

    /// One over the array.
    #[pyo3(signature = (*, stream = None))]
    fn reciprocal(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().reciprocal()))
    }

    /// One over the square root.
    #[pyo3(signature = (*, stream = None))]
    fn rsqrt(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().rsqrt()))
    }

    /// Sine.
    #[pyo3(signature = (*, stream = None))]
    fn sin(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().sin()))
    }

    /// Square root.
    #[pyo3(signature = (*, stream = None))]
    fn sqrt(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().sqrt()))
    }

    /// The array times itself.
    #[pyo3(signature = (*, stream = None))]
    fn square(&self, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().square()))
    }

    /// True iff all elements along axes are non-zero.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn all(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().all(axis.as_deref(), keepdims)))
    }

    /// True iff an element along axes is non-zero.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn any(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().any(axis.as_deref(), keepdims)))
    }

    /// `log(sum(exp(x)))` over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn logsumexp(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().logsumexp(axis.as_deref(), keepdims)))
    }

    /// Greatest element over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn max(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().max(axis.as_deref(), keepdims)))
    }

    /// Mean over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn mean(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().mean(axis.as_deref(), keepdims)))
    }

    /// Least element over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn min(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().min(axis.as_deref(), keepdims)))
    }

    /// Product over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn prod(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().prod(axis.as_deref(), keepdims)))
    }

    /// Sum over axes.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn sum(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().sum(axis.as_deref(), keepdims)))
    }

    /// Variance over axes.
    #[pyo3(signature = (axis = None, keepdims = false, ddof = 0, *, correction = None, stream = None))]
    fn var(
        &self,
        axis: Option<Axes>,
        keepdims: bool,
        ddof: usize,
        correction: Option<usize>,
        stream: On,
    ) -> Answer<PyArray> {
        let ddof = correction.unwrap_or(ddof);
        on(stream, || wrap(self.array().var(axis.as_deref(), keepdims, ddof)))
    }

    /// Standard deviation over axes.
    #[pyo3(signature = (axis = None, keepdims = false, ddof = 0, *, correction = None, stream = None))]
    fn std(
        &self,
        axis: Option<Axes>,
        keepdims: bool,
        ddof: usize,
        correction: Option<usize>,
        stream: On,
    ) -> Answer<PyArray> {
        let ddof = correction.unwrap_or(ddof);
        on(stream, || wrap(self.array().std(axis.as_deref(), keepdims, ddof)))
    }

    /// The place of the greatest element.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn argmax(&self, axis: Option<i64>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().argmax(axis, keepdims)))
    }

    /// The place of the least element.
    #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
    fn argmin(&self, axis: Option<i64>, keepdims: bool, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().argmin(axis, keepdims)))
    }

    /// Running maximum. Without an axis, of the flattened array.
    #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
    fn cummax(
        &self,
        axis: Option<i64>,
        reverse: bool,
        inclusive: bool,
        stream: On,
    ) -> Answer<PyArray> {
        on(stream, || {
            let (array, axis) = flat_axis(self.array(), axis)?;
            wrap(array.cummax(axis, reverse, inclusive))
        })
    }

    /// Running minimum. Without an axis, of the flattened array.
    #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
    fn cummin(
        &self,
        axis: Option<i64>,
        reverse: bool,
        inclusive: bool,
        stream: On,
    ) -> Answer<PyArray> {
        on(stream, || {
            let (array, axis) = flat_axis(self.array(), axis)?;
            wrap(array.cummin(axis, reverse, inclusive))
        })
    }

    /// Running product. Without an axis, of the flattened array.
    #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
    fn cumprod(
        &self,
        axis: Option<i64>,
        reverse: bool,
        inclusive: bool,
        stream: On,
    ) -> Answer<PyArray> {
        on(stream, || {
            let (array, axis) = flat_axis(self.array(), axis)?;
            wrap(array.cumprod(axis, reverse, inclusive))
        })
    }

    /// Running sum. Without an axis, of the flattened array.
    #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
    fn cumsum(
        &self,
        axis: Option<i64>,
        reverse: bool,
        inclusive: bool,
        stream: On,
    ) -> Answer<PyArray> {
        on(stream, || {
            let (array, axis) = flat_axis(self.array(), axis)?;
            wrap(array.cumsum(axis, reverse, inclusive))
        })
    }

    /// Running `log(sum(exp(x)))`. Without an axis, of the flattened array.
    #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
    fn logcumsumexp(
        &self,
        axis: Option<i64>,
        reverse: bool,
        inclusive: bool,
        stream: On,
    ) -> Answer<PyArray> {
        on(stream, || {
            let (array, axis) = flat_axis(self.array(), axis)?;
            wrap(array.logcumsumexp(axis, reverse, inclusive))
        })
    }

    /// The array converted to another dtype.
    #[pyo3(signature = (dtype, stream = None))]
    fn astype(&self, dtype: PyDtype, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().astype(dtype.0)))
    }

    /// The same bytes as another dtype.
    #[pyo3(signature = (dtype, *, stream = None))]
    fn view(&self, dtype: PyDtype, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().view(dtype.0)))
    }

    /// The diagonal of a matrix, or the matrix with this diagonal.
    #[pyo3(signature = (k = 0, *, stream = None))]
    fn diag(&self, k: i64, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().diag(k)))
    }

    /// The diagonals of the matrices on two axes, as the last axis.
    #[pyo3(signature = (offset = 0, axis1 = 0, axis2 = 1, stream = None))]
    fn diagonal(&self, offset: i64, axis1: i64, axis2: i64, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().diagonal(offset, axis1, axis2)))
    }

    /// The array with several axes joined into one.
    #[pyo3(signature = (start_axis = 0, end_axis = -1, *, stream = None))]
    fn flatten(&self, start_axis: i64, end_axis: i64, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().flatten(start_axis, end_axis)))
    }

    /// The array with an axis moved to another place.
    #[pyo3(signature = (source, destination, *, stream = None))]
    fn moveaxis(&self, source: i64, destination: i64, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().moveaxis(source, destination)))
    }

    /// The same elements in another shape, of which one size may be -1.
    #[pyo3(signature = (*shape, stream = None))]
    fn reshape(&self, shape: &Bound<'_, PyTuple>, stream: On) -> Answer<PyArray> {
        let sizes: Axes = match shape.len() {
            1 => shape.get_item(0)?.extract()?,
            _ => shape.extract()?,
        };
        on(stream, || wrap(self.array().reshape_infer(&sizes)))
    }

    /// The array rounded to a number of decimals.
    #[pyo3(signature = (decimals = 0, *, stream = None))]
    fn round(&self, decimals: i32, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().round(decimals)))
    }

    /// The parts of the array along an axis.
    #[pyo3(signature = (indices_or_sections, axis = 0, *, stream = None))]
    fn split(
        &self,
        indices_or_sections: &Bound<'_, PyAny>,
        axis: i64,
        stream: On,
    ) -> Answer<Vec<PyArray>> {
        on(stream, || split_array(&self.array(), indices_or_sections, axis))
    }

    /// The array without axes of size 1.
    #[pyo3(signature = (axis = None, *, stream = None))]
    fn squeeze(&self, axis: Option<Axes>, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().squeeze(axis.as_deref())))
    }

    /// The array with two axes exchanged.
    #[pyo3(signature = (axis1, axis2, *, stream = None))]
    fn swapaxes(&self, axis1: i64, axis2: i64, stream: On) -> Answer<PyArray> {
        on(stream, || wrap(self.array().swapaxes(axis1, axis2)))
    }

    /// The array with its axes permuted; reversed if none are given.
    #[pyo3(signature = (*axes, stream = None))]
    fn transpose(&self, axes: &Bound<'_, PyTuple>, stream: On) -> Answer<PyArray> {
        let first = if axes.len() == 1 { Some(axes.get_item(0)?) } else { None };
        let axes: Option<Axes> = match first {
            Some(first) if first.is_none() => None,
            Some(first) => Some(first.extract()?),
            None if axes.is_empty() => None,
            None => Some(axes.extract()?),
        };
        on(stream, || wrap(self.array().transpose(axes.as_deref())))
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
