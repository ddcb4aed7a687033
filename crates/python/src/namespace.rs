//! What the array API standard asks for: facts about this namespace.

use crate::convert::Operand;
use crate::device::PyDevice;
use crate::dtype::{PyDtype, isdtype};
use crate::errors::{Answer, value_error};
use crate::{array::PyArray, functions::add_functions};
use lazulite::device::current_stream;
use lazulite::{Device, DeviceKind, Dtype, backend};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Facts about this namespace, in the form that the array API standard describes.
#[pyclass(module = "lazulite.core", frozen)]
struct ArrayNamespaceInfo;

/// The dtypes of the standard that are here.
const STANDARD: [Dtype; 12] = [
    Dtype::Bool,
    Dtype::I8,
    Dtype::I16,
    Dtype::I32,
    Dtype::I64,
    Dtype::U8,
    Dtype::U16,
    Dtype::U32,
    Dtype::U64,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
];

/// The kinds of default dtypes, and those.
const DEFAULTS: [(&str, Dtype); 4] = [
    ("real floating", Dtype::F32),
    ("complex floating", Dtype::C64),
    ("integral", Dtype::I32),
    ("indexing", Dtype::I32),
];

#[pymethods]
impl ArrayNamespaceInfo {
    /// What the library can do: boolean masks as indices, shapes that depend on data, any rank.
    fn capabilities<'py>(&self, py: Python<'py>) -> Answer<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        facts.set_item("boolean indexing", true)?;
        facts.set_item("data-dependent shapes", true)?;
        facts.set_item("max dimensions", py.None())?;
        Ok(facts)
    }

    /// The device of arrays that are made without one.
    fn default_device(&self) -> PyDevice {
        PyDevice(current_stream().device)
    }

    /// The dtypes of arrays that are made without one.
    #[pyo3(signature = (*, device = None))]
    fn default_dtypes<'py>(
        &self,
        py: Python<'py>,
        device: Option<PyDevice>,
    ) -> Answer<Bound<'py, PyDict>> {
        let _ = device;
        let found = PyDict::new(py);
        for (kind, dtype) in DEFAULTS {
            found.set_item(kind, PyDtype(dtype))?;
        }
        Ok(found)
    }

    /// The devices that are there.
    fn devices(&self) -> Vec<PyDevice> {
        let of = |kind| {
            let count = backend::get(Device { kind, index: 0 }).map_or(0, |b| b.device_count());
            (0..count).map(move |index| PyDevice(Device { kind, index }))
        };
        of(DeviceKind::Cpu).chain(of(DeviceKind::Gpu)).collect()
    }

    /// The dtypes of the standard by name, of a kind or a tuple of kinds as in `isdtype`.
    #[pyo3(signature = (*, device = None, kind = None))]
    fn dtypes<'py>(
        &self,
        py: Python<'py>,
        device: Option<PyDevice>,
        kind: Option<&Bound<'py, PyAny>>,
    ) -> Answer<Bound<'py, PyDict>> {
        let _ = device;
        let found = PyDict::new(py);
        for dtype in STANDARD.map(PyDtype) {
            if kind.map_or(Ok(true), |kind| isdtype(dtype, kind))? {
                found.set_item(dtype.0.name(), dtype)?;
            }
        }
        Ok(found)
    }
}

/// Facts about this namespace, in the form that the array API standard describes.
#[pyfunction]
fn __array_namespace_info__() -> ArrayNamespaceInfo {
    ArrayNamespaceInfo
}

/// Any object that holds array data, as an array of this library.
#[pyclass(module = "lazulite.core", frozen)]
struct ArrayLike {
    array: lazulite::Array,
}

#[pymethods]
impl ArrayLike {
    #[new]
    #[pyo3(signature = (arg, /))]
    fn new(arg: &Bound<'_, PyAny>) -> Answer<ArrayLike> {
        let operand = Operand::of(arg);
        let array =
            operand.map_err(|_| value_error("ArrayLike: the object holds no array data"))?;
        Ok(ArrayLike { array: array.array() })
    }

    fn __mlx_array__(&self) -> PyArray {
        self.array.clone().into()
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ArrayNamespaceInfo>()?;
    m.add_class::<ArrayLike>()?;
    add_functions!(m, __array_namespace_info__);
    Ok(())
}
