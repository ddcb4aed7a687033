"""Convolutions over one, two and three spatial axes, channels last."""

import math
from typing import Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module


def _per_axis(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def _uniform_weight(shape):
    """A weight uniform in ``[-k, k)`` with ``k = 1 / sqrt(fan in)``."""
    bound = math.sqrt(1 / math.prod(shape[1:]))
    return mx.random.uniform(low=-bound, high=bound, shape=shape)


def _check_groups(in_channels, groups):
    if in_channels % groups != 0:
        raise ValueError(
            f"The number of input channels ({in_channels}) must be "
            f"divisible by the number of groups ({groups})"
        )


class Conv1d(Module):
    """A convolution over one axis.

    Shapes: ``x: (n, l, in_channels)``,
    ``weight: (out_channels, kernel_size, in_channels / groups)``, ``bias: (out_channels,)``,
    ``y: (n, l', out_channels)`` with
    ``l' = (l + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel_size: The size of the window.
        stride: The step of the window.
        padding: Zeros added at both ends.
        dilation: The distance of neighbouring elements of the window.
        groups: How many groups the channels are split into that don't mix.
        bias: If false, there is no bias.

    Raises:
        ValueError: If ``groups`` doesn't divide ``in_channels``.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Conv1d(4, 8, kernel_size=3)(mx.zeros((1, 10, 4))).shape
        (1, 8, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        _check_groups(in_channels, groups)
        self.weight = _uniform_weight((out_channels, kernel_size, in_channels // groups))
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = padding
        self.dilation = dilation
        self.stride = stride
        self.groups = groups

    def _extra_repr(self):
        out_channels, kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels * self.groups}, {out_channels}, kernel_size={kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={'bias' in self}"
        )

    def __call__(self, x):
        y = mx.conv1d(x, self["weight"], self.stride, self.padding, self.dilation, self.groups)
        return y + self["bias"] if "bias" in self else y


class Conv2d(Module):
    """A convolution over two axes.

    Shapes: ``x: (n, h, w, in_channels)``, ``weight: (out_channels, kh, kw, in_channels /
    groups)``, ``bias: (out_channels,)``, ``y: (n, h', w', out_channels)`` with the sizes of
    `Conv1d` along each axis.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.
    An input with other numbers of axes or channels raises ValueError.

    The arguments are those of `Conv1d`; kernel size, stride, padding and dilation are one number
    or a pair.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Conv2d(3, 8, kernel_size=3, padding=1)(mx.zeros((1, 6, 6, 3))).shape
        (1, 6, 6, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Union[int, tuple],
        stride: Union[int, tuple] = 1,
        padding: Union[int, tuple] = 0,
        dilation: Union[int, tuple] = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        _check_groups(in_channels, groups)
        self.weight = _uniform_weight(
            (out_channels, *_per_axis(kernel_size, 2), in_channels // groups)
        )
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = _per_axis(padding, 2)
        self.stride = _per_axis(stride, 2)
        self.dilation = dilation
        self.groups = groups

    def _extra_repr(self):
        out_channels, *kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels * self.groups}, {out_channels}, kernel_size={tuple(kernel_size)}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={'bias' in self}"
        )

    def __call__(self, x):
        y = mx.conv2d(
            x, self["weight"], self["stride"], self["padding"], self.dilation, self.groups
        )
        return y + self["bias"] if "bias" in self else y


class Conv3d(Module):
    """A convolution over three axes.

    Shapes: ``x: (n, d, h, w, in_channels)``, ``weight: (out_channels, kd, kh, kw,
    in_channels)``, ``bias: (out_channels,)``, ``y: (n, d', h', w', out_channels)`` with the
    sizes of `Conv1d` along each axis.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    No complex numbers.
    An input with other numbers of axes or channels raises ValueError.

    The arguments are those of `Conv1d` without groups; kernel size, stride, padding and dilation
    are one number or a triple.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Union[int, tuple],
        stride: Union[int, tuple] = 1,
        padding: Union[int, tuple] = 0,
        dilation: Union[int, tuple] = 1,
        bias: bool = True,
    ):
        super().__init__()
        self.weight = _uniform_weight((out_channels, *_per_axis(kernel_size, 3), in_channels))
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = _per_axis(padding, 3)
        self.stride = _per_axis(stride, 3)
        self.dilation = dilation

    def _extra_repr(self):
        out_channels, *kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={tuple(kernel_size)}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"bias={'bias' in self}"
        )

    def __call__(self, x):
        y = mx.conv3d(x, self["weight"], self["stride"], self["padding"], self.dilation)
        return y + self["bias"] if "bias" in self else y
