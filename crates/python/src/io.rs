//! Files: npy, npz, safetensors and GGUF.

use crate::array::PyArray;
use crate::convert::{Arr, type_name};
use crate::device::{On, on};
use crate::errors::{Answer, type_error, value_error};
use crate::functions::add_functions;
use lazulite::io::gguf::{Items, Value};
use lazulite::io::{Contents, Input, Saved, gguf, npy, npz, safetensors};
use lazulite::{Array, Element, Result as EngineResult};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

fn input(file: &Bound<'_, PyAny>) -> Answer<Input> {
    let py = file.py();
    if let Ok(path) = file.extract::<PathBuf>() {
        return Ok(Input::open(path)?);
    }
    if !file.hasattr(intern!(py, "read"))? {
        return Err(type_error(format!(
            "load(): expected a path or a file, got {}",
            type_name(file)
        )));
    }
    let bytes = file.call_method0(intern!(py, "read"))?;
    Ok(Input::from_bytes(bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
}

/// The array or the arrays of a file, read when they are first needed.
///
/// The format (npy, npz, safetensors or GGUF) is told from the contents of the file. npy gives one
/// array, the others a dict of arrays; with `return_metadata`, safetensors and GGUF give a pair of
/// that dict and one of metadata. A file that cannot be read, or has another format, raises
/// RuntimeError.
///
/// Of GGUF's quantised types, Q4_0, Q4_1 and Q8_0 stay quantised and others become float16; with
/// `keep_quantized`, a parameter that MLX lacks, Q5_0, Q5_1 and Q2_K to Q6_K stay, too.
///
/// Shapes: those of the file.
/// Dtypes: those of the file.
///
/// >>> mx.save("x.npy", mx.ones(2))
/// >>> mx.load("x.npy")
/// array([1, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (
    file, /, format = None, return_metadata = false, *, keep_quantized = false, stream = None
))]
fn load(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    format: Option<&str>,
    return_metadata: bool,
    keep_quantized: bool,
    stream: On,
) -> Answer<Py<PyAny>> {
    if let Some(format) = format
        && !["npy", "npz", "safetensors", "gguf"].contains(&format)
    {
        return Err(value_error(format!("[load] unknown file format {format:?}")));
    }
    let contents = Contents::open(&input(file)?)?;
    let arrays = on(stream, || match &contents {
        Contents::Gguf(file) if keep_quantized => {
            let tensors = file.quantised_tensors()?;
            Ok(tensors
                .into_iter()
                .map(|(n, t)| Ok((n, t.array()?)))
                .collect::<EngineResult<_>>()?)
        }
        _ => Ok(contents.arrays()?),
    })?;
    if matches!(contents, Contents::Npy(_)) {
        let only = arrays.into_iter().next().map(|(_, array)| array);
        let only = only.ok_or_else(|| value_error("[load] the file has no array"))?;
        return Ok(Py::new(py, PyArray::from(only))?.into_any());
    }
    let dict = PyDict::new(py);
    for (name, array) in arrays {
        dict.set_item(name, PyArray::from(array))?;
    }
    if !return_metadata {
        return Ok(dict.into_any().unbind());
    }
    let metadata = PyDict::new(py);
    match &contents {
        Contents::Safetensors(file) => {
            for (key, value) in &file.metadata {
                metadata.set_item(key, value)?;
            }
        }
        Contents::Gguf(file) => {
            for (key, value) in file.metadata.iter() {
                metadata.set_item(key, metadata_value(py, value)?)?;
            }
        }
        _ => return Err(value_error("[load] metadata are only in safetensors and gguf files")),
    }
    Ok((dict, metadata).into_pyobject(py)?.into_any().unbind())
}

fn numbers<T: Element>(values: &[T], shape: &[usize]) -> Answer<PyArray> {
    Ok(Array::from_slice(values, shape)?.into())
}

/// A value of GGUF metadata: text and lists of texts as they are, numbers as arrays.
fn metadata_value(py: Python<'_>, value: &Value) -> Answer<Py<PyAny>> {
    let array = match value {
        Value::String(text) => return Ok(PyString::new(py, text).into_any().unbind()),
        Value::Bool(x) => numbers(&[*x], &[])?,
        Value::U8(x) => numbers(&[*x], &[])?,
        Value::I8(x) => numbers(&[*x], &[])?,
        Value::U16(x) => numbers(&[*x], &[])?,
        Value::I16(x) => numbers(&[*x], &[])?,
        Value::U32(x) => numbers(&[*x], &[])?,
        Value::I32(x) => numbers(&[*x], &[])?,
        Value::U64(x) => numbers(&[*x], &[])?,
        Value::I64(x) => numbers(&[*x], &[])?,
        Value::F32(x) => numbers(&[*x], &[])?,
        Value::F64(x) => numbers(&[*x], &[])?,
        Value::Array(items) => return metadata_items(py, items),
    };
    Ok(Py::new(py, array)?.into_any())
}

fn metadata_items(py: Python<'_>, items: &Items) -> Answer<Py<PyAny>> {
    let n = [items.len()];
    let array = match items {
        Items::String(texts) => return Ok(PyList::new(py, texts)?.into_any().unbind()),
        Items::Array(lists) => {
            let lists = lists.iter().map(|items| metadata_items(py, items));
            let lists = lists.collect::<Answer<Vec<_>>>()?;
            return Ok(PyList::new(py, lists)?.into_any().unbind());
        }
        Items::Bool(x) => numbers(x, &n)?,
        Items::U8(x) => numbers(x, &n)?,
        Items::I8(x) => numbers(x, &n)?,
        Items::U16(x) => numbers(x, &n)?,
        Items::I16(x) => numbers(x, &n)?,
        Items::U32(x) => numbers(x, &n)?,
        Items::I32(x) => numbers(x, &n)?,
        Items::U64(x) => numbers(x, &n)?,
        Items::I64(x) => numbers(x, &n)?,
        Items::F32(x) => numbers(x, &n)?,
        Items::F64(x) => numbers(x, &n)?,
    };
    Ok(Py::new(py, array)?.into_any())
}

/// Saves to a path, to which the extension is added if it lacks it, or to an open file.
fn save_to(
    file: &Bound<'_, PyAny>,
    extension: &str,
    write: impl FnOnce(&Path) -> lazulite::Result<()> + Send,
) -> Answer<()> {
    let py = file.py();
    if let Ok(mut path) = file.extract::<PathBuf>() {
        if path.extension().is_none_or(|e| e != extension) {
            let mut name = path.into_os_string();
            name.push(".");
            name.push(extension);
            path = name.into();
        }
        return Ok(py.detach(|| write(&path))?);
    }
    if !file.hasattr(intern!(py, "write"))? {
        return Err(value_error(format!("expected a path or a file, got {}", type_name(file))));
    }
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("lazulite-{}-{count}.{extension}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let written = py.detach(|| write(&path));
    let bytes = std::fs::read(&path);
    let _ = std::fs::remove_file(&path);
    written?;
    file.call_method1(intern!(py, "write"), (PyBytes::new(py, &bytes.map_err(PyErr::from)?),))?;
    Ok(())
}

/// Saves an array in the npy format.
///
/// Shapes: any.
/// Dtypes: all.
/// A file that cannot be written raises RuntimeError; a value that is not an array raises
/// TypeError.
///
/// >>> mx.save("x.npy", mx.ones(2))
#[pyfunction]
fn save(file: &Bound<'_, PyAny>, arr: Arr) -> Answer<()> {
    save_to(file, "npy", |path| npy::save(path, &arr.0))
}

fn named(arrays: &[(String, Array)]) -> Vec<(&str, &dyn Saved)> {
    arrays.iter().map(|(name, array)| (name.as_str(), array as &dyn Saved)).collect()
}

fn dictionary(arrays: &Bound<'_, PyDict>) -> Answer<Vec<(String, Array)>> {
    let mut list = Vec::with_capacity(arrays.len());
    for (name, array) in arrays {
        let name: String = name.extract()?;
        let array = Arr::of(&array).map_err(|fault| match PyErr::from(fault) {
            error if error.is_instance_of::<PyTypeError>(arrays.py()) => {
                let got = type_name(&array);
                type_error(format!("{name:?} must be an array, got {got}"))
            }
            error => error.into(),
        })?;
        list.push((name, array.0));
    }
    Ok(list)
}

fn archive(
    file: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
    compressed: bool,
) -> Answer<()> {
    let mut arrays = kwargs.map_or_else(|| Ok(Vec::new()), dictionary)?;
    for (i, array) in args.iter().enumerate() {
        arrays.push((format!("arr_{i}"), Arr::of(&array)?.0));
    }
    save_to(file, "npz", |path| npz::save(path, &named(&arrays), compressed))
}

/// Saves arrays in the npz format, under their keywords or as `arr_0`, `arr_1`, ...
///
/// Shapes: any.
/// Dtypes: all.
/// A file that cannot be written raises RuntimeError; a value that is not an array raises
/// TypeError.
///
/// >>> mx.savez("x.npz", a=mx.ones(2))
#[pyfunction]
#[pyo3(signature = (file, *args, **kwargs))]
fn savez(
    file: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<()> {
    archive(file, args, kwargs, false)
}

/// As `savez`, compressed.
///
/// Shapes: any.
/// Dtypes: all.
/// A file that cannot be written raises RuntimeError; a value that is not an array raises
/// TypeError.
///
/// >>> mx.savez_compressed("x.npz", a=mx.ones(2))
#[pyfunction]
#[pyo3(signature = (file, *args, **kwargs))]
fn savez_compressed(
    file: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<()> {
    archive(file, args, kwargs, true)
}

/// Saves named arrays, and text metadata, in the safetensors format.
///
/// Shapes: any.
/// Dtypes: all.
/// A file that cannot be written raises RuntimeError; a value that is not an array raises
/// TypeError.
///
/// >>> mx.save_safetensors("x.safetensors", {"a": mx.ones(2)})
#[pyfunction]
#[pyo3(signature = (file, arrays, metadata = None))]
fn save_safetensors(
    file: &Bound<'_, PyAny>,
    arrays: &Bound<'_, PyDict>,
    metadata: Option<safetensors::Metadata>,
) -> Answer<()> {
    let arrays = dictionary(arrays)?;
    let metadata = metadata.unwrap_or_default();
    save_to(file, "safetensors", |path| safetensors::save(path, &named(&arrays), &metadata))
}

/// Saves named arrays, and metadata, in the GGUF format.
///
/// Shapes: any.
/// Dtypes: float32, float16, bfloat16, int8, int16, int32; others raise ValueError.
/// A file that cannot be written raises RuntimeError; a value that is not an array raises
/// TypeError.
///
/// >>> mx.save_gguf("x.gguf", {"a": mx.ones(2)})
#[pyfunction]
#[pyo3(signature = (file, arrays, metadata = None))]
fn save_gguf(
    file: &Bound<'_, PyAny>,
    arrays: &Bound<'_, PyDict>,
    metadata: Option<&Bound<'_, PyDict>>,
) -> Answer<()> {
    let arrays = dictionary(arrays)?;
    let mut values = gguf::Metadata::new();
    for (key, value) in metadata.into_iter().flatten() {
        values.set(key.extract::<String>()?, gguf_value(&value)?);
    }
    save_to(file, "gguf", |path| gguf::save(path, &named(&arrays), &values))
}

fn gguf_value(value: &Bound<'_, PyAny>) -> Answer<Value> {
    if let Ok(text) = value.extract::<&str>() {
        return Ok(text.into());
    }
    if let Ok(texts) = value.extract::<Vec<String>>() {
        return Ok(Items::String(texts).into());
    }
    let array = Arr::of(value)?.0;
    macro_rules! number {
        ($Item:ident, $T:ty) => {{
            let elements = array.to_vec::<$T>()?;
            match (array.ndim(), &elements[..]) {
                (0, &[only]) => only.into(),
                _ => Items::$Item(elements).into(),
            }
        }};
    }
    use lazulite::Dtype::*;
    Ok(match array.dtype() {
        Bool => number!(Bool, bool),
        U8 => number!(U8, u8),
        I8 => number!(I8, i8),
        U16 => number!(U16, u16),
        I16 => number!(I16, i16),
        U32 => number!(U32, u32),
        I32 => number!(I32, i32),
        U64 => number!(U64, u64),
        I64 => number!(I64, i64),
        F32 => number!(F32, f32),
        F64 => number!(F64, f64),
        other => return Err(value_error(format!("[save_gguf] metadata cannot be {other}"))),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, load, save, savez, savez_compressed, save_safetensors, save_gguf);
    Ok(())
}
