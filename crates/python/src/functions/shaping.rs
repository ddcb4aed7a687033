//! Functions that change shapes, join and cut arrays, and pick or write elements.

use super::{add_aliases, add_functions};
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Axes, Count, Operand, Sizes, sequence};
use crate::device::{On, on};
use crate::errors::{Answer, Fault, type_error, value_error};
use lazulite::op::join::PadMode;
use lazulite::{Array, Dtype, Literal};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// The arrays of a list or tuple.
pub fn arrays(obj: &Bound<'_, PyAny>) -> Answer<Vec<Array>> {
    if let Ok(array) = obj.cast::<PyArray>() {
        let array = array.get().array();
        return (0..array.shape().first().copied().unwrap_or(0))
            .map(|i| crate::indexing::row(&array, i as i64))
            .collect();
    }
    sequence(obj)?.iter().map(|x| Ok(Arr::of(x)?.0)).collect()
}

fn py(arrays: Vec<Array>) -> Vec<PyArray> {
    arrays.into_iter().map(PyArray::from).collect()
}

/// The same elements in another shape, in row-major order.
///
/// Shapes: any with as many elements; a size of -1 is computed from the others.
/// Dtypes: all.
/// Sizes that do not fit raise ValueError.
///
/// >>> mx.reshape(mx.arange(6), (2, -1))
/// array([[0, 1, 2],
///        [3, 4, 5]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, shape, *, stream = None))]
fn reshape(a: Arr, shape: Axes, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.reshape_infer(&shape)))
}

/// The array with its axes permuted; reversed if none are given.
///
/// Shapes: the sizes go with their axes.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An axis given twice raises ValueError.
///
/// >>> mx.transpose(mx.ones((2, 3, 4)), (2, 0, 1)).shape
/// (4, 2, 3)
#[pyfunction]
#[pyo3(signature = (a, /, axes = None, *, stream = None))]
fn transpose(a: Arr, axes: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.transpose(axes.as_deref())))
}

/// The array with its last two axes exchanged.
///
/// Shapes: `(..., m, n) -> (..., n, m)`.
/// Dtypes: all.
/// Fewer than two axes raise IndexError, here also a ValueError.
///
/// >>> mx.matrix_transpose(mx.ones((2, 3))).shape
/// (3, 2)
#[pyfunction]
#[pyo3(signature = (a, /, *, stream = None))]
fn matrix_transpose(a: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.swapaxes(-1, -2)))
}

/// The array with two axes exchanged.
///
/// Shapes: the sizes go with their axes.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.swapaxes(mx.ones((2, 3, 4)), 0, 2).shape
/// (4, 3, 2)
#[pyfunction]
#[pyo3(signature = (a, /, axis1, axis2, *, stream = None))]
fn swapaxes(a: Arr, axis1: i64, axis2: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.swapaxes(axis1, axis2)))
}

/// The array with an axis moved to another place.
///
/// Shapes: the sizes go with their axes.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.moveaxis(mx.ones((2, 3, 4)), 0, -1).shape
/// (3, 4, 2)
#[pyfunction]
#[pyo3(signature = (a, /, source, destination, *, stream = None))]
fn moveaxis(a: Arr, source: i64, destination: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.moveaxis(source, destination)))
}

/// The array with new axes of size 1.
///
/// Shapes: axes of size 1 are put in.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.expand_dims(mx.ones(3), 0).shape
/// (1, 3)
#[pyfunction]
#[pyo3(signature = (a, /, axis, *, stream = None))]
fn expand_dims(a: Arr, axis: Axes, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.expand_dims(&axis)))
}

/// The array without axes of size 1, or without those that are given.
///
/// Shapes: axes of size 1 are left out.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An axis of another size raises ValueError.
///
/// >>> mx.squeeze(mx.ones((1, 3, 1))).shape
/// (3,)
#[pyfunction]
#[pyo3(signature = (a, /, axis = None, *, stream = None))]
fn squeeze(a: Arr, axis: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.squeeze(axis.as_deref())))
}

/// The array with several axes joined into one.
///
/// Shapes: the axes from `start_axis` to `end_axis` become one.
/// Dtypes: all.
/// A `start_axis` behind `end_axis` raises ValueError.
///
/// >>> mx.flatten(mx.ones((2, 3, 4)), start_axis=1).shape
/// (2, 12)
#[pyfunction]
#[pyo3(signature = (a, /, start_axis = 0, end_axis = -1, *, stream = None))]
fn flatten(a: Arr, start_axis: i64, end_axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.flatten(start_axis, end_axis)))
}

/// The array with one axis cut into several.
///
/// Shapes: the axis is replaced by `shape`, where a size of -1 is computed from the others.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Sizes that do not fit raise ValueError.
///
/// >>> mx.unflatten(mx.ones((6,)), 0, (2, -1)).shape
/// (2, 3)
#[pyfunction]
#[pyo3(signature = (a, /, axis, shape, *, stream = None))]
fn unflatten(a: Arr, axis: i64, shape: Axes, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.unflatten(axis, &shape)))
}

/// The array seen in a larger shape, with elements repeated but not copied.
///
/// Shapes: the one that is asked for.
/// Dtypes: all.
/// An array that does not broadcast to it raises ValueError.
///
/// >>> mx.broadcast_to(mx.array([1, 2]), (2, 2))
/// array([[1, 2],
///        [1, 2]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, shape, *, stream = None))]
fn broadcast_to(a: Operand, shape: Sizes, stream: On) -> Answer<PyArray> {
    let shape = shape.shape("broadcast_to")?;
    on(stream, || wrap(a.array().broadcast_to(&shape)))
}

/// The arrays broadcast to one shape.
///
/// Shapes: all the one to which they broadcast together.
/// Dtypes: all.
/// Shapes that do not broadcast raise ValueError.
///
/// >>> [a.shape for a in mx.broadcast_arrays(mx.ones((2, 1)), mx.ones(3))]
/// [(2, 3), (2, 3)]
#[pyfunction]
#[pyo3(signature = (*arrays, stream = None))]
fn broadcast_arrays(arrays: Vec<Arr>, stream: On) -> Answer<Vec<PyArray>> {
    let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
    let wide = on(stream, || Ok(Array::broadcast_arrays(&arrays)?))?;
    Ok(wide.into_iter().map(PyArray::from).collect())
}

/// The shape to which shapes broadcast together.
///
/// Shapes: the one to which all broadcast.
/// Dtypes: none are needed.
/// Shapes that do not broadcast raise ValueError.
///
/// >>> mx.broadcast_shapes((2, 1), (3,))
/// (2, 3)
#[pyfunction]
#[pyo3(signature = (*shapes))]
fn broadcast_shapes<'py>(py: Python<'py>, shapes: Vec<Sizes>) -> Answer<Bound<'py, PyTuple>> {
    let mut joined = lazulite::shape::Shape::new();
    for shape in shapes {
        let shape = shape.shape("broadcast_shapes")?;
        joined = lazulite::shape::broadcast_shapes("broadcast_shapes", &joined, &shape)?;
    }
    Ok(PyTuple::new(py, joined.iter())?)
}

macro_rules! at_least {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (*arys, stream = None))]
        fn $name(py: Python<'_>, arys: Vec<Arr>, stream: On) -> Answer<Py<PyAny>> {
            let made = on(stream, || {
                arys.iter().map(|a| wrap(a.0.$name())).collect::<Answer<Vec<PyArray>>>()
            })?;
            let list = PyList::new(py, made)?;
            let one = list.len() == 1;
            Ok(if one { list.get_item(0)?.unbind() } else { list.into_any().unbind() })
        }
    )*};
}
at_least! {
    /// The arrays with at least one axis.
    ///
    /// Shapes: sizes of 1 are added until there is one axis.
    /// Dtypes: all.
    /// An argument that is not an array raises TypeError.
    ///
    /// >>> mx.atleast_1d(mx.array(3))
    /// array([3], dtype=int32)
    atleast_1d;
    /// The arrays with at least two axes.
    ///
    /// Shapes: sizes of 1 are added until there are two axes.
    /// Dtypes: all.
    /// An argument that is not an array raises TypeError.
    ///
    /// >>> mx.atleast_2d(mx.array([1, 2]))
    /// array([[1, 2]], dtype=int32)
    atleast_2d;
    /// The arrays with at least three axes.
    ///
    /// Shapes: sizes of 1 are added until there are three axes.
    /// Dtypes: all.
    /// An argument that is not an array raises TypeError.
    ///
    /// >>> mx.atleast_3d(mx.array(1)).shape
    /// (1, 1, 1)
    atleast_3d;
}

/// The arrays one after another along an axis; flattened first if it is None.
///
/// Sizes agree on all axes but one; the dtypes are promoted.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An empty list, and shapes that differ on another axis, raise ValueError.
///
/// >>> mx.concatenate([mx.array([1, 2]), mx.array([3])])
/// array([1, 2, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (arrays, axis = Some(0), *, stream = None))]
fn concatenate(arrays: &Bound<'_, PyAny>, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    let mut arrays = self::arrays(arrays)?;
    on(stream, || {
        if axis.is_none() {
            for array in &mut arrays {
                *array = array.flatten(0, -1)?;
            }
        }
        wrap(Array::concatenate(&arrays, axis.unwrap_or(0)))
    })
}

/// Arrays of one shape joined along a new axis; flattened first if it is None.
///
/// Shapes: those of the arrays with the new axis, which has their number.
/// Dtypes: all.
/// An empty list and arrays of different shapes raise ValueError.
/// An axis out of range raises IndexError.
///
/// >>> mx.stack([mx.array([1, 2]), mx.array([3, 4])], axis=1)
/// array([[1, 3],
///        [2, 4]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (arrays, axis = Some(0), *, stream = None))]
fn stack(arrays: &Bound<'_, PyAny>, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    let mut arrays = self::arrays(arrays)?;
    on(stream, || {
        if axis.is_none() {
            for array in &mut arrays {
                *array = array.flatten(0, -1)?;
            }
        }
        wrap(Array::stack(&arrays, axis.unwrap_or(0)))
    })
}

/// The parts of an array along its first axis, or another.
///
/// Shapes: an array without the axis for each of its places.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.unstack(mx.array([[1, 2], [3, 4]]))[1]
/// array([3, 4], dtype=int32)
#[pyfunction]
#[pyo3(signature = (x, /, *, axis = 0, stream = None))]
fn unstack<'py>(py: Python<'py>, x: Arr, axis: i64, stream: On) -> Answer<Bound<'py, PyTuple>> {
    let parts = on(stream, || {
        let first = x.0.moveaxis(axis, 0)?;
        (0..first.shape()[0] as i64).map(|i| crate::indexing::row(&first, i)).collect()
    })?;
    Ok(PyTuple::new(py, self::py(parts))?)
}

/// Equal parts along an axis, or parts cut before the given places.
pub fn split_array(
    array: &Array,
    indices_or_sections: &Bound<'_, PyAny>,
    axis: i64,
) -> Answer<Vec<PyArray>> {
    Ok(py(match indices_or_sections.extract::<Count>() {
        Ok(n) => array.split(n.size("split", "indices_or_sections")?, axis)?,
        Err(_) => array.split_at(&indices_or_sections.extract::<Axes>()?, axis)?,
    }))
}

/// Equal parts along an axis, or parts cut before the given places.
///
/// Shapes: the axis in equal sections, or cut at the indices.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An axis that cannot be cut into equal parts raises ValueError.
///
/// >>> [p.shape for p in mx.split(mx.ones((4, 2)), 2)]
/// [(2, 2), (2, 2)]
#[pyfunction]
#[pyo3(signature = (a, /, indices_or_sections, axis = 0, *, stream = None))]
fn split(
    a: Arr,
    indices_or_sections: &Bound<'_, PyAny>,
    axis: i64,
    stream: On,
) -> Answer<Vec<PyArray>> {
    on(stream, || split_array(&a.0, indices_or_sections, axis))
}

/// Each element repeated along an axis, or of the flattened array.
///
/// Shapes: the axis times `repeats`; flattened first without one.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// A negative number raises ValueError.
///
/// >>> mx.repeat(mx.array([1, 2]), 2)
/// array([1, 1, 2, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (array, repeats, axis = None, *, stream = None))]
fn repeat(array: Arr, repeats: Count, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    let repeats = repeats.size("repeat", "repeats")?;
    on(stream, || wrap(array.0.repeat(repeats, axis)))
}

/// The array repeated as a whole along its axes.
///
/// Shapes: each size times its repetitions, which are for the last axes.
/// Dtypes: all.
/// Negative repetitions raise ValueError.
///
/// >>> mx.tile(mx.array([1, 2]), 2)
/// array([1, 2, 1, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, reps, /, *, stream = None))]
fn tile(a: Arr, reps: Sizes, stream: On) -> Answer<PyArray> {
    let reps = reps.shape("tile")?;
    on(stream, || wrap(a.0.tile(&reps)))
}

/// The elements in reverse order along axes, or along all.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.flip(mx.array([1, 2, 3]))
/// array([3, 2, 1], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, axis = None, *, stream = None))]
fn flip(a: Arr, axis: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.flip(axis.as_deref())))
}

/// The elements moved along axes, around the end; without axes, of the flattened array.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Different numbers of shifts and axes raise ValueError.
///
/// >>> mx.roll(mx.array([1, 2, 3]), 1)
/// array([3, 1, 2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, shift, /, axis = None, *, stream = None))]
fn roll(a: Arr, shift: Axes, axis: Option<Axes>, stream: On) -> Answer<PyArray> {
    on(stream, || match axis {
        None => wrap(a.0.roll(&[shift.iter().sum()], None)),
        Some(axes) if shift.len() == 1 => wrap(a.0.roll(&vec![shift[0]; axes.len()], Some(&axes))),
        Some(axes) => wrap(a.0.roll(&shift, Some(&axes))),
    })
}

/// The array with elements put around it.
///
/// Shapes: each axis grows by its two widths.
/// Dtypes: all.
/// An unknown mode, and widths that are neither one for all nor two for each axis, raise ValueError
/// or TypeError.
///
/// >>> mx.pad(mx.array([1, 2]), (1, 2))
/// array([0, 1, 2, 0, 0], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, pad_width, mode = "constant", constant_values = None, *, stream = None))]
fn pad(
    a: Arr,
    pad_width: &Bound<'_, PyAny>,
    mode: &str,
    constant_values: Option<Operand>,
    stream: On,
) -> Answer<PyArray> {
    let widths = pad_widths(pad_width)?;
    on(stream, || {
        let mode = match mode {
            "constant" => PadMode::Constant(match constant_values {
                Some(value) => value.beside(a.0.dtype())?.astype(a.0.dtype())?,
                None => Array::literal(Literal::from_i64(0, a.0.dtype())),
            }),
            "edge" => PadMode::Edge,
            "reflect" => PadMode::Reflect,
            "symmetric" => PadMode::Symmetric,
            other => return Err(unknown_mode("pad", other)),
        };
        wrap(a.0.pad(&widths, &mode))
    })
}

/// What `pad` and `stft` say of a mode that they do not know.
pub fn unknown_mode(op: &str, mode: &str) -> Fault {
    let known = "\"constant\", \"edge\", \"reflect\" and \"symmetric\"";
    value_error(format!("[{op}] mode {mode:?} is not one of {known}"))
}

/// One width, one pair, or a pair (or a width) for each axis.
fn pad_widths(widths: &Bound<'_, PyAny>) -> Answer<Vec<(usize, usize)>> {
    let refuse = || value_error("[pad] widths are one integer, or pairs of integers, not negative");
    if let Ok(n) = widths.extract::<usize>() {
        return Ok(vec![(n, n)]);
    }
    if widths.extract::<i64>().is_ok() {
        return Err(refuse());
    }
    let items = sequence(widths)?;
    if let Ok(flat) = widths.extract::<Vec<usize>>() {
        return match flat[..] {
            [n] => Ok(vec![(n, n)]),
            [before, after] => Ok(vec![(before, after)]),
            _ => Err(refuse()),
        };
    }
    let pair = |item: &Bound<'_, PyAny>| match item.extract::<Vec<usize>>() {
        Ok(pair) => match pair[..] {
            [n] => Ok((n, n)),
            [before, after] => Ok((before, after)),
            _ => Err(refuse()),
        },
        Err(_) => Err(refuse()),
    };
    items.iter().map(pair).collect()
}

/// The array in row-major memory, so that its strides are those of its shape.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.contiguous(mx.arange(6).reshape(2, 3).T).shape
/// (3, 2)
#[pyfunction]
#[pyo3(signature = (a, /, allow_col_major = false, *, stream = None))]
fn contiguous(a: Arr, allow_col_major: bool, stream: On) -> Answer<PyArray> {
    let _ = allow_col_major;
    on(stream, || wrap(a.0.contiguous()))
}

/// A view of the flattened array with any strides, counted in elements.
///
/// Shapes: that of the argument.
/// Dtypes: all.
/// Strides that reach outside the array raise ValueError.
///
/// >>> mx.as_strided(mx.arange(4), (3, 2), (1, 1))
/// array([[0, 1],
///        [1, 2],
///        [2, 3]], dtype=int32)
#[pyfunction]
#[pyo3(
    signature = (a, /, shape = None, strides = None, offset = Count::new(0), *, stream = None),
    text_signature = "(a, /, shape=None, strides=None, offset=0, *, stream=None)"
)]
fn as_strided(
    a: Arr,
    shape: Option<Sizes>,
    strides: Option<Vec<isize>>,
    offset: Count,
    stream: On,
) -> Answer<PyArray> {
    let offset = offset.size("as_strided", "offset")?;
    let shape = shape.map(|s| s.shape("as_strided")).transpose()?;
    on(stream, || wrap(a.0.as_strided(shape.as_deref(), strides.as_deref(), offset)))
}

/// The same bytes as another dtype.
///
/// Shapes: that of `a`, but for the last axis, which holds as many bytes.
/// Dtypes: all.
/// A last axis that does not hold whole elements raises ValueError.
///
/// >>> mx.view(mx.array([1.0]), mx.int32)
/// array([1065353216], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, dtype, stream = None))]
fn view(a: Arr, dtype: crate::dtype::PyDtype, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.view(dtype.0)))
}

/// A slice whose first place along some axes is an array.
///
/// Shapes: the sizes of `slice_size`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Anything but one index for each axis, and a part that does not fit, raise ValueError.
///
/// >>> mx.slice(mx.arange(5), mx.array([2]), (0,), (2,))
/// array([2, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, start_indices, axes, slice_size, *, stream = None))]
fn slice(a: Arr, start_indices: Arr, axes: Axes, slice_size: Sizes, stream: On) -> Answer<PyArray> {
    let size = slice_size.shape("slice")?;
    on(stream, || wrap(a.0.slice_dynamic(&start_indices.0, &axes, &size)))
}

/// The array with a slice replaced whose first place along some axes is an array.
///
/// Shapes: that of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Anything but one index for each axis, and a part that does not fit, raise ValueError.
///
/// >>> mx.slice_update(mx.zeros(3), mx.ones(1), mx.array([1]), (0,))
/// array([0, 1, 0], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, update, start_indices, axes, *, stream = None))]
fn slice_update(
    a: Arr,
    update: Arr,
    start_indices: Arr,
    axes: Axes,
    stream: On,
) -> Answer<PyArray> {
    on(stream, || {
        let update = update.0.astype(a.0.dtype())?;
        wrap(a.0.slice_update_dynamic(&update, &start_indices.0, &axes))
    })
}

/// Elements or parts at places of an axis, or of the flattened array.
///
/// Shapes: the axis is replaced by those of `indices`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An index out of range raises IndexError when the result is evaluated; indices that are not
/// integers raise ValueError.
///
/// >>> mx.take(mx.array([10, 20, 30]), mx.array([2, 0]))
/// array([30, 10], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, indices, axis = None, *, stream = None))]
fn take(a: Arr, indices: Operand, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.take(&indices.array(), axis)))
}

/// Elements at places of one axis that an array of the result's shape gives.
///
/// Shapes: that of `indices`, which has as many axes as `a`, broadcast to it but for the axis.
/// Dtypes: all.
/// Other numbers of axes raise ValueError.
/// An axis out of range raises IndexError.
///
/// >>> mx.take_along_axis(mx.array([[3, 1], [2, 4]]), mx.array([[1], [0]]), axis=1)
/// array([[1],
///        [2]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, indices, axis = Some(-1), *, stream = None))]
fn take_along_axis(a: Arr, indices: Arr, axis: Option<i64>, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.take_along_axis(&indices.0, axis)))
}

/// The array with elements replaced at places of one axis.
///
/// Shapes: that of `a`; `indices` and `values` have as many axes, and broadcast to it elsewhere.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// Other numbers of axes raise ValueError.
///
/// >>> mx.put_along_axis(mx.zeros((2, 2)), mx.array([[0], [1]]), mx.array(5.0), axis=1)
/// array([[5, 0],
///        [0, 5]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, indices, values, axis = None, *, stream = None))]
fn put_along_axis(
    a: Arr,
    indices: Arr,
    values: Operand,
    axis: Option<i64>,
    stream: On,
) -> Answer<PyArray> {
    on(stream, || {
        let values = values.beside(a.0.dtype())?.astype(a.0.dtype())?;
        let Some(axis) = axis else {
            let flat = a.0.flatten(0, -1)?;
            let (indices, shape) = (indices.0.flatten(0, -1)?, a.0.shape().to_vec());
            let values = values.broadcast_to(indices.shape())?;
            return wrap(flat.put_along_axis(&indices, &values, Some(0))?.reshape(&shape));
        };
        wrap(a.0.put_along_axis(&indices.0, &values, Some(axis)))
    })
}

/// The inputs, evaluated only after the dependencies.
///
/// Shapes: those of the inputs.
/// Dtypes: all.
/// An argument that is neither an array nor a sequence of arrays raises TypeError.
///
/// >>> mx.depends(mx.array(1), mx.array(2))
/// array(1, dtype=int32)
#[pyfunction]
fn depends(
    py: Python<'_>,
    inputs: &Bound<'_, PyAny>,
    dependencies: &Bound<'_, PyAny>,
) -> Answer<Py<PyAny>> {
    let several = |obj: &Bound<'_, PyAny>| -> Answer<Vec<Array>> {
        match obj.cast::<PyArray>() {
            Ok(array) => Ok(vec![array.get().array()]),
            Err(_) => arrays(obj),
        }
    };
    let after = several(dependencies)?;
    let ordered: Answer<Vec<PyArray>> =
        several(inputs)?.iter().map(|x| wrap(x.depends(&after))).collect();
    let list = PyList::new(py, ordered?)?;
    let single = inputs.is_instance_of::<PyArray>();
    Ok(if single { list.get_item(0)?.unbind() } else { list.into_any().unbind() })
}

/// Coordinate arrays of a grid, one for each vector.
///
/// Shapes: vectors of n, m, ... elements make arrays `(m, n, ...)`, or `(n, m, ...)` with
/// `indexing="ij"`.
/// Dtypes: all.
/// Arrays of more axes and an unknown `indexing` raise ValueError.
///
/// >>> mx.meshgrid(mx.array([1, 2]), mx.array([3, 4]))[0]
/// array([[1, 2],
///        [1, 2]], dtype=int32)
#[pyfunction]
#[pyo3(signature = (*arrays, sparse = Some(false), indexing = Some("xy"), stream = None))]
fn meshgrid<'py>(
    py: Python<'py>,
    arrays: Vec<Arr>,
    sparse: Option<bool>,
    indexing: Option<&str>,
    stream: On,
) -> Answer<Bound<'py, PyTuple>> {
    let xy = match indexing {
        None | Some("xy") => true,
        Some("ij") => false,
        Some(_) => return Err(value_error("[meshgrid] indexing must be 'xy' or 'ij'")),
    };
    let arrays: Vec<Array> = arrays.into_iter().map(|a| a.0).collect();
    let grid = on(stream, || Ok(Array::meshgrid(&arrays, sparse.unwrap_or(false), xy)?))?;
    Ok(PyTuple::new(py, self::py(grid))?)
}

/// The places of the non-zero elements, one array for each axis. It evaluates its argument.
///
/// >>> mx.nonzero(mx.array([0, 3, 0, 4]))
/// (array([1, 3], dtype=int32),)
#[pyfunction]
#[pyo3(signature = (a, /, *, stream = None))]
fn nonzero<'py>(py: Python<'py>, a: Arr, stream: On) -> Answer<Bound<'py, PyTuple>> {
    let places = on(stream, || Ok(a.0.nonzero()?))?;
    Ok(PyTuple::new(py, self::py(places))?)
}

/// The sum of a diagonal.
///
/// Shapes: the two axes are left out.
/// Dtypes: all.
/// Fewer than two axes raise TypeError; an axis out of range raises IndexError.
///
/// >>> mx.trace(mx.eye(3))
/// array(3, dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, offset = 0, axis1 = 0, axis2 = 1, dtype = None, *, stream = None))]
fn trace(
    a: Arr,
    offset: i64,
    axis1: i64,
    axis2: i64,
    dtype: Option<crate::dtype::PyDtype>,
    stream: On,
) -> Answer<PyArray> {
    if a.0.ndim() < 2 {
        let shape = lazulite::shape::show(a.0.shape());
        let message = format!("[trace] the array must have at least two axes, got shape {shape}");
        return Err(type_error(message));
    }
    let dtype: Option<Dtype> = dtype.map(|d| d.0);
    on(stream, || wrap(a.0.trace(offset, axis1, axis2, dtype)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, reshape, transpose, matrix_transpose, swapaxes, moveaxis, expand_dims);
    add_functions!(m, squeeze, flatten, unflatten, broadcast_to, broadcast_arrays);
    add_functions!(m, broadcast_shapes, atleast_1d, atleast_2d, atleast_3d, concatenate, stack);
    add_functions!(m, unstack, split, repeat, tile, flip, roll, pad, contiguous, as_strided, view);
    add_functions!(m, slice, slice_update, take, take_along_axis, put_along_axis, depends);
    add_functions!(m, meshgrid, nonzero, trace);
    add_aliases(m, &[("concat", "concatenate"), ("permute_dims", "transpose")])
}
