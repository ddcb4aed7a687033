//! Convolution over any number of axes. Channels are the last axis.
//!
//! The derivatives with respect to input and weight are convolutions again, with strides and
//! dilations exchanged, so that they have derivatives of any order and the same kernels.

use super::{Aval, Avals, Batched, Derivative, Rules, batch_first, like, one};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::shape::{Shape, show};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// A number for each spatial axis.
pub type Spatial<T> = SmallVec<[T; 3]>;

/// `y[t] = sum_k w[k] x[t stride + k kernel_dilation - low]` along each spatial axis, where x has
/// `input_dilation - 1` zeros between its elements and zeros outside. Inputs: `x (n, *s, c)`,
/// `w (o, *k, c / groups) -> (n, *t, o)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Conv {
    /// The distance of two places of the kernel.
    pub stride: Spatial<usize>,
    /// Zeros before the input; elements are cut off where negative.
    pub low: Spatial<isize>,
    /// Zeros behind the input; elements are cut off where negative.
    pub high: Spatial<isize>,
    /// The distance of the kernel's elements.
    pub kernel_dilation: Spatial<usize>,
    /// The distance of the input's elements.
    pub input_dilation: Spatial<usize>,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether the kernel is reversed along every axis.
    pub flip: bool,
}

impl Conv {
    /// Along `axes` axes, with strides and dilations of 1, no padding, and one group.
    pub fn new(axes: usize) -> Conv {
        Conv {
            stride: SmallVec::from_elem(1, axes),
            low: SmallVec::from_elem(0, axes),
            high: SmallVec::from_elem(0, axes),
            kernel_dilation: SmallVec::from_elem(1, axes),
            input_dilation: SmallVec::from_elem(1, axes),
            groups: 1,
            flip: false,
        }
    }

    /// Where element `k` of a kernel of `n` along axis `a` reads, from the first place.
    pub fn offset(&self, a: usize, k: usize, n: usize) -> isize {
        let k = if self.flip { n - 1 - k } else { k };
        (k * self.kernel_dilation[a]) as isize - self.low[a]
    }

    /// The distance between the first and the last of `n` elements that are `by` apart.
    fn reach(n: usize, by: usize) -> isize {
        (n as isize - 1) * by as isize
    }

    /// The sizes of the result for an input of `s` and a kernel of `k`, or what does not fit.
    fn sizes(&self, s: &[usize], k: &[usize]) -> std::result::Result<Shape, String> {
        (0..s.len())
            .map(|a| {
                let have =
                    if s[a] == 0 { 0 } else { Conv::reach(s[a], self.input_dilation[a]) + 1 };
                let have = have + self.low[a] + self.high[a];
                let need = Conv::reach(k[a], self.kernel_dilation[a]) + 1;
                if have < need || k[a] == 0 {
                    return Err(format!("a kernel that reaches {need} does not fit into {have}"));
                }
                Ok(((have - need) / self.stride[a] as isize) as usize + 1)
            })
            .collect()
    }

    fn refuse(&self, x: &Array, w: &Array, why: &str) -> Error {
        let message = format!("input {}, weight {}: {why}", show(x.shape()), show(w.shape()));
        Error::shape("conv", &[x.shape(), w.shape()], message)
    }

    /// The convolution of the result's cotangent that gives the input's, and its weight.
    fn for_input(&self, x: &Array, w: &Array, y: &[usize]) -> Result<(Conv, Array)> {
        let (mut low, mut high) = (Spatial::new(), Spatial::new());
        for a in 0..self.stride.len() {
            let reach = Conv::reach(w.shape()[a + 1], self.kernel_dilation[a]);
            low.push(reach - self.low[a]);
            let spread = Conv::reach(y[a + 1], self.stride[a]);
            high.push(Conv::reach(x.shape()[a + 1], self.input_dilation[a]) - spread + self.low[a]);
        }
        let op = Conv {
            stride: self.input_dilation.clone(),
            low,
            high,
            kernel_dilation: self.kernel_dilation.clone(),
            input_dilation: self.stride.clone(),
            groups: self.groups,
            flip: !self.flip,
        };
        // (g o', *k, c') to (g c', *k, o').
        let groups = self.groups as i64;
        let parts = w.unflatten(0, &[groups, -1])?;
        let last = parts.ndim() as i64 - 1;
        let order: Vec<i64> = [0, last].into_iter().chain(2..last).chain([1]).collect();
        Ok((op, parts.transpose(Some(&order))?.flatten(0, 1)?))
    }

    /// The weight's cotangent: the examples are the channels of a convolution of the input with the
    /// result's cotangent, whose elements are `stride` apart.
    fn weight_cotangent(&self, x: &Array, w: &Array, ct: &Array) -> Result<Array> {
        let mut high = Spatial::new();
        for a in 0..self.stride.len() {
            let reach = Conv::reach(w.shape()[a + 1], self.kernel_dilation[a]);
            let spread = Conv::reach(ct.shape()[a + 1], self.stride[a]);
            let have = Conv::reach(x.shape()[a + 1], self.input_dilation[a]);
            high.push(reach + spread - have - self.low[a]);
        }
        let op = Conv {
            stride: self.kernel_dilation.clone(),
            low: self.low.clone(),
            high,
            kernel_dilation: self.stride.clone(),
            input_dilation: self.input_dilation.clone(),
            groups: self.groups,
            flip: false,
        };
        // (n, *s, g c') to (c', *s, g n), and (n, *t, o) to (o, *t, n).
        let parts = x.unflatten(-1, &[self.groups as i64, -1])?;
        let last = parts.ndim() as i64 - 1;
        let order: Vec<i64> = [last].into_iter().chain(1..last).chain([0]).collect();
        let examples = parts.transpose(Some(&order))?.flatten(-2, -1)?;
        let out = Array::apply(op, &[examples, ct.swapaxes(0, -1)?])?.swapaxes(0, -1)?;
        let axes: Vec<i64> = (1..=self.stride.len() as i64).collect();
        if self.flip { out.flip(Some(&axes)) } else { Ok(out) }
    }
}

impl Rules for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (x, w) = (&inputs[0], &inputs[1]);
        let axes = self.stride.len();
        let lengths = [
            self.low.len(),
            self.high.len(),
            self.kernel_dilation.len(),
            self.input_dilation.len(),
            x.ndim().wrapping_sub(2),
            w.ndim().wrapping_sub(2),
        ];
        if lengths.iter().any(|&n| n != axes) {
            return Err(self.refuse(x, w, &format!("{} axes each are needed", axes + 2)));
        }
        let positive = [&self.stride, &self.kernel_dilation, &self.input_dilation];
        if positive.iter().any(|n| n.contains(&0)) {
            return Err(Error::argument("conv", "strides and dilations must be positive"));
        }
        if !x.dtype().is_floating() || x.dtype() != w.dtype() {
            return Err(Error::dtype("conv", &[x.dtype(), w.dtype()], "one floating type"));
        }
        let (channels, outputs, own) = (x.shape()[axes + 1], w.shape()[0], w.shape()[axes + 1]);
        let g = self.groups;
        if g == 0
            || !channels.is_multiple_of(g)
            || !outputs.is_multiple_of(g)
            || channels / g != own
        {
            let why = format!(
                "with {g} groups, {} input channels and a multiple of {g} outputs are needed",
                own.saturating_mul(g)
            );
            return Err(self.refuse(x, w, &why));
        }
        let spatial = self.sizes(&x.shape()[1..=axes], &w.shape()[1..=axes]);
        let mut shape = Shape::from_slice(&[x.shape()[0]]);
        shape.extend(spatial.map_err(|why| self.refuse(x, w, &why))?);
        shape.push(outputs);
        one(shape, x.dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Bilinear(0, 1)
    }

    fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let (x, w) = (&inputs[0], &inputs[1]);
        if x.is_empty() || ct.is_empty() {
            return inputs[place].zeros_like().map(Some);
        }
        if place == 1 {
            return self.weight_cotangent(x, w, ct).map(Some);
        }
        let (op, weight) = self.for_input(x, w, ct.shape())?;
        Array::apply(op, &[ct.clone(), weight]).map(Some)
    }

    /// A batch of inputs alone is more examples; with weights, which become more outputs, it is
    /// more groups.
    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let (x, w) = (batch_first(&inputs[0], axes[0])?, batch_first(&inputs[1], axes[1])?);
        let many = batch as i64;
        if axes[1].is_none() {
            let examples = x.shape()[1] as i64;
            let out = Array::apply(self.clone(), &[x.flatten(0, 1)?, w])?;
            return Ok((vec![out.unflatten(0, &[many, examples])?], vec![Some(0)]));
        }
        let groups = self.groups as i64;
        if axes[0].is_some() {
            // (b, n, *s, c) to (n, *s, b c).
            let x = x.moveaxis(0, -2)?.flatten(-2, -1)?;
            let op = Conv { groups: self.groups * batch, ..self.clone() };
            let out = Array::apply(op, &[x, w.flatten(0, 1)?])?.unflatten(-1, &[many, -1])?;
            let axis = out.ndim() - 2;
            return Ok((vec![out], vec![Some(axis)]));
        }
        // (b, g o', ...) to (g b o', ...).
        let w = w.unflatten(1, &[groups, -1])?.swapaxes(0, 1)?.flatten(0, 2)?;
        let out = Array::apply(self.clone(), &[x, w])?.unflatten(-1, &[groups, many, -1])?;
        let out = out.moveaxis(-2, 0)?.flatten(-2, -1)?;
        Ok((vec![out], vec![Some(0)]))
    }

    /// The padding of a derivative depends on the sizes: it must be made anew for others.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Conv> {
        let spatial = |shape: &[usize]| shape[1..=self.stride.len()].to_vec();
        let moved = |i: usize| spatial(inputs[i].shape()) != spatial(&old[i].shape);
        let symmetric = self.low.iter().chain(&self.high).all(|&p| p >= 0);
        if moved(1) || (moved(0) && !symmetric) {
            let message = "a recorded convolution holds for kernels of its own size";
            return Err(self.refuse(&inputs[0], &inputs[1], message));
        }
        Ok(self.clone())
    }

    fn key(&self, state: &mut impl Hasher) {
        self.stride.len().hash(state);
    }
}

/// Convolution with every option; see [`Conv`].
///
/// # Shapes
/// `x (n, *s, c)`, `w (o, *k, c / groups) -> (n, *t, o)`.
///
/// # Dtypes
/// The promoted floating type, `float32` at least for integers. Sums of half types are taken in
/// `float32`.
///
/// # Errors
/// Kind `Shape` if shapes, channels and groups do not fit or the kernel is larger than the padded
/// input, `Argument` if a stride or dilation is 0, `Dtype` for complex types.
///
/// ```no_run
/// use lazulite_core::{Array, op::conv::{Conv, conv_general}};
/// let x = Array::from_slice(&[1.0f32, 2.0, 3.0], &[1, 3, 1])?;
/// let w = Array::from_slice(&[1.0f32, 10.0], &[1, 2, 1])?;
/// let y = conv_general(&x, &w, &Conv::new(1))?;
/// assert_eq!(y.to_vec::<f32>()?, [21.0, 32.0]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn conv_general(x: &Array, w: &Array, options: &Conv) -> Result<Array> {
    let dtype = x.dtype().promote(w.dtype()).to_inexact();
    Array::apply(options.clone(), &[x.astype(dtype)?, w.astype(dtype)?])
}

/// The transpose of a convolution with the same stride, padding and dilation: the map from its
/// result to its input. `extra` elements are added at the end of each axis, for the sizes that the
/// convolution would have rounded off.
///
/// # Shapes
/// `x (n, *s, c)`, `w (o, *k, c / groups) -> (n, *t, o)` with
/// `t = (s - 1) stride - 2 padding + dilation (k - 1) + 1 + extra`.
///
/// # Errors
/// As [`conv_general`].
pub fn conv_transpose(
    x: &Array,
    w: &Array,
    stride: &[usize],
    padding: &[isize],
    dilation: &[usize],
    extra: &[usize],
    groups: usize,
) -> Result<Array> {
    let axes = stride.len();
    let all = [padding.len(), dilation.len(), extra.len(), w.ndim().saturating_sub(2)];
    if all.iter().any(|&n| n != axes) {
        let message = format!("options for {all:?} axes of {axes}");
        return Err(Error::argument("conv_transpose", message));
    }
    let low = |a: usize| Conv::reach(w.shape()[a + 1], dilation[a]) - padding[a];
    let options = Conv {
        low: (0..axes).map(low).collect(),
        high: (0..axes).map(|a| low(a) + extra[a] as isize).collect(),
        kernel_dilation: dilation.into(),
        input_dilation: stride.into(),
        groups,
        flip: true,
        ..Conv::new(axes)
    };
    conv_general(x, w, &options)
}

/// How much of a [`convolve`] is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvolveMode {
    /// All places where the vectors overlap.
    Full,
    /// As many places as the longer vector has, in the middle.
    Same,
    /// The places where the shorter vector is covered.
    Valid,
}

impl ConvolveMode {
    /// The mode of this name: `full`, `same` or `valid`.
    ///
    /// # Errors
    /// Kind `Argument` for other names.
    pub fn from_name(name: &str) -> Result<ConvolveMode> {
        match name {
            "full" => Ok(ConvolveMode::Full),
            "same" => Ok(ConvolveMode::Same),
            "valid" => Ok(ConvolveMode::Valid),
            _ => {
                let message = format!("mode is {name:?}, not \"full\", \"same\" or \"valid\"");
                Err(Error::argument("convolve", message))
            }
        }
    }
}

/// `y[t] = sum_k a[t - k] v[k]` of two vectors.
///
/// # Dtypes
/// As [`conv_general`].
///
/// # Errors
/// Kind `Shape` if one is not a vector or is empty.
pub fn convolve(a: &Array, v: &Array, mode: ConvolveMode) -> Result<Array> {
    if a.ndim() != 1 || v.ndim() != 1 || a.is_empty() || v.is_empty() {
        let message = format!("{} and {} are not vectors", show(a.shape()), show(v.shape()));
        return Err(Error::shape("convolve", &[a.shape(), v.shape()], message + " with elements"));
    }
    let (a, v) = if a.len() < v.len() { (v, a) } else { (a, v) };
    let k = v.len() as isize;
    let (low, high) = match mode {
        ConvolveMode::Full => (k - 1, k - 1),
        ConvolveMode::Same => (k / 2, k - 1 - k / 2),
        ConvolveMode::Valid => (0, 0),
    };
    let sides = (SmallVec::from_elem(low, 1), SmallVec::from_elem(high, 1));
    let options = Conv { low: sides.0, high: sides.1, flip: true, ..Conv::new(1) };
    let column = |x: &Array| x.expand_dims(&[0, 2]);
    conv_general(&column(a)?, &column(v)?, &options)?.flatten(0, -1)
}

/// The windows of `size` elements along `axes`, `stride` apart, of an array padded with `fill`: the
/// places of the windows in place of each axis, and their elements behind all axes. What pooling
/// reduces.
///
/// # Errors
/// Kind `Shape` if an axis is shorter than its window, `Argument` if the lists differ in length.
pub fn windows(
    x: &Array,
    axes: &[usize],
    size: &[usize],
    stride: &[usize],
    padding: &[(usize, usize)],
    fill: f64,
) -> Result<Array> {
    const OP: &str = "windows";
    let same = [size.len(), stride.len(), padding.len()].iter().all(|&n| n == axes.len());
    if !same || stride.contains(&0) || axes.iter().any(|&a| a >= x.ndim()) {
        let message = format!("windows of {size:?} by {stride:?} along {axes:?}");
        return Err(Error::argument(OP, message));
    }
    let mut widths = vec![(0, 0); x.ndim()];
    axes.iter().zip(padding).for_each(|(&a, &p)| widths[a] = p);
    let x = if widths.iter().all(|&w| w == (0, 0)) {
        x.clone()
    } else {
        x.pad(&widths, &super::join::PadMode::Constant(like(x, fill)))?
    };
    let mut shape: Vec<usize> = x.shape().to_vec();
    let mut strides = crate::shape::contiguous_strides(x.shape()).to_vec();
    for ((&a, &k), &s) in axes.iter().zip(size).zip(stride) {
        if x.shape()[a] < k || k == 0 {
            let message =
                format!("axis {a} of {} is shorter than a window of {k}", show(x.shape()));
            return Err(Error::shape(OP, &[x.shape()], message));
        }
        shape[a] = (x.shape()[a] - k) / s + 1;
        shape.push(k);
        strides.push(strides[a]);
    }
    axes.iter().zip(stride).for_each(|(&a, &s)| strides[a] *= s as isize);
    x.as_strided(Some(&shape), Some(&strides), 0)
}
