"""Dropout: random zeros in training mode, the identity in evaluation mode."""

import lazulite.core as mx
from lazulite.nn.layers.base import Module


class _Dropout(Module):
    """What the dropout layers share: the probability, its check, and the scaled mask."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        if p < 0 or p >= 1:
            raise ValueError(f"The dropout probability {p} is not in [0, 1)")
        self._p_1 = 1 - p

    def _extra_repr(self) -> str:
        return f"p={1 - self._p_1}"

    def _drop(self, x, mask_shape):
        mask = mx.random.bernoulli(p=self._p_1, shape=mask_shape)
        return (1 / self._p_1) * mask.astype(x.dtype) * x


class Dropout(_Dropout):
    """Sets each element to 0 with probability ``p`` and divides the others by ``1 - p``.

    Shapes: any, which the result has.
    Dtypes: floats.

    Args:
        p: The probability, in ``[0, 1)``.

    Raises:
        ValueError: For any other ``p``.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Dropout(0.5).eval()(mx.ones((2,))).tolist()
        [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5):
        super().__init__(p)

    def __call__(self, x: mx.array) -> mx.array:
        if self._p_1 == 1 or not self.training:
            return x
        return self._drop(x, x.shape)


class Dropout2d(_Dropout):
    """Dropout of whole channels of images.

    Shapes: ``x: (n, h, w, c)`` or ``(h, w, c)``; the mask varies along ``n`` and ``c``.
    Dtypes: floats.

    Args:
        p: The probability, in ``[0, 1)``.

    Raises:
        ValueError: For any other ``p``, and for inputs of another number of axes.
    """

    def __init__(self, p: float = 0.5):
        super().__init__(p)

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim not in (3, 4):
            raise ValueError(f"Dropout2d: expected an input of 3 or 4 axes, got {x.ndim}")
        if self._p_1 == 1 or not self.training:
            return x
        return self._drop(x, _channel_mask_shape(x, spatial_axes=2))


class Dropout3d(_Dropout):
    """Dropout of whole channels of volumes.

    Shapes: ``x: (n, d, h, w, c)`` or ``(d, h, w, c)``; the mask varies along ``n`` and ``c``.
    Dtypes: floats.

    Args:
        p: The probability, in ``[0, 1)``.

    Raises:
        ValueError: For any other ``p``, and for inputs of another number of axes.
    """

    def __init__(self, p: float = 0.5):
        super().__init__(p)

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim not in (4, 5):
            raise ValueError(f"Dropout3d: expected an input of 4 or 5 axes, got {x.ndim}")
        if self._p_1 == 1 or not self.training:
            return x
        return self._drop(x, _channel_mask_shape(x, spatial_axes=3))


def _channel_mask_shape(x, spatial_axes):
    batch = x.shape[: x.ndim - spatial_axes - 1]
    return [*batch, *([1] * spatial_axes), x.shape[-1]]
