"""Type stubs of `lazulite.core.cuda`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def is_available() -> bool:
    """True if an NVIDIA GPU can be used."""
