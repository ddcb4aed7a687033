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

class GradFunction:
    """A function that returns gradients of another."""
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

class array:
    """A lazy n-dimensional array.
   
    Made from a number, nested lists or tuples, or anything that holds array data. Without a dtype,
    Python's floats become float32, its integers int32 (int64 if one does not fit), and NumPy's
    float64 becomes float32."""
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
        """The only element as a Python number."""
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
        """The same elements in another shape, of which one size may be -1."""
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
        """The elements as nested lists; a number for a 0-d array."""
    def transpose(self, /, *axes: Sequence[int] | None, stream: StreamOrDevice = None) -> array:
        """The array with its axes permuted; reversed if none are given."""
    def var(self, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
        """Variance over axes."""
    def view(self, /, dtype: Dtype, *, stream: StreamOrDevice = None) -> array:
        """The same bytes as another dtype."""

class custom_function:
    """A function whose transforms can be written by hand, with the decorators `vjp`, `jvp` and `vmap`."""
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
    """Absolute value."""

def acos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse cosine, in `[0, pi]`."""

def acosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic cosine."""

def add(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Sum."""

def addmm(c: array, a: array, b: array, /, alpha: float = 1.0, beta: float = 1.0, *, stream: StreamOrDevice = None) -> array:
    """`alpha * (a @ b) + beta * c`."""

def all(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """True iff all elements along axes are non-zero."""

def allclose(a: array, b: array, /, rtol: float = 1e-05, atol: float = 1e-08, *, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True iff `|a - b| <= atol + rtol * |b|` everywhere."""

def any(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """True iff an element along axes is non-zero."""

def arange(start: int | float, stop: None | int | float, step: None | int | float = None, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Evenly spaced values: `arange(stop)`, `arange(start, stop)` or `arange(start, stop, step)`."""

def arccos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse cosine, in `[0, pi]`."""

def arccosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic cosine."""

def arcsin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse sine, in `[-pi/2, pi/2]`."""

def arcsinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic sine."""

def arctan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse tangent, in `[-pi/2, pi/2]`."""

def arctan2(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Angle of the point `(y, x)` given as `arctan2(y, x)`, in `[-pi, pi]`."""

def arctanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic tangent."""

def argmax(a: array, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The place of the greatest element along an axis, or in the flattened array."""

def argmin(a: array, /, axis: None | int = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The place of the least element along an axis, or in the flattened array."""

def argpartition(a: array, /, kth: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The places of the elements of `partition`."""

def argsort(a: array, /, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The places of the elements in ascending order."""

def array_equal(a: scalar | array, b: scalar | array, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True iff shapes and all elements are equal."""

def as_strided(a: array, /, shape: Sequence[int] | None = None, strides: Sequence[int] | None = None, offset: int = 0, *, stream: StreamOrDevice = None) -> array:
    """A view of the flattened array with any strides, counted in elements."""

def asarray(a: scalar | array | Sequence[Any] | Any, dtype: Dtype | None = None, *, copy: bool | None = None) -> array:
    """The value as an array; an array of the asked dtype is returned as it is."""

def asin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse sine, in `[-pi/2, pi/2]`."""

def asinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic sine."""

def astype(a: array, dtype: Dtype, /, *, stream: StreamOrDevice = None) -> array:
    """The array converted to another dtype."""

def async_eval(*args: Any) -> Any:
    """Starts to compute the arrays of trees, and does not wait for them."""

def atan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse tangent, in `[-pi/2, pi/2]`."""

def atan2(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Angle of the point `(y, x)` given as `arctan2(y, x)`, in `[-pi, pi]`."""

def atanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse hyperbolic tangent."""

def atleast_1d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least one axis."""

def atleast_2d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least two axes."""

def atleast_3d(*arys: Any, stream: StreamOrDevice = None) -> array | list[array]:
    """The arrays with at least three axes."""

def bartlett(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Bartlett window, a triangle."""

def bitwise_and(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise and."""

def bitwise_invert(a: scalar | array, stream: StreamOrDevice = None) -> array:
    """Every bit inverted; for bool, the opposite."""

def bitwise_left_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x * 2^y`; 0 where `y` is not below the width."""

def bitwise_or(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise or."""

def bitwise_right_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x / 2^y` rounded down; the sign alone where `y` is not below the width."""

def bitwise_xor(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Bitwise exclusive or."""

def blackman(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Blackman window, `0.42 - 0.5 cos(t) + 0.08 cos(2t)`."""

def block_masked_mm(a: array, b: array, /, block_size: int = 64, mask_out: array | None = None, mask_lhs: array | None = None, mask_rhs: array | None = None, *, stream: StreamOrDevice = None) -> array:
    """`a @ b`, where blocks of `block_size` by `block_size` elements of the operands and of the result
    are masked. `(..., m, k), (..., k, n) -> (..., m, n)`."""

def broadcast_arrays(*arrays: Any, stream: StreamOrDevice = None) -> tuple[array, ...]:
    """The arrays broadcast to one shape."""

def broadcast_shapes(*shapes: Any) -> tuple[int]:
    """The shape to which shapes broadcast together."""

def broadcast_to(a: scalar | array, /, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array seen in a larger shape, with elements repeated but not copied."""

def can_cast(from_: array | Dtype, to: Dtype) -> bool:
    """True if promotion never loses the values of the first dtype in the second."""

def ceil(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The least integer not below `x`."""

def checkpoint(fun: _F) -> _F:
    """`fun`, of which only inputs and outputs are kept for its derivative."""

def clear_cache() -> None:
    """Frees the bytes kept for reuse."""

def clear_streams() -> None:
    """Puts the calling thread back on the default stream."""

def clip(a: array, /, a_min: scalar | array | None, a_max: scalar | array | None, *, stream: StreamOrDevice = None) -> array:
    """Elements limited to the range from `a_min` to `a_max`, of which one may be None."""

def compile(fun: _F, inputs: Any | None = None, outputs: Any | None = None, shapeless: bool = False) -> _F:
    """A compiled version of `fun`: traced once for each form, shape and dtype of its arguments, and
    replayed afterwards. `inputs` and `outputs` are trees whose arrays the function reads and
    replaces; with `shapeless`, one trace serves all sizes."""

def concat(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """The arrays one after another along an axis; flattened first if it is None."""

def concatenate(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """The arrays one after another along an axis; flattened first if it is None."""

def conj(a: array, *, stream: StreamOrDevice = None) -> array:
    """Complex conjugate."""

def conjugate(a: array, *, stream: StreamOrDevice = None) -> array:
    """Complex conjugate."""

def contiguous(a: array, /, allow_col_major: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The array in row-major memory, so that its strides are those of its shape."""

def conv1d(input: array, weight: array, /, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution along one axis: `(n, s, c)` with `(o, k, c / groups)`."""

def conv2d(input: array, weight: array, /, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution along two axes: `(n, h, w, c)` with `(o, kh, kw, c / groups)`."""

def conv3d(input: array, weight: array, /, stride: int | tuple[int, int, int] = 1, padding: int | tuple[int, int, int] = 0, dilation: int | tuple[int, int, int] = 1, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Convolution along three axes: `(n, d, h, w, c)` with `(o, kd, kh, kw, c / groups)`."""

def conv_general(input: array, weight: array, /, stride: int | Sequence[int] = 1, padding: int | Sequence[int] | tuple[Sequence[int], Sequence[int]] = 0, kernel_dilation: int | Sequence[int] = 1, input_dilation: int | Sequence[int] = 1, groups: int = 1, flip: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Convolution along any number of axes, with every option."""

def conv_transpose1d(input: array, weight: array, /, stride: int = 1, padding: int = 0, dilation: int = 1, output_padding: int = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along one axis."""

def conv_transpose2d(input: array, weight: array, /, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, dilation: int | tuple[int, int] = 1, output_padding: int | tuple[int, int] = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along two axes."""

def conv_transpose3d(input: array, weight: array, /, stride: int | tuple[int, int, int] = 1, padding: int | tuple[int, int, int] = 0, dilation: int | tuple[int, int, int] = 1, output_padding: int | tuple[int, int, int] = 0, groups: int = 1, *, stream: StreamOrDevice = None) -> array:
    """Transposed convolution along three axes."""

def convolve(a: array, v: array, /, mode: str = 'full', *, stream: StreamOrDevice = None) -> array:
    """The discrete convolution of two vectors."""

def cos(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Cosine."""

def cosh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic cosine, `(e^x + e^-x) / 2`."""

def count_nonzero(a: array, /, *, axis: None | int | Sequence[int] = None, keepdims: bool = False, stream: StreamOrDevice = None) -> array:
    """The number of non-zero elements over axes."""

def cummax(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running maximum along an axis, or of the flattened array."""

def cummin(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running minimum along an axis, or of the flattened array."""

def cumprod(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running product along an axis, or of the flattened array."""

def cumsum(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running sum along an axis, or of the flattened array."""

def cumulative_prod(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running product along an axis, or of the flattened array."""

def cumulative_sum(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """Running sum along an axis, or of the flattened array."""

def default_device() -> Device:
    """The device on which new work is placed."""

def default_stream(device: Device | DeviceType) -> Stream:
    """The stream on which the device's new work is placed."""

def degrees(a: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Radians to degrees."""

def depends(inputs: array | Sequence[array], dependencies: array | Sequence[array]) -> Any:
    """The inputs, evaluated only after the dependencies."""

def dequantize(w: array, /, scales: array, biases: array | None = None, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', global_scale: array | None = None, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The matrix that a packed matrix stands for."""

def device_count(device_type: DeviceType) -> int:
    """How many devices of a type there are."""

def device_info(d: None | Device | DeviceType = None) -> dict[str, str | int]:
    """Facts about a device."""

def diag(a: array, /, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The diagonal of a matrix, or the matrix with this diagonal."""

def diagonal(a: array, offset: int = 0, axis1: int = 0, axis2: int = 1, stream: StreamOrDevice = None) -> array:
    """The diagonals of the matrices on two axes, as the last axis."""

def diff(a: array, /, n: int = 1, axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """Differences of neighbours along an axis, taken `n` times."""

def disable_compile() -> None:
    """Makes compiled functions run as they are written, from now on."""

def divide(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient; integers are divided as `float32`."""

def divmod(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient rounded down, and remainder."""

def einsum(subscripts: str, *operands: array, stream: StreamOrDevice = None) -> array:
    """Sums of products that letters describe: `einsum("ik,kj->ij", a, b)` is the matrix product."""

def einsum_path(subscripts: str, *operands: array) -> Any:
    """The order in which `einsum` contracts its operands, and a report of what it costs."""

def empty(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """An array whose values do not matter; here, zeros."""

def empty_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """An array of an array's shape whose values do not matter; here, zeros."""

def enable_compile() -> None:
    """Makes compiled functions use their traces again."""

def equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where equal."""

def erf(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Error function, `2/sqrt(pi) * integral of e^(-t^2) from 0 to x`."""

def erfinv(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Inverse of the error function on `(-1, 1)`."""

def estimate(*args: Any, **kwargs: Any) -> Estimate:
    """What `eval(f(*args, **kwargs))` would take, without running it: `peak`, `kept` and `moved` bytes,
    `flops` and `steps`. Without a function, what the evaluation of the arrays in `args` would take.
    What `f` evaluates itself runs, and is not counted."""

def eval(*args: Any) -> None:
    """Computes the arrays of trees, and waits for them. Other leaves are ignored."""

def exp(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Exponential, `e^x`."""

def expand_dims(a: array, /, axis: int | Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with new axes of size 1."""

def explain(*args: Any, format: str = 'text', run: bool = False, **kwargs: Any) -> str:
    """How `eval(f(*args, **kwargs))` would run: its steps, with what the planner fused and rewrote.
    Without a function, how the evaluation of the arrays in `args` would. `format` is `text`, `json` or
    `html`, a page that needs nothing but itself; with `run` the steps run and are timed."""

def expm1(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`e^x - 1`, accurate near 0."""

def export_to_dot(file: Any, *args: Any, **kwargs: Any) -> None:
    """Writes the graph of lazy arrays in the language of Graphviz to a path or an open file. Keywords
    name arrays, and their graph is written, too."""

def eye(n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones on the `k`-th diagonal of an `n` by `m` matrix."""

def flatten(a: array, /, start_axis: int = 0, end_axis: int = ..., *, stream: StreamOrDevice = None) -> array:
    """The array with several axes joined into one."""

def flip(a: array, /, axis: None | int | Sequence[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The elements in reverse order along axes, or along all."""

def floor(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The greatest integer not above `x`."""

def floor_divide(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Quotient rounded to the integer below; 0 for integers divided by 0."""

def from_dlpack(x: Any, /, *, copy: bool | None = None) -> array:
    """An array with a copy of another library's tensor."""

def from_fp8(x: array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The numbers that the 8 bits of `to_fp8` stand for."""

def full(shape: int | Sequence[int], vals: scalar | array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """A value, or values that broadcast, at every place of a shape."""

def full_like(a: array, vals: scalar | array, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """A value at every place of an array's shape, of its dtype unless another is given."""

def gather_mm(a: array, b: array, /, lhs_indices: array | None = None, rhs_indices: array | None = None, *, sorted_indices: bool = False, stream: StreamOrDevice = None) -> array:
    """Products of the matrices that indices pick: `a[lhs_indices[i]] @ b[rhs_indices[i]]`."""

def gather_qmm(x: array, w: array, /, scales: array, biases: array | None = None, lhs_indices: array | None = None, rhs_indices: array | None = None, transpose: bool = True, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', global_scale: array | None = None, *, sorted_indices: bool = False, stream: StreamOrDevice = None) -> array:
    """Products of the matrices that indices pick: row `i` of the result's leading axes multiplies
    `x[lhs_indices[i]]` with `w[rhs_indices[i]]` (its transpose, by default), which is packed."""

def get_active_memory() -> int:
    """Bytes in live buffers."""

def get_array_buffer_size(*args: Any) -> int:
    """The bytes of the buffers behind evaluated arrays, each counted once."""

def get_cache_memory() -> int:
    """Bytes kept for reuse."""

def get_memory_limit() -> int:
    """Live bytes above which an allocation is refused."""

def get_peak_memory() -> int:
    """The most bytes that were live at once since the last reset."""

def get_printoptions() -> PrintOptions:
    """The print options in force."""

def grad(fun: _F, argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = ...) -> Callable[..., Any]:
    """A function that returns the gradient of `fun`, whose first array result is differentiated."""

def greater(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x > y`."""

def greater_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x >= y`."""

def hadamard_transform(a: array, scale: float | None = None, stream: StreamOrDevice = None) -> array:
    """`scale * H a` over the last axis with a Hadamard matrix H; `1 / sqrt(n)` is the scale if None."""

def hamming(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Hamming window, `0.54 - 0.46 cos(t)`."""

def hanning(M: int, *, stream: StreamOrDevice = None) -> array:
    """The Hann window, `0.5 - 0.5 cos(t)`."""

def identity(n: int, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The identity matrix."""

def imag(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Imaginary part."""

def inner(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """The sum of products along both last axes."""

def is_available(device: Device | DeviceType) -> bool:
    """True if the device is there."""

def isclose(a: array, b: array, /, rtol: float = 1e-05, atol: float = 1e-08, *, equal_nan: bool = False, stream: StreamOrDevice = None) -> array:
    """True where `|a - b| <= atol + rtol * |b|`."""

def isdtype(dtype: Dtype, kind: Dtype | str | tuple[Dtype | str, ...]) -> bool:
    """True if the dtype is of the given kind: a dtype, one of the names 'bool', 'signed integer',
    'unsigned integer', 'integral', 'real floating', 'complex floating', 'numeric', or a tuple."""

def isfinite(a: array, stream: StreamOrDevice = None) -> array:
    """True where neither infinite nor NaN."""

def isinf(a: array, stream: StreamOrDevice = None) -> array:
    """True where infinite."""

def isnan(a: array, stream: StreamOrDevice = None) -> array:
    """True where NaN."""

def isneginf(a: array, stream: StreamOrDevice = None) -> array:
    """True where negative infinity."""

def isposinf(a: array, stream: StreamOrDevice = None) -> array:
    """True where positive infinity."""

def issubdtype(arg1: Dtype | DtypeCategory, arg2: Dtype | DtypeCategory) -> bool:
    """True if the first dtype or category is the second one or lies within it."""

def jvp(fun: Callable[..., Any], primals: list[array], tangents: list[array]) -> tuple[list[array], list[array]]:
    """The function's outputs, and the products of its Jacobian with the tangents."""

def kron(a: array, b: array, *, stream: StreamOrDevice = None) -> array:
    """The Kronecker product."""

def left_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x * 2^y`; 0 where `y` is not below the width."""

def less(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x < y`."""

def less_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where `x <= y`."""

def linspace(start: scalar, stop: scalar, num: int | None = ..., endpoint: bool = True, dtype: Dtype | None = None, stream: StreamOrDevice = None) -> array:
    """`num` evenly spaced values from `start` to `stop`, the latter included unless `endpoint` says
    otherwise."""

def load(file: File, /, format: str | None = None, return_metadata: bool = False, *, stream: StreamOrDevice = None) -> array | dict[str, array] | tuple[dict[str, array], dict[str, Any]]:
    """The array or the arrays of a file, read when they are first needed."""

def log(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Natural logarithm."""

def log10(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logarithm to base 10."""

def log1p(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`log(1 + x)`, accurate near 0."""

def log2(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logarithm to base 2."""

def logaddexp(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`log(e^x + e^y)` without overflow."""

def logcumsumexp(a: array, /, axis: int | None = None, *, reverse: bool = False, inclusive: bool = True, stream: StreamOrDevice = None) -> array:
    """Running `log(sum(exp(a)))` along an axis, or of the flattened array."""

def logical_and(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where both are non-zero."""

def logical_not(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where `x` is zero."""

def logical_or(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """True where one is non-zero."""

def logical_xor(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """True where exactly one is non-zero."""

def logsumexp(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """`log(sum(exp(a)))` over axes, without overflow."""

def matmul(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """Matrix product; leading axes broadcast, a vector is a row on the left and a column on the right."""

def matrix_norm(a: array, /, ord: None | int | float | str = None, axis: None | int | list[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """The norm of vectors or matrices: of order 2 of all elements unless `ord` or `axis` say otherwise."""

def matrix_transpose(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array with its last two axes exchanged."""

def max(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Greatest element over axes; NaN if one is NaN."""

def maximum(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """The greater of two; NaN if one is NaN. On a tie the derivative goes to `y`."""

def mean(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Mean over axes."""

def median(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Median over axes."""

def meshgrid(*arrays: Any, sparse: bool | None = ..., indexing: str | None = ..., stream: StreamOrDevice = None) -> tuple[array, ...]:
    """Coordinate arrays of a grid, one for each vector."""

def min(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Least element over axes; NaN if one is NaN."""

def minimum(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """The lesser of two; NaN if one is NaN. On a tie the derivative goes to `y`."""

def minmax(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> tuple[array, array]:
    """Least and greatest element over axes."""

def moveaxis(a: array, /, source: int, destination: int, *, stream: StreamOrDevice = None) -> array:
    """The array with an axis moved to another place."""

def multiply(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Product."""

def nan_to_num(a: scalar | array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *, stream: StreamOrDevice = None) -> array:
    """NaN and infinities replaced by numbers; infinities by the greatest finite ones if not given."""

def negative(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Negation; unsigned integers wrap."""

def new_stream(device: Device | DeviceType) -> Stream:
    """A new stream on a device."""

def new_thread_local_stream(device: Device | DeviceType) -> ThreadLocalStream:
    """A new stream for use from many threads."""

def new_thread_unsafe_stream(device: Device | DeviceType) -> Stream:
    """A new stream on a device; here all streams may be used from every thread."""

def nonzero(a: Any, /, *, stream: StreamOrDevice = None) -> Any:
    """The places of the non-zero elements, one array for each axis. It evaluates its argument."""

def not_equal(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """True where different; NaN differs from itself."""

def ones(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones."""

def ones_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones of an array's shape, and of its dtype unless another is given."""

def outer(a: array, b: array, /, *, stream: StreamOrDevice = None) -> array:
    """All products of an element of one flattened array and one of the other."""

def pad(a: array, pad_width: int | tuple[int, int] | list[tuple[int, int]], mode: Literal['constant', 'edge', 'reflect', 'symmetric'] = 'constant', constant_values: scalar | array | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with elements put around it."""

def partition(a: array, /, kth: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The elements with the `kth` at its place in the order, lesser ones before and greater ones
    behind it."""

def permute_dims(a: array, /, axes: Sequence[int] | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with its axes permuted; reversed if none are given."""

def positive(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array itself."""

def pow(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`x` to the power `y`; a negative integer exponent of an integer gives 0 unless `x` is 1 or -1."""

def power(a: scalar | array, b: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """`x` to the power `y`; a negative integer exponent of an integer gives 0 unless `x` is 1 or -1."""

def printoptions(precision: int = ...) -> _PrintOptionsContext:
    """A context with other print options."""

def prod(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Product over axes."""

def put_along_axis(a: array, /, indices: array, values: array, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with elements replaced at places of one axis."""

def quantize(w: array, /, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', *, global_scale: array | None = None, stream: StreamOrDevice = None) -> tuple[array, array, array]:
    """The packed matrix, its scales and, in affine mode, its biases."""

def quantized_matmul(x: array, w: array, /, scales: array, biases: array | None = None, transpose: bool = True, group_size: int | None = None, bits: int | None = None, mode: str = 'affine', *, stream: StreamOrDevice = None) -> array:
    """The product of `x` with a packed matrix (its transpose, by default)."""

def radians(a: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Degrees to radians."""

def real(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Real part."""

def reciprocal(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`1 / x`."""

def remainder(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Remainder of floor division, with the sign of `y`; 0 for integers divided by 0."""

def repeat(array: array, repeats: int, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """Each element repeated along an axis, or of the flattened array."""

def reset_peak_memory() -> None:
    """Sets the peak to the live bytes."""

def reshape(a: array, /, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The same elements in another shape, of which one size may be -1."""

def result_type(*arrays_and_dtypes: Any) -> Dtype:
    """The dtype to which arrays and dtypes are promoted together."""

def right_shift(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """`x / 2^y` rounded down; the sign alone where `y` is not below the width."""

def roll(a: array, shift: int | tuple[int], /, axis: None | int | tuple[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The elements moved along axes, around the end; without axes, of the flattened array."""

def round(a: array, /, decimals: int = 0, stream: StreamOrDevice = None) -> array:
    """Rounded to a number of decimals, halves to even."""

def rsqrt(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`1 / sqrt(x)`."""

def save(file: File, arr: array) -> None:
    """Saves an array in the npy format."""

def save_gguf(file: File, arrays: dict[str, array], metadata: dict[str, array | str | list[str]] | None = None) -> Any:
    """Saves named arrays, and metadata, in the GGUF format."""

def save_safetensors(file: File, arrays: dict[str, array], metadata: dict[str, str] | None = None) -> Any:
    """Saves named arrays, and text metadata, in the safetensors format."""

def savez(file: File, *args: Any, **kwargs: Any) -> Any:
    """Saves arrays in the npz format, under their keywords or as `arr_0`, `arr_1`, ..."""

def savez_compressed(file: File, *args: Any, **kwargs: Any) -> Any:
    """As `savez`, compressed."""

def searchsorted(sorted_sequence: array, values: array, /, side: str = 'left', *, stream: StreamOrDevice = None) -> array:
    """Where values could be put into a sorted vector: before equal elements, or behind them if `side`
    is "right". `(n), (...) -> (...)`."""

def segmented_mm(a: array, b: array, /, segments: array, *, stream: StreamOrDevice = None) -> array:
    """The product over each range of the inner axis, of which `segments` holds the ends:
    `(m, k), (k, n), (..., 2) -> (..., m, n)`."""

def set_cache_limit(limit: int) -> int:
    """Sets the bytes above which freed buffers are not kept; returns the former limit."""

def set_default_device(device: Device | DeviceType) -> None:
    """Makes a device the one on which new work is placed."""

def set_default_stream(stream: Stream) -> None:
    """Makes a stream the default of its device."""

def set_memory_limit(limit: int) -> int:
    """Sets the live bytes above which an allocation is refused; returns the former limit."""

def set_printoptions(precision: int = ...) -> None:
    """Sets the print options: digits behind the point, or -1 for six significant digits."""

def set_wired_limit(limit: int) -> int:
    """Sets the bytes that may be kept resident, where the system knows such a limit; returns the
    former one."""

def sigmoid(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Logistic function, `1 / (1 + e^-x)`."""

def sign(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """-1, 0 or 1 after the sign of `x`; `x / |x|` for complex numbers; NaN for NaN."""

def sin(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Sine."""

def sinh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic sine, `(e^x - e^-x) / 2`."""

def slice(a: array, start_indices: array, axes: Sequence[int], slice_size: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """A slice whose first place along some axes is an array."""

def slice_update(a: array, update: array, start_indices: array, axes: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with a slice replaced whose first place along some axes is an array."""

def softmax(a: array, /, axis: None | int | Sequence[int] = None, *, precise: bool = False, stream: StreamOrDevice = None) -> array:
    """`exp(a) / sum(exp(a))` over axes, computed in float32 at least."""

def sort(a: array, /, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The elements in ascending order along an axis, or of the flattened array."""

def split(a: array, /, indices_or_sections: int | Sequence[int], axis: int = 0, *, stream: StreamOrDevice = None) -> array:
    """Equal parts along an axis, or parts cut before the given places."""

def sqrt(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Square root."""

def square(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """`x * x`."""

def squeeze(a: array, /, axis: None | int | Sequence[int] = None, *, stream: StreamOrDevice = None) -> array:
    """The array without axes of size 1, or without those that are given."""

def stack(arrays: list[array], axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """Arrays of one shape joined along a new axis; flattened first if it is None."""

def std(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
    """Standard deviation over axes: the square root of `var`."""

def stop_gradient(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """The array, through which no derivative passes."""

def stream(s: Stream | ThreadLocalStream | Device | DeviceType) -> StreamContext:
    """A context in which work is placed on a stream or device."""

def subtract(a: scalar | array, b: scalar | array, stream: StreamOrDevice = None) -> array:
    """Difference."""

def sum(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, *, stream: StreamOrDevice = None) -> array:
    """Sum over axes."""

def swapaxes(a: array, /, axis1: int, axis2: int, *, stream: StreamOrDevice = None) -> array:
    """The array with two axes exchanged."""

def synchronize(stream: StreamOrDevice = None) -> None:
    """Waits until all work of a stream, or of the current one, has run."""

def take(a: array, /, indices: int | array, axis: int | None = None, *, stream: StreamOrDevice = None) -> array:
    """Elements or parts at places of an axis, or of the flattened array."""

def take_along_axis(a: array, /, indices: array, axis: int | None = ..., *, stream: StreamOrDevice = None) -> array:
    """Elements at places of one axis that an array of the result's shape gives."""

def tan(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Tangent."""

def tanh(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Hyperbolic tangent."""

def tensordot(a: array, b: array, /, axes: int | list[Sequence[int]] = 2, *, stream: StreamOrDevice = None) -> array:
    """The sum of products over several axes: the last `axes` of `a` and the first of `b`, or two
    lists of axes."""

def tile(a: array, reps: int | Sequence[int], /, *, stream: StreamOrDevice = None) -> array:
    """The array repeated as a whole along its axes."""

def to_fp8(x: array, *, stream: StreamOrDevice = None) -> array:
    """Floating numbers as 8 bits, of which 4 are the exponent and 3 the fraction (`uint8`)."""

def topk(a: array, /, k: int, axis: None | int = ..., *, stream: StreamOrDevice = None) -> array:
    """The `k` greatest elements along an axis."""

def trace(a: array, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """The sum of a diagonal."""

def transpose(a: array, /, axes: Sequence[int] | None = None, *, stream: StreamOrDevice = None) -> array:
    """The array with its axes permuted; reversed if none are given."""

def tri(n: int, m: int | None = None, k: int = 0, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Ones on and below the `k`-th diagonal."""

def tril(x: array, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The array with zeros above the `k`-th diagonal."""

def triu(x: array, k: int = 0, *, stream: StreamOrDevice = None) -> array:
    """The array with zeros below the `k`-th diagonal."""

def trunc(a: array, /, *, stream: StreamOrDevice = None) -> array:
    """Rounded towards zero."""

def unflatten(a: array, /, axis: int, shape: Sequence[int], *, stream: StreamOrDevice = None) -> array:
    """The array with one axis cut into several."""

def unique(a: array, /, size: int, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False, fill_value: scalar | array | None = None, *, stream: StreamOrDevice = None) -> array | tuple[array, ...]:
    """The `size` least unique elements, in order, followed by `fill_value` (the least element, by
    default); with them, if asked for, the places of first occurrences, the place of each element
    among the unique ones, and the counts."""

def unstack(x: array, /, *, axis: int = 0, stream: StreamOrDevice = None) -> tuple[array, ...]:
    """The parts of an array along its first axis, or another."""

def value_and_grad(fun: _F, argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = ...) -> Callable[..., tuple[Any, Any]]:
    """A function that returns the value and the gradient of `fun`."""

def var(a: array, /, axis: None | int | Sequence[int] = None, keepdims: bool = False, ddof: int = 0, *, correction: int | None = None, stream: StreamOrDevice = None) -> array:
    """Variance over axes, divided by the number of elements less `ddof`."""

def vecdot(a: array, b: array, /, *, axis: int = ..., stream: StreamOrDevice = None) -> array:
    """The sum of products of the first array's conjugate and the second along an axis."""

def view(a: scalar | array, dtype: Dtype, stream: StreamOrDevice = None) -> array:
    """The same bytes as another dtype."""

def vjp(fun: Callable[..., Any], primals: list[array], cotangents: list[array]) -> tuple[list[array], list[array]]:
    """The function's outputs, and the products of the cotangents with its Jacobian."""

def vmap(fun: _F, in_axes: Any = 0, out_axes: Any = 0) -> _F:
    """A function that applies `fun` to every example of a batch; `in_axes` and `out_axes` say where
    the batch axes are, as trees that may end early, with None for what is the same for all."""

def where(condition: scalar | array, x: scalar | array, y: scalar | array, /, *, stream: StreamOrDevice = None) -> array:
    """Elements of `x` where the condition is true, else of `y`."""

def zeros(shape: int | Sequence[int], dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Zeros."""

def zeros_like(a: array, /, dtype: Dtype | None = None, *, stream: StreamOrDevice = None) -> array:
    """Zeros of an array's shape, and of its dtype unless another is given."""
