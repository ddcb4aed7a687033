//! `Dtype`, its categories, `finfo` and `iinfo`, and promotion.

use crate::array::PyArray;
use crate::convert::extract_one_of;
use crate::errors::{Answer, type_error, value_error};
use lazulite::{Category, Dtype};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// The element type of an array.
#[pyclass(name = "Dtype", module = "lazulite.core", frozen, eq, hash, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyDtype(pub Dtype);

#[pymethods]
impl PyDtype {
    /// The size of an element in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.0.size()
    }

    fn __repr__(&self) -> String {
        format!("mlx.core.{}", self.0.name())
    }

    fn __reduce__(&self, py: Python<'_>) -> Answer<(Py<PyAny>, (&'static str,))> {
        let getter = py.import("lazulite.core")?.getattr("_dtype")?;
        Ok((getter.unbind(), (self.0.name(),)))
    }

    fn __copy__(&self) -> PyDtype {
        *self
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyDtype {
        *self
    }
}

/// The dtype of a name; what pickled dtypes come back through.
#[pyfunction]
fn _dtype(name: &str) -> Answer<PyDtype> {
    Dtype::from_name(name).map(PyDtype).ok_or_else(|| value_error(format!("no dtype {name}")))
}

/// A set of dtypes.
#[pyclass(name = "DtypeCategory", module = "lazulite.core", frozen, eq, hash, from_py_object)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum PyCategory {
    complexfloating,
    floating,
    inexact,
    signedinteger,
    unsignedinteger,
    integer,
    number,
    generic,
}

impl PyCategory {
    const ALL: [(PyCategory, &'static str); 8] = [
        (PyCategory::complexfloating, "complexfloating"),
        (PyCategory::floating, "floating"),
        (PyCategory::inexact, "inexact"),
        (PyCategory::signedinteger, "signedinteger"),
        (PyCategory::unsignedinteger, "unsignedinteger"),
        (PyCategory::integer, "integer"),
        (PyCategory::number, "number"),
        (PyCategory::generic, "generic"),
    ];

    fn name(self) -> &'static str {
        PyCategory::ALL.iter().find(|(c, _)| *c == self).map_or("", |(_, name)| name)
    }

    /// The smallest category of a dtype.
    fn of(dtype: Dtype) -> PyCategory {
        match dtype.category() {
            Category::Bool => PyCategory::generic,
            Category::UnsignedInteger => PyCategory::unsignedinteger,
            Category::SignedInteger => PyCategory::signedinteger,
            Category::Floating => PyCategory::floating,
            Category::Complex => PyCategory::complexfloating,
        }
    }

    /// The category around this one; `generic` holds all.
    fn parent(self) -> Option<PyCategory> {
        use PyCategory::*;
        match self {
            complexfloating | floating => Some(inexact),
            signedinteger | unsignedinteger => Some(integer),
            inexact | integer => Some(number),
            number => Some(generic),
            generic => None,
        }
    }

    fn within(self, other: PyCategory) -> bool {
        self == other || self.parent().is_some_and(|p| p.within(other))
    }
}

#[pymethods]
impl PyCategory {
    fn __repr__(&self) -> String {
        format!("DtypeCategory.{}", self.name())
    }
}

enum Kind {
    Dtype(PyDtype),
    Category(PyCategory),
}
extract_one_of!(Kind, "a dtype or a category of dtypes": Dtype, Category);

/// True if the first dtype or category is the second one or lies within it.
///
/// An argument that is neither a dtype nor a category raises TypeError.
///
/// >>> mx.issubdtype(mx.float16, mx.floating)
/// True
#[pyfunction]
fn issubdtype(arg1: Kind, arg2: Kind) -> bool {
    match (arg1, arg2) {
        (Kind::Dtype(a), Kind::Dtype(b)) => a == b,
        (Kind::Dtype(a), Kind::Category(b)) => PyCategory::of(a.0).within(b),
        (Kind::Category(a), Kind::Category(b)) => a.within(b),
        (Kind::Category(_), Kind::Dtype(_)) => false,
    }
}

/// True if the dtype is of the given kind: a dtype, one of the names 'bool', 'signed integer',
/// 'unsigned integer', 'integral', 'real floating', 'complex floating', 'numeric', or a tuple.
///
/// An argument that is not a dtype raises TypeError; an unknown kind raises ValueError.
///
/// >>> mx.isdtype(mx.float16, "real floating")
/// True
#[pyfunction]
pub fn isdtype(dtype: PyDtype, kind: &Bound<'_, PyAny>) -> Answer<bool> {
    if let Ok(other) = kind.extract::<PyDtype>() {
        return Ok(dtype == other);
    }
    if let Ok(kinds) = kind.cast::<PyTuple>() {
        for kind in kinds {
            if isdtype(dtype, &kind)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let category = dtype.0.category();
    let name = kind.cast::<PyString>().map_err(|_| type_error("isdtype: kind is no dtype or name"));
    match name?.to_cow()?.as_ref() {
        "bool" => Ok(category == Category::Bool),
        "signed integer" => Ok(category == Category::SignedInteger),
        "unsigned integer" => Ok(category == Category::UnsignedInteger),
        "integral" => Ok(matches!(category, Category::SignedInteger | Category::UnsignedInteger)),
        "real floating" => Ok(category == Category::Floating),
        "complex floating" => Ok(category == Category::Complex),
        "numeric" => Ok(category != Category::Bool),
        other => Err(value_error(format!("isdtype: no kind of dtypes is called {other:?}"))),
    }
}

enum ArrayOrDtype<'py> {
    Array(Bound<'py, PyArray>),
    Dtype(PyDtype),
}
extract_one_of!(ArrayOrDtype<'py>, "an array or a dtype": Array, Dtype);

impl ArrayOrDtype<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            ArrayOrDtype::Array(a) => a.get().array().dtype(),
            ArrayOrDtype::Dtype(d) => d.0,
        }
    }
}

/// The dtype to which arrays and dtypes are promoted together.
///
/// An argument that is neither an array nor a dtype raises TypeError.
///
/// >>> mx.result_type(mx.array([1]), mx.float16)
/// mlx.core.float16
#[pyfunction]
#[pyo3(signature = (*arrays_and_dtypes))]
fn result_type(arrays_and_dtypes: Vec<ArrayOrDtype<'_>>) -> Answer<PyDtype> {
    let dtypes = arrays_and_dtypes.iter().map(ArrayOrDtype::dtype);
    let joined = dtypes.reduce(Dtype::promote);
    joined.map(PyDtype).ok_or_else(|| value_error("result_type: at least one argument is needed"))
}

/// True if promotion never loses the values of the first dtype in the second.
///
/// An argument that is neither an array nor a dtype raises TypeError.
///
/// >>> mx.can_cast(mx.int16, mx.float32)
/// True
#[pyfunction]
fn can_cast(from_: ArrayOrDtype<'_>, to: PyDtype) -> bool {
    from_.dtype().promote(to.0) == to.0
}

/// Limits of a floating or complex dtype.
#[pyclass(name = "finfo", module = "lazulite.core", frozen, get_all)]
struct FloatInfo {
    dtype: PyDtype,
    bits: u32,
    min: f64,
    max: f64,
    eps: f64,
    smallest_normal: f64,
}

#[pymethods]
impl FloatInfo {
    #[new]
    #[pyo3(signature = (arg, /))]
    fn new(arg: PyDtype) -> Answer<FloatInfo> {
        let (bits, max, eps, smallest_normal) = match arg.0 {
            Dtype::F16 => (16, 65504.0, 2f64.powi(-10), 2f64.powi(-14)),
            Dtype::BF16 => {
                (16, (2.0 - 2f64.powi(-7)) * 2f64.powi(127), 2f64.powi(-7), 2f64.powi(-126))
            }
            Dtype::F32 | Dtype::C64 => {
                (32, f64::from(f32::MAX), f64::from(f32::EPSILON), f64::from(f32::MIN_POSITIVE))
            }
            Dtype::F64 => (64, f64::MAX, f64::EPSILON, f64::MIN_POSITIVE),
            other => return Err(value_error(format!("[finfo] dtype {other} is not inexact."))),
        };
        let dtype = if arg.0 == Dtype::C64 { PyDtype(Dtype::F32) } else { arg };
        Ok(FloatInfo { dtype, bits, min: -max, max, eps, smallest_normal })
    }

    fn __repr__(&self) -> String {
        let show = |x| lazulite::display::format_float(x, 6);
        format!("finfo(min={}, max={}, dtype={})", show(self.min), show(self.max), self.dtype.0)
    }
}

/// Limits of an integer dtype.
#[pyclass(name = "iinfo", module = "lazulite.core", frozen, get_all)]
struct IntegerInfo {
    dtype: PyDtype,
    bits: u32,
    min: i128,
    max: i128,
}

/// The least and greatest value of an integer dtype.
pub fn integer_range(dtype: Dtype) -> Option<(i128, i128)> {
    let bits = 8 * dtype.size() as u32;
    match dtype.category() {
        Category::UnsignedInteger => Some((0, (1i128 << bits) - 1)),
        Category::SignedInteger => Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)),
        _ => None,
    }
}

#[pymethods]
impl IntegerInfo {
    #[new]
    #[pyo3(signature = (arg, /))]
    fn new(arg: PyDtype) -> Answer<IntegerInfo> {
        let Some((min, max)) = integer_range(arg.0) else {
            return Err(value_error(format!("[iinfo] dtype {} is not an integer type.", arg.0)));
        };
        Ok(IntegerInfo { dtype: arg, bits: 8 * arg.0.size() as u32, min, max })
    }

    fn __repr__(&self) -> String {
        format!("iinfo(min={}, max={}, dtype={})", self.min, self.max, self.dtype.0)
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyDtype>()?;
    m.add_class::<PyCategory>()?;
    m.add_class::<FloatInfo>()?;
    m.add_class::<IntegerInfo>()?;
    for dtype in Dtype::ALL {
        let name = if dtype == Dtype::Bool { "bool_" } else { dtype.name() };
        m.add(name, PyDtype(dtype))?;
    }
    for (category, name) in PyCategory::ALL {
        m.add(name, category)?;
    }
    m.add_function(wrap_pyfunction!(_dtype, m)?)?;
    m.add_function(wrap_pyfunction!(issubdtype, m)?)?;
    m.add_function(wrap_pyfunction!(isdtype, m)?)?;
    m.add_function(wrap_pyfunction!(result_type, m)?)?;
    m.add_function(wrap_pyfunction!(can_cast, m)?)
}
