//! Elementwise functions: most come straight from the engine's op table, docs included.

use super::examples::example;
use super::{add_aliases, add_functions};
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Operand};
use crate::device::{On, on};
use crate::errors::Answer;
use lazulite::{Array, Dtype, for_each_binary, for_each_unary};
use pyo3::prelude::*;

/// Rows of the unary table that are no function of MLX, or have another signature below.
const NOT_UNARY: [&str; 4] = ["modulus", "round_half_even", "conjugate", "bitwise_invert"];
/// Rows of the binary table that are no function of MLX.
const NOT_BINARY: [&str; 1] = ["make_complex"];
/// Rows of the binary table whose operands are positional only.
const POSITIONAL: [&str; 7] =
    ["arctan2", "logaddexp", "logical_and", "logical_or", "maximum", "minimum", "power"];

macro_rules! unary_functions {
    ($($(#[$doc:meta])* $Op:ident $name:ident { $($facts:tt)* })*) => {
        mod unary {
            use super::{Answer, On, Operand, PyArray, example, on, wrap};
            use pyo3::prelude::*;
            $(
                $(#[$doc])*
                #[doc = concat!(
                    "\nShapes: any; the result has the shape of `a`.\n",
                    "An argument that is neither an array nor a number raises ValueError.",
                )]
                #[doc = example!($name)]
                #[pyfunction]
                #[pyo3(signature = (a, /, *, stream = None))]
                pub fn $name(a: Operand, stream: On) -> Answer<PyArray> {
                    on(stream, || wrap(a.array().$name()))
                }
            )*

            pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
                $(if !super::NOT_UNARY.contains(&stringify!($name)) {
                    m.add_function(wrap_pyfunction!($name, m)?)?;
                })*
                Ok(())
            }
        }
    };
}
for_each_unary!(unary_functions);

macro_rules! binary_functions {
    ($($(#[$doc:meta])* $Op:ident $name:ident { $($facts:tt)* })*) => {
        mod binary {
            use super::{Answer, On, Operand, PyArray, example, on, wrap};
            use pyo3::prelude::*;
            $(
                $(#[$doc])*
                #[doc = example!($name)]
                #[pyfunction]
                #[pyo3(signature = (a, b, stream = None))]
                pub fn $name(a: Operand, b: Operand, stream: On) -> Answer<PyArray> {
                    on(stream, || {
                        let (a, b) = Operand::pair(a, b)?;
                        wrap(a.$name(&b))
                    })
                }
            )*

            pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
                $(if !super::NOT_BINARY.contains(&stringify!($name))
                    && !super::POSITIONAL.contains(&stringify!($name))
                {
                    m.add_function(wrap_pyfunction!($name, m)?)?;
                })*
                Ok(())
            }
        }

        mod positional {
            use super::{Answer, On, Operand, PyArray, example, on, wrap};
            use pyo3::prelude::*;
            $(
                $(#[$doc])*
                #[doc = example!($name)]
                #[pyfunction]
                #[pyo3(signature = (a, b, /, *, stream = None))]
                pub fn $name(a: Operand, b: Operand, stream: On) -> Answer<PyArray> {
                    on(stream, || {
                        let (a, b) = Operand::pair(a, b)?;
                        wrap(a.$name(&b))
                    })
                }
            )*

            pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
                $(if super::POSITIONAL.contains(&stringify!($name)) {
                    m.add_function(wrap_pyfunction!($name, m)?)?;
                })*
                Ok(())
            }
        }
    };
}
for_each_binary!(binary_functions);

/// Complex conjugate.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is neither an array nor a number raises ValueError.
///
/// >>> mx.conjugate(mx.array([1 + 2j]))
/// array([1-2j], dtype=complex64)
#[pyfunction]
#[pyo3(signature = (a, *, stream = None))]
fn conjugate(a: Operand, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.array().conjugate()))
}

/// Every bit inverted; for bool, the opposite.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: bool, integers; others raise ValueError.
///
/// >>> mx.bitwise_invert(mx.array([0, 1]))
/// array([-1, -2], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, stream = None))]
fn bitwise_invert(a: Operand, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let a = a.array();
        let boolean = a.dtype() == Dtype::Bool;
        wrap(if boolean { a.logical_not() } else { a.bitwise_invert() })
    })
}

macro_rules! tests_of_floats {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, stream = None))]
        fn $name(a: Operand, stream: On) -> Answer<PyArray> {
            on(stream, || wrap(a.array().$name()))
        }
    )*};
}
tests_of_floats! {
    /// True where neither infinite nor NaN.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.isfinite(mx.array([1.0, mx.inf, mx.nan]))
    /// array([True, False, False], dtype=bool)
    isfinite
    /// True where infinite.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.isinf(mx.array([1.0, -mx.inf]))
    /// array([False, True], dtype=bool)
    isinf
    /// True where NaN.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.isnan(mx.array([1.0, mx.nan]))
    /// array([False, True], dtype=bool)
    isnan
    /// True where negative infinity.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.isneginf(mx.array([mx.inf, -mx.inf]))
    /// array([False, True], dtype=bool)
    isneginf
    /// True where positive infinity.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.isposinf(mx.array([mx.inf, -mx.inf]))
    /// array([True, False], dtype=bool)
    isposinf
}

macro_rules! conversions {
    ($($(#[$doc:meta])* $name:ident: |$a:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (a, /, *, stream = None))]
        fn $name(a: Operand, stream: On) -> Answer<PyArray> {
            on(stream, || {
                let $a = a.array();
                wrap($body)
            })
        }
    )*};
}
conversions! {
    /// Radians to degrees.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.degrees(mx.array([mx.pi]))
    /// array([180], dtype=float32)
    degrees: |a| a.degrees();
    /// Degrees to radians.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.radians(mx.array([180.0]))
    /// array([3.14159], dtype=float32)
    radians: |a| a.radians();
    /// The array itself.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: all.
    /// An argument that is neither an array nor a number raises ValueError.
    ///
    /// >>> mx.positive(mx.array([-1]))
    /// array([-1], dtype=int32)
    positive: |a| Ok(a);
    /// Rounded towards zero.
    ///
    /// Shapes: any; the result has the shape of `a`.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.trunc(mx.array([1.7, -1.7]))
    /// array([1, -1], dtype=float32)
    trunc: |a| {
        if a.dtype().is_inexact() {
            let negative = a.less(&Array::literal(lazulite::Literal::from_f64(0.0, a.dtype())))?;
            negative.select(&a.ceil()?, &a.floor()?)
        } else {
            Ok(a)
        }
    };
}

/// Rounded to a number of decimals, halves to even.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is neither an array nor a number raises ValueError.
///
/// >>> mx.round(mx.array([0.5, 1.5, 2.37]), 1)
/// array([0.5, 1.5, 2.4], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, decimals = 0, stream = None))]
fn round(a: Operand, decimals: i32, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.array().round(decimals)))
}

/// NaN and infinities replaced by numbers; infinities by the greatest finite ones if not given.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: bool, integers, floats; others raise ValueError.
/// An argument that is neither an array nor a number raises ValueError.
///
/// >>> mx.nan_to_num(mx.array([mx.nan, 1.0]))
/// array([0, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, nan = 0.0, posinf = None, neginf = None, *, stream = None))]
fn nan_to_num(
    a: Operand,
    nan: f64,
    posinf: Option<f64>,
    neginf: Option<f64>,
    stream: On,
) -> Answer<PyArray> {
    on(stream, || wrap(a.array().nan_to_num(nan, posinf, neginf)))
}

/// Quotient rounded down, and remainder.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: bool, integers, floats; others raise ValueError.
///
/// >>> mx.divmod(mx.array([7, -7]), 3)
/// [array([2, -3], dtype=int32), array([1, 2], dtype=int32)]
#[pyfunction]
#[pyo3(signature = (a, b, stream = None))]
fn divmod(a: Operand, b: Operand, stream: On) -> Answer<[PyArray; 2]> {
    on(stream, || {
        let (a, b) = Operand::pair(a, b)?;
        let (q, r) = a.divmod(&b)?;
        Ok([q.into(), r.into()])
    })
}

/// True where exactly one is non-zero.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
///
/// >>> mx.logical_xor(mx.array([True, False]), mx.array([True, True]))
/// array([False, True], dtype=bool)
#[pyfunction]
#[pyo3(signature = (a, b, /, *, stream = None))]
fn logical_xor(a: Operand, b: Operand, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let (a, b) = Operand::pair(a, b)?;
        wrap(a.astype(Dtype::Bool)?.not_equal(&b.astype(Dtype::Bool)?))
    })
}

/// Elements of `x` where the condition is true, else of `y`.
///
/// Shapes: those of the three operands broadcast together.
/// Dtypes: all.
/// Shapes that do not broadcast raise ValueError.
///
/// >>> mx.where(mx.array([True, False]), 1, mx.array([5, 6]))
/// array([1, 6], dtype=int32)
#[pyfunction]
#[pyo3(name = "where", signature = (condition, x, y, /, *, stream = None))]
fn where_(condition: Operand, x: Operand, y: Operand, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let (x, y) = Operand::pair(x, y)?;
        wrap(condition.array().astype(Dtype::Bool)?.select(&x, &y))
    })
}

/// Elements limited to the range from `a_min` to `a_max`; one limit may be None.
///
/// Shapes: those of `a` and of both limits broadcast together.
/// Dtypes: all.
/// Two missing limits, and shapes that do not broadcast, raise ValueError.
///
/// >>> mx.clip(mx.array([-2, 0, 5]), -1, 3)
/// array([-1, 0, 3], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, /, a_min, a_max, *, stream = None))]
fn clip(a: Operand, a_min: Option<Operand>, a_max: Option<Operand>, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let a = a.array();
        let low = a_min.map(|x| x.beside(a.dtype())).transpose()?;
        let high = a_max.map(|x| x.beside(a.dtype())).transpose()?;
        if low.is_none() && high.is_none() {
            return Err(crate::errors::value_error("At most one of a_min and a_max may be None"));
        }
        wrap(a.clip(low.as_ref(), high.as_ref()))
    })
}

/// True iff shapes and all elements are equal; with `equal_nan`, NaN equals NaN.
///
/// Shapes: any; arrays of different shapes are not equal.
/// Dtypes: all.
/// An argument that is neither an array nor a number raises ValueError.
///
/// >>> mx.array_equal(mx.array([1, 2]), mx.array([1, 2]))
/// array(True, dtype=bool)
#[pyfunction]
#[pyo3(signature = (a, b, equal_nan = false, stream = None))]
fn array_equal(a: Operand, b: Operand, equal_nan: bool, stream: On) -> Answer<PyArray> {
    on(stream, || {
        let (a, b) = Operand::pair(a, b)?;
        wrap(a.array_equal(&b, equal_nan))
    })
}

/// True where `|a - b| <= atol + rtol * |b|`.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
///
/// >>> mx.isclose(mx.array([1.0, 2.0]), mx.array([1.000001, 2.1]))
/// array([True, False], dtype=bool)
#[pyfunction]
#[pyo3(signature = (a, b, /, rtol = 1e-5, atol = 1e-8, *, equal_nan = false, stream = None))]
fn isclose(
    a: Operand,
    b: Operand,
    rtol: f64,
    atol: f64,
    equal_nan: bool,
    stream: On,
) -> Answer<PyArray> {
    on(stream, || {
        let (a, b) = Operand::pair(a, b)?;
        wrap(a.isclose(&b, rtol, atol, equal_nan))
    })
}

/// True iff `|a - b| <= atol + rtol * |b|` everywhere.
///
/// Shapes: the operands broadcast; shapes that cannot raise ValueError.
/// Dtypes: all.
///
/// >>> mx.allclose(mx.array([1.0]), mx.array([1.000001]))
/// array(True, dtype=bool)
#[pyfunction]
#[pyo3(signature = (a, b, /, rtol = 1e-5, atol = 1e-8, *, equal_nan = false, stream = None))]
fn allclose(
    a: Operand,
    b: Operand,
    rtol: f64,
    atol: f64,
    equal_nan: bool,
    stream: On,
) -> Answer<PyArray> {
    on(stream, || {
        let (a, b) = Operand::pair(a, b)?;
        wrap(a.allclose(&b, rtol, atol, equal_nan))
    })
}

/// The array converted to another dtype.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument of another type raises TypeError.
///
/// >>> mx.astype(mx.array([1.7, -1.7]), mx.int32)
/// array([1, -1], dtype=int32)
#[pyfunction]
#[pyo3(signature = (a, dtype, /, *, stream = None))]
fn astype(a: Arr, dtype: crate::dtype::PyDtype, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.astype(dtype.0)))
}

/// The array, through which no derivative passes.
///
/// Shapes: any; the result has the shape of `a`.
/// Dtypes: all.
/// An argument that is not an array raises TypeError.
///
/// >>> mx.grad(lambda x: (mx.stop_gradient(x) * x).sum())(mx.array([3.0]))
/// array([3], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, /, *, stream = None))]
fn stop_gradient(a: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(a.0.stop_gradient()))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    unary::register(m)?;
    binary::register(m)?;
    positional::register(m)?;
    add_functions!(m, conjugate, bitwise_invert, isfinite, isinf, isnan, isneginf, isposinf);
    add_functions!(m, degrees, radians, positive, trunc, round, nan_to_num, divmod);
    add_functions!(m, logical_xor, where_, clip, array_equal, isclose, allclose, astype);
    add_functions!(m, stop_gradient);
    add_aliases(
        m,
        &[
            ("acos", "arccos"),
            ("acosh", "arccosh"),
            ("asin", "arcsin"),
            ("asinh", "arcsinh"),
            ("atan", "arctan"),
            ("atanh", "arctanh"),
            ("atan2", "arctan2"),
            ("conj", "conjugate"),
            ("pow", "power"),
            ("bitwise_left_shift", "left_shift"),
            ("bitwise_right_shift", "right_shift"),
        ],
    )
}
