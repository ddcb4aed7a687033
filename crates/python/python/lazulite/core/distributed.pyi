"""Type stubs of `lazulite.core.distributed`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


class Group:
    """Processes that work together."""
    def rank(self, /) -> Any:
        """This process's number."""
    def size(self, /) -> Any:
        """The number of processes."""
    def split(self, /, color: Any, key: Any = ...) -> Any:
        """The group of the processes with the same color, ordered by key."""

def all_gather(x: array, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The arrays of all processes, joined along the first axis."""

def all_max(x: array, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The greatest elements over the processes."""

def all_min(x: array, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The least elements over the processes."""

def all_sum(x: array, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The sum over the processes.
   
    Dtypes: all.
   
    >>> mx.distributed.all_sum(mx.ones(2))
    array([1, 1], dtype=float32)"""

def init(strict: bool = False, backend: str = 'any', *, all_gather_factory: Callable[[int, int], Callable[[bytes, int], bytes]] | None = None) -> Group:
    """The group of all processes; with `strict`, an error if there is no transport.
   
    >>> mx.distributed.init().size()
    1"""

def is_available(backend: str = 'any') -> bool:
    """True if a transport between processes is there."""

def recv(shape: Sequence[int], dtype: Dtype, src: int, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The array that a process sends. A group of one process has no other: a `ValueError`."""

def recv_like(x: array, src: int, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """The array, of the shape and dtype of `x`, that a process sends. A group of one process has no
    other: a `ValueError`."""

def send(x: array, dst: int, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """Sends an array to a process. A group of one process has no other: a `ValueError`."""

def sum_scatter(x: array, *, group: Group | None = None, stream: StreamOrDevice = None) -> array:
    """This process's part of the sum over the processes."""
