//! Reductions, arg-reductions and scans.

use super::{add_aliases, add_functions};
use crate::array::{PyArray, flat_axis, wrap};
use crate::convert::{Arr, Axes, Count};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, value_error};
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
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.all(mx.array([[True, False], [True, True]]), axis=1)
    /// array([False, True], dtype=bool)
    all;
    /// True iff an element along axes is non-zero.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.any(mx.array([[0, 1], [0, 0]]), axis=1)
    /// array([True, False], dtype=bool)
    any;
    /// `log(sum(exp(a)))` over axes, without overflow.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.logsumexp(mx.array([1000.0, 1000.0]))
    /// array(1000.69, dtype=float32)
    logsumexp;
    /// Greatest element over axes; NaN if one is NaN.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// An empty axis raises ValueError.
    ///
    /// >>> mx.max(mx.array([[1, 5], [7, 3]]), axis=0)
    /// array([7, 5], dtype=int32)
    max;
    /// Mean over axes.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.mean(mx.array([[1, 2], [3, 6]]), axis=1)
    /// array([1.5, 4.5], dtype=float32)
    mean;
    /// Median over axes.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// An empty axis raises ValueError.
    ///
    /// >>> mx.median(mx.array([3.0, 1.0, 2.0, 10.0]))
    /// array(2.5, dtype=float32)
    median;
    /// Least element over axes; NaN if one is NaN.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// An empty axis raises ValueError.
    ///
    /// >>> mx.min(mx.array([[1, 5], [7, 3]]), axis=0)
    /// array([1, 3], dtype=int32)
    min;
    /// Product over axes.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.prod(mx.array([1, 2, 3]))
    /// array(6, dtype=int32)
    prod;
    /// Sum over axes.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.sum(mx.array([[1, 2], [3, 4]]), axis=0, keepdims=True)
    /// array([[4, 6]], dtype=int32)
    sum;
}

macro_rules! moments {
    ($($(#[$doc:meta])* $function:ident $python:literal: $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction(name = $python)]
        #[pyo3(
            signature = (
                a, /, axis = None, keepdims = false, ddof = Count::new(0), *, correction = None,
                stream = None
            ),
            text_signature = "(a, /, axis=None, keepdims=False, ddof=0, *, correction=None, \
                stream=None)"
        )]
        fn $function(
            a: Arr,
            axis: Option<Axes>,
            keepdims: bool,
            ddof: Count,
            correction: Option<Count>,
            stream: On,
        ) -> Answer<PyArray> {
            let ddof = correction.unwrap_or(ddof).size(stringify!($name), "ddof")?;
            on(stream, || wrap(a.0.$name(axis.as_deref(), keepdims, ddof)))
        }
    )*};
}
moments! {
    /// Variance over axes, divided by the number of elements less `ddof`.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.var(mx.array([1.0, 3.0]), ddof=1)
    /// array(2, dtype=float32)
    variance "var": var;
    /// Standard deviation over axes: the square root of `var`.
    ///
    /// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.std(mx.array([1.0, 3.0]))
    /// array(1, dtype=float32)
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
    ///
    /// Shapes: any; the axis is left out, or has size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// An empty axis raises ValueError.
    ///
    /// >>> mx.argmax(mx.array([[1, 5, 2], [7, 3, 4]]), axis=1)
    /// array([1, 0], dtype=uint32)
    argmax;
    /// The place of the least element along an axis, or in the flattened array.
    ///
    /// Shapes: any; the axis is left out, or has size 1 if `keepdims`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    /// An empty axis raises ValueError.
    ///
    /// >>> mx.argmin(mx.array([3, 1, 2]))
    /// array(1, dtype=uint32)
    argmin;
}

/// Least and greatest element over axes.
///
/// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// An empty axis raises ValueError.
///
/// >>> mx.minmax(mx.array([3, 1, 2]))
/// (array(1, dtype=int32), array(3, dtype=int32))
#[pyfunction]
#[pyo3(signature = (a, /, axis = None, keepdims = false, *, stream = None))]
fn minmax(a: Arr, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<(PyArray, PyArray)> {
    on(stream, || {
        let low = wrap(a.0.min(axis.as_deref(), keepdims))?;
        Ok((low, wrap(a.0.max(axis.as_deref(), keepdims))?))
    })
}

/// The number of non-zero elements over axes.
///
/// Shapes: any; the axes are left out, or have size 1 if `keepdims`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.count_nonzero(mx.array([[1, 0], [2, 3]]), axis=0)
/// array([2, 1], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, *, axis = None, keepdims = false, stream = None))]
fn count_nonzero(a: Arr, axis: Option<Axes>, keepdims: bool, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let nonzero = a.0.astype(Dtype::Bool)?.astype(Dtype::I32)?;
        wrap(nonzero.sum(axis.as_deref(), keepdims))
    })
}

/// `exp(a) / sum(exp(a))` over axes, computed in float32 at least.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.softmax(mx.array([0.0, 0.0]))
/// array([0.5, 0.5], dtype=float32)
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
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.cummax(mx.array([1, 3, 2]))
    /// array([1, 3, 3], dtype=int32)
    cummax;
    /// Running minimum along an axis, or of the flattened array.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.cummin(mx.array([3, 1, 2]))
    /// array([3, 1, 1], dtype=int32)
    cummin;
    /// Running `log(sum(exp(a)))` along an axis, or of the flattened array.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.logcumsumexp(mx.array([0.0, 0.0]))
    /// array([0, 0.693147], dtype=float32)
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
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.cumprod(mx.array([1, 2, 3]))
    /// array([1, 2, 6], dtype=int32)
    cumprod;
    /// Running sum along an axis, or of the flattened array.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An axis out of range raises IndexError.
    ///
    /// >>> mx.cumsum(mx.array([1, 2, 3]), reverse=True)
    /// array([6, 5, 3], dtype=int32)
    cumsum;
}

/// Differences of neighbours along an axis, taken `n` times.
///
/// Shapes: the axis loses `n` elements.
/// Dtypes: all.
/// An axis out of range raises IndexError.
/// A negative `n` raises ValueError.
///
/// >>> mx.diff(mx.array([1, 4, 9]))
/// array([3, 5], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, n = 1, axis = -1, *, stream = None))]
fn diff(a: Arr, n: i64, axis: i64, stream: On) -> Answer<PyArray> {
    let n = usize::try_from(n)
        .map_err(|_| value_error(format!("[diff] n must not be negative, got {n}")))?;
    on(stream, || wrap(a.0.diff(n, axis)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, all, any, logsumexp, max, mean, median, min, prod, sum);
    add_functions!(m, variance, standard_deviation);
    add_functions!(m, argmax, argmin, minmax, count_nonzero, softmax);
    add_functions!(m, cummax, cummin, logcumsumexp, cumprod, cumsum, diff);
    add_aliases(m, &[("cumulative_prod", "cumprod"), ("cumulative_sum", "cumsum")])
}
