"""Transposed convolutions: the derivatives of convolutions with respect to their inputs."""

from typing import Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.nn.layers.convolution import _per_axis, _uniform_weight


class ConvTranspose1d(Module):
    """A transposed convolution over one axis.

    Shapes: ``x: (n, l, in_channels)``, ``weight: (out_channels, kernel_size, in_channels)``,
    ``bias: (out_channels,)``, ``y: (n, l', out_channels)`` with
    ``l' = (l - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.
    An input with other numbers of axes or channels raises ValueError.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel_size: The size of the window.
        stride: The step of the window in the result.
        padding: How much is cut off at both ends of the result.
        dilation: The distance of neighbouring elements of the window.
        output_padding: How much longer the result is at its far end.
        bias: If false, there is no bias.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.ConvTranspose1d(4, 8, kernel_size=2, stride=2)(mx.zeros((1, 5, 4))).shape
        (1, 10, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        output_padding: int = 0,
        bias: bool = True,
    ):
        super().__init__()
        self.weight = _uniform_weight((out_channels, kernel_size, in_channels))
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = padding
        self.dilation = dilation
        self.stride = stride
        self.output_padding = output_padding

    def _extra_repr(self):
        out_channels, kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"output_padding={self.output_padding}, bias={'bias' in self}"
        )

    def __call__(self, x):
        y = mx.conv_transpose1d(
            x, self["weight"], self.stride, self.padding, self.dilation, self.output_padding
        )
        return y + self["bias"] if "bias" in self else y


class _ConvTransposeNd(Module):
    """What the transposed convolutions over two and three axes share."""

    def __init__(
        self, axes, in_channels, out_channels, kernel, stride, padding, dilation, output, bias
    ):
        super().__init__()
        self.weight = _uniform_weight((out_channels, *_per_axis(kernel, axes), in_channels))
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = _per_axis(padding, axes)
        self.stride = _per_axis(stride, axes)
        self.output_padding = _per_axis(output, axes)
        self.dilation = dilation

    def _extra_repr(self):
        out_channels, *kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={tuple(kernel_size)}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"output_padding={self.output_padding}, bias={'bias' in self}"
        )


class ConvTranspose2d(_ConvTransposeNd):
    """A transposed convolution over two axes.

    Shapes: ``x: (n, h, w, in_channels)``, ``weight: (out_channels, kh, kw, in_channels)``,
    ``bias: (out_channels,)``, ``y: (n, h', w', out_channels)`` with the sizes of
    `ConvTranspose1d` along each axis.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.
    An input with other numbers of axes or channels raises ValueError.

    The arguments are those of `ConvTranspose1d`; kernel size, stride, padding, dilation and
    output padding are one number or a pair.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Union[int, tuple],
        stride: Union[int, tuple] = 1,
        padding: Union[int, tuple] = 0,
        dilation: Union[int, tuple] = 1,
        output_padding: Union[int, tuple] = 0,
        bias: bool = True,
    ):
        super().__init__(
            2,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            bias,
        )

    def __call__(self, x):
        y = mx.conv_transpose2d(
            x,
            self["weight"],
            self["stride"],
            self["padding"],
            self.dilation,
            self["output_padding"],
        )
        return y + self["bias"] if "bias" in self else y


class ConvTranspose3d(_ConvTransposeNd):
    """A transposed convolution over three axes.

    Shapes: ``x: (n, d, h, w, in_channels)``, ``weight: (out_channels, kd, kh, kw,
    in_channels)``, ``bias: (out_channels,)``, ``y: (n, d', h', w', out_channels)`` with the
    sizes of `ConvTranspose1d` along each axis.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.
    An input with other numbers of axes or channels raises ValueError.

    The arguments are those of `ConvTranspose1d`; kernel size, stride, padding, dilation and
    output padding are one number or a triple.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Union[int, tuple],
        stride: Union[int, tuple] = 1,
        padding: Union[int, tuple] = 0,
        dilation: Union[int, tuple] = 1,
        output_padding: Union[int, tuple] = 0,
        bias: bool = True,
    ):
        super().__init__(
            3,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            bias,
        )

    def __call__(self, x):
        y = mx.conv_transpose3d(
            x,
            self["weight"],
            self["stride"],
            self["padding"],
            self.dilation,
            self["output_padding"],
        )
        return y + self["bias"] if "bias" in self else y
