"""Type stubs of `lazulite.core.fast`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def cross_entropy(logits: array, targets: array, *, stream: StreamOrDevice = None) -> array:
    """`logsumexp(logits) - logits[target]` along the last axis, computed and returned in float32.
   
    Shapes: `logits (..., n)`, `targets (...) -> (...)`.
    Dtypes: all.
    Other shapes and targets that are not integers raise ValueError.
   
    >>> mx.fast.cross_entropy(mx.zeros((1, 4)), mx.array([2]))
    array([1.38629], dtype=float32)"""

def cuda_kernel(name: str, input_names: Sequence[str], output_names: Sequence[str], source: str, header: str = '', ensure_row_contiguous: bool = True, shared_memory: int = 0) -> Any:
    """A kernel from CUDA source: the body of a function, whose signature is generated from the names of
    its inputs and outputs.
   
    The body of a kernel with an input `x` may name `x_shape`, `x_strides` and `x_ndim`. The kernel is
    called with keywords: `inputs`, `output_shapes`, `output_dtypes`, `grid` and `threadgroup` (threads
    along three axes, in all and in a block), and, where wanted, `template` (pairs of a name and a
    dtype, int or bool), `init_value`, `verbose` and `stream`. It returns a list of arrays.
   
    It is compiled when a result is computed, on an NVIDIA device; elsewhere that is a
    `RuntimeError`. `custom_function` gives it derivatives.
   
    Shapes: those that the caller names.
    Dtypes: those that the caller names.
   
    >>> double = mx.fast.cuda_kernel(
    ...     name="double_it", input_names=["x"], output_names=["y"],
    ...     source="auto i = cooperative_groups::this_grid().thread_rank(); y[i] = 2 * x[i];")
    >>> y, = double(inputs=[mx.ones(4)], output_shapes=[(4,)], output_dtypes=[mx.float32],
    ...     grid=(4, 1, 1), threadgroup=(4, 1, 1))
    >>> y.shape
    (4,)"""

def gated_delta_update(q: array, k: array, v: array, gamma: array, beta: array, initial_state: array | None = None, mask: array | None = None, stream: StreamOrDevice = None) -> list[array]:
    """A linear attention whose state forgets (`gamma`) and corrects itself (`beta`), step by step: the
    outputs `(b, t, g, e)` and the last state `(b, g, e, d)`.
   
    Shapes: `q, k (b, t, h, d)`, `v (b, t, g, e)`, `gamma (b, t, g)` or `(b, t, g, d)`, `beta (b,
    t, g)`, the state `(b, g, e, d)`.
    Dtypes: floats; others raise ValueError.
    Other shapes raise ValueError.
   
    >>> [a.shape for a in mx.fast.gated_delta_update(*[mx.ones((1, 3, 2, 4))] * 3, mx.ones((1, 3,
    ...     2)), mx.ones((1, 3, 2)))]
    [(1, 3, 2, 4), (1, 2, 4, 4)]"""

def layer_norm(x: array, weight: array | None, bias: array | None, eps: float, *, stream: StreamOrDevice = None) -> array:
    """`(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` along the last axis.
   
    Shapes: `x (..., n)`, which the result has; `weight` and `bias (n)`, or None for ones and zeros.
    Dtypes: floats; others raise ValueError.
    Parameters of another shape raise ValueError.
   
    >>> mx.fast.layer_norm(mx.array([1.0, 3.0]), None, None, 1e-5)
    array([-0.999995, 0.999995], dtype=float32)"""

def metal_kernel(name: str, input_names: Sequence[str], output_names: Sequence[str], source: str, header: str = '', ensure_row_contiguous: bool = True, atomic_outputs: bool = False, compile_options: Any | None = None) -> Any:
    """A kernel for Apple's graphics. Programs may make one anywhere; calling it needs such a device,
    which this library does not support, and is a `RuntimeError`.
   
    Shapes: those that the caller names.
    Dtypes: those that the caller names."""

def precompiled_cuda_kernel(*, name: str, compiled_source: bytes, inputs: Sequence[bool | int | float | array | ndarray | complex | ArrayLike], output_shapes: Sequence[tuple[int, ...]], output_dtypes: Sequence[Dtype], scalars: Sequence[Any], grid: tuple[int, int, int], threadgroup: tuple[int, int, int], shared_memory: int = 0, init_value: float | None = None, ensure_row_contiguous: bool = False, stream: StreamOrDevice = None) -> list[array]:
    """The outputs of the function `name` in PTX or machine code.
   
    It gets the addresses of the inputs, then those of the outputs, then the scalars (bool, 32-bit
    int or float). `grid` counts threads, as for `cuda_kernel`. It runs when a result is computed, on
    an NVIDIA device; elsewhere that is a `RuntimeError`.
   
    Shapes: those that the caller names.
    Dtypes: those that the caller names."""

def rms_norm(x: array, weight: array | None, eps: float, *, stream: StreamOrDevice = None) -> array:
    """`x / sqrt(mean(x^2) + eps) * weight` along the last axis, computed in float32 at least.
   
    Shapes: `x (..., n)`, which the result has; `weight (n)` or None for ones.
    Dtypes: floats; others raise ValueError.
    Parameters of another shape raise ValueError.
   
    >>> mx.fast.rms_norm(mx.array([3.0, 4.0]), None, 1e-5)
    array([0.848528, 1.13137], dtype=float32)"""

def rope(a: array, dims: int, *, traditional: bool, base: float | None, scale: float, offset: int | array, freqs: array | None = None, stream: StreamOrDevice = None) -> array:
    """Rotary position embedding of the first `dims` elements of the last axis (Su et al., "RoFormer",
    2021).
   
    Pair i at position p is rotated by the angle `scale * (p + offset) * base^(-2 i / dims)`, or
    `scale * (p + offset) / freqs[i]` where `freqs` is given in place of `base`. Pairs are neighbours
    if `traditional`, else the elements i and `i + dims / 2`. `offset` is a number or an array with
    one for each example.
   
    Shapes: `a (..., t, d)`, which the result has; `dims` is even and at most d; others raise
    ValueError.
    Dtypes: floats; others raise ValueError.
   
    >>> mx.fast.rope(mx.ones((1, 2, 2)), 2, traditional=True, base=10000.0, scale=1.0,
    ...     offset=0)[0, 0]
    array([1, 1], dtype=float32)"""

def scaled_dot_product_attention(q: array, k: array, v: array, *, scale: float, mask: None | str | array = None, sinks: array | None = None, force_fused: bool = False, stream: StreamOrDevice = None) -> array:
    """`softmax(scale * q k^T + mask) v`, computed in float32 at least.
   
    `mask` is None, `"causal"` (a query sees the keys up to its own place, counted from the end), or
    an array that broadcasts to `(b, h, t, s)`: bool hides where it is false, numbers are added.
    `sinks (h)` are logits that take part in each softmax and have no value.
   
    Shapes: `q (b, h, t, d)`, `k (b, g, s, d)`, `v (b, g, s, e)` with `h` a multiple of `g`, the
    result `(b, h, t, e)`; others raise ValueError.
    Dtypes: floats; others raise ValueError.
   
    >>> mx.fast.scaled_dot_product_attention(mx.ones((1, 2, 1, 4)), mx.ones((1, 1, 3, 4)),
    ...     mx.ones((1, 1, 3, 4)), scale=0.5).shape
    (1, 2, 1, 4)"""
