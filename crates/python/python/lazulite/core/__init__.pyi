"""Type stubs of `lazulite.core`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import IO, Any, Literal, TypeAlias, TypeVar

scalar: TypeAlias = bool | int | float | complex
File: TypeAlias = str | PathLike[str] | IO[bytes]
_F = TypeVar("_F", bound=Callable[..., Any])


class ArrayAt:
    """Updates of an array at an index, each of which returns another array."""
    def __getitem__(self, key: Any, /) -> array: ...
    def add(self, /, value: Any) -> array:
        """Adds a value at every place of the index."""
    def divide(self, /, value: Any) -> array:
        """Divides by a value at every place of the index."""
    def maximum(self, /, value: Any) -> array:
        """Takes the greater of the element and a value at every place of the index."""
    def minimum(self, /, value: Any) -> array:
        """Takes the lesser of the element and a value at every place of the index."""
    def multiply(self, /, value: Any) -> array:
        """Multiplies with a value at every place of the index."""
    def subtract(self, /, value: Any) -> array:
        """Subtracts a value at every place of the index."""

class ArrayIterator:
    """The elements of an array along its first axis."""
    def __iter__(self, /) -> Any: ...

class ArrayLike:
    """Any object that holds array data, as an array of this library."""
    def __init__(self, arg: Any, /) -> None: ...
    def __mlx_array__(self, /) -> Any: ...

class ArrayNamespaceInfo:
    """Facts about this namespace, in the form that the array API standard describes."""
    def capabilities(self, /) -> Any:
        """What the library can do: boolean masks as indices, shapes that depend on data, any rank."""
    def default_device(self, /) -> Any:
        """The device of arrays that are made without one."""
    def default_dtypes(self, /, *, device: Device | None = None) -> Any:
        """The dtypes of arrays that are made without one."""
    def devices(self, /) -> Any:
        """The devices that are there."""
    def dtypes(self, /, *, device: Device | None = None, kind: Any = None) -> Any:
        """The dtypes of the standard by name, of a kind or a tuple of kinds as in `isdtype`."""

class CheckpointFunction:
    """A function whose intermediate results are computed again for its derivative."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class CompiledFunction:
    """A function and its traces."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class Device:
    """A device: its type and number."""
    def __init__(self, type: DeviceType, index: int = 0) -> None: ...
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    @property
    def type(self) -> DeviceType:
        """The device's type."""

class DeviceType:
    """A kind of device."""
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __int__(self, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    cpu: DeviceType
    gpu: DeviceType

class Dtype:
    """The element type of an array."""
    def __copy__(self, /) -> Any: ...
    def __deepcopy__(self, /, _memo: Any) -> Any: ...
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    @property
    def size(self) -> int:
        """The size of an element in bytes."""

class DtypeCategory:
    """A set of dtypes."""
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __int__(self, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    complexfloating: DtypeCategory
    floating: DtypeCategory
    generic: DtypeCategory
    inexact: DtypeCategory
    integer: DtypeCategory
    number: DtypeCategory
    signedinteger: DtypeCategory
    unsignedinteger: DtypeCategory

class Estimate:
    """What an evaluation will take, in bytes and operations."""
    @property
    def flops(self) -> int:
        """Operations of all steps."""
    @property
    def kept(self) -> int:
        """Bytes that stay allocated afterwards."""
    @property
    def moved(self) -> int:
        """Bytes read and written by all steps."""
    @property
    def peak(self) -> int:
        """Bytes allocated on top of what is live now, at the highest point."""
    @property
    def steps(self) -> int:
        """The number of steps that compute or copy something."""

class FunctionExporter:
    """Recordings of a function for several forms of its arguments, on their way to a file. It is made
    by `exporter`, called with example arrays, and writes the file when it is closed, which the end
    of a `with` block does."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __enter__(self, /) -> Any: ...
    def __exit__(self, /, *_args: Any) -> Any: ...
    def close(self, /) -> Any:
        """Writes the file, after which nothing more can be recorded."""

class GradFunction:
    """A function that returns gradients of another."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class ImportedFunction:
    """A function that was read from a file."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class PrintOptions:
    """How arrays are printed."""
    def __init__(self, precision: int = -1) -> None: ...
    @property
    def precision(self) -> int: ...

class Stream:
    """An ordered queue of work on a device."""
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    @property
    def device(self) -> Device:
        """The device whose queue this is."""
    @property
    def index(self) -> int:
        """The stream's number; 0 is the device's default stream."""

class StreamContext:
    """Places the work of a `with` block on a stream or device."""
    def __enter__(self, /) -> Any: ...
    def __exit__(self, /, *_args: Any) -> Any: ...

class ThreadLocalStream:
    """A stream for use from many threads. Any thread may use any stream here, so it is one stream."""
    def __eq__(self, value: Any, /) -> Any: ...
    def __ge__(self, value: Any, /) -> Any: ...
    def __gt__(self, value: Any, /) -> Any: ...
    def __le__(self, value: Any, /) -> Any: ...
    def __lt__(self, value: Any, /) -> Any: ...
    def __ne__(self, value: Any, /) -> Any: ...
    @property
    def device(self) -> Device:
        """The device whose queue this is."""

class VmapFunction:
    """A function applied to every example of a batch."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class _PrintOptionsContext:
    def __enter__(self, /) -> Any: ...
    def __exit__(self, /, *_args: Any) -> Any: ...

class _gc_func:
    """A function that a transform made of another."""

class array:
    """A lazy n-dimensional array.
   
    Made from a number, nested lists or tuples, or anything that holds array data. Without a dtype,
    Python's floats become float32, its integers int32 (int64 if one does not fit), and NumPy's
    float64 becomes float32.
   
    Operations return at once and compute nothing; `mx.eval`, or reading a value (`item`, `tolist`,
    `print`, NumPy), computes what is missing. Assigning (`a[i] = b`, `a += b`) changes the object,
    never arrays made from it before.
   
    >>> a = mx.array([[1, 2], [3, 4]])
    >>> a.shape, a.dtype, a[0].tolist()
    ((2, 2), mlx.core.int32, [1, 2])"""
    def __init__(self, val: Any, dtype: Dtype | None = None) -> None: ...
    @property
    def T(self) -> array:
        """The array with its axes reversed."""
    def __abs__(self) -> array: ...
    def __add__(self, other: Any) -> array: ...
    def __and__(self, other: Any) -> array: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...
    def __array_namespace__(self, *, api_version: str | None = None) -> Any: ...
    def __bool__(self) -> bool: ...
    def __bytes__(self) -> bytes: ...
    def __complex__(self) -> complex: ...
    def __copy__(self) -> array: ...
    def __deepcopy__(self, memo: Any) -> array: ...
    def __div__(self, other: Any) -> array: ...
    def __dlpack__(self, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __eq__(self, other: Any) -> array: ...  # type: ignore[override]
    def __float__(self) -> float: ...
    def __floordiv__(self, other: Any) -> array: ...
    def __format__(self, spec: str, /) -> str: ...
    def __ge__(self, other: Any) -> array: ...
    def __getitem__(self, index: Any) -> array: ...
    def __gt__(self, other: Any) -> array: ...
    def __hash__(self) -> int: ...
    def __iadd__(self, other: Any) -> array: ...
    def __iand__(self, other: Any) -> array: ...
    def __ifloordiv__(self, other: Any) -> array: ...
    def __ilshift__(self, other: Any) -> array: ...
    def __imatmul__(self, other: Any) -> array: ...
    def __imod__(self, other: Any) -> array: ...
    def __imul__(self, other: Any) -> array: ...
    def __index__(self) -> int: ...
    def __int__(self) -> int: ...
    def __invert__(self) -> array: ...
    def __ior__(self, other: Any) -> array: ...
    def __ipow__(self, other: Any) -> array: ...
    def __irshift__(self, other: Any) -> array: ...
    def __isub__(self, other: Any) -> array: ...
    def __iter__(self) -> Iterator[array]: ...
    def __itruediv__(self, other: Any) -> array: ...
    def __ixor__(self, other: Any) -> array: ...
    def __le__(self, other: Any) -> array: ...
    def __len__(self) -> int: ...
    def __lshift__(self, other: Any) -> array: ...
    def __lt__(self, other: Any) -> array: ...
    def __matmul__(self, other: Any) -> array: ...
    def __mod__(self, other: Any) -> array: ...
    def __mul__(self, other: Any) -> array: ...
    def __ne__(self, other: Any) -> array: ...  # type: ignore[override]
    def __neg__(self) -> array: ...
    def __or__(self, other: Any) -> array: ...
    def __pos__(self) -> array: ...
    def __pow__(self, other: Any) -> array: ...
    def __radd__(self, other: Any) -> array: ...
    def __rand__(self, other: Any) -> array: ...
    def __rdiv__(self, other: Any) -> array: ...
    def __rfloordiv__(self, other: Any) -> array: ...
    def __rlshift__(self, other: Any) -> array: ...
    def __rmatmul__(self, other: Any) -> array: ...
    def __rmod__(self, other: Any) -> array: ...
    def __rmul__(self, other: Any) -> array: ...
    def __ror__(self, other: Any) -> array: ...
    def __rpow__(self, other: Any) -> array: ...
    def __rrshift__(self, other: Any) -> array: ...
    def __rshift__(self, other: Any) -> array: ...
    def __rsub__(self, other: Any) -> array: ...
    def __rtruediv__(self, other: Any) -> array: ...
    def __rxor__(self, other: Any) -> array: ...
    def __setitem__(self, index: Any, value: Any) -> None: ...
    def __setstate__(self, state: tuple[Any, ...]) -> None: ...
    def __sub__(self, other: Any) -> array: ...
    def __truediv__(self, other: Any) -> array: ...
    def __xor__(self, other: Any) -> array: ...
    def abs(self, /, *, stream: StreamOrDevice = None) -> array:
        """Absolute value."""
    def all(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """True iff all elements along axes are non-zero."""
    def any(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """True iff an element along axes is non-zero."""
    def argmax(self, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """The place of the greatest element."""
    def argmin(self, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """The place of the least element."""
    def astype(self, /, dtype: Dtype, stream: StreamOrDevice = None) -> array:
        """The array converted to another dtype."""
    @property
    def at(self) -> ArrayAt:
        """A helper for updates that return another array: `a.at[index].add(value)` and others."""
    def conj(self, /, *, stream: StreamOrDevice = None) -> array:
        """Complex conjugate."""
    def cos(self, /, *, stream: StreamOrDevice = None) -> array:
        """Cosine."""
    def cummax(self, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
        """Running maximum. Without an axis, of the flattened array."""
    def cummin(self, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
        """Running minimum. Without an axis, of the flattened array."""
    def cumprod(self, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
        """Running product. Without an axis, of the flattened array."""
    def cumsum(self, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
        """Running sum. Without an axis, of the flattened array."""
    def diag(self, /, k: int = 0, *, stream: StreamOrDevice = None) -> array:
        """The diagonal of a matrix, or the matrix with this diagonal."""
    def diagonal(self, /, offset: int = 0, axis1: int = 0, axis2: int = 1, stream: StreamOrDevice = None) -> array:
        """The diagonals of the matrices on two axes, as the last axis."""
    @property
    def dtype(self) -> Dtype:
        """The element type."""
    def exp(self, /, *, stream: StreamOrDevice = None) -> array:
        """Exponential function."""
    def flatten(self, /, start_axis: int = 0, end_axis: int = ..., *, stream: StreamOrDevice = None) -> array:
        """The array with several axes joined into one."""
    @property
    def imag(self) -> array:
        """The imaginary part."""
    def item(self, /) -> Any:
        """The only element as a Python number; evaluates the array. Other sizes raise ValueError."""
    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
    def log(self, /, *, stream: StreamOrDevice = None) -> array:
        """Natural logarithm."""
    def log10(self, /, *, stream: StreamOrDevice = None) -> array:
        """Logarithm to base 10."""
    def log1p(self, /, *, stream: StreamOrDevice = None) -> array:
        """Natural logarithm of one plus the array."""
    def log2(self, /, *, stream: StreamOrDevice = None) -> array:
        """Logarithm to base 2."""
    def logcumsumexp(self, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
        """Running `log(sum(exp(x)))`. Without an axis, of the flattened array."""
    def logsumexp(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """`log(sum(exp(x)))` over axes."""
    @property
    def mT(self) -> array:
        """The array with its last two axes exchanged."""
    def max(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """Greatest element over axes."""
    def mean(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """Mean over axes."""
    def min(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """Least element over axes."""
    def moveaxis(self, /, source: int, destination: int, *, stream: StreamOrDevice = None) -> array:
        """The array with an axis moved to another place."""
    @property
    def nbytes(self) -> int:
        """The number of bytes of all elements."""
    @property
    def ndim(self) -> int:
        """The number of axes."""
    def prod(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """Product over axes."""
    @property
    def real(self) -> array:
        """The real part."""
    def reciprocal(self, /, *, stream: StreamOrDevice = None) -> array:
        """One over the array."""
    def reshape(self, /, *shape: Sequence[int], stream: StreamOrDevice = None) -> array:
        """The same elements in another shape; a size of -1 is computed from the others."""
    def round(self, /, decimals: int = 0, *, stream: StreamOrDevice = None) -> array:
        """The array rounded to a number of decimals."""
    def rsqrt(self, /, *, stream: StreamOrDevice = None) -> array:
        """One over the square root."""
    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
    def sin(self, /, *, stream: StreamOrDevice = None) -> array:
        """Sine."""
    @property
    def size(self) -> int:
        """The number of elements."""
    def split(self, /, indices_or_sections: int | Sequence[int], axis: int = 0, *, stream: StreamOrDevice = None) -> array:
        """The parts of the array along an axis."""
    def sqrt(self, /, *, stream: StreamOrDevice = None) -> array:
        """Square root."""
    def square(self, /, *, stream: StreamOrDevice = None) -> array:
        """The array times itself."""
    def squeeze(self, /, axis: None | int | Sequence[int] = None, *, stream: StreamOrDevice = None) -> array:
        """The array without axes of size 1."""
    def std(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
        """Standard deviation over axes."""
    def sum(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
        """Sum over axes."""
    def swapaxes(self, /, axis1: int, axis2: int, *, stream: StreamOrDevice = None) -> array:
        """The array with two axes exchanged."""
    def tolist(self, /) -> Any:
        """The elements as nested lists, or a number for a 0-d array; evaluates the array."""
    def transpose(self, /, *axes: Sequence[int] | None, stream: StreamOrDevice = None) -> array:
        """The array with its axes permuted; reversed if none are given."""
    def var(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
        """Variance over axes."""
    def view(self, /, dtype: Dtype, *, stream: StreamOrDevice = None) -> array:
        """The same bytes as another dtype."""

class custom_function:
    """A function whose transforms can be written by hand, with the decorators `vjp`, `jvp` and `vmap`.
    Transforms that are not given are those of the function itself.
   
    >>> @mx.custom_function
    ... def clipped(x):
    ...     return mx.clip(x, -1, 1)
    >>> @clipped.vjp
    ... def clipped_vjp(primals, cotangents, outputs):
    ...     return cotangents
    >>> mx.grad(lambda x: clipped(x).sum())(mx.array([3.0]))
    array([1], dtype=float32)"""
    def __init__(self, f: Callable[..., Any]) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def jvp(self, /, f: Any) -> Any:
        """Takes `f(primals, tangents)`, which returns the outputs' tangents."""
    def vjp(self, /, f: Any) -> Any:
        """Takes `f(primals, cotangents, outputs)`, which returns the primals' cotangents."""
    def vmap(self, /, f: Any) -> Any:
        """Takes `f(inputs, axes)`, which returns the outputs and their batch axes."""

class finfo:
    """Limits of a floating or complex dtype."""
    def __init__(self, dtype: Dtype | array) -> None: ...
    @property
    def bits(self) -> int: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def eps(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def min(self) -> float: ...
    @property
    def smallest_normal(self) -> float: ...

class iinfo:
    """Limits of an integer dtype."""
    def __init__(self, dtype: Dtype | array) -> None: ...
    @property
    def bits(self) -> int: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def max(self) -> int: ...
    @property
    def min(self) -> int: ...

StreamOrDevice: TypeAlias = Stream | ThreadLocalStream | Device | DeviceType | None

bfloat16: Dtype
bool_: Dtype
complex64: Dtype
complexfloating: DtypeCategory
cpu: DeviceType
from . import cuda as cuda
from . import distributed as distributed
e: float
euler_gamma: float
from . import fast as fast
from . import fft as fft
float16: Dtype
float32: Dtype
float64: Dtype
floating: DtypeCategory
generic: DtypeCategory
gpu: DeviceType
inexact: DtypeCategory
inf: float
int16: Dtype
int32: Dtype
int64: Dtype
int8: Dtype
integer: DtypeCategory
from . import linalg as linalg
from . import metal as metal
nan: float
newaxis: None
number: DtypeCategory
pi: float
from . import random as random
signedinteger: DtypeCategory
uint16: Dtype
uint32: Dtype
uint64: Dtype
uint8: Dtype
unsignedinteger: DtypeCategory
__version__: str

def __array_namespace_info__() -> Any:
    """Facts about this namespace, in the form that the array API standard describes."""

def _dtype(name: str) -> Any:
    """The dtype of a name; what pickled dtypes come back through."""

def _from_bytes(bytes: Any, dtype: Dtype, shape: int | Sequence[int]) -> Any:
    """The array of these bytes; what pickled arrays come back through."""

def abs(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Absolute value.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.abs(mx.array([-1.5, 2.0]))
    array([1.5, 2], dtype=float32)"""

def acos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse cosine, in `[0, pi]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arccos(mx.array([1.0, 0.0]))
    array([0, 1.5708], dtype=float32)"""

def acosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic cosine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arccosh(mx.array([1.0, 2.0]))
    array([0, 1.31696], dtype=float32)"""

def add(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Sum.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.add(mx.array([1, 2]), 3)
    array([4, 5], dtype=int32)"""

def addmm(c: array, a: array, b: array, /, alpha: float = 1.0, beta: float = 1.0, *, stream: StreamOrDevice = None) -> array:
    """`alpha * (a @ b) + beta * c`.
   
    Shapes: `c` broadcasts to the product `(..., m, n)` of `a (..., m, k)` and `b (..., k, n)`;
    others raise ValueError.
    Dtypes: all.
   
    >>> mx.addmm(mx.array([1.0, 2.0]), mx.ones((1, 3)), mx.ones((3, 2)))
    array([[4, 5]], dtype=float32)"""

def all(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """True iff all elements along axes are non-zero.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.all(mx.array([[True, False], [True, True]]), axis=1)
    array([False, True], dtype=bool)"""

def allclose(a: array, b: array, /, rtol: float = 1e-05, atol: float = 1e-08, *, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True iff `|a - b| <= atol + rtol * |b|` everywhere.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.allclose(mx.array([1.0]), mx.array([1.000001]))
    array(True, dtype=bool)"""

def any(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """True iff an element along axes is non-zero.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.any(mx.array([[0, 1], [0, 0]]), axis=1)
    array([True, False], dtype=bool)"""

def arange(start: int | float, stop: None | int | float, step: None | int | float = None, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Evenly spaced values: `arange(stop)`, `arange(start, stop)` or `arange(start, stop, step)`.
   
    Shapes: `(n)`, the number of steps before `stop`.
    Dtypes: that of the bounds (int32 or float32 for Python's numbers), unless one is asked for.
    Bounds that are not finite and a step of 0 raise ValueError.
   
    >>> mx.arange(1, 7, 2)
    array([1, 3, 5], dtype=int32)"""

def arccos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse cosine, in `[0, pi]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arccos(mx.array([1.0, 0.0]))
    array([0, 1.5708], dtype=float32)"""

def arccosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic cosine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arccosh(mx.array([1.0, 2.0]))
    array([0, 1.31696], dtype=float32)"""

def arcsin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse sine, in `[-pi/2, pi/2]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arcsin(mx.array([0.0, 1.0]))
    array([0, 1.5708], dtype=float32)"""

def arcsinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic sine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arcsinh(mx.array([0.0, 1.0]))
    array([0, 0.881374], dtype=float32)"""

def arctan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse tangent, in `[-pi/2, pi/2]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arctan(mx.array([0.0, 1.0]))
    array([0, 0.785398], dtype=float32)"""

def arctan2(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Angle of the point `(y, x)` given as `arctan2(y, x)`, in `[-pi, pi]`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.arctan2(mx.array([1.0]), mx.array([-1.0]))
    array([2.35619], dtype=float32)"""

def arctanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic tangent.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arctanh(mx.array([0.0, 0.5]))
    array([0, 0.549306], dtype=float32)"""

def argmax(a: array, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The place of the greatest element along an axis, or in the flattened array.
   
    Shapes: any; the axis is left out, or has size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.argmax(mx.array([[1, 5, 2], [7, 3, 4]]), axis=1)
    array([1, 0], dtype=uint32)"""

def argmin(a: array, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The place of the least element along an axis, or in the flattened array.
   
    Shapes: any; the axis is left out, or has size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.argmin(mx.array([3, 1, 2]))
    array(1, dtype=uint32)"""

def argpartition(a: array, /, kth: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The places of the elements of `partition`.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.argpartition(mx.array([3, 1, 2]), 1)[:1]
    array([1], dtype=uint32)"""

def argsort(a: array, /, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The places of the elements in ascending order.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.argsort(mx.array([3, 1, 2]))
    array([1, 2, 0], dtype=uint32)"""

def array_equal(a: scalar | array, b: scalar | array, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True iff shapes and all elements are equal; with `equal_nan`, NaN equals NaN.
   
    Shapes: any; arrays of different shapes are not equal.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.array_equal(mx.array([1, 2]), mx.array([1, 2]))
    array(True, dtype=bool)"""

def as_strided(a: array, /, shape: Sequence[int] | None = None, strides: Sequence[int] | None = None, offset: int = 0, *, stream: StreamOrDevice = None) -> array:
    """A view of the flattened array with any strides, counted in elements.
   
    Shapes: that of the argument.
    Dtypes: all.
    Strides that reach outside the array raise ValueError.
   
    >>> mx.as_strided(mx.arange(4), (3, 2), (1, 1))
    array([[0, 1],
           [1, 2],
           [2, 3]], dtype=int32)"""

def asarray(a: scalar | array | Sequence[Any] | Any, dtype: Dtype | None = None, *, copy: bool | None = None) -> array:
    """The value as an array; an array of the asked dtype is returned as it is.
   
    Shapes: that of the nested sequence or the array.
    Dtypes: all.
    Ragged sequences and values that are not numbers raise ValueError.
   
    >>> mx.asarray([1, 2])
    array([1, 2], dtype=int32)"""

def asin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse sine, in `[-pi/2, pi/2]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arcsin(mx.array([0.0, 1.0]))
    array([0, 1.5708], dtype=float32)"""

def asinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic sine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arcsinh(mx.array([0.0, 1.0]))
    array([0, 0.881374], dtype=float32)"""

def astype(a: array, dtype: Dtype, /, *, stream: StreamOrDevice = None) -> array:
    """The array converted to another dtype.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument of another type raises TypeError.
   
    >>> mx.astype(mx.array([1.7, -1.7]), mx.int32)
    array([1, -1], dtype=int32)"""

def async_eval(*args: Any) -> Any:
    """Starts to compute the arrays of trees, and does not wait for them. Other leaves are ignored.
   
    Errors in the data (an index out of range, a singular matrix) come with the next call that needs
    the values: IndexError, RuntimeError. A plan that needs more memory than the limit leaves raises
    MemoryError here.
   
    >>> mx.async_eval(mx.ones(3) + 1)"""

def atan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse tangent, in `[-pi/2, pi/2]`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arctan(mx.array([0.0, 1.0]))
    array([0, 0.785398], dtype=float32)"""

def atan2(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Angle of the point `(y, x)` given as `arctan2(y, x)`, in `[-pi, pi]`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.arctan2(mx.array([1.0]), mx.array([-1.0]))
    array([2.35619], dtype=float32)"""

def atanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic tangent.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.arctanh(mx.array([0.0, 0.5]))
    array([0, 0.549306], dtype=float32)"""

def atleast_1d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least one axis.
   
    Shapes: sizes of 1 are added until there is one axis.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.atleast_1d(mx.array(3))
    array([3], dtype=int32)"""

def atleast_2d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least two axes.
   
    Shapes: sizes of 1 are added until there are two axes.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.atleast_2d(mx.array([1, 2]))
    array([[1, 2]], dtype=int32)"""

def atleast_3d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least three axes.
   
    Shapes: sizes of 1 are added until there are three axes.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.atleast_3d(mx.array(1)).shape
    (1, 1, 1)"""

def bartlett(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Bartlett window, a triangle.
   
    Shapes: `(M)`.
    Dtypes: float32.
    A value that is not an integer raises TypeError.
   
    >>> mx.bartlett(3)
    array([0, 1, 0], dtype=float32)"""

def bitwise_and(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise and.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.bitwise_and(mx.array([6]), mx.array([3]))
    array([2], dtype=int32)"""

def bitwise_invert(a: scalar | array, stream: StreamOrDevice = None) -> array:
    """Every bit inverted; for bool, the opposite.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.bitwise_invert(mx.array([0, 1]))
    array([-1, -2], dtype=int32)"""

def bitwise_left_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x * 2^y`; 0 where `y` is not below the width.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.left_shift(mx.array([1, 2]), 3)
    array([8, 16], dtype=int32)"""

def bitwise_or(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise or.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.bitwise_or(mx.array([6]), mx.array([3]))
    array([7], dtype=int32)"""

def bitwise_right_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x / 2^y` rounded down; the sign alone where `y` is not below the width.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.right_shift(mx.array([8, 9]), 2)
    array([2, 2], dtype=int32)"""

def bitwise_xor(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise exclusive or.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.bitwise_xor(mx.array([6]), mx.array([3]))
    array([5], dtype=int32)"""

def blackman(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Blackman window, `0.42 - 0.5 cos(t) + 0.08 cos(2t)`.
   
    Shapes: `(M)`.
    Dtypes: float32.
    A value that is not an integer raises TypeError.
   
    >>> mx.blackman(3)
    array([-1.38778e-17, 1, -1.38778e-17], dtype=float32)"""

def block_masked_mm(a: array, b: array, /, block_size: int = 64, mask_out: array | None = None, mask_lhs: array | None = None, mask_rhs: array | None = None, *, stream: StreamOrDevice = None) -> array:
    """`a @ b`, where blocks of `block_size` by `block_size` elements of the operands and of the result
    are masked. `(..., m, k), (..., k, n) -> (..., m, n)`.
   
    Shapes: `a (..., m, k)`, `b (..., k, n)`, masks with an element for each block; others raise
    ValueError.
    Dtypes: all.
   
    >>> mx.block_masked_mm(mx.ones((64, 32)), mx.ones((32, 32)), 32, mx.array([[True],
    ...     [False]])).sum(axis=1)[30:34]
    array([1024, 1024, 0, 0], dtype=float32)"""

def broadcast_arrays(*arrays: Any, stream: StreamOrDevice = None) -> tuple[array, ...]:
    """The arrays broadcast to one shape.
   
    Shapes: all the one to which they broadcast together.
    Dtypes: all.
    Shapes that do not broadcast raise ValueError.
   
    >>> [a.shape for a in mx.broadcast_arrays(mx.ones((2, 1)), mx.ones(3))]
    [(2, 3), (2, 3)]"""

def broadcast_shapes(*shapes: Any) -> tuple[int]:
    """The shape to which shapes broadcast together.
   
    Shapes: the one to which all broadcast.
    Dtypes: none are needed.
    Shapes that do not broadcast raise ValueError.
   
    >>> mx.broadcast_shapes((2, 1), (3,))
    (2, 3)"""

def broadcast_to(a: scalar | array, /, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array seen in a larger shape, with elements repeated but not copied.
   
    Shapes: the one that is asked for.
    Dtypes: all.
    An array that does not broadcast to it raises ValueError.
   
    >>> mx.broadcast_to(mx.array([1, 2]), (2, 2))
    array([[1, 2],
           [1, 2]], dtype=int32)"""

def can_cast(from_: array | Dtype, to: Dtype) -> bool:
    """True if promotion never loses the values of the first dtype in the second.
   
    An argument that is neither an array nor a dtype raises TypeError.
   
    >>> mx.can_cast(mx.int16, mx.float32)
    True"""

def ceil(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The least integer not below `x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.ceil(mx.array([1.2, -1.2]))
    array([2, -1], dtype=float32)"""

def checkpoint(fun: _F) -> _F:
    """`fun`, whose intermediate results are computed again for its derivative instead of being kept:
    less memory for more arithmetic.
   
    Shapes: those of `fun`.
    Dtypes: those of `fun`.
    Exceptions of `fun` are passed on; a `fun` that cannot be called raises TypeError when called.
   
    >>> mx.grad(mx.checkpoint(lambda x: mx.exp(x).sum()))(mx.zeros(2))
    array([1, 1], dtype=float32)"""

def clear_cache() -> None:
    """Frees the bytes kept for reuse.
   
    >>> mx.clear_cache()"""

def clear_streams() -> None:
    """Puts the calling thread back on the default stream.
   
    >>> mx.clear_streams()"""

def clip(a: array, /, a_min: scalar | array | None, a_max: scalar | array | None, *, stream: StreamOrDevice = None) -> array:
    """Elements limited to the range from `a_min` to `a_max`; one limit may be None.
   
    Shapes: those of `a` and of both limits broadcast together.
    Dtypes: all.
    Two missing limits, and shapes that do not broadcast, raise ValueError.
   
    >>> mx.clip(mx.array([-2, 0, 5]), -1, 3)
    array([-1, 0, 3], dtype=int32)"""

def compile(fun: _F, inputs: Any | None = None, outputs: Any | None = None, shapeless: bool = False) -> _F:
    """A compiled version of `fun`: traced once for each form, shape and dtype of its arguments, and
    replayed afterwards.
   
    `fun` takes and returns trees of arrays; its other arguments are constants, for each of which it
    is traced. While it is traced its arrays have no values, so `item()` and `print` do not work
    inside, and side effects happen only then. `inputs` and `outputs` are trees (lists, dicts, a
    module's `state`) whose arrays the function reads and replaces. With `shapeless` one trace
    serves arguments of all sizes.
   
    Shapes: those of `fun`; each form of arguments is traced once.
    Dtypes: those of `fun`.
    An argument that is neither a tree of arrays nor a constant raises ValueError.
   
    >>> mx.compile(lambda x: x * mx.sigmoid(x))(mx.array([0.0, 2.0]))
    array([0, 1.76159], dtype=float32)"""

def concat(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """The arrays one after another along an axis; flattened first if it is None.
   
    Sizes agree on all axes but one; the dtypes are promoted.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty list, and shapes that differ on another axis, raise ValueError.
   
    >>> mx.concatenate([mx.array([1, 2]), mx.array([3])])
    array([1, 2, 3], dtype=int32)"""

def concatenate(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """The arrays one after another along an axis; flattened first if it is None.
   
    Sizes agree on all axes but one; the dtypes are promoted.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty list, and shapes that differ on another axis, raise ValueError.
   
    >>> mx.concatenate([mx.array([1, 2]), mx.array([3])])
    array([1, 2, 3], dtype=int32)"""

def conj(a: array, *, stream: StreamOrDevice = None) -> array:
    """Complex conjugate.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.conjugate(mx.array([1 + 2j]))
    array([1-2j], dtype=complex64)"""

def conjugate(a: array, *, stream: StreamOrDevice = None) -> array:
    """Complex conjugate.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.conjugate(mx.array([1 + 2j]))
    array([1-2j], dtype=complex64)"""

def contiguous(a: array, /, allow_col_major: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The array in row-major memory, so that its strides are those of its shape.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.contiguous(mx.arange(6).reshape(2, 3).T).shape
    (3, 2)"""

def conv1d(input: array, weight: array, /, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution (without flipping, a cross-correlation) along one axis.
   
    `stride` is the step of the window, `padding` the number of zeros at each end, `dilation`
    the distance between the weight's elements. With `groups`, each group of output channels
    reads its own part of the input channels.
   
    Shapes: `input (n, l, c)`, `weight (o, k, c / groups)`, the result `(n, l', o)`; others raise
    ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv1d(mx.arange(4.0).reshape(1, 4, 1), mx.ones((1, 2, 1))).reshape(-1)
    array([1, 3, 5], dtype=float32)"""

def conv2d(input: array, weight: array, /, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution along two axes; the arguments are those of `conv1d`, each one number for both
    axes or a pair.
   
    Shapes: `input (n, h, w, c)`, `weight (o, kh, kw, c / groups)`, the result `(n, h', w', o)`;
    others raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv2d(mx.ones((1, 4, 4, 1)), mx.ones((2, 3, 3, 1))).shape
    (1, 2, 2, 2)"""

def conv3d(input: array, weight: array, /, stride: int | tuple[int, int, int] = 1, padding: int | tuple[int, int, int] = 0, dilation: int | tuple[int, int, int] = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution along three axes; the arguments are those of `conv1d`, each one number for all
    axes or three.
   
    Shapes: `input (n, d, h, w, c)`, `weight (o, kd, kh, kw, c / groups)`, the result `(n, d',
    h', w', o)`; others raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv3d(mx.ones((1, 4, 4, 4, 1)), mx.ones((2, 3, 3, 3, 1))).shape
    (1, 2, 2, 2, 2)"""

def conv_general(input: array, weight: array, /, stride: int | Sequence[int] = 1, padding: int | Sequence[int] | tuple[Sequence[int], Sequence[int]] = 0, kernel_dilation: int | Sequence[int] = 1, input_dilation: int | Sequence[int] = 1, groups: int = 1, flip: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Convolution along any number of axes, with every option.
   
    `padding` may also be a pair of sequences, for the low and the high ends of the axes.
    `kernel_dilation` and `input_dilation` are the distances between the elements of the weight and
    of the input; `flip` reverses the weight along its spatial axes. Each option is one number for
    all axes or one for each.
   
    Shapes: `input (n, ..., c)`, `weight (o, ..., c / groups) -> (n, ..., o)`; others raise
    ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv_general(mx.ones((1, 5, 1)), mx.ones((1, 3, 1)), stride=2, padding=1).reshape(-1)
    array([2, 3, 2], dtype=float32)"""

def conv_transpose1d(input: array, weight: array, /, stride: int = 1, padding: int = 0, dilation: int = 1, output_padding: int = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along one axis: each input element adds a multiple of the weight to
    the output, `stride` apart.
   
    `padding` elements are cut off each end of the output, and `output_padding` are added at its
    far end. The other arguments are those of `conv1d`.
   
    Shapes: `input (n, l, c)`, `weight (o, k, c / groups)`, the result `(n, l', o)`; others raise
    ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv_transpose1d(mx.ones((1, 2, 1)), mx.ones((1, 2, 1)), stride=2).reshape(-1)
    array([1, 1, 1, 1], dtype=float32)"""

def conv_transpose2d(input: array, weight: array, /, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1, output_padding: int | tuple[int, int] = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along two axes; the arguments are those of `conv_transpose1d`, each one
    number for both axes or a pair.
   
    Shapes: `input (n, h, w, c)`, `weight (o, kh, kw, c / groups)`, the result `(n, h', w', o)`;
    others raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv_transpose2d(mx.ones((1, 2, 2, 1)), mx.ones((1, 2, 2, 1)), stride=2).shape
    (1, 4, 4, 1)"""

def conv_transpose3d(input: array, weight: array, /, stride: int | tuple[int, int, int] = 1, padding: int | tuple[int, int, int] = 0, dilation: int | tuple[int, int, int] = 1, output_padding: int | tuple[int, int, int] = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along three axes; the arguments are those of `conv_transpose1d`, each
    one number for all axes or three.
   
    Shapes: `input (n, d, h, w, c)`, `weight (o, kd, kh, kw, c / groups)`, the result `(n, d',
    h', w', o)`; others raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.conv_transpose3d(mx.ones((1, 2, 2, 2, 1)), mx.ones((1, 2, 2, 2, 1)), stride=2).shape
    (1, 4, 4, 4, 1)"""

def convolve(a: array, v: array, /, mode: str = 'full', *, stream: StreamOrDevice = None) -> array:
    """The discrete convolution of two vectors.
   
    Shapes: `(n), (m) -> (n + m - 1)`, with `mode` `"same"` of the longer one's size, with
    `"valid"` of n - m + 1.
    Dtypes: bool, integers, floats; others raise ValueError.
    Arguments other than non-empty vectors raise ValueError.
   
    >>> mx.convolve(mx.array([1.0, 2.0, 3.0]), mx.array([1.0, 1.0]))
    array([1, 3, 5, 3], dtype=float32)"""

def cos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Cosine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.cos(mx.array([0.0, 1.0]))
    array([1, 0.540302], dtype=float32)"""

def cosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic cosine, `(e^x + e^-x) / 2`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.cosh(mx.array([0.0, 1.0]))
    array([1, 1.54308], dtype=float32)"""

def count_nonzero(a: array, /, *, axis: None | int | Sequence[int] = None, keepdims: bool = False, stream: StreamOrDevice = None) -> array:
    """The number of non-zero elements over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.count_nonzero(mx.array([[1, 0], [2, 3]]), axis=0)
    array([2, 1], dtype=int32)"""

def cummax(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running maximum along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cummax(mx.array([1, 3, 2]))
    array([1, 3, 3], dtype=int32)"""

def cummin(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running minimum along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cummin(mx.array([3, 1, 2]))
    array([3, 1, 1], dtype=int32)"""

def cumprod(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running product along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cumprod(mx.array([1, 2, 3]))
    array([1, 2, 6], dtype=int32)"""

def cumsum(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running sum along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cumsum(mx.array([1, 2, 3]), reverse=True)
    array([6, 5, 3], dtype=int32)"""

def cumulative_prod(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running product along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cumprod(mx.array([1, 2, 3]))
    array([1, 2, 6], dtype=int32)"""

def cumulative_sum(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running sum along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.cumsum(mx.array([1, 2, 3]), reverse=True)
    array([6, 5, 3], dtype=int32)"""

def default_device() -> Device:
    """The device on which new work is placed.
   
    >>> mx.default_device()
    Device(cpu, 0)"""

def default_stream(device: Device | DeviceType) -> Stream:
    """The stream on which the device's new work is placed.
   
    An argument that is not a device raises TypeError.
   
    >>> mx.default_stream(mx.cpu)
    Stream(Device(cpu, 0), 0)"""

def degrees(a: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Radians to degrees.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.degrees(mx.array([mx.pi]))
    array([180], dtype=float32)"""

def depends(inputs: array | Sequence[array], dependencies: array | Sequence[array]) -> Any:
    """The inputs, evaluated only after the dependencies.
   
    Shapes: those of the inputs.
    Dtypes: all.
    An argument that is neither an array nor a sequence of arrays raises TypeError.
   
    >>> mx.depends(mx.array(1), mx.array(2))
    array(1, dtype=int32)"""

def dequantize(w: array, /, scales: array, biases: array | None = None, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', global_scale: array | None = None, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The matrix that a packed matrix stands for: the inverse of `quantize`, up to its rounding.
   
    `group_size`, `bits` and `mode` are those of `quantize`; `dtype` is that of the result, by default
    that of the scales.
   
    Shapes: packed `(..., n, k * bits / 32)`, scales and biases `(..., n, k / group_size) -> (...,
    n, k)`.
    Dtypes: float16 bfloat16 float32; others raise ValueError.
   
    >>> mx.dequantize(*mx.quantize(mx.ones((1, 64))))[0, :2]
    array([1, 1], dtype=float32)"""

def device_count(device_type: DeviceType) -> int:
    """How many devices of a type there are.
   
    An argument that is not a device type raises TypeError.
   
    >>> mx.device_count(mx.cpu)
    1"""

def device_info(d: None | Device | DeviceType = None) -> dict[str, str | int]:
    """Facts about a device.
   
    An argument that is not a device raises TypeError.
   
    >>> sorted(mx.device_info(mx.cpu))[:1] != []
    True"""

def diag(a: array, /, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The diagonal of a matrix, or the matrix with this diagonal.
   
    Shapes: `(n) -> (n + |k|, n + |k|)`, `(m, n) -> (l)` with the length l of the diagonal.
    Dtypes: all.
    Other numbers of axes raise ValueError.
   
    >>> mx.diag(mx.array([1, 2]))
    array([[1, 0],
           [0, 2]], dtype=int32)"""

def diagonal(a: array, offset: int = 0, axis1: int = 0, axis2: int = 1, stream: StreamOrDevice = None) -> array:
    """The diagonals of the matrices on two axes, as the last axis.
   
    Shapes: the two axes are left out, and the length of the diagonal is the last axis.
    Dtypes: all.
    An axis out of range raises IndexError; the same axis twice raises ValueError.
   
    >>> mx.diagonal(mx.arange(4).reshape(2, 2))
    array([0, 3], dtype=int32)"""

def diff(a: array, /, n: int = 1, axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """Differences of neighbours along an axis, taken `n` times.
   
    Shapes: the axis loses `n` elements.
    Dtypes: all.
    An axis out of range raises IndexError.
    A negative `n` raises ValueError.
   
    >>> mx.diff(mx.array([1, 4, 9]))
    array([3, 5], dtype=int32)"""

def disable_compile() -> None:
    """Makes compiled functions run as they are written, from now on.
   
    >>> mx.disable_compile()
    >>> mx.compile(lambda x: x + 1)(mx.array(1))
    array(2, dtype=int32)
    >>> mx.enable_compile()"""

def divide(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient; integers are divided as `float32`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.divide(mx.array([1, 2]), 4)
    array([0.25, 0.5], dtype=float32)"""

def divmod(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient rounded down, and remainder.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.divmod(mx.array([7, -7]), 3)
    [array([2, -3], dtype=int32), array([1, 2], dtype=int32)]"""

def einsum(subscripts: str, *operands: array, stream: StreamOrDevice = None) -> array:
    """Sums of products that letters describe: `einsum("ik,kj->ij", a, b)` is the matrix product.
   
    Shapes: a letter of an operand names an axis; those of the result are kept, others summed over.
    Dtypes: all.
    One letter with two sizes, and letters that do not fit the operands, raise ValueError.
   
    >>> mx.einsum("ij,j->i", mx.ones((2, 3)), mx.arange(3.0))
    array([3, 3], dtype=float32)"""

def einsum_path(subscripts: str, *operands: array) -> Any:
    """The order in which `einsum` contracts its operands, and a report of what it costs.
   
    Shapes: as in `einsum`.
    Dtypes: all.
    Subscripts that do not fit the operands raise ValueError.
   
    >>> mx.einsum_path("ij,jk->ik", mx.ones((2, 3)), mx.ones((3, 4)))[0]
    [(0, 1)]"""

def empty(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """An array whose values do not matter; here, zeros.
   
    Shapes: the one that is asked for.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
   
    >>> mx.empty((2, 3)).shape
    (2, 3)"""

def empty_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """An array of an array's shape whose values do not matter; here, zeros.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.empty_like(mx.ones((2, 3))).dtype
    mlx.core.float32"""

def enable_compile() -> None:
    """Makes compiled functions use their traces again.
   
    >>> mx.enable_compile()"""

def equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where equal.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.equal(mx.array([1, 2]), mx.array([1, 3]))
    array([True, False], dtype=bool)"""

def erf(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Error function, `2/sqrt(pi) * integral of e^(-t^2) from 0 to x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.erf(mx.array([0.0, 1.0]))
    array([0, 0.842701], dtype=float32)"""

def erfinv(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse of the error function on `(-1, 1)`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.erfinv(mx.array([0.0, 0.5]))
    array([0, 0.476936], dtype=float32)"""

def estimate(*args: Any, **kwargs: Any) -> Estimate:
    """What `eval(f(*args, **kwargs))` would take, without running it: `peak`, `kept` and `moved` bytes,
    `flops` and `steps`. Without a function, what the evaluation of the arrays in `args` would take.
    What `f` evaluates itself runs, and is not counted."""

def eval(*args: Any) -> None:
    """Computes the arrays of trees, and waits for them. Other leaves are ignored.
   
    Errors in the data (an index out of range, a singular matrix, too little memory) are raised
    here: IndexError, RuntimeError, MemoryError.
   
    On a GPU it returns once the work is queued there: call `mx.synchronize()` before reading a clock.
    Errors in the data then come with the values.
   
    >>> mx.eval(mx.ones(3) + 1)"""

def exp(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Exponential, `e^x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.exp(mx.array([0.0, 1.0]))
    array([1, 2.71828], dtype=float32)"""

def expand_dims(a: array, /, axis: int | Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with new axes of size 1.
   
    Shapes: axes of size 1 are put in.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.expand_dims(mx.ones(3), 0).shape
    (1, 3)"""

def explain(*args: Any, format: str = 'text', run: bool = False, **kwargs: Any) -> str:
    """How `eval(f(*args, **kwargs))` would run: its steps, with what the planner fused and rewrote.
    Without a function, how the evaluation of the arrays in `args` would. `format` is `text`, `json` or
    `html`, a page that needs nothing but itself; with `run` the steps run and are timed."""

def expm1(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`e^x - 1`, accurate near 0.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.expm1(mx.array([0.0, 1.0]))
    array([0, 1.71828], dtype=float32)"""

def export_function(file_or_callback: str | Callable[..., Any], fun: Callable[..., Any], *args: Any, shapeless: bool = False, metadata: str | None = None, **kwargs: Any) -> None:
    """Writes `fun`, recorded for the example arrays, to a file, or tells a callback of its parts.
   
    The arrays are given as `fun` takes them, or as one tuple and one dictionary; `fun` returns one
    array, or a tuple or list of them. Other arrays that it uses are constants in the file. With
    `shapeless` the function can be called with arrays of other sizes. Functions with transforms of
    their own are stored as what they compute.
   
    A callback gets dictionaries with the key `type`, which is `inputs`, `keyword_inputs`,
    `outputs`, `constants`, or, for each operation in order, `primitive`.
   
    Raises ValueError if an argument or a result is not an array, and RuntimeError if the file
    cannot be written.
   
    Shapes: those of the arrays with which it is recorded; any sizes if `shapeless`.
    Dtypes: those of the arrays with which it is recorded.
    A function that cannot be recorded raises ValueError; a file that cannot be written raises
    RuntimeError.
   
    >>> mx.export_function("f.lazulite", lambda x, y: mx.exp(x) + y, mx.zeros(3), y=mx.ones(3))
    >>> mx.import_function("f.lazulite")(mx.zeros(3), y=mx.zeros(3))
    (array([1, 1, 1], dtype=float32),)"""

def export_to_dot(file: Any, *args: Any, **kwargs: Any) -> None:
    """Writes the graph of lazy arrays in the language of Graphviz to a path or an open file. Keywords
    name arrays, and their graph is written, too.
   
    An argument that is not an array raises ValueError; a file that cannot be written raises
    OSError.
   
    >>> import io
    >>> file = io.StringIO()
    >>> mx.export_to_dot(file, mx.zeros(3) + 1)
    >>> file.getvalue().startswith("digraph")
    True"""

def exporter(file: str, fun: Callable[..., Any], *, shapeless: bool = False, metadata: str | None = None) -> FunctionExporter:
    """An object that records a function for several forms of its arguments, and writes all to one
    file.
   
    It is called with example arrays as `export_function` is, and used in a `with` block, at whose
    end the file is written.
   
    Shapes: those of the arrays with which it is recorded; any sizes if `shapeless`.
    Dtypes: those of the arrays with which it is recorded.
    A function that cannot be recorded raises ValueError; a file that cannot be written raises
    RuntimeError.
   
    >>> with mx.exporter("f.lazulite", lambda *xs: sum(xs)) as exporter:
    ...     exporter(mx.array(1))
    ...     exporter(mx.array(1), mx.array(2))
    >>> f = mx.import_function("f.lazulite")
    >>> f(mx.array(3)), f(mx.array(3), mx.array(4))
    ((array(3, dtype=int32),), (array(7, dtype=int32),))"""

def eye(n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones on the `k`-th diagonal of an `n` by `m` matrix.
   
    Shapes: `(n, m)`, m being n unless given.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError.
   
    >>> mx.eye(2)
    array([[1, 0],
           [0, 1]], dtype=float32)"""

def flatten(a: array, /, start_axis: int = 0, end_axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """The array with several axes joined into one.
   
    Shapes: the axes from `start_axis` to `end_axis` become one.
    Dtypes: all.
    A `start_axis` behind `end_axis` raises ValueError.
   
    >>> mx.flatten(mx.ones((2, 3, 4)), start_axis=1).shape
    (2, 12)"""

def flip(a: array, /, axis: None | int | Sequence[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The elements in reverse order along axes, or along all.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.flip(mx.array([1, 2, 3]))
    array([3, 2, 1], dtype=int32)"""

def floor(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The greatest integer not above `x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.floor(mx.array([1.7, -1.2]))
    array([1, -2], dtype=float32)"""

def floor_divide(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient rounded to the integer below; 0 for integers divided by 0.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.floor_divide(mx.array([7, -7]), 2)
    array([3, -4], dtype=int32)"""

def from_dlpack(x: Any, /, *, copy: bool | None = None) -> array:
    """An array with a copy of another library's tensor.
   
    Shapes: that of the other array.
    Dtypes: all.
    An object without `__dlpack__` raises AttributeError; memory on another device raises
    BufferError or ValueError.
   
    >>> mx.from_dlpack(mx.ones(2))
    array([1, 1], dtype=float32)"""

def from_fp8(x: array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The numbers that the 8 bits of `to_fp8` stand for.
   
    Shapes: any; the result has the shape of `x`.
    Dtypes: uint8; others raise ValueError.
   
    >>> mx.from_fp8(mx.to_fp8(mx.array([1.0, 3.3])))
    array([1, 3.25], dtype=bfloat16)"""

def full(shape: int | Sequence[int], vals: scalar | array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """A value, or values that broadcast, at every place of a shape.
   
    Shapes: the one that is asked for.
    Dtypes: all.
    A negative size, and values that do not broadcast to the shape, raise ValueError.
   
    >>> mx.full((2, 2), 3.0)
    array([[3, 3],
           [3, 3]], dtype=float32)"""

def full_like(a: array, vals: scalar | array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """A value at every place of an array's shape, of its dtype unless another is given.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    Values that do not broadcast to it raise ValueError.
   
    >>> mx.full_like(mx.array([1, 2]), 7)
    array([7, 7], dtype=int32)"""

def gather_mm(a: array, b: array, /, lhs_indices: array | None = None, rhs_indices: array | None = None, *, sorted_indices: bool = False, stream: StreamOrDevice = None) -> array:
    """Products of the matrices that indices pick: `a[lhs_indices[i]] @ b[rhs_indices[i]]`.
   
    Shapes: `a (..., m, k)`, `b (..., k, n)`, indices that broadcast to `I`; the result is `I + (m,
    n)`; others raise ValueError.
    Dtypes: floats, complex; others raise ValueError.
   
    >>> mx.gather_mm(mx.ones((1, 1, 2)), mx.stack([mx.eye(2), 2 * mx.eye(2)]),
    ...     rhs_indices=mx.array([1, 0])).reshape(2, 2)
    array([[2, 2],
           [1, 1]], dtype=float32)"""

def gather_qmm(x: array, w: array, /, scales: array, biases: array | None = None, lhs_indices: array | None = None, rhs_indices: array | None = None, transpose: bool = True, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', global_scale: array | None = None, *, sorted_indices: bool = False, stream: StreamOrDevice = None) -> array:
    """Products of the matrices that indices pick: row `i` of the result's leading axes multiplies
    `x[lhs_indices[i]]` with `w[rhs_indices[i]]` (its transpose, by default), which is packed.
   
    Shapes: `x (..., m, k)`, packed matrices `(e, n, k * bits / 32)` if `transpose`; the indices
    broadcast: `(*indices, m, n)`.
    Dtypes: bool, integers, float16 bfloat16 float32; others raise ValueError.
   
    >>> mx.gather_qmm(mx.ones((1, 1, 64)), *mx.quantize(mx.ones((2, 3, 64))),
    ...     rhs_indices=mx.array([1])).shape
    (1, 1, 3)"""

def gather_qqmm(x: array, w: array, /, scales: array | None = None, lhs_indices: array | None = None, rhs_indices: array | None = None, group_size: int | None = None, bits: int | None = None, mode: str = 'nvfp4', global_scale_x: array | None = None, global_scale_w: array | None = None, *, sorted_indices: bool = False, stream: StreamOrDevice = None) -> array:
    """`qqmm` of the matrices that indices pick: `x[lhs_indices[i]] @ w[rhs_indices[i]].T`.
   
    Indices count the leading axes of `x (..., m, k)` and `w (..., n, k)` as one; those that are not
    given are all in order. They broadcast to a shape `I`, and the result has shape `I + (m, n)`.
   
    Dtypes: float16 bfloat16 float32; others raise ValueError.
    Shapes and dtypes that do not fit, and last axes without whole groups, raise ValueError.
   
    >>> w = mx.stack([mx.eye(32), 2 * mx.eye(32)])
    >>> picked = mx.gather_qqmm(mx.ones((1, 32)), w, rhs_indices=mx.array([1, 0]), mode="mxfp8")
    >>> picked[:, 0, 0]
    array([2, 1], dtype=float32)"""

def get_active_memory() -> int:
    """Bytes in live buffers.
   
    >>> mx.get_active_memory() >= 0
    True"""

def get_array_buffer_size(*args: Any) -> int:
    """The bytes of the buffers behind evaluated arrays, each counted once. An array that is not
    evaluated raises ValueError.
   
    >>> x = mx.arange(4)
    >>> mx.eval(x)
    >>> mx.get_array_buffer_size(x) >= 16
    True"""

def get_cache_memory() -> int:
    """Bytes kept for reuse.
   
    >>> mx.get_cache_memory() >= 0
    True"""

def get_memory_limit() -> int:
    """Live bytes above which an allocation is refused.
   
    >>> mx.get_memory_limit() > 0
    True"""

def get_peak_memory() -> int:
    """The most bytes that were live at once since the last reset.
   
    >>> mx.get_peak_memory() >= 0
    True"""

def get_printoptions() -> PrintOptions:
    """The print options in force.
   
    >>> mx.get_printoptions().precision
    -1"""

def grad(fun: _F, argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = ...) -> Callable[..., Any]:
    """A function that returns the gradient of `fun`.
   
    `fun` returns a 0-d array, or a tuple or list that begins with one, which is differentiated.
    `argnums` (an index or several, 0 by default) picks positional arguments and `argnames` (a name
    or several) keyword arguments; each may be a tree of arrays. The gradient of one index has the
    form of that argument, that of several is a tuple. With `argnames` the result is a pair: the
    positional gradients, or None, and a dict by name.
   
    Shapes: each gradient has that of its argument; the function returns one number.
    Dtypes: gradients have those of their arguments, floats or complex.
    Any other result, and an argument that is missing or not an array, raise ValueError.
   
    >>> mx.grad(lambda x: (x**2).sum())(mx.array([1.0, 2.0]))
    array([2, 4], dtype=float32)"""

def greater(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x > y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.greater(mx.array([1, 3]), 2)
    array([False, True], dtype=bool)"""

def greater_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x >= y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.greater_equal(mx.array([1, 2]), 2)
    array([False, True], dtype=bool)"""

def hadamard_transform(a: array, scale: float | None = None, stream: StreamOrDevice = None) -> array:
    """`scale * H a` over the last axis with a Hadamard matrix H; `1 / sqrt(n)` is the scale if None.
   
    Shapes: The last axis has `m * 2^k` elements, for m of 1, 12, 20 or 28; others raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.hadamard_transform(mx.array([1.0, 0.0]), scale=1.0)
    array([1, 1], dtype=float32)"""

def hamming(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Hamming window, `0.54 - 0.46 cos(t)`.
   
    Shapes: `(M)`.
    Dtypes: float32.
    A value that is not an integer raises TypeError.
   
    >>> mx.hamming(3)
    array([0.08, 1, 0.08], dtype=float32)"""

def hanning(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Hann window, `0.5 - 0.5 cos(t)`.
   
    Shapes: `(M)`.
    Dtypes: float32.
    A value that is not an integer raises TypeError.
   
    >>> mx.hanning(3)
    array([0, 1, 0], dtype=float32)"""

def identity(n: int, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The identity matrix.
   
    Shapes: `(n, n)`.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError.
   
    >>> mx.identity(2)
    array([[1, 0],
           [0, 1]], dtype=float32)"""

def imag(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Imaginary part.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.imag(mx.array([1 + 2j]))
    array([2], dtype=float32)"""

def import_function(file: str, return_metadata: bool = False) -> Callable[..., Any] | tuple[Callable[..., Any], str]:
    """The function in a file that `export_function` or an `exporter` wrote; with `return_metadata`
    also the text that was saved with it.
   
    The function takes arrays as it was recorded for, one by one or as one tuple and one
    dictionary, and returns a tuple of arrays. It can be differentiated, batched and compiled.
   
    Raises RuntimeError if the file cannot be read or is damaged; the function raises ValueError if
    nothing was recorded for arrays of such shapes and dtypes.
   
    Shapes: those that were recorded.
    Dtypes: those that were recorded.
    A file that is missing or damaged raises RuntimeError; a call that was not recorded raises
    ValueError.
   
    >>> mx.export_function("f.lazulite", mx.sin, mx.zeros(2), shapeless=True, metadata="a sine")
    >>> f, text = mx.import_function("f.lazulite", return_metadata=True)
    >>> mx.grad(lambda x: f(x)[0].sum())(mx.zeros(3)), text
    (array([1, 1, 1], dtype=float32), 'a sine')"""

def inner(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """The sum of products along both last axes.
   
    Shapes: `(..., k), (..., k)`: the other axes of `a`, then those of `b`.
    Dtypes: all.
    Last axes of different sizes raise ValueError.
   
    >>> mx.inner(mx.array([1, 2]), mx.array([3, 4]))
    array(11, dtype=int32)"""

def is_available(device: Device | DeviceType) -> bool:
    """True if the device can be used.
   
    An argument that is not a device raises TypeError.
   
    >>> mx.is_available(mx.cpu)
    True"""

def isclose(a: array, b: array, /, rtol: float = 1e-05, atol: float = 1e-08, *, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True where `|a - b| <= atol + rtol * |b|`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.isclose(mx.array([1.0, 2.0]), mx.array([1.000001, 2.1]))
    array([True, False], dtype=bool)"""

def isdtype(dtype: Dtype, kind: Dtype | str | tuple[Dtype | str, ...]) -> bool:
    """True if the dtype is of the given kind: a dtype, one of the names 'bool', 'signed integer',
    'unsigned integer', 'integral', 'real floating', 'complex floating', 'numeric', or a tuple.
   
    An argument that is not a dtype raises TypeError; an unknown kind raises ValueError.
   
    >>> mx.isdtype(mx.float16, "real floating")
    True"""

def isfinite(a: array, stream: StreamOrDevice = None) -> array:
    """True where neither infinite nor NaN.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.isfinite(mx.array([1.0, mx.inf, mx.nan]))
    array([True, False, False], dtype=bool)"""

def isinf(a: array, stream: StreamOrDevice = None) -> array:
    """True where infinite.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.isinf(mx.array([1.0, -mx.inf]))
    array([False, True], dtype=bool)"""

def isnan(a: array, stream: StreamOrDevice = None) -> array:
    """True where NaN.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.isnan(mx.array([1.0, mx.nan]))
    array([False, True], dtype=bool)"""

def isneginf(a: array, stream: StreamOrDevice = None) -> array:
    """True where negative infinity.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.isneginf(mx.array([mx.inf, -mx.inf]))
    array([False, True], dtype=bool)"""

def isposinf(a: array, stream: StreamOrDevice = None) -> array:
    """True where positive infinity.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.isposinf(mx.array([mx.inf, -mx.inf]))
    array([True, False], dtype=bool)"""

def issubdtype(arg1: Dtype | DtypeCategory, arg2: Dtype | DtypeCategory) -> bool:
    """True if the first dtype or category is the second one or lies within it.
   
    An argument that is neither a dtype nor a category raises TypeError.
   
    >>> mx.issubdtype(mx.float16, mx.floating)
    True"""

def jvp(fun: Callable[..., Any], primals: list[array], tangents: list[array]) -> tuple[list[array], list[array]]:
    """The outputs of `fun(*primals)`, and the products of its Jacobian with the tangents (forward
    mode): two lists.
   
    Shapes: a tangent for each primal, of its shape; the results have those of the outputs.
    Dtypes: those of the primals and of the outputs.
    Tangents of other shapes or of another number raise ValueError.
   
    >>> mx.jvp(mx.sin, [mx.array(0.0)], [mx.array(2.0)])
    ([array(0, dtype=float32)], [array(2, dtype=float32)])"""

def kron(a: array, b: array, *, stream: StreamOrDevice = None) -> array:
    """The Kronecker product.
   
    Shapes: the sizes of each axis multiplied; the operand of fewer axes gets axes of 1 in front.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.kron(mx.array([1, 2]), mx.array([1, 1]))
    array([1, 1, 2, 2], dtype=int32)"""

def left_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x * 2^y`; 0 where `y` is not below the width.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.left_shift(mx.array([1, 2]), 3)
    array([8, 16], dtype=int32)"""

def less(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x < y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.less(mx.array([1, 3]), 2)
    array([True, False], dtype=bool)"""

def less_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x <= y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.less_equal(mx.array([2, 3]), 2)
    array([True, False], dtype=bool)"""

def linspace(start: scalar, stop: scalar, num: int | None = 50, endpoint: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """`num` evenly spaced values from `start` to `stop`, the latter included unless `endpoint` says
    otherwise.
   
    Shapes: `(num)`.
    Dtypes: any, float32 unless one is asked for.
    A negative number raises ValueError.
   
    >>> mx.linspace(0, 1, 3)
    array([0, 0.5, 1], dtype=float32)"""

def load(file: File, /, format: str | None = None, return_metadata: bool = False, *, keep_quantized: Any = False, stream: StreamOrDevice = None) -> array | dict[str, array] | tuple[dict[str, array], dict[str, Any]]:
    """The array or the arrays of a file, read when they are first needed.
   
    The format (npy, npz, safetensors or GGUF) is told from the contents of the file. npy gives one
    array, the others a dict of arrays; with `return_metadata`, safetensors and GGUF give a pair of
    that dict and one of metadata. A file that cannot be read, or has another format, raises
    RuntimeError.
   
    Of GGUF's quantised types, Q4_0, Q4_1 and Q8_0 stay quantised and others become float16; with
    `keep_quantized`, a parameter that MLX lacks, Q5_0, Q5_1 and Q2_K to Q6_K stay, too.
   
    Shapes: those of the file.
    Dtypes: those of the file.
   
    >>> mx.save("x.npy", mx.ones(2))
    >>> mx.load("x.npy")
    array([1, 1], dtype=float32)"""

def log(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Natural logarithm.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.log(mx.array([1.0, 2.0]))
    array([0, 0.693147], dtype=float32)"""

def log10(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logarithm to base 10.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.log10(mx.array([1.0, 100.0]))
    array([0, 2], dtype=float32)"""

def log1p(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`log(1 + x)`, accurate near 0.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.log1p(mx.array([0.0, 1.0]))
    array([0, 0.693147], dtype=float32)"""

def log2(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logarithm to base 2.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.log2(mx.array([1.0, 8.0]))
    array([0, 3], dtype=float32)"""

def logaddexp(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`log(e^x + e^y)` without overflow.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.logaddexp(mx.array([0.0]), mx.array([0.0]))
    array([0.693147], dtype=float32)"""

def logcumsumexp(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running `log(sum(exp(a)))` along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.logcumsumexp(mx.array([0.0, 0.0]))
    array([0, 0.693147], dtype=float32)"""

def logical_and(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where both are non-zero.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.logical_and(mx.array([True, False]), mx.array([True, True]))
    array([True, False], dtype=bool)"""

def logical_not(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where `x` is zero.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.logical_not(mx.array([0, 2]))
    array([True, False], dtype=bool)"""

def logical_or(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where one is non-zero.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.logical_or(mx.array([True, False]), mx.array([False, False]))
    array([True, False], dtype=bool)"""

def logical_xor(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """True where exactly one is non-zero.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.logical_xor(mx.array([True, False]), mx.array([True, True]))
    array([False, True], dtype=bool)"""

def logsumexp(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """`log(sum(exp(a)))` over axes, without overflow.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.logsumexp(mx.array([1000.0, 1000.0]))
    array(1000.69, dtype=float32)"""

def matmul(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """Matrix product; leading axes broadcast, a vector is a row on the left and a column on the right.
   
    Shapes: `a (..., m, k)`, `b (..., k, n)`, whose leading axes broadcast, the result `(..., m,
    n)`; an operand of one axis is a row or a column; others raise ValueError.
    Dtypes: all.
   
    >>> mx.matmul(mx.ones((2, 3)), mx.arange(3.0))
    array([3, 3], dtype=float32)"""

def matrix_norm(a: array, /, ord: None | int | float | str = None, axis: None | int | list[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.linalg.norm(mx.array([3.0, 4.0]))
    array(5, dtype=float32)"""

def matrix_transpose(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array with its last two axes exchanged.
   
    Shapes: `(..., m, n) -> (..., n, m)`.
    Dtypes: all.
    Fewer than two axes raise IndexError, here also a ValueError.
   
    >>> mx.matrix_transpose(mx.ones((2, 3))).shape
    (3, 2)"""

def max(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Greatest element over axes; NaN if one is NaN.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.max(mx.array([[1, 5], [7, 3]]), axis=0)
    array([7, 5], dtype=int32)"""

def maximum(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """The greater of two; NaN if one is NaN. On a tie the derivative goes to `y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.maximum(mx.array([1, 5]), 3)
    array([3, 5], dtype=int32)"""

def mean(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Mean over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.mean(mx.array([[1, 2], [3, 6]]), axis=1)
    array([1.5, 4.5], dtype=float32)"""

def median(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Median over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.median(mx.array([3.0, 1.0, 2.0, 10.0]))
    array(2.5, dtype=float32)"""

def meshgrid(*arrays: Any, sparse: bool | None = ..., indexing: str | None = ..., stream: StreamOrDevice = None) -> tuple[array, ...]:
    """Coordinate arrays of a grid, one for each vector.
   
    Shapes: vectors of n, m, ... elements make arrays `(m, n, ...)`, or `(n, m, ...)` with
    `indexing="ij"`.
    Dtypes: all.
    Arrays of more axes and an unknown `indexing` raise ValueError.
   
    >>> mx.meshgrid(mx.array([1, 2]), mx.array([3, 4]))[0]
    array([[1, 2],
           [1, 2]], dtype=int32)"""

def min(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Least element over axes; NaN if one is NaN.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.min(mx.array([[1, 5], [7, 3]]), axis=0)
    array([1, 3], dtype=int32)"""

def minimum(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """The lesser of two; NaN if one is NaN. On a tie the derivative goes to `y`.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.minimum(mx.array([1, 5]), 3)
    array([1, 3], dtype=int32)"""

def minmax(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Least and greatest element over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An empty axis raises ValueError.
   
    >>> mx.minmax(mx.array([3, 1, 2]))
    (array(1, dtype=int32), array(3, dtype=int32))"""

def moveaxis(a: array, /, source: int, destination: int, *, stream: StreamOrDevice = None) -> array:
    """The array with an axis moved to another place.
   
    Shapes: the sizes go with their axes.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.moveaxis(mx.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)"""

def multiply(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Product.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.multiply(mx.array([1, 2]), 1.5)
    array([1.5, 3], dtype=float32)"""

def nan_to_num(a: scalar | array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *, stream: StreamOrDevice = None) -> array:
    """NaN and infinities replaced by numbers; infinities by the greatest finite ones if not given.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: bool, integers, floats; others raise ValueError.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.nan_to_num(mx.array([mx.nan, 1.0]))
    array([0, 1], dtype=float32)"""

def negative(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Negation; unsigned integers wrap.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: integers, floats, complex; others raise ValueError.
   
    >>> mx.negative(mx.array([1, -2]))
    array([-1, 2], dtype=int32)"""

def new_stream(device: Device | DeviceType) -> Stream:
    """A new stream on a device.
   
    An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
   
    >>> mx.new_stream(mx.cpu).device
    Device(cpu, 0)"""

def new_thread_local_stream(device: Device | DeviceType) -> ThreadLocalStream:
    """A new stream for use from many threads.
   
    An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
   
    >>> mx.new_thread_local_stream(mx.cpu).device
    Device(cpu, 0)"""

def new_thread_unsafe_stream(device: Device | DeviceType) -> Stream:
    """A new stream on a device; here all streams may be used from every thread.
   
    An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
   
    >>> mx.new_thread_unsafe_stream(mx.cpu).device
    Device(cpu, 0)"""

def nonzero(a: Any, /, *, stream: StreamOrDevice = None) -> Any:
    """The places of the non-zero elements, one array for each axis. It evaluates its argument.
   
    >>> mx.nonzero(mx.array([0, 3, 0, 4]))
    (array([1, 3], dtype=int32),)"""

def not_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where different; NaN differs from itself.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.not_equal(mx.array([1, 2]), mx.array([1, 3]))
    array([False, True], dtype=bool)"""

def ones(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones.
   
    Shapes: the one that is asked for.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
   
    >>> mx.ones((2, 2), mx.int32)
    array([[1, 1],
           [1, 1]], dtype=int32)"""

def ones_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones of an array's shape, and of its dtype unless another is given.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.ones_like(mx.array([3.0]))
    array([1], dtype=float32)"""

def outer(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """All products of an element of one flattened array and one of the other.
   
    Shapes: `(m), (n) -> (m, n)`; others are flattened first.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.outer(mx.array([1, 2]), mx.array([3, 4]))
    array([[3, 4],
           [6, 8]], dtype=int32)"""

def pad(a: array, pad_width: int | tuple[int, int] | list[tuple[int, int]], mode: Literal['constant', 'edge', 'reflect', 'symmetric'] = 'constant', constant_values: scalar | array | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with elements put around it.
   
    Shapes: each axis grows by its two widths.
    Dtypes: all.
    An unknown mode, and widths that are neither one for all nor two for each axis, raise ValueError
    or TypeError.
   
    >>> mx.pad(mx.array([1, 2]), (1, 2))
    array([0, 1, 2, 0, 0], dtype=int32)"""

def partition(a: array, /, kth: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The elements with the `kth` at its place in the order, lesser ones before and greater ones
    behind it.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.partition(mx.array([3, 1, 2]), 1)[1]
    array(2, dtype=int32)"""

def permute_dims(a: array, /, axes: Sequence[int] | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with its axes permuted; reversed if none are given.
   
    Shapes: the sizes go with their axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    An axis given twice raises ValueError.
   
    >>> mx.transpose(mx.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)"""

def positive(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array itself.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.positive(mx.array([-1]))
    array([-1], dtype=int32)"""

def pow(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`x` to the power `y`; a negative integer exponent of an integer gives 0 unless `x` is 1 or -1.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.power(mx.array([2.0, 3.0]), 2)
    array([4, 9], dtype=float32)"""

def power(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`x` to the power `y`; a negative integer exponent of an integer gives 0 unless `x` is 1 or -1.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.power(mx.array([2.0, 3.0]), 2)
    array([4, 9], dtype=float32)"""

def printoptions(precision: int = ...) -> _PrintOptionsContext:
    """A context with other print options.
   
    A precision that is not an integer raises TypeError.
   
    >>> with mx.printoptions(precision=2):
    ...     print(mx.array(3.14159))
    array(3.14, dtype=float32)"""

def prod(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Product over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.prod(mx.array([1, 2, 3]))
    array(6, dtype=int32)"""

def put_along_axis(a: array, /, indices: array, values: array, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with elements replaced at places of one axis.
   
    Shapes: that of `a`; `indices` and `values` have as many axes, and broadcast to it elsewhere.
    Dtypes: all.
    An axis out of range raises IndexError.
    Other numbers of axes raise ValueError.
   
    >>> mx.put_along_axis(mx.zeros((2, 2)), mx.array([[0], [1]]), mx.array(5.0), axis=1)
    array([[5, 0],
           [0, 5]], dtype=float32)"""

def qqmm(x: array, w: array, scales: array | None = None, group_size: int | None = None, bits: int | None = None, mode: str = 'nvfp4', global_scale_x: array | None = None, global_scale_w: array | None = None, *, stream: StreamOrDevice = None) -> array:
    """`x @ w.T` with both sides rounded to a format: `x`, which is quantised on the way, and `w`,
    which is packed words with their scales, or is quantised on the way, too.
   
    Modes are `nvfp4`, `mxfp4` and `mxfp8`. The global scales, for nvfp4, are the largest magnitudes
    of both sides. Derivatives take the rounding for the identity.
   
    Shapes: `x (..., m, k)` or `(k,)`, `w (..., n, k)`, the result `(..., m, n)`.
    Dtypes: float16 bfloat16 float32; others raise ValueError.
    Last axes that differ or do not hold whole groups raise ValueError.
   
    >>> w = mx.eye(32)
    >>> mx.qqmm(mx.full((1, 32), 1.5), *mx.quantize(w, mode="mxfp8"), mode="mxfp8")[0, :2]
    array([1.5, 1.5], dtype=float32)"""

def quantize(w: array, /, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', *, global_scale: array | None = None, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """The packed matrix, its scales and, in affine mode, its biases.
   
    Each group of `group_size` neighbours along the last axis shares a scale. In mode `affine` an
    element is `scale * q + bias` with an unsigned integer q of `bits` bits (64 and 4 by default);
    the modes `mxfp4`, `mxfp8` and `nvfp4` store small floating numbers and no biases.
   
    Shapes: the last axis has whole groups; packed words `(..., k * bits / 32)` of uint32, scales
    and biases `(..., k / group_size)`; others raise ValueError.
    Dtypes: float16 bfloat16 float32; others raise ValueError.
   
    >>> [p.shape for p in mx.quantize(mx.ones((2, 64)))]
    [(2, 8), (2, 1), (2, 1)]"""

def quantized_matmul(x: array, w: array, /, scales: array, biases: array | None = None, transpose: bool = True, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', *, stream: StreamOrDevice = None) -> array:
    """The product of `x` with a packed matrix (its transpose, by default).
   
    `w`, `scales` and `biases` are what `quantize` returned for the same `group_size`, `bits` and
    `mode`.
   
    Shapes: `x (..., m, k)`, `w` of `(..., n, k)` if `transpose`, else of `(..., k, n)`; others
    raise ValueError.
    Dtypes: bool, integers, float16 bfloat16 float32; others raise ValueError.
   
    >>> mx.quantized_matmul(mx.ones((1, 64)), *mx.quantize(mx.ones((2, 64))))
    array([[64, 64]], dtype=float32)"""

def radians(a: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Degrees to radians.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.radians(mx.array([180.0]))
    array([3.14159], dtype=float32)"""

def real(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Real part.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.real(mx.array([1 + 2j]))
    array([1], dtype=float32)"""

def reciprocal(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`1 / x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.reciprocal(mx.array([2.0, 4.0]))
    array([0.5, 0.25], dtype=float32)"""

def remainder(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Remainder of floor division, with the sign of `y`; 0 for integers divided by 0.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.remainder(mx.array([7, -7]), 3)
    array([1, 2], dtype=int32)"""

def repeat(array: array, repeats: int, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """Each element repeated along an axis, or of the flattened array.
   
    Shapes: the axis times `repeats`; flattened first without one.
    Dtypes: all.
    An axis out of range raises IndexError.
    A negative number raises ValueError.
   
    >>> mx.repeat(mx.array([1, 2]), 2)
    array([1, 1, 2, 2], dtype=int32)"""

def reset_peak_memory() -> None:
    """Sets the peak to the live bytes.
   
    >>> mx.reset_peak_memory()"""

def reshape(a: array, /, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The same elements in another shape, in row-major order.
   
    Shapes: any with as many elements; a size of -1 is computed from the others.
    Dtypes: all.
    Sizes that do not fit raise ValueError.
   
    >>> mx.reshape(mx.arange(6), (2, -1))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=int32)"""

def result_type(*arrays_and_dtypes: Any) -> Dtype:
    """The dtype to which arrays and dtypes are promoted together.
   
    An argument that is neither an array nor a dtype raises TypeError.
   
    >>> mx.result_type(mx.array([1]), mx.float16)
    mlx.core.float16"""

def right_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x / 2^y` rounded down; the sign alone where `y` is not below the width.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: bool, integers; others raise ValueError.
   
    >>> mx.right_shift(mx.array([8, 9]), 2)
    array([2, 2], dtype=int32)"""

def roll(a: array, shift: int | tuple[int], /, axis: None | int | tuple[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The elements moved along axes, around the end; without axes, of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
    Different numbers of shifts and axes raise ValueError.
   
    >>> mx.roll(mx.array([1, 2, 3]), 1)
    array([3, 1, 2], dtype=int32)"""

def round(a: array, /, decimals: int = 0, stream: StreamOrDevice = None) -> array:
    """Rounded to a number of decimals, halves to even.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is neither an array nor a number raises ValueError.
   
    >>> mx.round(mx.array([0.5, 1.5, 2.37]), 1)
    array([0.5, 1.5, 2.4], dtype=float32)"""

def rsqrt(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`1 / sqrt(x)`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.rsqrt(mx.array([4.0]))
    array([0.5], dtype=float32)"""

def save(file: File, arr: array) -> None:
    """Saves an array in the npy format.
   
    Shapes: any.
    Dtypes: all.
    A file that cannot be written raises RuntimeError; a value that is not an array raises
    TypeError.
   
    >>> mx.save("x.npy", mx.ones(2))"""

def save_gguf(file: File, arrays: dict[str, array], metadata: dict[str, array | str | list[str]] | None = None) -> Any:
    """Saves named arrays, and metadata, in the GGUF format.
   
    Shapes: any.
    Dtypes: float32, float16, bfloat16, int8, int16, int32; others raise ValueError.
    A file that cannot be written raises RuntimeError; a value that is not an array raises
    TypeError.
   
    >>> mx.save_gguf("x.gguf", {"a": mx.ones(2)})"""

def save_safetensors(file: File, arrays: dict[str, array], metadata: dict[str, str] | None = None) -> Any:
    """Saves named arrays, and text metadata, in the safetensors format.
   
    Shapes: any.
    Dtypes: all.
    A file that cannot be written raises RuntimeError; a value that is not an array raises
    TypeError.
   
    >>> mx.save_safetensors("x.safetensors", {"a": mx.ones(2)})"""

def savez(file: File, *args: Any, **kwargs: Any) -> Any:
    """Saves arrays in the npz format, under their keywords or as `arr_0`, `arr_1`, ...
   
    Shapes: any.
    Dtypes: all.
    A file that cannot be written raises RuntimeError; a value that is not an array raises
    TypeError.
   
    >>> mx.savez("x.npz", a=mx.ones(2))"""

def savez_compressed(file: File, *args: Any, **kwargs: Any) -> Any:
    """As `savez`, compressed.
   
    Shapes: any.
    Dtypes: all.
    A file that cannot be written raises RuntimeError; a value that is not an array raises
    TypeError.
   
    >>> mx.savez_compressed("x.npz", a=mx.ones(2))"""

def searchsorted(sorted_sequence: array, values: array, /, side: str = 'left', *, stream: StreamOrDevice = None) -> array:
    """Where values could be put into a sorted vector: before equal elements, or behind them if `side`
    is "right". `(n), (...) -> (...)`.
   
    Shapes: `sorted_sequence (n)`; the result has the shape of `values`.
    Dtypes: bool, integers, floats; others raise ValueError.
    A sequence that is not a vector and an unknown `side` raise ValueError.
   
    >>> mx.searchsorted(mx.array([1, 3, 5]), mx.array([0, 3, 9]))
    array([0, 1, 3], dtype=uint32)"""

def segmented_mm(a: array, b: array, /, segments: array, *, stream: StreamOrDevice = None) -> array:
    """The product over each range of the inner axis; `segments` holds the ends of the ranges:
    `(m, k), (k, n), (..., 2) -> (..., m, n)`.
   
    Shapes: `a (m, k)`, `b (k, n)`, `segments (..., 2)`, the result `(..., m, n)`; others raise
    ValueError.
    Dtypes: all.
   
    >>> mx.segmented_mm(mx.ones((1, 4)), mx.ones((4, 1)), mx.array([[0, 1], [1, 4]],
    ...     mx.uint32)).reshape(-1)
    array([1, 3], dtype=float32)"""

def set_cache_limit(limit: int) -> int:
    """Sets the bytes above which freed buffers are not kept; returns the former limit.
   
    A negative number raises ValueError.
   
    >>> mx.set_cache_limit(2**30) >= 0
    True"""

def set_default_device(device: Device | DeviceType) -> None:
    """Makes a device the one on which new work is placed.
   
    An argument that is not a device raises TypeError; an unavailable device raises ValueError.
   
    >>> mx.set_default_device(mx.cpu)"""

def set_default_stream(stream: Stream) -> None:
    """Makes a stream the default of its device.
   
    An argument that is not a stream raises TypeError.
   
    >>> mx.set_default_stream(mx.default_stream(mx.cpu))"""

def set_memory_limit(limit: int) -> int:
    """Sets the live bytes above which an allocation is refused; returns the former limit.
   
    A negative number raises ValueError.
   
    >>> mx.set_memory_limit(mx.get_memory_limit()) > 0
    True"""

def set_printoptions(precision: int = ...) -> None:
    """Sets the print options: digits behind the point, or -1 for six significant digits.
   
    A precision that is not an integer raises TypeError.
   
    >>> mx.set_printoptions(precision=2)
    >>> mx.array(3.14159)
    array(3.14, dtype=float32)
    >>> mx.set_printoptions(precision=-1)"""

def set_wired_limit(limit: int) -> int:
    """Sets the bytes that may be kept resident, where the system knows such a limit; returns the
    former one.
   
    A negative number raises ValueError.
   
    >>> mx.set_wired_limit(0) >= 0
    True"""

def sigmoid(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logistic function, `1 / (1 + e^-x)`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.sigmoid(mx.array([0.0, 2.0]))
    array([0.5, 0.880797], dtype=float32)"""

def sign(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """-1, 0 or 1 after the sign of `x`; `x / |x|` for complex numbers; NaN for NaN.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.sign(mx.array([-2.0, 0.0, 3.0]))
    array([-1, 0, 1], dtype=float32)"""

def sin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Sine.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.sin(mx.array([0.0, 1.0]))
    array([0, 0.841471], dtype=float32)"""

def sinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic sine, `(e^x - e^-x) / 2`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.sinh(mx.array([0.0, 1.0]))
    array([0, 1.1752], dtype=float32)"""

def slice(a: array, start_indices: array, axes: Sequence[int], slice_size: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """A slice whose first place along some axes is an array.
   
    Shapes: the sizes of `slice_size`.
    Dtypes: all.
    An axis out of range raises IndexError.
    Anything but one index for each axis, and a part that does not fit, raise ValueError.
   
    >>> mx.slice(mx.arange(5), mx.array([2]), (0,), (2,))
    array([2, 3], dtype=int32)"""

def slice_update(a: array, update: array, start_indices: array, axes: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with a slice replaced whose first place along some axes is an array.
   
    Shapes: that of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
    Anything but one index for each axis, and a part that does not fit, raise ValueError.
   
    >>> mx.slice_update(mx.zeros(3), mx.ones(1), mx.array([1]), (0,))
    array([0, 1, 0], dtype=float32)"""

def softmax(a: array, /, axis: None | int | Sequence[int] = None, *, precise: bool = False, stream: StreamOrDevice = None) -> array:
    """`exp(a) / sum(exp(a))` over axes, computed in float32 at least.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.softmax(mx.array([0.0, 0.0]))
    array([0.5, 0.5], dtype=float32)"""

def sort(a: array, /, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The elements in ascending order along an axis, or of the flattened array.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.sort(mx.array([3, 1, 2]))
    array([1, 2, 3], dtype=int32)"""

def split(a: array, /, indices_or_sections: int | Sequence[int], axis: int = 0, *, stream: StreamOrDevice = None) -> array:
    """Equal parts along an axis, or parts cut before the given places.
   
    Shapes: the axis in equal sections, or cut at the indices.
    Dtypes: all.
    An axis out of range raises IndexError.
    An axis that cannot be cut into equal parts raises ValueError.
   
    >>> [p.shape for p in mx.split(mx.ones((4, 2)), 2)]
    [(2, 2), (2, 2)]"""

def sqrt(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Square root.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.sqrt(mx.array([4.0, 2.0]))
    array([2, 1.41421], dtype=float32)"""

def square(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`x * x`.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.square(mx.array([3, -4]))
    array([9, 16], dtype=int32)"""

def squeeze(a: array, /, axis: None | int | Sequence[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The array without axes of size 1, or without those that are given.
   
    Shapes: axes of size 1 are left out.
    Dtypes: all.
    An axis out of range raises IndexError.
    An axis of another size raises ValueError.
   
    >>> mx.squeeze(mx.ones((1, 3, 1))).shape
    (3,)"""

def stack(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """Arrays of one shape joined along a new axis; flattened first if it is None.
   
    Shapes: those of the arrays with the new axis, which has their number.
    Dtypes: all.
    An empty list and arrays of different shapes raise ValueError.
    An axis out of range raises IndexError.
   
    >>> mx.stack([mx.array([1, 2]), mx.array([3, 4])], axis=1)
    array([[1, 3],
           [2, 4]], dtype=int32)"""

def std(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
    """Standard deviation over axes: the square root of `var`.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.std(mx.array([1.0, 3.0]))
    array(1, dtype=float32)"""

def stop_gradient(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array, through which no derivative passes.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.grad(lambda x: (mx.stop_gradient(x) * x).sum())(mx.array([3.0]))
    array([3], dtype=float32)"""

def stream(s: Stream | ThreadLocalStream | Device | DeviceType) -> StreamContext:
    """A context in which work is placed on a stream or device.
   
    An argument that is not a device raises TypeError; an unavailable device raises RuntimeError.
   
    >>> with mx.stream(mx.cpu):
    ...     print(mx.ones(2).sum())
    array(2, dtype=float32)"""

def subtract(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Difference.
   
    Shapes: the operands broadcast; shapes that cannot raise ValueError.
    Dtypes: all.
   
    >>> mx.subtract(mx.array([5, 2]), 3)
    array([2, -1], dtype=int32)"""

def sum(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Sum over axes.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.sum(mx.array([[1, 2], [3, 4]]), axis=0, keepdims=True)
    array([[4, 6]], dtype=int32)"""

def swapaxes(a: array, /, axis1: int, axis2: int, *, stream: StreamOrDevice = None) -> array:
    """The array with two axes exchanged.
   
    Shapes: the sizes go with their axes.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.swapaxes(mx.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)"""

def synchronize(stream: StreamOrDevice = None) -> None:
    """Waits until all work of a stream, or of the current one, has run.
   
    An argument that is not a stream raises TypeError.
   
    >>> mx.synchronize()"""

def take(a: array, /, indices: int | array, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """Elements or parts at places of an axis, or of the flattened array.
   
    Shapes: the axis is replaced by those of `indices`.
    Dtypes: all.
    An axis out of range raises IndexError.
    An index out of range raises IndexError when the result is evaluated; indices that are not
    integers raise ValueError.
   
    >>> mx.take(mx.array([10, 20, 30]), mx.array([2, 0]))
    array([30, 10], dtype=int32)"""

def take_along_axis(a: array, /, indices: array, axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """Elements at places of one axis that an array of the result's shape gives.
   
    Shapes: that of `indices`, which has as many axes as `a`, broadcast to it but for the axis.
    Dtypes: all.
    Other numbers of axes raise ValueError.
    An axis out of range raises IndexError.
   
    >>> mx.take_along_axis(mx.array([[3, 1], [2, 4]]), mx.array([[1], [0]]), axis=1)
    array([[1],
           [2]], dtype=int32)"""

def tan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Tangent.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.tan(mx.array([0.0, 1.0]))
    array([0, 1.55741], dtype=float32)"""

def tanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic tangent.
   
    Shapes: any; the result has the shape of `a`.
    An argument that is neither an array nor a number raises ValueError.
   
    Dtypes: all.
   
    >>> mx.tanh(mx.array([0.0, 1.0]))
    array([0, 0.761594], dtype=float32)"""

def tensordot(a: array, b: array, /, axes: int | list[Sequence[int]] = 2, *, stream: StreamOrDevice = None) -> array:
    """The sum of products over several axes: the last `axes` of `a` and the first of `b`, or two
    lists of axes.
   
    Shapes: the axes that are not summed over, of `a`, then of `b`.
    Dtypes: all.
    An axis out of range raises IndexError.
    Axes of different sizes raise ValueError.
   
    >>> mx.tensordot(mx.ones((2, 3)), mx.ones((3, 4)), axes=1).shape
    (2, 4)"""

def tile(a: array, reps: int | Sequence[int], /, *, stream: StreamOrDevice = None) -> array:
    """The array repeated as a whole along its axes.
   
    Shapes: each size times its repetitions, which are for the last axes.
    Dtypes: all.
    Negative repetitions raise ValueError.
   
    >>> mx.tile(mx.array([1, 2]), 2)
    array([1, 2, 1, 2], dtype=int32)"""

def to_fp8(x: array, *, stream: StreamOrDevice = None) -> array:
    """Floating numbers as 8 bits (`uint8`): a sign, 4 bits of exponent and 3 of fraction (E4M3).
   
    Shapes: any; the result has the shape of `x`.
    Dtypes: floats; others raise ValueError.
   
    >>> mx.to_fp8(mx.array([1.0, -1.0]))
    array([56, 184], dtype=uint8)"""

def topk(a: array, /, k: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The `k` greatest elements along an axis.
   
    Shapes: the axis has `k` elements.
    Dtypes: all.
    An axis out of range raises IndexError.
    A `k` greater than the axis raises ValueError.
   
    >>> mx.sort(mx.topk(mx.array([3, 1, 2]), 2))
    array([2, 3], dtype=int32)"""

def trace(a: array, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The sum of a diagonal.
   
    Shapes: the two axes are left out.
    Dtypes: all.
    Fewer than two axes raise TypeError; an axis out of range raises IndexError.
   
    >>> mx.trace(mx.eye(3))
    array(3, dtype=float32)"""

def transpose(a: array, /, axes: Sequence[int] | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with its axes permuted; reversed if none are given.
   
    Shapes: the sizes go with their axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    An axis given twice raises ValueError.
   
    >>> mx.transpose(mx.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)"""

def tri(n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones on and below the `k`-th diagonal.
   
    Shapes: `(n, m)`, m being n unless given.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError.
   
    >>> mx.tri(2)
    array([[1, 0],
           [1, 1]], dtype=float32)"""

def tril(x: array, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The array with zeros above the `k`-th diagonal.
   
    Shapes: `(..., m, n)`, which the result has.
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> mx.tril(mx.ones((2, 2)))
    array([[1, 0],
           [1, 1]], dtype=float32)"""

def triu(x: array, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The array with zeros below the `k`-th diagonal.
   
    Shapes: `(..., m, n)`, which the result has.
    Dtypes: all.
    Fewer than two axes raise ValueError.
   
    >>> mx.triu(mx.ones((2, 2)))
    array([[1, 1],
           [0, 1]], dtype=float32)"""

def trunc(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Rounded towards zero.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: bool, integers, floats; others raise ValueError.
   
    >>> mx.trunc(mx.array([1.7, -1.7]))
    array([1, -1], dtype=float32)"""

def unflatten(a: array, /, axis: int, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with one axis cut into several.
   
    Shapes: the axis is replaced by `shape`, where a size of -1 is computed from the others.
    Dtypes: all.
    An axis out of range raises IndexError.
    Sizes that do not fit raise ValueError.
   
    >>> mx.unflatten(mx.ones((6,)), 0, (2, -1)).shape
    (2, 3)"""

def unique(a: array, /, size: int, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, fill_value: scalar | array | None = None, *, stream: StreamOrDevice = None) -> array | tuple[array, ...]:
    """The `size` least unique elements, in order, followed by `fill_value` (the least element, by
    default); with them, if asked for, the places of first occurrences, the place of each element
    among the unique ones, and the counts.
   
    Shapes: any; each result has `size` elements, the inverse those of `a`.
    Dtypes: all.
    A negative size raises ValueError.
   
    >>> mx.unique(mx.array([2, 1, 2]), 2)
    array([1, 2], dtype=int32)"""

def unstack(x: array, /, *, axis: int = 0, stream: StreamOrDevice = None) -> tuple[array, ...]:
    """The parts of an array along its first axis, or another.
   
    Shapes: an array without the axis for each of its places.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.unstack(mx.array([[1, 2], [3, 4]]))[1]
    array([3, 4], dtype=int32)"""

def value_and_grad(fun: _F, argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = ...) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the pair of all that `fun` returns and its gradient.
   
    The arguments are those of `grad`. Values beside the loss, such as metrics, are returned as they
    are.
   
    Shapes: each gradient has that of its argument; the function returns one number.
    Dtypes: gradients have those of their arguments, floats or complex.
    Any other result, and an argument that is missing or not an array, raise ValueError.
   
    >>> mx.value_and_grad(lambda x: (x**2).sum())(mx.array([1.0, 2.0]))
    (array(5, dtype=float32), array([2, 4], dtype=float32))"""

def var(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
    """Variance over axes, divided by the number of elements less `ddof`.
   
    Shapes: any; the axes are left out, or have size 1 if `keepdims`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.var(mx.array([1.0, 3.0]), ddof=1)
    array(2, dtype=float32)"""

def vecdot(a: array, b: array, /, *, axis: int = ..., stream: StreamOrDevice = None) -> array:
    """The sum of products of the first array's conjugate and the second along an axis.
   
    Shapes: those of both without the axis, broadcast.
    Dtypes: all.
    An axis out of range raises IndexError.
    Axes of different sizes raise ValueError.
   
    >>> mx.vecdot(mx.array([1, 2]), mx.array([3, 4]))
    array(11, dtype=int32)"""

def view(a: scalar | array, dtype: Dtype, stream: StreamOrDevice = None) -> array:
    """The same bytes as another dtype.
   
    Shapes: that of `a`, but for the last axis, which holds as many bytes.
    Dtypes: all.
    A last axis that does not hold whole elements raises ValueError.
   
    >>> mx.view(mx.array([1.0]), mx.int32)
    array([1065353216], dtype=int32)"""

def vjp(fun: Callable[..., Any], primals: list[array], cotangents: list[array]) -> tuple[list[array], list[array]]:
    """The outputs of `fun(*primals)`, and the products of the cotangents with its Jacobian (reverse
    mode): two lists.
   
    Shapes: a cotangent for each output, of its shape; the results have those of the primals.
    Dtypes: those of the outputs and of the primals.
    Cotangents of other shapes or of another number raise ValueError.
   
    >>> mx.vjp(mx.sin, [mx.array(0.0)], [mx.array(2.0)])
    ([array(0, dtype=float32)], [array(2, dtype=float32)])"""

def vmap(fun: _F, in_axes: Any = 0, out_axes: Any = 0) -> _F:
    """A function that applies `fun` to every example of a batch; `in_axes` and `out_axes` say where
    the batch axes are, as trees that may end early, with None for what is the same for all.
   
    Shapes: the axes of `in_axes` have one size; the outputs have it at `out_axes`.
    Dtypes: those of `fun`.
    Different sizes raise ValueError; an axis out of range raises IndexError.
   
    >>> mx.vmap(lambda row: row.sum())(mx.ones((2, 3)))
    array([3, 3], dtype=float32)"""

def where(condition: scalar | array, x: scalar | array, y: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Elements of `x` where the condition is true, else of `y`.
   
    Shapes: those of the three operands broadcast together.
    Dtypes: all.
    Shapes that do not broadcast raise ValueError.
   
    >>> mx.where(mx.array([True, False]), 1, mx.array([5, 6]))
    array([1, 6], dtype=int32)"""

def zeros(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Zeros.
   
    Shapes: the one that is asked for.
    Dtypes: any, float32 unless one is asked for.
    A negative size raises ValueError; a `dtype` that is not a dtype raises TypeError.
   
    >>> mx.zeros((2, 2))
    array([[0, 0],
           [0, 0]], dtype=float32)"""

def zeros_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Zeros of an array's shape, and of its dtype unless another is given.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An argument that is not an array raises TypeError.
   
    >>> mx.zeros_like(mx.array([3, 4]))
    array([0, 0], dtype=int32)"""
