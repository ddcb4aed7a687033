"""Type stubs of `lazulite.core.metal`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def clear_cache() -> None:
    """Frees the bytes kept for reuse.
   
    >>> mx.clear_cache()"""

def device_info() -> dict[str, str | int]:
    """Facts about the device."""

def get_active_memory() -> int:
    """Bytes in live buffers.
   
    >>> mx.get_active_memory() >= 0
    True"""

def get_cache_memory() -> int:
    """Bytes kept for reuse.
   
    >>> mx.get_cache_memory() >= 0
    True"""

def get_peak_memory() -> int:
    """The most bytes that were live at once since the last reset.
   
    >>> mx.get_peak_memory() >= 0
    True"""

def is_available() -> bool:
    """True if Apple's graphics are there: never."""

def reset_peak_memory() -> None:
    """Sets the peak to the live bytes.
   
    >>> mx.reset_peak_memory()"""

def set_cache_limit(limit: int) -> int:
    """Sets the bytes above which freed buffers are not kept; returns the former limit.
   
    A negative number raises ValueError.
   
    >>> mx.set_cache_limit(2**30) >= 0
    True"""

def set_memory_limit(limit: int) -> int:
    """Sets the live bytes above which an allocation is refused; returns the former limit.
   
    A negative number raises ValueError.
   
    >>> mx.set_memory_limit(mx.get_memory_limit()) > 0
    True"""

def set_wired_limit(limit: int) -> int:
    """Sets the bytes that may be kept resident, where the system knows such a limit; returns the
    former one.
   
    A negative number raises ValueError.
   
    >>> mx.set_wired_limit(0) >= 0
    True"""

def start_capture(path: str) -> None:
    """Starts the recording of a trace of the graphics card; here, nothing is recorded."""

def stop_capture() -> None:
    """Ends the recording of a trace."""
