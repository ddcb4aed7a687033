"""Maximum and mean over sliding windows, channels last."""

import operator
from itertools import accumulate
from typing import Optional, Tuple, Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module


def _per_axis(value, axes, layer, argument):
    """``value`` as a list of one whole number for each spatial axis."""
    if isinstance(value, int):
        value = [value] * axes
    if (
        isinstance(value, (tuple, list))
        and len(value) == axes
        and all(isinstance(v, int) for v in value)
    ):
        least = 0 if argument == "padding" else 1
        if min(value) < least:
            raise ValueError(f"[{layer}] '{argument}' must be at least {least}, got {value}")
        return list(value)
    raise ValueError(
        f"[{layer}] '{argument}' must be an integer or a tuple containing {axes} integers"
    )


def _sliding_windows(x, window, stride):
    """All windows of ``x: (n, spatial..., c)``, as ``(n, positions..., window..., c)``.

    No memory is copied: the result is a view with overlapping strides.
    """
    if x.ndim != len(window) + 2:
        raise ValueError(
            f"pooling: expected an input of {len(window) + 2} axes "
            f"(batch, {len(window)} spatial, channels), got shape {x.shape}"
        )
    batch, *spatial, channels = x.shape
    if all(s == w and n % w == 0 for n, w, s in zip(spatial, window, stride)):
        # Windows that tile the input are only a finer shape of it.
        split = [size for n, w in zip(spatial, window) for size in (n // w, w)]
        axes = len(spatial)
        order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
        return x.reshape(batch, *split, channels).transpose(order)

    positions = [(n - w) // s + 1 for n, w, s in zip(spatial, window, stride)]
    strides = list(accumulate(reversed([*x.shape[1:], 1]), operator.mul))[::-1]
    return mx.as_strided(
        x,
        shape=[batch, *positions, *window, channels],
        strides=[
            strides[0],
            *(step * s for step, s in zip(strides[1:-1], stride)),
            *strides[1:-1],
            1,
        ],
    )


class _Pool(Module):
    """A reduction over windows; the layers below fix the reduction and the number of axes."""

    def __init__(self, reduction, padding_value, axes, kernel_size, stride, padding):
        super().__init__()
        name = type(self).__name__
        self._kernel_size = _per_axis(kernel_size, axes, name, "kernel_size")
        if stride is None:
            self._stride = self._kernel_size
        else:
            self._stride = _per_axis(stride, axes, name, "stride")
        self._padding = [(p, p) for p in _per_axis(padding, axes, name, "padding")]
        self._axes = tuple(range(-axes - 1, -1))
        self._pooling_function = reduction
        self._padding_value = padding_value

    def _extra_repr(self):
        padding = tuple(p for p, _ in self._padding)
        return (
            f"kernel_size={tuple(self._kernel_size)}, stride={tuple(self._stride)}, "
            f"padding={padding}"
        )

    def __call__(self, x):
        if any(p > 0 for p, _ in self._padding):
            x = mx.pad(x, [(0, 0), *self._padding, (0, 0)], constant_values=self._padding_value)
        windows = _sliding_windows(x, self._kernel_size, self._stride)
        return self._pooling_function(windows, self._axes)


class MaxPool1d(_Pool):
    """The maximum over windows of one axis.

    Shapes: ``x: (n, l, c)`` gives ``(n, (l + 2 * padding - kernel_size) // stride + 1, c)``.
    Dtypes: floats and integers, which the result has.

    Args:
        kernel_size: The size of the window.
        stride: The step of the window, by default its size.
        padding: How many negative infinities are added at both ends.

    Raises:
        ValueError: For arguments that are neither a whole number nor a tuple of the right size.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.MaxPool1d(2)(mx.arange(4.0).reshape(1, 4, 1)).flatten().tolist()
        [1.0, 3.0]
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int]],
        stride: Optional[Union[int, Tuple[int]]] = None,
        padding: Union[int, Tuple[int]] = 0,
    ):
        super().__init__(mx.max, -float("inf"), 1, kernel_size, stride, padding)


class AvgPool1d(_Pool):
    """The mean over windows of one axis; the zeros of the padding count.

    Dtypes: floats; integers become float32.
    An input with another number of axes raises ValueError.

    Shapes: as arguments and errors, those of `MaxPool1d`.
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int]],
        stride: Optional[Union[int, Tuple[int]]] = None,
        padding: Union[int, Tuple[int]] = 0,
    ):
        super().__init__(mx.mean, 0, 1, kernel_size, stride, padding)


class MaxPool2d(_Pool):
    """The maximum over windows of two axes.

    Shapes: ``x: (n, h, w, c)`` gives ``(n, h', w', c)`` with the sizes of `MaxPool1d` along each
    axis. The arguments, each a number or a pair, and the errors are those of `MaxPool1d`.
    Dtypes: floats and integers, which the result has.
    An input with another number of axes raises ValueError.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.MaxPool2d(2)(mx.zeros((1, 6, 6, 3))).shape
        (1, 3, 3, 3)
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int, int]],
        stride: Optional[Union[int, Tuple[int, int]]] = None,
        padding: Optional[Union[int, Tuple[int, int]]] = 0,
    ):
        super().__init__(mx.max, -float("inf"), 2, kernel_size, stride, padding)


class AvgPool2d(_Pool):
    """The mean over windows of two axes; the zeros of the padding count.

    Dtypes: floats; integers become float32.
    An input with another number of axes raises ValueError.

    Shapes: as arguments and errors, those of `MaxPool2d`.
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int, int]],
        stride: Optional[Union[int, Tuple[int, int]]] = None,
        padding: Optional[Union[int, Tuple[int, int]]] = 0,
    ):
        super().__init__(mx.mean, 0, 2, kernel_size, stride, padding)


class MaxPool3d(_Pool):
    """The maximum over windows of three axes.

    Shapes: ``x: (n, d, h, w, c)`` gives ``(n, d', h', w', c)`` with the sizes of `MaxPool1d`
    along each axis. The arguments, each a number or a triple, and the errors are those of
    `MaxPool1d`.
    Dtypes: floats and integers, which the result has.
    An input with another number of axes raises ValueError.
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int, int, int]],
        stride: Optional[Union[int, Tuple[int, int, int]]] = None,
        padding: Optional[Union[int, Tuple[int, int, int]]] = 0,
    ):
        super().__init__(mx.max, -float("inf"), 3, kernel_size, stride, padding)


class AvgPool3d(_Pool):
    """The mean over windows of three axes; the zeros of the padding count.

    Dtypes: floats; integers become float32.
    An input with another number of axes raises ValueError.

    Shapes: as arguments and errors, those of `MaxPool3d`.
    """

    def __init__(
        self,
        kernel_size: Union[int, Tuple[int, int, int]],
        stride: Optional[Union[int, Tuple[int, int, int]]] = None,
        padding: Optional[Union[int, Tuple[int, int, int]]] = 0,
    ):
        super().__init__(mx.mean, 0, 3, kernel_size, stride, padding)
