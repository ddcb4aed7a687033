"""Type stubs of `lazulite.core.fast`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def cross_entropy(logits: array, targets: array, *, stream: StreamOrDevice = None) -> array:
    """`logsumexp(logits) - logits[target]` along the last axis, computed and returned in float32."""

def gated_delta_update(q: array, k: array, v: array, gamma: array, beta: array, initial_state: array | None = None, mask: array | None = None, stream: StreamOrDevice = None) -> list[array]:
    """A linear attention whose state forgets (`gamma`) and corrects itself (`beta`), step by step: the
    outputs `(b, t, g, e)` and the last state `(b, g, e, d)`."""

def layer_norm(x: array, weight: array | None, bias: array | None, eps: float, *, stream: StreamOrDevice = None) -> array:
    """`(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` along the last axis."""

def metal_kernel(name: str, input_names: Sequence[str], output_names: Sequence[str], source: str, header: str = '', ensure_row_contiguous: bool = True, atomic_outputs: bool = False, compile_options: Any | None = None) -> Any:
    """A kernel for Apple's graphics. Programs may make one anywhere; calling it needs such a device,
    which this library does not support, and is a `RuntimeError`."""

def rms_norm(x: array, weight: array | None, eps: float, *, stream: StreamOrDevice = None) -> array:
    """`x / sqrt(mean(x^2) + eps) * weight` along the last axis, computed in float32 at least."""

def rope(a: array, dims: int, *, traditional: bool, base: float | None, scale: float, offset: int | array, freqs: array | None = None, stream: StreamOrDevice = None) -> array:
    """Rotary position embedding of the first `dims` elements of the last axis."""

def scaled_dot_product_attention(q: array, k: array, v: array, *, scale: float, mask: None | str | array = None, sinks: array | None = None, force_fused: bool = False, stream: StreamOrDevice = None) -> array:
    """`softmax(scale * q k^T + mask) v`, computed in float32 at least."""
