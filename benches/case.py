"""What a benchmark is: a `Case`, and the inputs that every framework makes alike."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


class Unsupported(Exception):
    """A framework does not have what a case needs; the text says what."""


@dataclass(frozen=True)
class Case:
    """One thing to measure, for each entry of `params`.

    `build(t, p)` gets a toolkit (toolkits.py) and one params dict; it returns a function and its
    arguments. One call of that function, with its result evaluated, is what is timed.
    """

    name: str
    text: str
    params: list
    build: Callable
    threads: str = "all"  # "all", or "both": at one thread and at all
    bytes: Callable | None = None  # bytes that must move at least once, from params
    flops: Callable | None = None  # floating-point operations, from params
    per: Callable | None = None  # things done by one call (tokens), from params
    jit: bool = True  # False: a framework with a jit runs this case op by op
    tolerance: dict = field(
        default_factory=lambda: {"float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}
    )


def mixed(seed, count):
    """`count` well-mixed 32-bit integers, alike everywhere: the finaliser of MurmurHash3 over
    i + seed * 0x9E3779B9, modulo 2^32."""
    z = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
    z ^= z >> np.uint32(16)
    z *= np.uint32(0x85EBCA6B)
    z ^= z >> np.uint32(13)
    z *= np.uint32(0xC2B2AE35)
    z ^= z >> np.uint32(16)
    return z


def floats(seed, shape):
    """Float32 values in [-1, 1): the upper 24 bits of `mixed`, times 2^-23, minus 1."""
    z = mixed(seed, int(np.prod(shape)))
    return ((z >> np.uint32(8)).astype(np.float32) * np.float32(2**-23) - 1).reshape(shape)


def integers(seed, shape, high):
    """Int32 values in [0, high): `mixed` modulo `high`."""
    return (mixed(seed, int(np.prod(shape))) % np.uint32(high)).astype(np.int32).reshape(shape)


def sampled(out):
    """The result in brief: shape, and at most 64 values at equal distances in row-major order."""
    flat = out.reshape(-1)
    count = min(64, flat.size)
    at = [k * flat.size // count for k in range(count)]
    return {"shape": list(out.shape), "samples": [float(flat[i]) for i in at]}
