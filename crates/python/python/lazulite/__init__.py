"""Lazy arrays, function transforms and one planner, with the API of MLX."""

from . import core
from .core import __version__ as _api_version

__all__ = ["core"]
