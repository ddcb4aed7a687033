//! Convolutions, as matrix products of the patches under the kernel. Channels are the last axis.

use super::add_functions;
use crate::array::PyArray;
use crate::convert::Arr;
use crate::device::{On, on};
use crate::errors::{Answer, Fault, value_error};
use lazulite::op::join::PadMode;
use lazulite::{Array, Literal};
use pyo3::prelude::*;

/// One number for all spatial axes, or one for each.
#[derive(FromPyObject, Clone)]
enum PerAxis {
    All(i64),
    Each(Vec<i64>),
}

impl PerAxis {
    fn resolve(self, op: &str, axes: usize) -> Answer<Vec<i64>> {
        match self {
            PerAxis::All(n) => Ok(vec![n; axes]),
            PerAxis::Each(n) if n.len() == 1 => Ok(vec![n[0]; axes]),
            PerAxis::Each(n) if n.len() == axes => Ok(n),
            PerAxis::Each(n) => {
                let got = n.len();
                Err(value_error(format!("[{op}] {got} numbers for {axes} spatial axes")))
            }
        }
    }
}

/// Padding: equal on both sides, or one list for the low sides and one for the high ones.
#[derive(FromPyObject, Clone)]
enum Padding {
    Both(PerAxis),
    Sides(Vec<i64>, Vec<i64>),
}

struct Convolution {
    op: &'static str,
    stride: Vec<i64>,
    low: Vec<i64>,
    high: Vec<i64>,
    kernel_dilation: Vec<i64>,
    input_dilation: Vec<i64>,
    groups: usize,
    flip: bool,
}

impl Convolution {
    fn refuse(&self, message: impl std::fmt::Display) -> Fault {
        value_error(format!("[{}] {message}", self.op))
    }

    /// `input (n, *s, c)`, `weight (o, *k, c / groups)` to `(n, *t, o)`.
    fn apply(&self, input: &Array, weight: &Array) -> Answer<Array> {
        let spatial = self.stride.len();
        if input.ndim() != spatial + 2 || weight.ndim() != spatial + 2 {
            let (a, b) = (input.ndim(), weight.ndim());
            let want = spatial + 2;
            return Err(self.refuse(format!("input has {a} axes, weight {b}, expected {want}")));
        }
        let channels = input.shape()[spatial + 1];
        let (outputs, inner) = (weight.shape()[0], weight.shape()[spatial + 1]);
        let groups = self.groups;
        let divides =
            groups > 0 && channels.is_multiple_of(groups) && outputs.is_multiple_of(groups);
        if !divides || channels / groups != inner {
            return Err(self.refuse(format!(
                "{channels} channels of the input in {groups} groups do not match {inner} of the \
                 weight, which has {outputs} outputs"
            )));
        }
        let all = [&self.stride, &self.kernel_dilation, &self.input_dilation];
        if all.iter().any(|n| n.iter().any(|&n| n < 1)) {
            return Err(self.refuse("strides and dilations must be positive"));
        }
        let dtype = input.dtype().promote(weight.dtype());
        let x = self.padded(&self.dilated(&input.astype(dtype)?)?)?;
        let w = weight.astype(dtype)?;
        let mut parts = Vec::with_capacity(groups);
        let last = spatial as i64 + 1;
        let xs = if groups == 1 { vec![x] } else { x.split(groups, last)? };
        let ws = if groups == 1 { vec![w] } else { w.split(groups, 0)? };
        for (x, w) in xs.iter().zip(&ws) {
            parts.push(self.group(x, w)?);
        }
        Ok(Array::concatenate(&parts, last)?)
    }

    /// The input with zeros between its elements.
    fn dilated(&self, x: &Array) -> Answer<Array> {
        let mut x = x.clone();
        for (i, &d) in self.input_dilation.iter().enumerate() {
            let n = x.shape()[i + 1];
            if d == 1 || n == 0 {
                continue;
            }
            let mut widths = vec![(0, 0); x.ndim() + 1];
            widths[i + 2].1 = d as usize - 1;
            let mut shape = x.shape().to_vec();
            shape[i + 1] = n * d as usize;
            let apart = x.expand_dims(&[i as i64 + 2])?;
            let spread = apart.pad(&widths, &zero(&x))?.reshape(&shape)?;
            x = cut(&spread, i + 1, 0, (n as i64 - 1) * d + 1, 1)?;
        }
        Ok(x)
    }

    fn padded(&self, x: &Array) -> Answer<Array> {
        let mut widths = vec![(0, 0); x.ndim()];
        let mut x = x.clone();
        for (i, (&low, &high)) in self.low.iter().zip(&self.high).enumerate() {
            widths[i + 1] = (low.max(0) as usize, high.max(0) as usize);
            // Negative padding cuts elements off.
            if low < 0 || high < 0 {
                let n = x.shape()[i + 1] as i64;
                x = cut(&x, i + 1, (-low).max(0), n - (-high).max(0), 1)?;
            }
        }
        match widths.iter().all(|w| *w == (0, 0)) {
            true => Ok(x),
            false => Ok(x.pad(&widths, &zero(&x))?),
        }
    }

    /// One group: the patches of the input beside each other, times the kernel.
    fn group(&self, x: &Array, w: &Array) -> Answer<Array> {
        let spatial = self.stride.len();
        let kernel = &w.shape()[1..=spatial];
        let mut sizes = Vec::with_capacity(spatial);
        for (i, &k) in kernel.iter().enumerate() {
            let reach = self.kernel_dilation[i] * (k as i64 - 1) + 1;
            let room = x.shape()[i + 1] as i64 - reach;
            if room < 0 {
                let n = x.shape()[i + 1];
                return Err(self.refuse(format!("a kernel of {reach} does not fit into {n}")));
            }
            sizes.push(room / self.stride[i] + 1);
        }
        let taps: usize = kernel.iter().product();
        let mut patches = Vec::with_capacity(taps);
        for tap in 0..taps {
            let mut rest = tap;
            let mut patch = x.clone();
            for i in (0..spatial).rev() {
                let place = rest % kernel[i];
                rest /= kernel[i];
                let place = if self.flip { kernel[i] - 1 - place } else { place } as i64;
                let start = place * self.kernel_dilation[i];
                let stop = start + (sizes[i] - 1) * self.stride[i] + 1;
                patch = cut(&patch, i + 1, start, stop, self.stride[i])?;
            }
            patches.push(patch);
        }
        let patches = Array::concatenate(&patches, -1)?;
        let depth = taps * x.shape()[spatial + 1];
        let matrix = w.reshape(&[w.shape()[0], depth])?.transpose(None)?;
        let rows: usize = patches.shape()[..=spatial].iter().product();
        let mut shape = patches.shape().to_vec();
        shape[spatial + 1] = w.shape()[0];
        Ok(patches.reshape(&[rows, depth])?.matmul(&matrix)?.reshape(&shape)?)
    }
}

fn zero(x: &Array) -> PadMode {
    PadMode::Constant(Array::literal(Literal::from_i64(0, x.dtype())))
}

/// `x[start:stop:step]` along one axis.
fn cut(x: &Array, axis: usize, start: i64, stop: i64, step: i64) -> Answer<Array> {
    let mut starts = vec![0; x.ndim()];
    let mut stops: Vec<i64> = x.shape().iter().map(|&n| n as i64).collect();
    let mut steps = vec![1; x.ndim()];
    (starts[axis], stops[axis], steps[axis]) = (start, stop, step);
    Ok(x.slice(&starts, &stops, &steps)?)
}

macro_rules! convolutions {
    ($($(#[$doc:meta])* $name:ident: $spatial:literal;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(
            signature = (
                input, weight, /, stride = PerAxis::All(1), padding = PerAxis::All(0),
                dilation = PerAxis::All(1), groups = 1, *, stream = None
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
            groups: usize,
            stream: On,
        ) -> Answer<PyArray> {
            let op = stringify!($name);
            let padding = padding.resolve(op, $spatial)?;
            let convolution = Convolution {
                op,
                stride: stride.resolve(op, $spatial)?,
                low: padding.clone(),
                high: padding,
                kernel_dilation: dilation.resolve(op, $spatial)?,
                input_dilation: vec![1; $spatial],
                groups,
                flip: false,
            };
            on(stream, || Ok(convolution.apply(&input.0, &weight.0)?.into()))
        }
    )*};
}
convolutions! {
    /// Convolution along one axis: `(n, s, c)` with `(o, k, c / groups)`.
    conv1d: 1;
    /// Convolution along two axes: `(n, h, w, c)` with `(o, kh, kw, c / groups)`.
    conv2d: 2;
    /// Convolution along three axes: `(n, d, h, w, c)` with `(o, kd, kh, kw, c / groups)`.
    conv3d: 3;
}

macro_rules! transposed_convolutions {
    ($($(#[$doc:meta])* $name:ident: $spatial:literal;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(
            signature = (
                input, weight, /, stride = PerAxis::All(1), padding = PerAxis::All(0),
                dilation = PerAxis::All(1), output_padding = PerAxis::All(0), groups = 1, *,
                stream = None
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
            groups: usize,
            stream: On,
        ) -> Answer<PyArray> {
            let op = stringify!($name);
            let padding = padding.resolve(op, $spatial)?;
            let extra = output_padding.resolve(op, $spatial)?;
            let dilation = dilation.resolve(op, $spatial)?;
            let kernel = weight.0.shape().get(1..=$spatial).unwrap_or_default();
            // With the input's elements `stride` apart, a kernel that reaches `r` further must see
            // `r - padding` zeros on each side for the sizes of a convolution run backwards.
            let low: Vec<i64> = (kernel.iter().zip(&dilation).zip(&padding))
                .map(|((&k, d), p)| d * (k as i64 - 1) - p)
                .collect();
            let high = low.iter().zip(&extra).map(|(l, e)| l + e).collect();
            let convolution = Convolution {
                op,
                stride: vec![1; $spatial],
                low,
                high,
                kernel_dilation: dilation,
                input_dilation: stride.resolve(op, $spatial)?,
                groups,
                flip: true,
            };
            on(stream, || Ok(convolution.apply(&input.0, &weight.0)?.into()))
        }
    )*};
}
transposed_convolutions! {
    /// Transposed convolution along one axis.
    conv_transpose1d: 1;
    /// Transposed convolution along two axes.
    conv_transpose2d: 2;
    /// Transposed convolution along three axes.
    conv_transpose3d: 3;
}

/// Convolution along any number of axes, with every option.
#[pyfunction]
#[pyo3(
    signature = (
        input, weight, /, stride = PerAxis::All(1), padding = Padding::Both(PerAxis::All(0)),
        kernel_dilation = PerAxis::All(1), input_dilation = PerAxis::All(1), groups = 1,
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
    groups: usize,
    flip: bool,
    stream: On,
) -> Answer<PyArray> {
    let op = "conv_general";
    let spatial = input.0.ndim().saturating_sub(2);
    let (low, high) = match padding {
        Padding::Both(padding) => {
            let both = padding.resolve(op, spatial)?;
            (both.clone(), both)
        }
        Padding::Sides(low, high) => {
            (PerAxis::Each(low).resolve(op, spatial)?, PerAxis::Each(high).resolve(op, spatial)?)
        }
    };
    let convolution = Convolution {
        op,
        stride: stride.resolve(op, spatial)?,
        low,
        high,
        kernel_dilation: kernel_dilation.resolve(op, spatial)?,
        input_dilation: input_dilation.resolve(op, spatial)?,
        groups,
        flip,
    };
    on(stream, || Ok(convolution.apply(&input.0, &weight.0)?.into()))
}

/// The discrete convolution of two vectors.
#[pyfunction]
#[pyo3(signature = (a, v, /, mode = "full", *, stream = None))]
fn convolve(a: Arr, v: Arr, mode: &str, stream: On) -> Answer<PyArray> {
    let (mut a, mut v) = (a.0, v.0);
    if a.ndim() != 1 || v.ndim() != 1 || a.is_empty() || v.is_empty() {
        return Err(value_error("[convolve] Inputs must be vectors that are not empty."));
    }
    if a.len() < v.len() {
        std::mem::swap(&mut a, &mut v);
    }
    let k = v.len() as i64;
    let (low, high) = match mode {
        "full" => (k - 1, k - 1),
        "valid" => (0, 0),
        "same" => (k / 2, k - 1 - k / 2),
        other => return Err(value_error(format!("[convolve] no mode is called {other:?}"))),
    };
    let convolution = Convolution {
        op: "convolve",
        stride: vec![1],
        low: vec![low],
        high: vec![high],
        kernel_dilation: vec![1],
        input_dilation: vec![1],
        groups: 1,
        flip: true,
    };
    on(stream, || {
        let (x, w) = (a.reshape(&[1, a.len(), 1])?, v.reshape(&[1, v.len(), 1])?);
        Ok(convolution.apply(&x, &w)?.flatten(0, -1)?.into())
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, conv1d, conv2d, conv3d, conv_general, convolve);
    add_functions!(m, conv_transpose1d, conv_transpose2d, conv_transpose3d);
    Ok(())
}
