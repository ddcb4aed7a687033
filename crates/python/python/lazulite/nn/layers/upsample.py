"""Resampling of signals, images and volumes to another size."""

import math
import struct
from functools import lru_cache
from typing import Literal, Tuple, Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module


def _centre(i, n, m, scale):
    """Where the output position ``i`` of ``m`` lies between the ``n`` input positions.

    Positions are the centres of cells whose width is 1 for inputs and ``1 / scale`` for outputs;
    both rows of cells have the same middle, also where ``n * scale`` is no whole number.
    """
    return i / scale - ((m - 1) / scale - (n - 1)) / 2


def _triangle(x):
    """The kernel of linear interpolation."""
    return max(0.0, 1 - abs(x))


def _cubic(x, a):
    """The cubic convolution kernel (Keys, 1981)."""
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    if x < 2:
        return ((x - 5) * x + 8) * x * a - 4 * a
    return 0.0


def _float32(x):
    """``x`` rounded to float32."""
    return struct.unpack("f", struct.pack("f", x))[0]


@lru_cache(maxsize=256)
def _nearest_indices(n, scale):
    m = int(n * scale)
    if scale < 1:
        return [i * n // m for i in range(m)]
    # In float32 and with ties to even, as MLX rounds: centres often lie half way.
    nearest = (round(_float32(_float32((i + 0.5) * _float32(n / m)) - 0.5)) for i in range(m))
    return [min(max(k, 0), n - 1) for k in nearest]


@lru_cache(maxsize=256)
def _taps(n, scale, mode, align_corners, antialias):
    """The weights of one axis as ``(indices, weights)``, one list for each tap.

    Output ``i`` is the sum over the taps ``t`` of ``weights[t][i] * x[indices[t][i]]``.
    """
    m = int(n * scale)
    # A wide kernel covers all inputs that an output cell covers, so that none is left out.
    width = max(1 / scale, 1.0) if antialias else 1.0
    reach = 1 if mode == "linear" else 2
    # With a = -1/2 the kernel keeps quadratic polynomials; -3/4 is what MLX and PyTorch use.
    a = -0.5 if antialias else -0.75
    count = 2 * math.ceil(reach * width) + (1 if antialias else 0)

    indices, weights = [], []
    for i in range(m):
        if align_corners:
            centre = i * (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            centre = _centre(i, n, m, scale)
            if mode == "linear" and not antialias:
                centre = min(max(centre, 0.0), n - 1.0)
        if antialias:
            first = math.floor(centre - reach * width) + 1
        else:
            first = math.floor(centre) - reach + 1
        row = range(first, first + count)
        at = [(k - centre) / width for k in row]
        row_weights = [_triangle(x) if mode == "linear" else _cubic(x, a) for x in at]
        if antialias:
            row_weights = [w if 0 <= k < n else 0.0 for k, w in zip(row, row_weights)]
            total = sum(row_weights)
            row_weights = [w / total for w in row_weights]
        indices.append([min(max(k, 0), n - 1) for k in row])
        weights.append(row_weights)
    return list(zip(*indices)), list(zip(*weights))


def _resample_axis(x, axis, scale, mode, align_corners, antialias):
    n = x.shape[axis]
    if int(n * scale) == 0:
        return mx.take(x, mx.array([], mx.int32), axis=axis)
    if mode == "nearest":
        return mx.take(x, mx.array(_nearest_indices(n, scale), mx.int32), axis=axis)
    column = [1] * x.ndim
    column[axis] = -1
    indices, weights = _taps(n, scale, mode, align_corners, antialias)
    terms = [
        mx.take(x, mx.array(i), axis=axis) * mx.array(w).reshape(column)
        for i, w in zip(indices, weights)
        if any(w)
    ]
    return sum(terms[1:], terms[0])


class Upsample(Module):
    """Resamples the spatial axes by a factor, channels last.

    Shapes: ``x: (n, spatial..., c)`` gives ``(n, spatial'..., c)`` with
    ``size' = int(size * scale)``.
    Dtypes: ``"nearest"`` keeps the dtype; the other modes weight in float32.

    Args:
        scale_factor: The factor of all spatial axes, or one for each.
        mode: ``"nearest"``, ``"linear"`` (bilinear for images) or ``"cubic"`` (bicubic).
        align_corners: If true, the centres of the corner elements of input and result
            coincide; if false, the corners of these elements do.
        antialias: If true, shrinking averages over all the inputs that a result covers.

    Raises:
        ValueError: For another ``mode``; for ``antialias`` with ``"nearest"`` or with
            ``align_corners``; when called with an input that doesn't suit the factors.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Upsample(2)(mx.array([[[1.0], [2.0]]])).flatten().tolist()
        [1.0, 1.0, 2.0, 2.0]
    """

    def __init__(
        self,
        scale_factor: Union[float, Tuple],
        mode: Literal["nearest", "linear", "cubic"] = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ):
        super().__init__()
        if mode not in ("nearest", "linear", "cubic"):
            raise ValueError(f"[Upsample] mode must be nearest, linear or cubic, got {mode!r}")
        if antialias and mode == "nearest":
            raise ValueError("[Upsample] antialias needs the mode linear or cubic, got nearest")
        if antialias and align_corners:
            raise ValueError("[Upsample] antialias and align_corners exclude each other")
        if isinstance(scale_factor, (list, tuple)):
            self.scale_factor = tuple(float(s) for s in scale_factor)
        else:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def _extra_repr(self) -> str:
        text = (
            f"scale_factor={self.scale_factor}, mode={self.mode!r}, "
            f"align_corners={self.align_corners}"
        )
        return f"{text}, antialias=True" if self.antialias else text

    def __call__(self, x: mx.array) -> mx.array:
        spatial = x.ndim - 2
        if spatial <= 0:
            raise ValueError(
                f"[Upsample] expected at least 3 axes (batch, spatial..., channels), got {x.ndim}"
            )
        scales = self.scale_factor
        if not isinstance(scales, tuple):
            scales = (scales,) * spatial
        elif len(scales) != spatial:
            raise ValueError(
                f"[Upsample] expected one scale for each of {spatial} spatial axes, "
                f"got scale_factor={scales}"
            )
        for axis, scale in enumerate(scales, start=1):
            x = _resample_axis(x, axis, scale, self.mode, self.align_corners, self.antialias)
        return x
