"""Type stubs of `lazulite.core.random`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


class _RandomState:
    """The thread's key, as a list of one array."""
    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self, /) -> Any: ...
    def __len__(self, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> Any: ...

state: _RandomState

def bernoulli(p: scalar | array = 0.5, shape: Sequence[int] | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """True with probability `p`.
   
    Shapes: `shape`, or that of `p`.
    Dtypes: bool; `p` is a float.
    A `p` that does not broadcast to the shape raises ValueError.
   
    >>> mx.random.bernoulli(1.0, (2,))
    array([True, True], dtype=bool)"""

def categorical(logits: array, axis: int = ..., shape: Sequence[int] | None = None, num_samples: int | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Indices drawn with the probabilities `softmax(logits)` along an axis.
   
    Shapes: those of `logits` without the axis, followed by `num_samples` if given; or `shape`, to
    which they broadcast.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.random.categorical(mx.array([-mx.inf, 0.0]))
    array(1, dtype=uint32)"""

def gumbel(shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Numbers of the standard Gumbel distribution, `-log(-log(u))` for uniform u.
   
    Shapes: the one that is asked for.
    Dtypes: floats, float32 unless one is asked for.
    A negative size, an invalid key and a dtype that is not floating raise ValueError.
   
    >>> mx.random.gumbel((2,)).shape
    (2,)"""

def key(seed: int) -> array:
    """The key that belongs to a number, for the `key` argument of the functions here.
   
    Shapes: `(2)`.
    Dtypes: uint32.
    A value that is not an integer raises TypeError; a negative one raises ValueError.
   
    >>> mx.random.key(1)
    array([0, 1], dtype=uint32)"""

def laplace(shape: Sequence[int] = ..., dtype: Dtype | None = None, loc: float = 0.0, scale: float = 1.0, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Numbers of the Laplace distribution with mean `loc` and the given scale.
   
    Shapes: the one that is asked for.
    Dtypes: floats, float32 unless one is asked for.
    A negative size, an invalid key and a dtype that is not floating raise ValueError.
   
    >>> mx.random.laplace((2,)).shape
    (2,)"""

def multivariate_normal(mean: array, cov: array, shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Numbers of the normal distribution with the given means `(..., n)` and covariances
    `(..., n, n)`: `(*shape, n)`.
   
    Shapes: `mean (..., n)`, `cov (..., n, n) -> (*shape, n)`.
    Dtypes: all.
    Other shapes raise ValueError.
   
    >>> mx.random.multivariate_normal(mx.zeros(2), mx.eye(2), (5,)).shape
    (5, 2)"""

def normal(shape: Sequence[int] = ..., dtype: Dtype | None = None, loc: scalar | array | None = None, scale: scalar | array | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Normal numbers of mean `loc` and standard deviation `scale`.
   
    Shapes: the one that is asked for.
    Dtypes: floats and complex64, float32 unless one is asked for.
    A negative size, an invalid key and a dtype that is not floating raise ValueError.
   
    >>> mx.random.normal((2, 3), key=mx.random.key(1)).dtype
    mlx.core.float32"""

def permutation(x: int | array, axis: int = 0, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """The parts of an array along an axis, or the numbers below `x`, in random order.
   
    Shapes: that of `x`, or `(x)` for a number.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.sort(mx.random.permutation(4))
    array([0, 1, 2, 3], dtype=uint32)"""

def randint(low: scalar | array, high: scalar | array, shape: Sequence[int] | None = None, dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Integers of `[low, high)`, `low` where that is empty, or with a `dtype` of bool whether they are not 0.
   
    Shapes: `shape`, or that of the bounds broadcast together.
    Dtypes: integers, int32 unless one is asked for.
    A dtype that is not an integer type, and shapes that do not broadcast, raise ValueError.
   
    >>> mx.random.randint(0, 10, (3,), key=mx.random.key(1)).dtype
    mlx.core.int32"""

def seed(seed: int) -> None:
    """Sets the thread's key.
   
    A value that is not an integer raises TypeError; a negative one raises ValueError.
   
    >>> mx.random.seed(1)"""

def split(key: array, num: int = 2, stream: StreamOrDevice = None) -> array:
    """Independent keys made of one.
   
    Shapes: `(num, 2)`.
    Dtypes: uint32.
    An array that is not a key raises ValueError.
   
    >>> mx.random.split(mx.random.key(1)).shape
    (2, 2)"""

def truncated_normal(lower: scalar | array, upper: scalar | array, shape: Sequence[int] | None = None, dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Numbers of the standard normal distribution restricted to `[lower, upper]`.
   
    Shapes: `shape`, or that of both limits broadcast together.
    Dtypes: all.
    Shapes that do not broadcast raise ValueError.
   
    >>> mx.abs(mx.random.truncated_normal(-1, 1, (4,))).max() <= 1
    array(True, dtype=bool)"""

def uniform(low: scalar | array = 0, high: scalar | array = 1, shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Uniform numbers of `[low, high)`.
   
    Every function of this module takes a `key`, made by `key` or `split`: equal keys give equal
    numbers. Without one, the thread's own state is used, which `seed` sets.
   
    Shapes: the one that is asked for.
    Dtypes: floats, float32 unless one is asked for.
    A dtype that is not floating, and bounds that do not broadcast to the shape, raise ValueError.
   
    >>> mx.random.uniform(shape=(2,), key=mx.random.key(1)).shape
    (2,)"""
