"""Layers that tell a model where in a sequence its inputs stand."""

import math
from functools import lru_cache
from typing import Optional

import lazulite.core as mx
from lazulite.nn.layers.base import Module


class RoPE(Module):
    """Rotary position embedding (Su et al., 2021).

    The last axis is taken in pairs; the pair ``i`` at position ``p`` is turned by the angle
    ``scale * (p + offset) * base ** (-2 * i / dims)``.

    Shapes: ``x, y: (..., l, d)`` with ``d >= dims``; the elements past ``dims`` are left alone.
    Dtypes: floats; others raise ValueError.
    A last axis shorter than ``dims`` raises ValueError.

    Args:
        dims: How many elements of the last axis are turned.
        traditional: If true, pairs are neighbours; if false, an element and the one
            ``dims / 2`` further.
        base: The base of the angles.
        scale: A factor of the positions.
    """

    def __init__(
        self, dims: int, traditional: bool = False, base: float = 10000, scale: float = 1.0
    ):
        super().__init__()
        self.dims = dims
        self.traditional = traditional
        self.base = base
        self.scale = scale

    def _extra_repr(self):
        return f"{self.dims}, traditional={self.traditional}"

    def __call__(self, x, offset: int = 0):
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.traditional,
            base=self.base,
            scale=self.scale,
            offset=offset,
        )


class SinusoidalPositionalEncoding(Module):
    """Sines and cosines of positions (Vaswani et al., 2017, section 3.5).

    Shapes: positions ``x: (...)`` give ``(..., dims)``: the sines of ``x`` times each of
    ``dims / 2`` frequencies, then the cosines. The frequencies go geometrically from
    ``max_freq`` down to ``min_freq``.
    Dtypes: floats; integers become float32.
    An argument that is not an array raises TypeError.

    Args:
        dims: The size of the encoding.
        min_freq: The lowest frequency.
        max_freq: The highest frequency.
        scale: A factor of the result, by default ``sqrt(2 / dims)``.
        cos_first: If true, the cosines stand first.
        full_turns: If true, frequencies count turns, so they are multiplied by ``2 * pi``.
    """

    def __init__(
        self,
        dims: int,
        min_freq: float = 0.0001,
        max_freq: float = 1,
        scale: Optional[float] = None,
        cos_first: bool = False,
        full_turns: bool = False,
    ):
        super().__init__()
        falling = 1 - mx.arange(0, dims // 2) / (dims // 2 - 1)
        low, high = math.log(min_freq), math.log(max_freq)
        # The leading underscore keeps the frequencies out of the parameters.
        self._sigmas = mx.exp(falling * (high - low) + low)
        if full_turns:
            self._sigmas = self._sigmas * (2 * math.pi)
        self.scale = math.sqrt(2 / dims) if scale is None else scale
        self.cos_first = cos_first

    def __call__(self, x):
        angles = x[..., None] * self["_sigmas"]
        sines, cosines = mx.sin(angles), mx.cos(angles)
        y = mx.concatenate([cosines, sines] if self.cos_first else [sines, cosines], axis=-1)
        return y if self.scale == 1 else y * self.scale


class ALiBi(Module):
    """Attention with linear biases (Press et al., 2021).

    Subtracts from the score of a query and a key their distance times a slope of the head.

    Shapes: ``attention_scores: (n, heads, q, k)``, and so the result; the last query stands at
    position ``offset + q - 1``, and keys start at position 0.
    Dtypes: that of the scores.
    Shapes that do not broadcast raise ValueError.
    """

    @staticmethod
    def create_alibi_matrix(
        q_sequence_length: int,
        k_sequence_length: int,
        num_heads: int,
        offset: int = 0,
        dtype: mx.Dtype = mx.float32,
    ) -> mx.array:
        """The biases, ``(1, num_heads, q_sequence_length, k_sequence_length)``."""
        return _alibi_matrix(q_sequence_length, k_sequence_length, num_heads, offset, dtype)

    @staticmethod
    def create_alibi_slope(num_heads: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """The slopes ``2 ** (-8 * h / n)`` for ``h = 1, ..., n``, ``(num_heads, 1, 1)``.

        ``n`` is the greatest power of 2 up to ``num_heads``; the further heads have every other
        slope of ``2 * n`` heads.
        """
        n = 2 ** (num_heads.bit_length() - 1)
        slopes = [2 ** (-8 * h / n) for h in range(1, n + 1)]
        slopes += [2 ** (-4 * h / n) for h in range(1, 2 * (num_heads - n), 2)]
        return mx.array(slopes).astype(dtype)[:, None, None]

    def __call__(
        self,
        attention_scores: mx.array,
        offset: int = 0,
        mask: Optional[mx.array] = None,
    ) -> mx.array:
        bias = ALiBi.create_alibi_matrix(
            attention_scores.shape[-2] + offset,
            attention_scores.shape[-1],
            attention_scores.shape[1],
            offset,
            attention_scores.dtype,
        )
        return attention_scores + (bias if mask is None else bias + mask)


@lru_cache(maxsize=16)
def _alibi_matrix(queries, keys, num_heads, offset, dtype):
    positions = mx.arange(offset, queries)[:, None] - mx.arange(0, keys)[None]
    distance = mx.abs(positions)[None, None]
    return -(distance * ALiBi.create_alibi_slope(num_heads)).astype(dtype)
