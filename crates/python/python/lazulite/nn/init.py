"""Initialisers: functions that make functions from an array to a new one of its shape.

The array's own values and dtype don't matter. The fan of a weight ``(out, spatial..., in)`` is
``in`` or ``out`` times the size of the spatial axes.
"""

import math
from typing import Callable, Literal

import lazulite.core as mx


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """Fill with ``value``.

    Shapes: that of the array that is given.
    Dtypes: any, float32 unless one is asked for.
    A value that is not a number raises ValueError.

    Example:
        >>> import lazulite.core as mx
        >>> constant(0.5)(mx.zeros((2,))).tolist()
        [0.5, 0.5]
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.full(a.shape, value, dtype=dtype)

    return initializer


def normal(
    mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Sample a normal distribution of the given mean and standard deviation.

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.
    An argument that is not an array raises AttributeError; a dtype that is not floating raises
    ValueError.
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)

    return initializer


def uniform(
    low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Sample uniformly from ``[low, high)``.

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.
    An argument that is not an array raises AttributeError; a dtype that is not floating raises
    ValueError.
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.random.uniform(low, high, a.shape, dtype=dtype)

    return initializer


def identity(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """Make an identity matrix.

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    Raises:
        ValueError: When called with anything but a square matrix.
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2 or a.shape[0] != a.shape[1]:
            raise ValueError(f"identity: expected a square matrix, got shape {a.shape}")
        return mx.eye(a.shape[0], dtype=dtype)

    return initializer


def _fans(a: mx.array):
    """The pair of fan in and fan out."""
    if a.ndim < 2:
        raise ValueError(
            f"Glorot and He initialisation need an array of at least 2 axes, got {a.ndim}"
        )
    receptive = math.prod(a.shape[1:-1])
    return a.shape[-1] * receptive, a.shape[0] * receptive


def glorot_normal(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, float], mx.array]:
    """Sample a normal distribution with ``std = gain * sqrt(2 / (fan_in + fan_out))`` (Glorot
    and Bengio, 2010).

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    The initialiser takes ``gain``, by default 1.

    Raises:
        ValueError: When called with an array of fewer than 2 axes.
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        std = gain * math.sqrt(2.0 / sum(_fans(a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, float], mx.array]:
    """Sample uniformly from ``[-b, b)`` with ``b = gain * sqrt(6 / (fan_in + fan_out))`` (Glorot
    and Bengio, 2010).

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    The initialiser takes ``gain``, by default 1.

    Raises:
        ValueError: When called with an array of fewer than 2 axes.
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        bound = gain * math.sqrt(6.0 / sum(_fans(a)))
        return mx.random.uniform(-bound, bound, a.shape, dtype=dtype)

    return initializer


def _fan(a: mx.array, mode: str) -> int:
    fan_in, fan_out = _fans(a)
    if mode == "fan_in":
        return fan_in
    if mode == "fan_out":
        return fan_out
    raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")


def he_normal(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, Literal["fan_in", "fan_out"], float], mx.array]:
    """Sample a normal distribution with ``std = gain / sqrt(fan)`` (He et al., 2015).

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    The initialiser takes ``mode``, ``"fan_in"`` by default or ``"fan_out"``, and ``gain``, by
    default 1; a gain of ``sqrt(2)`` suits ReLU.

    Raises:
        ValueError: When called with an array of fewer than 2 axes or another mode.
    """

    def initializer(
        a: mx.array, mode: Literal["fan_in", "fan_out"] = "fan_in", gain: float = 1.0
    ) -> mx.array:
        return mx.random.normal(shape=a.shape, scale=gain / math.sqrt(_fan(a, mode)), dtype=dtype)

    return initializer


def he_uniform(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, Literal["fan_in", "fan_out"], float], mx.array]:
    """Sample uniformly from ``[-b, b)`` with ``b = gain * sqrt(3 / fan)`` (He et al., 2015).

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    The arguments of the initialiser are those of `he_normal`.

    Raises:
        ValueError: When called with an array of fewer than 2 axes or another mode.
    """

    def initializer(
        a: mx.array, mode: Literal["fan_in", "fan_out"] = "fan_in", gain: float = 1.0
    ) -> mx.array:
        bound = gain * math.sqrt(3.0 / _fan(a, mode))
        return mx.random.uniform(-bound, bound, a.shape, dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Callable[[mx.array], mx.array]:
    """Sample a normal distribution and set a share of each row to 0.

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    Of the ``n`` elements of a row ``ceil(sparsity * n)``, at random places, become 0.

    Raises:
        ValueError: When called with anything but a matrix.
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"sparse: expected a matrix, got an array of {a.ndim} axes")
        zeros = math.ceil(sparsity * a.shape[1])
        order = mx.argsort(mx.random.uniform(shape=a.shape), axis=1)
        values = mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)
        return mx.put_along_axis(values, order[:, :zeros], mx.array(0, dtype), axis=1)

    return initializer


def orthogonal(gain: float = 1.0, dtype: mx.Dtype = mx.float32) -> Callable[[mx.array], mx.array]:
    """Make ``gain`` times a matrix with orthonormal rows or columns, whichever are fewer (Saxe
    et al., 2014).

    Shapes: that of the array that is given.
    Dtypes: floats, float32 unless one is asked for.

    Raises:
        ValueError: When called with anything but a matrix.
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"orthogonal: expected a matrix, got an array of {a.ndim} axes")
        rows, columns = a.shape
        size = max(rows, columns)
        # The signs of the diagonal of R make the distribution uniform (Mezzadri, 2007).
        q, r = mx.linalg.qr(mx.random.normal(shape=(size, size)), stream=mx.cpu)
        q = q * mx.sign(mx.diag(r))
        return (gain * q[:rows, :columns]).astype(dtype)

    return initializer
