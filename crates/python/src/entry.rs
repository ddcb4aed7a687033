//! `lazulite._entry`: how an entry of a module is read as an attribute.
//!
//! A module is a dict. Python looks for an attribute in the class and the instance, makes an error
//! when it is in neither, and only then asks `__getattr__`: for a layer's parameters that takes most of
//! the time of calling the layer. So a class gets an [`Entry`] for each name that its instances
//! have as an entry, which reads the dict at once. It is no data descriptor: an ordinary attribute of
//! an instance comes first.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// An attribute that is the entry of its name in an instance, which is a dict.
#[pyclass(frozen, module = "lazulite._entry")]
struct Entry {
    name: Py<PyString>,
}

#[pymethods]
impl Entry {
    #[new]
    fn new(name: Py<PyString>) -> Entry {
        Entry { name }
    }

    /// The entry; of the class, the descriptor itself. An AttributeError where there is no entry,
    /// after which Python asks `__getattr__`.
    fn __get__<'py>(
        slf: &Bound<'py, Self>,
        instance: Option<&Bound<'py, PyAny>>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(instance) = instance else { return Ok(slf.clone().into_any()) };
        let name = slf.get().name.bind(slf.py());
        let entry = instance.cast::<PyDict>()?.get_item(name)?;
        entry.ok_or_else(|| PyAttributeError::new_err(name.clone().unbind()))
    }
}

/// Puts the module where `lazulite.nn` finds it; it is no name of `lazulite.core`.
pub fn register(py: Python<'_>) -> PyResult<()> {
    const NAME: &str = "lazulite._entry";
    let module = PyModule::new(py, NAME)?;
    module.add_class::<Entry>()?;
    py.import("sys")?.getattr("modules")?.set_item(NAME, module)
}
