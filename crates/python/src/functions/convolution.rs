//! Convolutions. Channels are the last axis.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, extract_one_of};
use crate::device::{On, on};
use crate::errors::{Answer, value_error};
use lazulite::conv::{self, Conv, ConvolveMode, Spatial};
use pyo3::prelude::*;

/// One number for all spatial axes, or one for each.
#[derive(Clone)]
enum PerAxis {
    All(i64),
    Each(Vec<i64>),
}
extract_one_of!(PerAxis, "an integer or a sequence of integers": All, Each);

impl PerAxis {
    fn resolve(self, op: &str, axes: usize) -> Answer<Vec<i64>> {
        match self {
            PerAxis::All(n) => Ok(vec![n; axes]),
            PerAxis::Each(n) if n.len() == 1 => Ok(vec![n[0]; axes]),
            PerAxis::Each(n) if n.len() == axes => Ok(n),
            PerAxis::Each(n) => {
                let message = format!("[{op}] got {n:?}, expected 1 or {axes} numbers");
                Err(value_error(format!("{message}, one for each spatial axis")))
            }
        }
    }
}

/// Padding: equal on both sides, or one list for the low sides and one for the high ones.
#[derive(Clone)]
enum Padding {
    Both(PerAxis),
    Sides((Vec<i64>, Vec<i64>)),
}
extract_one_of!(Padding, "an integer, a sequence of integers or a pair of sequences": Both, Sides);

/// The numbers as those of the engine, none negative.
fn counts(op: &str, numbers: Vec<i64>) -> Answer<Vec<usize>> {
    let negative = |_| value_error(format!("[{op}] {numbers:?} holds a negative number"));
    numbers.iter().map(|&n| usize::try_from(n).map_err(negative)).collect()
}

fn sides(numbers: &[i64]) -> Spatial<isize> {
    numbers.iter().map(|&n| n as isize).collect()
}

macro_rules! convolutions {
    ($($(#[$doc:meta])* $name:ident: $spatial:literal;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(
            signature = (
                input, weight, /, stride = PerAxis::All(1), padding = PerAxis::All(0),
                dilation = PerAxis::All(1), groups = Count::new(1), *, stream = None
            ),
            text_signature =
                "(input, weight, /, stride=1, padding=0, dilation=1, groups=1, *, stream=None)"
        )]
        #[allow(clippy::too_many_arguments)]
        fn $name(
            input: Arr,
            weight: Arr,
            stride: PerAxis,
            padding: PerAxis,
            dilation: PerAxis,
            groups: Count,
            stream: On,
        ) -> Answer<PyArray> {
            let op = stringify!($name);
            let groups = groups.size(op, "groups")?;
            let padding = sides(&padding.resolve(op, $spatial)?);
            let options = Conv {
                stride: counts(op, stride.resolve(op, $spatial)?)?.into(),
                low: padding.clone(),
                high: padding,
                kernel_dilation: counts(op, dilation.resolve(op, $spatial)?)?.into(),
                groups,
                ..Conv::new($spatial)
            };
            on(stream, || wrap(conv::conv_general(&input.0, &weight.0, &options)))
        }
    )*};
}
convolutions! {
    /// Convolution (without flipping, a cross-correlation) along one axis.
    ///
    /// `stride` is the step of the window, `padding` the number of zeros at each end, `dilation`
    /// the distance between the weight's elements. With `groups`, each group of output channels
    /// reads its own part of the input channels.
    ///
    /// Shapes: `input (n, l, c)`, `weight (o, k, c / groups)`, the result `(n, l', o)`; others raise
    /// ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv1d(mx.arange(4.0).reshape(1, 4, 1), mx.ones((1, 2, 1))).reshape(-1)
    /// array([1, 3, 5], dtype=float32)
    conv1d: 1;
    /// Convolution along two axes; the arguments are those of `conv1d`, each one number for both
    /// axes or a pair.
    ///
    /// Shapes: `input (n, h, w, c)`, `weight (o, kh, kw, c / groups)`, the result `(n, h', w', o)`;
    /// others raise ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv2d(mx.ones((1, 4, 4, 1)), mx.ones((2, 3, 3, 1))).shape
    /// (1, 2, 2, 2)
    conv2d: 2;
    /// Convolution along three axes; the arguments are those of `conv1d`, each one number for all
    /// axes or three.
    ///
    /// Shapes: `input (n, d, h, w, c)`, `weight (o, kd, kh, kw, c / groups)`, the result `(n, d',
    /// h', w', o)`; others raise ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv3d(mx.ones((1, 4, 4, 4, 1)), mx.ones((2, 3, 3, 3, 1))).shape
    /// (1, 2, 2, 2, 2)
    conv3d: 3;
}

macro_rules! transposed_convolutions {
    ($($(#[$doc:meta])* $name:ident: $spatial:literal;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(
            signature = (
                input, weight, /, stride = PerAxis::All(1), padding = PerAxis::All(0),
                dilation = PerAxis::All(1), output_padding = PerAxis::All(0),
                groups = Count::new(1), *, stream = None
            ),
            text_signature = "(input, weight, /, stride=1, padding=0, dilation=1, \
                output_padding=0, groups=1, *, stream=None)"
        )]
        #[allow(clippy::too_many_arguments)]
        fn $name(
            input: Arr,
            weight: Arr,
            stride: PerAxis,
            padding: PerAxis,
            dilation: PerAxis,
            output_padding: PerAxis,
            groups: Count,
            stream: On,
        ) -> Answer<PyArray> {
            let op = stringify!($name);
            let groups = groups.size(op, "groups")?;
            let stride = counts(op, stride.resolve(op, $spatial)?)?;
            let padding = sides(&padding.resolve(op, $spatial)?);
            let dilation = counts(op, dilation.resolve(op, $spatial)?)?;
            let extra = counts(op, output_padding.resolve(op, $spatial)?)?;
            let (x, w) = (&input.0, &weight.0);
            on(stream, || {
                wrap(conv::conv_transpose(x, w, &stride, &padding, &dilation, &extra, groups))
            })
        }
    )*};
}
transposed_convolutions! {
    /// Transposed convolution along one axis: each input element adds a multiple of the weight to
    /// the output, `stride` apart.
    ///
    /// `padding` elements are cut off each end of the output, and `output_padding` are added at its
    /// far end. The other arguments are those of `conv1d`.
    ///
    /// Shapes: `input (n, l, c)`, `weight (o, k, c / groups)`, the result `(n, l', o)`; others raise
    /// ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv_transpose1d(mx.ones((1, 2, 1)), mx.ones((1, 2, 1)), stride=2).reshape(-1)
    /// array([1, 1, 1, 1], dtype=float32)
    conv_transpose1d: 1;
    /// Transposed convolution along two axes; the arguments are those of `conv_transpose1d`, each one
    /// number for both axes or a pair.
    ///
    /// Shapes: `input (n, h, w, c)`, `weight (o, kh, kw, c / groups)`, the result `(n, h', w', o)`;
    /// others raise ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv_transpose2d(mx.ones((1, 2, 2, 1)), mx.ones((1, 2, 2, 1)), stride=2).shape
    /// (1, 4, 4, 1)
    conv_transpose2d: 2;
    /// Transposed convolution along three axes; the arguments are those of `conv_transpose1d`, each
    /// one number for all axes or three.
    ///
    /// Shapes: `input (n, d, h, w, c)`, `weight (o, kd, kh, kw, c / groups)`, the result `(n, d',
    /// h', w', o)`; others raise ValueError.
    /// Dtypes: bool, integers, floats; others raise ValueError.
    ///
    /// >>> mx.conv_transpose3d(mx.ones((1, 2, 2, 2, 1)), mx.ones((1, 2, 2, 2, 1)), stride=2).shape
    /// (1, 4, 4, 4, 1)
    conv_transpose3d: 3;
}

/// Convolution along any number of axes, with every option.
///
/// `padding` may also be a pair of sequences, for the low and the high ends of the axes.
/// `kernel_dilation` and `input_dilation` are the distances between the elements of the weight and
/// of the input; `flip` reverses the weight along its spatial axes. Each option is one number for
/// all axes or one for each.
///
/// Shapes: `input (n, ..., c)`, `weight (o, ..., c / groups) -> (n, ..., o)`; others raise
/// ValueError.
/// Dtypes: bool, integers, floats; others raise ValueError.
///
/// >>> mx.conv_general(mx.ones((1, 5, 1)), mx.ones((1, 3, 1)), stride=2, padding=1).reshape(-1)
/// array([2, 3, 2], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (
        input, weight, /, stride = PerAxis::All(1), padding = Padding::Both(PerAxis::All(0)),
        kernel_dilation = PerAxis::All(1), input_dilation = PerAxis::All(1), groups = Count::new(1),
        flip = false, *, stream = None
    ),
    text_signature = "(input, weight, /, stride=1, padding=0, kernel_dilation=1, \
        input_dilation=1, groups=1, flip=False, *, stream=None)"
)]
#[allow(clippy::too_many_arguments)]
fn conv_general(
    input: Arr,
    weight: Arr,
    stride: PerAxis,
    padding: Padding,
    kernel_dilation: PerAxis,
    input_dilation: PerAxis,
    groups: Count,
    flip: bool,
    stream: On,
) -> Answer<PyArray> {
    let op = "conv_general";
    let groups = groups.size(op, "groups")?;
    let spatial = input.0.ndim().saturating_sub(2);
    let (low, high) = match padding {
        Padding::Both(padding) => {
            let both = padding.resolve(op, spatial)?;
            (both.clone(), both)
        }
        Padding::Sides((low, high)) => {
            (PerAxis::Each(low).resolve(op, spatial)?, PerAxis::Each(high).resolve(op, spatial)?)
        }
    };
    let options = Conv {
        stride: counts(op, stride.resolve(op, spatial)?)?.into(),
        low: sides(&low),
        high: sides(&high),
        kernel_dilation: counts(op, kernel_dilation.resolve(op, spatial)?)?.into(),
        input_dilation: counts(op, input_dilation.resolve(op, spatial)?)?.into(),
        groups,
        flip,
    };
    on(stream, || wrap(conv::conv_general(&input.0, &weight.0, &options)))
}

/// The discrete convolution of two vectors.
///
/// Shapes: `(n), (m) -> (n + m - 1)`, with `mode` `"same"` of the longer one's size, with
/// `"valid"` of n - m + 1.
/// Dtypes: bool, integers, floats; others raise ValueError.
/// Arguments other than non-empty vectors raise ValueError.
///
/// >>> mx.convolve(mx.array([1.0, 2.0, 3.0]), mx.array([1.0, 1.0]))
/// array([1, 3, 5, 3], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, v, /, mode = "full", *, stream = None))]
fn convolve(a: Arr, v: Arr, mode: &str, stream: On) -> Answer<PyArray> {
    let mode = ConvolveMode::from_name(mode)?;
    on(stream, || wrap(conv::convolve(&a.0, &v.0, mode)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, conv1d, conv2d, conv3d, conv_general, convolve);
    add_functions!(m, conv_transpose1d, conv_transpose2d, conv_transpose3d);
    Ok(())
}
