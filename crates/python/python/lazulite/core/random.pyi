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
    """True with probability `p`."""

def categorical(logits: array, axis: int = ..., shape: Sequence[int] | None = None, num_samples: int | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Places drawn with the probabilities `softmax(logits)` along an axis."""

def gumbel(shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Gumbel numbers."""

def key(seed: int) -> array:
    """The key of a number."""

def laplace(shape: Sequence[int] = ..., dtype: Dtype | None = None, loc: float = 0.0, scale: float = 1.0, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Laplace numbers."""

def multivariate_normal(mean: array, cov: array, shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Numbers of the normal distribution with the given means `(..., n)` and covariances
    `(..., n, n)`: `(*shape, n)`."""

def normal(shape: Sequence[int] = ..., dtype: Dtype | None = None, loc: scalar | array | None = None, scale: scalar | array | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Normal numbers of mean `loc` and standard deviation `scale`."""

def permutation(x: int | array, axis: int = 0, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """The parts of an array along an axis, or the numbers below `x`, in random order."""

def randint(low: scalar | array, high: scalar | array, shape: Sequence[int] | None = None, dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Integers of `[low, high)`."""

def seed(seed: int) -> None:
    """Sets the thread's key."""

def split(key: array, num: int = 2, stream: StreamOrDevice = None) -> array:
    """Independent keys made of one."""

def truncated_normal(lower: scalar | array, upper: scalar | array, shape: Sequence[int] | None = None, dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Normal numbers cut off outside `[lower, upper]`."""

def uniform(low: scalar | array = 0, high: scalar | array = 1, shape: Sequence[int] = ..., dtype: Dtype | None = None, key: array | None = None, stream: StreamOrDevice = None) -> array:
    """Uniform numbers of `[low, high)`."""
