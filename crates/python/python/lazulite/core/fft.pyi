"""Type stubs of `lazulite.core.fft`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def fft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform along an axis, cut or filled with zeros to `n` elements.
   
    Shapes: that of `a`, with `n` elements along the axis.
    Dtypes: all.
    An axis out of range raises IndexError.
    A length of 0 and an unknown `norm` raise ValueError.
   
    >>> mx.fft.fft(mx.array([1.0, 0.0, 0.0, 0.0]))
    array([1+0j, 1+0j, 1+0j, 1+0j], dtype=complex64)"""

def fft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform over two axes.
   
    Shapes: that of `a`, with the sizes `s` on the axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.fft2(mx.ones((2, 2)))
    array([[4+0j, 0+0j],
           [0+0j, 0+0j]], dtype=complex64)"""

def fftfreq(n: int, d: float = 1.0, stream: StreamOrDevice = None) -> array:
    """The frequencies of `fft` of `n` samples that are `d` apart.
   
    Shapes: `(n)`.
    Dtypes: float32.
    A negative number raises ValueError.
   
    >>> mx.fft.fftfreq(4)
    array([0, 0.25, -0.5, -0.25], dtype=float32)"""

def fftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform over axes, all by default, of the lengths `s`.
   
    Shapes: that of `a`, with the sizes `s` on the axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.fftn(mx.ones((2, 2)))
    array([[4+0j, 0+0j],
           [0+0j, 0+0j]], dtype=complex64)"""

def fftshift(a: array, axes: int | Sequence[int] | None = None, stream: StreamOrDevice = None) -> array:
    """The array rolled so that the frequency 0 is in the middle of axes, all by default.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.fft.fftshift(mx.arange(4))
    array([2, 3, 0, 1], dtype=int32)"""

def ifft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fft`.
   
    Shapes: that of `a`, with `n` elements along the axis.
    Dtypes: all.
    An axis out of range raises IndexError.
    A length of 0 and an unknown `norm` raise ValueError.
   
    >>> mx.fft.ifft(mx.ones(2))
    array([1+0j, 0+0j], dtype=complex64)"""

def ifft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fft2`.
   
    Shapes: that of `a`, with the sizes `s` on the axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.ifft2(mx.ones((2, 2)))
    array([[1+0j, 0+0j],
           [0+0j, 0+0j]], dtype=complex64)"""

def ifftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fftn`.
   
    Shapes: that of `a`, with the sizes `s` on the axes.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.ifftn(mx.ones((2, 2)))
    array([[1+0j, 0+0j],
           [0+0j, 0+0j]], dtype=complex64)"""

def ifftshift(a: array, axes: int | Sequence[int] | None = None, stream: StreamOrDevice = None) -> array:
    """The inverse of `fftshift`.
   
    Shapes: any; the result has the shape of `a`.
    Dtypes: all.
    An axis out of range raises IndexError.
   
    >>> mx.fft.ifftshift(mx.arange(5))
    array([2, 3, 4, 0, 1], dtype=int32)"""

def irfft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfft`: a real signal of `n` elements.
   
    Shapes: that of `a`, with `n` elements along the axis, `2 (m - 1)` for m unless given.
    Dtypes: all.
    An axis out of range raises IndexError.
    A length of 0 and an unknown `norm` raise ValueError.
   
    >>> mx.fft.irfft(mx.ones(3))
    array([1, 0, 0, 0], dtype=float32)"""

def irfft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfft2`.
   
    Shapes: that of `a`, with the sizes `s` on the axes, `2 (m - 1)` for m on the last one unless
    given.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.irfft2(mx.ones((2, 3))).shape
    (2, 4)"""

def irfftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfftn`.
   
    Shapes: that of `a`, with the sizes `s` on the axes, `2 (m - 1)` for m on the last one unless
    given.
    Dtypes: all.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.irfftn(mx.ones((2, 3))).shape
    (2, 4)"""

def istft(stft_matrix: array, n_fft: int | None = None, hop_length: int | None = None, win_length: int | None = None, window: array | None = None, center: bool = True, norm: str = 'backward', onesided: bool | None = None, length: int | None = None, stream: StreamOrDevice = None) -> array:
    """The inverse of `stft`: the signal of `length` elements.
   
    Shapes: `(..., f, frames) -> (..., length)`.
    Dtypes: all.
    Other numbers of frequencies raise ValueError.
   
    >>> mx.fft.istft(mx.fft.stft(mx.ones(32), n_fft=16), length=32).shape
    (32,)"""

def rfft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The first `n / 2 + 1` frequencies of a real signal.
   
    Shapes: that of `a`, with `n / 2 + 1` elements along the axis.
    Dtypes: bool, integers, floats; others raise ValueError.
    An axis out of range raises IndexError.
    A length of 0 and an unknown `norm` raise ValueError.
   
    >>> mx.fft.rfft(mx.ones(4)).shape
    (3,)"""

def rfft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """`rfft` over the last of two axes, then `fft` over the other.
   
    Shapes: that of `a`, with the sizes `s` on the axes, of which the last one becomes `s / 2 +
    1`.
    Dtypes: bool, integers, floats; others raise ValueError.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.rfft2(mx.ones((2, 4))).shape
    (2, 3)"""

def rfftfreq(n: int, d: float = 1.0, stream: StreamOrDevice = None) -> array:
    """The frequencies of `rfft` of `n` samples that are `d` apart.
   
    Shapes: `(n / 2 + 1)`.
    Dtypes: float32.
    A negative number raises ValueError.
   
    >>> mx.fft.rfftfreq(4)
    array([0, 0.25, 0.5], dtype=float32)"""

def rfftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """`rfft` over the last axis, then `fft` over the others.
   
    Shapes: that of `a`, with the sizes `s` on the axes, of which the last one becomes `s / 2 +
    1`.
    Dtypes: bool, integers, floats; others raise ValueError.
    An axis out of range raises IndexError.
    `s` and `axes` of different lengths raise ValueError.
   
    >>> mx.fft.rfftn(mx.ones((2, 4))).shape
    (2, 3)"""

def stft(x: array, n_fft: int = 2048, hop_length: int | None = None, win_length: int | None = None, window: array | None = None, center: bool = True, pad_mode: str = 'reflect', norm: str = 'backward', onesided: bool | None = None, stream: StreamOrDevice = None) -> array:
    """The Fourier transforms of overlapping frames of a signal: `(..., n) -> (..., f, t)`.
   
    Shapes: `(..., n) -> (..., n_fft / 2 + 1, frames)`, `n_fft` frequencies for complex signals.
    Dtypes: all.
    A signal too short to be padded, and a window of another length, raise ValueError.
   
    >>> mx.fft.stft(mx.ones(32), n_fft=16).shape
    (9, 9)"""
