//! Reductions, arg-reductions and scans.

use super::{add_aliases, add_functions};
use crate::array::{PyArray, flat_axis, wrap};
use crate::convert::{Arr, Axes};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::Answer;
use lazulite::{Array, Dtype};
use pyo3::prelude::*;

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, /, axis = None, keepdims = false, *, stream = None))]
        fn $name(a: Arr, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
            on(stream, || wrap(a.0.$name(axis.as_deref(), keepdims)))
        }
    )*};
}
reductions! {
    /// True iff all elements along axes are non-zero.
    all;
    /// True iff an element along axes is non-zero.
    any;
    /// `log(sum(exp(a)))` over axes, without overflow.
    logsumexp;
    /// Greatest element over axes; NaN if one is NaN.
    max;
    /// Mean over axes.
    mean;
    /// Median over axes.
    median;
    /// Least element over axes; NaN if one is NaN.
    min;
    /// Product over axes.
    prod;
    /// Sum over axes.
    sum;
}

macro_rules! moments {
    ($($(#[$doc:meta])* $function:ident $python:literal: $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction(name = $python)]
        #[pyo3(signature = (
            a, /, axis = None, keepdims = false, ddof = 0, *, correction = None, stream = None
        ))]
        fn $function(
            a: Arr,
            axis: Option<Axes>,
            keepdims: bool,
            ddof: usize,
            correction: Option<usize>,
            stream: On,
        ) -> Answer<PyArray> {
            let ddof = correction.unwrap_or(ddof);
            on(stream, || wrap(a.0.$name(axis.as_deref(), keepdims, ddof)))
        }
    )*};
}
moments! {
    /// Variance over axes, divided by the number of elements less `ddof`.
    variance "var": var;
    /// Standard deviation over axes: the square root of `var`.
    standard_deviation "std": std;
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, /, axis = None, keepdims = false, *, stream = None))]
        fn $name(a: Arr, axis: Option<i64>, keepdims: bool, stream: On) -> Answer<PyArray> {
            on(stream, || wrap(a.0.$name(axis, keepdims)))
        }
    )*};
}
places! {
    /// The place of the greatest element along an axis, or in the flattened array.
    argmax;
    /// The place of the least element along an axis, or in the flattened array.
    argmin;
}

/// Least and greatest element over axes.
#[pyfunction]
#[pyo3(signature = (a, /, axis = None, keepdims = false, *, stream = None))]
fn minmax(a: Arr, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<(PyArray, PyArray)> {
    on(stream, || {
        let low = wrap(a.0.min(axis.as_deref(), keepdims))?;
        Ok((low, wrap(a.0.max(axis.as_deref(), keepdims))?))
    })
}

/// The number of non-zero elements over axes.
#[pyfunction]
#[pyo3(signature = (a, /, *, axis = None, keepdims = false, stream = None))]
fn count_nonzero(a: Arr, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let nonzero = a.0.astype(Dtype::Bool)?.astype(Dtype::I32)?;
        wrap(nonzero.sum(axis.as_deref(), keepdims))
    })
}

/// `exp(a) / sum(exp(a))` over axes, computed in float32 at least.
#[pyfunction]
#[pyo3(signature = (a, /, axis = None, *, precise = false, stream = None))]
fn softmax(a: Arr, axis: Option<Axes>, precise: bool, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.softmax(axis.as_deref(), precise)))
}

macro_rules! scans {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, /, axis = None, *, reverse = false, inclusive = true, stream = None))]
        fn $name(
            a: Arr,
            axis: Option<i64>,
            reverse: bool,
            inclusive: bool,
            stream: On,
        ) -> Answer<PyArray> {
            on(stream, || {
                let (array, axis) = flat_axis(a.0, axis)?;
                wrap(array.$name(axis, reverse, inclusive))
            })
        }
    )*};
}
scans! {
    /// Running maximum along an axis, or of the flattened array.
    cummax;
    /// Running minimum along an axis, or of the flattened array.
    cummin;
    /// Running `log(sum(exp(a)))` along an axis, or of the flattened array.
    logcumsumexp;
}

macro_rules! typed_scans {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (
            a, /, axis = None, *, reverse = false, inclusive = true, dtype = None, stream = None
        ))]
        fn $name(
            a: Arr,
            axis: Option<i64>,
            reverse: bool,
            inclusive: bool,
            dtype: Option<PyDtype>,
            stream: On,
        ) -> Answer<PyArray> {
            on(stream, || {
                let array: Array = dtype.map_or_else(|| Ok(a.0.clone()), |d| a.0.astype(d.0))?;
                let (array, axis) = flat_axis(array, axis)?;
                wrap(array.$name(axis, reverse, inclusive))
            })
        }
    )*};
}
typed_scans! {
    /// Running product along an axis, or of the flattened array.
    cumprod;
    /// Running sum along an axis, or of the flattened array.
    cumsum;
}

/// Differences of neighbours along an axis, taken `n` times.
#[pyfunction]
#[pyo3(signature = (a, /, n = 1, axis = -1, *, stream = None))]
fn diff(a: Arr, n: usize, axis: i64, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.diff(n, axis)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, all, any, logsumexp, max, mean, median, min, prod, sum);
    add_functions!(m, variance, standard_deviation);
    add_functions!(m, argmax, argmin, minmax, count_nonzero, softmax);
    add_functions!(m, cummax, cummin, logcumsumexp, cumprod, cumsum, diff);
    add_aliases(m, &[("cumulative_prod", "cumprod"), ("cumulative_sum", "cumsum")])
}
