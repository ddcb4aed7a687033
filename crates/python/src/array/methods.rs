//! Functions that are also methods of arrays: one row of the tables each.

use super::{PyArray, flat_axis, wrap};
use crate::convert::{Axes, Count};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::Answer;
use crate::functions::shaping::split_array;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident: $op:ident;)*) => {
        #[pymethods]
        impl PyArray {$(
            $(#[$doc])*
            #[pyo3(signature = (*, stream = None))]
            fn $name(&self, stream: On) -> Answer<PyArray> {
                on(stream, || wrap(self.array().$op()))
            }
        )*}
    };
}
unary! {
    /// Absolute value.
    abs: abs;
    /// Complex conjugate.
    conj: conjugate;
    /// Cosine.
    cos: cos;
    /// Exponential function.
    exp: exp;
    /// Natural logarithm.
    log: log;
    /// Logarithm to base 10.
    log10: log10;
    /// Natural logarithm of one plus the array.
    log1p: log1p;
    /// Logarithm to base 2.
    log2: log2;
    /// One over the array.
    reciprocal: reciprocal;
    /// One over the square root.
    rsqrt: rsqrt;
    /// Sine.
    sin: sin;
    /// Square root.
    sqrt: sqrt;
    /// The array times itself.
    square: square;
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[pymethods]
        impl PyArray {$(
            $(#[$doc])*
            #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
            fn $name(&self, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
                on(stream, || wrap(self.array().$name(axis.as_deref(), keepdims)))
            }
        )*}
    };
}
reductions! {
    /// True iff all elements along axes are non-zero.
    all;
    /// True iff an element along axes is non-zero.
    any;
    /// `log(sum(exp(x)))` over axes.
    logsumexp;
    /// Greatest element over axes.
    max;
    /// Mean over axes.
    mean;
    /// Least element over axes.
    min;
    /// Product over axes.
    prod;
    /// Sum over axes.
    sum;
}

macro_rules! moments {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[pymethods]
        impl PyArray {$(
            $(#[$doc])*
            #[pyo3(
                signature = (
                    axis = None, keepdims = false, ddof = Count::new(0), *, correction = None,
                    stream = None
                ),
                text_signature = "($self, axis=None, keepdims=False, ddof=0, *, correction=None, \
                    stream=None)"
            )]
            fn $name(
                &self,
                axis: Option<Axes>,
                keepdims: bool,
                ddof: Count,
                correction: Option<Count>,
                stream: On,
            ) -> Answer<PyArray> {
                let ddof = correction.unwrap_or(ddof).size(stringify!($name), "ddof")?;
                on(stream, || wrap(self.array().$name(axis.as_deref(), keepdims, ddof)))
            }
        )*}
    };
}
moments! {
    /// Variance over axes.
    var;
    /// Standard deviation over axes.
    std;
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[pymethods]
        impl PyArray {$(
            $(#[$doc])*
            #[pyo3(signature = (axis = None, keepdims = false, *, stream = None))]
            fn $name(&self, axis: Option<i64>, keepdims: bool, stream: On) -> Answer<PyArray> {
                on(stream, || wrap(self.array().$name(axis, keepdims)))
            }
        )*}
    };
}
places! {
    /// The place of the greatest element.
    argmax;
    /// The place of the least element.
    argmin;
}

macro_rules! scans {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[pymethods]
        impl PyArray {$(
            $(#[$doc])*
            #[pyo3(signature = (axis = None, *, reverse = false, inclusive = true, stream = None))]
            fn $name(
                &self,
                axis: Option<i64>,
                reverse: bool,
                inclusive: bool,
                stream: On,
            ) -> Answer<PyArray> {
                on(stream, || {
                    let (array, axis) = flat_axis(self.array(), axis)?;
                    wrap(array.$name(axis, reverse, inclusive))
                })
            }
        )*}
    };
}
scans! {
    /// Running maximum. Without an axis, of the flattened array.
    cummax;
    /// Running minimum. Without an axis, of the flattened array.
    cummin;
    /// Running product. Without an axis, of the flattened array.
    cumprod;
    /// Running sum. Without an axis, of the flattened array.
    cumsum;
    /// Running `log(sum(exp(x)))`. Without an axis, of the flattened array.
    logcumsumexp;
}

#[pymethods]
impl PyArray {
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

    /// The same elements in another shape; a size of -1 is computed from the others.
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
