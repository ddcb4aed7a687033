//! The engine's errors as Python exceptions.

use lazulite::{Error, ErrorKind};
use pyo3::exceptions::{
    PyIndexError, PyMemoryError, PyNotImplementedError, PyOSError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::cell::RefCell;

/// An exception on its way to Python: what `?` makes of the engine's errors and of Python's.
#[derive(Debug)]
pub struct Fault(PyErr);

/// The result of everything that Python calls.
pub type Answer<T> = Result<T, Fault>;

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> PyErr {
        fault.0
    }
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Fault {
        Fault(error)
    }
}

impl From<pyo3::CastError<'_, '_>> for Fault {
    fn from(error: pyo3::CastError<'_, '_>) -> Fault {
        Fault(error.into())
    }
}

impl From<std::convert::Infallible> for Fault {
    fn from(never: std::convert::Infallible) -> Fault {
        match never {}
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        if error.op() == CALLBACK
            && let Some(raised) = RAISED.take()
        {
            return Fault(raised);
        }
        Python::attach(|py| Fault(exception(py, &error)))
    }
}

/// A `ValueError`.
pub fn value_error(message: impl Into<String>) -> Fault {
    Fault(PyValueError::new_err(message.into()))
}

/// A `TypeError`.
pub fn type_error(message: impl Into<String>) -> Fault {
    Fault(PyTypeError::new_err(message.into()))
}

/// An `IndexError`.
pub fn index_error(message: impl Into<String>) -> Fault {
    Fault(PyIndexError::new_err(message.into()))
}

/// The op that the engine's error names while an exception of a user's function passes through.
const CALLBACK: &str = "a Python function";

thread_local! {
    /// What a user's function raised inside the engine.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// What to return to the engine from a user's function that raised; [`Fault`] gives it back.
pub fn raised(fault: Fault) -> Error {
    RAISED.set(Some(fault.0));
    Error::new(ErrorKind::Kernel, CALLBACK, "it raised")
}

fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Shape | ErrorKind::Argument => PyValueError::new_err(text),
        ErrorKind::Axis => raise(py, &AXIS_ERROR, AXIS, text),
        ErrorKind::Dtype => raise(py, &DTYPE_ERROR, DTYPE, text),
        ErrorKind::Trace => raise(py, &TRACE_ERROR, TRACE, located(py, text)),
        ErrorKind::OutOfMemory => PyMemoryError::new_err(text),
        ErrorKind::Unsupported => PyNotImplementedError::new_err(text),
        ErrorKind::Io => raise(py, &IO_ERROR, IO, text),
        ErrorKind::BackendUnavailable => raise(py, &DEVICE_ERROR, DEVICE, text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// The text with the line of the user's program that is running.
fn located(py: Python<'_>, text: String) -> String {
    let place = || -> PyResult<(String, usize)> {
        let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
        let file = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
        Ok((file, frame.getattr("f_lineno")?.extract()?))
    };
    match place() {
        Ok((file, line)) => format!("{text} (at {file}:{line})"),
        Err(_) => text,
    }
}

/// A class of exceptions that is several of Python's at once, since MLX's versions differ.
struct Class {
    name: &'static str,
    doc: &'static str,
    bases: fn(Python<'_>) -> Vec<Bound<'_, PyType>>,
}

const AXIS: Class = Class {
    name: "AxisError",
    doc: "An axis or an index is out of range.",
    bases: |py| vec![py.get_type::<PyIndexError>(), py.get_type::<PyValueError>()],
};
const DTYPE: Class = Class {
    name: "DtypeError",
    doc: "An operation does not take arrays of this dtype.",
    bases: |py| {
        vec![
            py.get_type::<PyValueError>(),
            py.get_type::<PyTypeError>(),
            py.get_type::<PyRuntimeError>(),
        ]
    },
};
const TRACE: Class = Class {
    name: "TraceError",
    doc: "A value was needed while a function was being traced.",
    bases: |py| vec![py.get_type::<PyValueError>(), py.get_type::<PyRuntimeError>()],
};
const IO: Class = Class {
    name: "FileError",
    doc: "A file cannot be read or written, or is not valid.",
    bases: |py| vec![py.get_type::<PyRuntimeError>(), py.get_type::<PyOSError>()],
};

const DEVICE: Class = Class {
    name: "DeviceError",
    doc: "There is no such device.",
    bases: |py| vec![py.get_type::<PyRuntimeError>(), py.get_type::<PyValueError>()],
};

static AXIS_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static DTYPE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static TRACE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static IO_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static DEVICE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn raise(py: Python<'_>, cell: &PyOnceLock<Py<PyType>>, class: Class, text: String) -> PyErr {
    let made = cell.get_or_try_init(py, || -> PyResult<Py<PyType>> {
        let members = PyDict::new(py);
        members.set_item("__module__", "lazulite.core")?;
        members.set_item("__doc__", class.doc)?;
        let args = (class.name, PyTuple::new(py, (class.bases)(py))?, members);
        Ok(py.get_type::<PyType>().call1(args)?.cast_into::<PyType>()?.unbind())
    });
    match made {
        Ok(class) => PyErr::from_type(class.bind(py).clone(), text),
        Err(error) => error,
    }
}
