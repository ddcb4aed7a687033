//! Convolutions over one, two and three spatial axes; channels are the last axis.

use super::linear::uniform_parameter;
use super::{Module, Param};
use crate::conv::{conv_general, conv_transpose};
use crate::{Array, Dtype, Error, Result};

/// A convolution over `N` axes.
///
/// # Shapes
/// `x: (n, *s, in), weight: (out, *k, in / groups), bias: (out) -> (n, *t, out)` with
/// `t = (s + 2 padding - dilation (k - 1) - 1) / stride + 1`, rounded down.
#[derive(Clone, Debug, Module)]
pub struct Conv<const N: usize> {
    /// The kernel of each output channel.
    pub weight: Param,
    /// What is added to each output channel.
    pub bias: Option<Param>,
    /// The step of the window.
    #[module(skip)]
    pub stride: [usize; N],
    /// Zeros added at both ends.
    #[module(skip)]
    pub padding: [usize; N],
    /// The distance of neighbouring elements of the window.
    #[module(skip)]
    pub dilation: [usize; N],
    /// How many groups the channels form that do not mix.
    #[module(skip)]
    pub groups: usize,
}

/// A convolution over one axis.
pub type Conv1d = Conv<1>;
/// A convolution over two axes.
pub type Conv2d = Conv<2>;
/// A convolution over three axes.
pub type Conv3d = Conv<3>;

/// A weight uniform in `[-k, k)` with `k = 1 / sqrt(fan in)` and a bias of zeros.
fn parameters(inputs: usize, outputs: usize, kernel: &[usize]) -> Result<(Param, Option<Param>)> {
    let fan = inputs * kernel.iter().product::<usize>();
    let shape = [&[outputs], kernel, &[inputs]].concat();
    let bias = Array::zeros(&[outputs], Dtype::F32)?;
    Ok((Param::new(uniform_parameter(&shape, fan)?), Some(Param::new(bias))))
}

impl<const N: usize> Conv<N> {
    /// A layer with a stride and a dilation of 1, no padding, one group, and a bias.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, outputs: usize, kernel: [usize; N]) -> Result<Conv<N>> {
        Conv::grouped(inputs, outputs, kernel, 1)
    }

    /// As [`Conv::new`], in `groups` groups.
    ///
    /// # Errors
    /// Kind `Argument` if `groups` does not divide the channels.
    pub fn grouped(
        inputs: usize,
        outputs: usize,
        kernel: [usize; N],
        groups: usize,
    ) -> Result<Conv<N>> {
        if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let message =
                format!("{inputs} and {outputs} channels in {groups} groups of equal size");
            return Err(Error::argument("conv", message));
        }
        let (weight, bias) = parameters(inputs / groups, outputs, &kernel)?;
        let one = [1; N];
        Ok(Conv { weight, bias, stride: one, padding: [0; N], dilation: one, groups })
    }

    /// The layer with another stride.
    pub fn stride(self, stride: [usize; N]) -> Conv<N> {
        Conv { stride, ..self }
    }

    /// The layer with another padding.
    pub fn padding(self, padding: [usize; N]) -> Conv<N> {
        Conv { padding, ..self }
    }

    /// The layer with another dilation.
    pub fn dilation(self, dilation: [usize; N]) -> Conv<N> {
        Conv { dilation, ..self }
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if shapes or channels do not fit, `Argument` if a stride or dilation is 0.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let sides = || self.padding.iter().map(|&p| p as isize).collect();
        let options = crate::conv::Conv {
            stride: self.stride.as_slice().into(),
            low: sides(),
            high: sides(),
            kernel_dilation: self.dilation.as_slice().into(),
            groups: self.groups,
            ..crate::conv::Conv::new(N)
        };
        let y = conv_general(x, &self.weight, &options)?;
        self.bias.as_ref().map_or(Ok(y.clone()), |bias| y.add(bias))
    }
}

/// A transposed convolution over `N` axes: the derivative of a convolution in its input.
///
/// # Shapes
/// `x: (n, *s, in), weight: (out, *k, in), bias: (out) -> (n, *t, out)` with
/// `t = (s - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1`.
#[derive(Clone, Debug, Module)]
pub struct ConvTranspose<const N: usize> {
    /// The kernel of each output channel.
    pub weight: Param,
    /// What is added to each output channel.
    pub bias: Option<Param>,
    /// The step of the window in the result.
    #[module(skip)]
    pub stride: [usize; N],
    /// How much is cut off at both ends of the result.
    #[module(skip)]
    pub padding: [usize; N],
    /// The distance of neighbouring elements of the window.
    #[module(skip)]
    pub dilation: [usize; N],
    /// How much longer the result is at its far end.
    #[module(skip)]
    pub output_padding: [usize; N],
}

/// A transposed convolution over one axis.
pub type ConvTranspose1d = ConvTranspose<1>;
/// A transposed convolution over two axes.
pub type ConvTranspose2d = ConvTranspose<2>;
/// A transposed convolution over three axes.
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize> ConvTranspose<N> {
    /// A layer with a stride and a dilation of 1, no paddings, and a bias.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, outputs: usize, kernel: [usize; N]) -> Result<ConvTranspose<N>> {
        let (weight, bias) = parameters(inputs, outputs, &kernel)?;
        let (one, none) = ([1; N], [0; N]);
        let (stride, padding, dilation, output_padding) = (one, none, one, none);
        Ok(ConvTranspose { weight, bias, stride, padding, dilation, output_padding })
    }

    /// The layer with another stride.
    pub fn stride(self, stride: [usize; N]) -> ConvTranspose<N> {
        ConvTranspose { stride, ..self }
    }

    /// The layer with another padding.
    pub fn padding(self, padding: [usize; N]) -> ConvTranspose<N> {
        ConvTranspose { padding, ..self }
    }

    /// The layer with another dilation.
    pub fn dilation(self, dilation: [usize; N]) -> ConvTranspose<N> {
        ConvTranspose { dilation, ..self }
    }

    /// The layer with another padding of its result.
    pub fn output_padding(self, output_padding: [usize; N]) -> ConvTranspose<N> {
        ConvTranspose { output_padding, ..self }
    }

    /// The layer's result.
    ///
    /// # Errors
    /// As [`Conv::forward`].
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let padding = self.padding.map(|p| p as isize);
        let (stride, dilation, extra) = (&self.stride, &self.dilation, &self.output_padding);
        let y = conv_transpose(x, &self.weight, stride, &padding, dilation, extra, 1)?;
        self.bias.as_ref().map_or(Ok(y.clone()), |bias| y.add(bias))
    }
}
