"""Type stubs of `lazulite.core.fft`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar


def fft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform along an axis, cut or filled with zeros to `n` elements."""

def fft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform over two axes."""

def fftfreq(n: int, d: float = 1.0, stream: StreamOrDevice = None) -> array:
    """The frequencies of `fft` of `n` samples that are `d` apart."""

def fftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """Fourier transform over axes, all by default, of the lengths `s`."""

def fftshift(a: array, axes: int | Sequence[int] | None = None, stream: StreamOrDevice = None) -> array:
    """The array rolled so that the frequency 0 is in the middle of axes, all by default."""

def ifft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fft`."""

def ifft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fft2`."""

def ifftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `fftn`."""

def ifftshift(a: array, axes: int | Sequence[int] | None = None, stream: StreamOrDevice = None) -> array:
    """The inverse of `fftshift`."""

def irfft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfft`: a real signal of `n` elements."""

def irfft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfft2`."""

def irfftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The inverse of `rfftn`."""

def istft(stft_matrix: array, n_fft: int | None = None, hop_length: int | None = None, win_length: int | None = None, window: array | None = None, center: bool = True, norm: str = 'backward', onesided: bool | None = None, length: int | None = None, stream: StreamOrDevice = None) -> array:
    """The inverse of `stft`: the signal of `length` elements."""

def rfft(a: array, n: int | None = None, axis: int = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """The first `n / 2 + 1` frequencies of a real signal."""

def rfft2(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = ..., norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """`rfft` over the last of two axes, then `fft` over the other."""

def rfftfreq(n: int, d: float = 1.0, stream: StreamOrDevice = None) -> array:
    """The frequencies of `rfft` of `n` samples that are `d` apart."""

def rfftn(a: array, s: tuple[int, ...] | None = None, axes: Sequence[int] | None = None, norm: str = 'backward', stream: StreamOrDevice = None) -> array:
    """`rfft` over the last axis, then `fft` over the others."""

def stft(x: array, n_fft: int = 2048, hop_length: int | None = None, win_length: int | None = None, window: array | None = None, center: bool = True, pad_mode: str = 'reflect', norm: str = 'backward', onesided: bool | None = None, stream: StreamOrDevice = None) -> array:
    """The Fourier transforms of overlapping frames of a signal: `(..., n) -> (..., f, t)`."""
