"""Type stubs of `lazulite.core.linalg`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def cross(a: array, b: array, axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """The cross product of vectors of three elements (or two, of which the third is 0)."""

def norm(a: array, /, ord: None | int | float | str = None, axis: None | int | list[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise."""
