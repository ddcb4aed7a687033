//! Python's indices as the engine's, and the updates of `array.at`.

use crate::array::PyArray;
use crate::convert::{Operand, array_from, type_name};
use crate::errors::{Answer, Fault, value_error};
use lazulite::op::index::Index;
use lazulite::op::scatter::UpdateMode;
use lazulite::{Array, Dtype};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyString, PyTuple};

/// `array[index]`.
pub fn get(array: &Array, index: &Bound<'_, PyAny>) -> Answer<Array> {
    if let Ok(i) = index.cast_exact::<PyInt>() {
        return row(array, i.extract()?);
    }
    Ok(array.index(&entries(array, index)?)?)
}

/// `array[i]` along the first axis.
pub fn row(array: &Array, i: i64) -> Answer<Array> {
    if array.ndim() == 0 {
        return Err(value_error("Too many indices for array with 0 dimensions."));
    }
    Ok(array.index(&[Index::Int(i)])?)
}

/// The array after `array[index] = value`.
pub fn assign(array: &Array, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> Answer<Array> {
    let entries = entries(array, index)?;
    update(array, &entries, update_value(array, value)?, UpdateMode::Set)
}

fn update_value(array: &Array, value: &Bound<'_, PyAny>) -> Answer<Array> {
    if let Ok(list) = value.cast::<PyList>() {
        return array_from(list, Some(array.dtype()));
    }
    Ok(match Operand::of(value)? {
        Operand::Array(values) | Operand::Foreign(values) => values,
        Operand::Scalar(scalar) => Array::literal(scalar.fit(array.dtype())?),
    })
}

fn update(array: &Array, index: &[Index], values: Array, mode: UpdateMode) -> Answer<Array> {
    // Leading axes of size 1 are of no account, even if the target has fewer axes.
    let ones = values.shape().iter().take_while(|&&n| n == 1).count();
    let values = values.reshape(&values.shape()[ones..])?;
    Ok(array.index_update(index, &values, mode)?)
}

/// The entries of an index in brackets.
fn entries(array: &Array, index: &Bound<'_, PyAny>) -> Answer<Vec<Index>> {
    let entries = match index.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().map(|e| entry(&e)).collect::<Answer<Vec<_>>>()?,
        Err(_) => vec![entry(index)?],
    };
    let taken: usize = entries.iter().map(consumed).sum();
    if taken > array.ndim() {
        let ndim = array.ndim();
        let message = format!("Too many indices for array with {ndim} dimensions, got {taken}.");
        return Err(value_error(message));
    }
    Ok(entries)
}

fn consumed(entry: &Index) -> usize {
    match entry {
        Index::NewAxis | Index::Ellipsis => 0,
        Index::Mask(mask) => mask.ndim(),
        _ => 1,
    }
}

fn entry(obj: &Bound<'_, PyAny>) -> Answer<Index> {
    if let Ok(b) = obj.cast::<PyBool>() {
        return Ok(Index::Mask(Array::scalar(b.is_true())));
    }
    if obj.is_instance_of::<PyInt>() {
        return Ok(Index::Int(obj.extract()?));
    }
    if let Ok(slice) = obj.cast::<PySlice>() {
        let bound = |name: &Bound<'_, PyString>| -> Answer<Option<i64>> {
            let value = slice.getattr(name)?;
            if value.is_none() {
                return Ok(None);
            }
            Ok(Some(value.extract::<i64>().map_err(|_| unusable(&type_name(&value)))?))
        };
        let py = obj.py();
        let (start, stop) = (bound(intern!(py, "start"))?, bound(intern!(py, "stop"))?);
        let step = bound(intern!(py, "step"))?;
        if step == Some(0) {
            return Err(value_error("slice step cannot be zero"));
        }
        return Ok(Index::Slice { start, stop, step });
    }
    if obj.is_none() {
        return Ok(Index::NewAxis);
    }
    if obj.is_instance_of::<PyEllipsis>() {
        return Ok(Index::Ellipsis);
    }
    if let Ok(array) = obj.cast::<PyArray>() {
        return array_entry(array.get().array());
    }
    if let Ok(list) = obj.cast::<PyList>() {
        let dtype = if list.is_empty() { Some(Dtype::I32) } else { None };
        return array_entry(array_from(obj, dtype)?);
    }
    if let Ok(i) = obj.extract::<i64>() {
        return Ok(Index::Int(i));
    }
    match Operand::of(obj) {
        Ok(Operand::Array(array) | Operand::Foreign(array)) => array_entry(array),
        _ => Err(unusable(&type_name(obj))),
    }
}

fn array_entry(array: Array) -> Answer<Index> {
    match array.dtype() {
        Dtype::Bool => Ok(Index::Mask(array)),
        dtype if dtype.is_integer() => Ok(Index::Array(array)),
        dtype => Err(unusable(&format!("an array of {dtype}"))),
    }
}

fn unusable(got: &str) -> Fault {
    value_error(format!(
        "Cannot index mlx array using the given type: got {got}, expected integers, slices, None, \
         ... or arrays of integers or bool."
    ))
}

/// Updates of an array at an index, each of which returns another array.
#[pyclass(module = "lazulite.core", frozen)]
pub struct ArrayAt {
    array: Array,
    index: Option<Vec<Index>>,
}

impl ArrayAt {
    pub fn new(array: Array) -> ArrayAt {
        ArrayAt { array, index: None }
    }

    fn update(
        &self,
        value: &Bound<'_, PyAny>,
        mode: UpdateMode,
        prepare: impl FnOnce(Array) -> lazulite::Result<Array>,
    ) -> Answer<PyArray> {
        let Some(index) = &self.index else {
            return Err(value_error("Must give indices to array.at[indices] first."));
        };
        let values = prepare(update_value(&self.array, value)?.astype(self.array.dtype())?)?;
        Ok(update(&self.array, index, values, mode)?.into())
    }
}

#[pymethods]
impl ArrayAt {
    fn __getitem__(&self, indices: &Bound<'_, PyAny>) -> Answer<ArrayAt> {
        let index = entries(&self.array, indices)?;
        Ok(ArrayAt { array: self.array.clone(), index: Some(index) })
    }

    /// Adds a value at every place of the index.
    fn add(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Add, Ok)
    }

    /// Subtracts a value at every place of the index.
    fn subtract(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Add, |v| v.zeros_like()?.subtract(&v))
    }

    /// Multiplies with a value at every place of the index.
    fn multiply(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Multiply, Ok)
    }

    /// Divides by a value at every place of the index.
    fn divide(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Multiply, |v| v.reciprocal())
    }

    /// Takes the greater of the element and a value at every place of the index.
    fn maximum(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Max, Ok)
    }

    /// Takes the lesser of the element and a value at every place of the index.
    fn minimum(&self, value: &Bound<'_, PyAny>) -> Answer<PyArray> {
        self.update(value, UpdateMode::Min, Ok)
    }
}
