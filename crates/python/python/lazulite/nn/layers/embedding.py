"""Look-up of vectors by index."""

import math
from typing import Optional

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.nn.layers.quantized import QuantizedEmbedding


class Embedding(Module):
    """A table of vectors: ``y = weight[x]``.

    Shapes: indices ``x: (...)`` of any integer type, ``weight: (num_embeddings, dims)``,
    ``y: (..., dims)``. The weight starts normal with variance ``1 / dims``.
    Dtypes: indices are integers; the result has the type of the weights.
    Indices that are not integers raise ValueError; one out of range raises IndexError when it is
    evaluated.

    Args:
        num_embeddings: How many vectors there are.
        dims: The size of each.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Embedding(10, 4)(mx.array([[1, 2, 3]])).shape
        (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, dims: int):
        super().__init__()
        self.weight = mx.random.normal(shape=(num_embeddings, dims), scale=math.sqrt(1 / dims))

    def _extra_repr(self):
        return ", ".join(str(n) for n in self.weight.shape)

    def __call__(self, x):
        return self["weight"][x]

    def as_linear(self, x):
        """``x @ weight.T``: from vectors to one score for each embedding.

        Shapes: ``x: (..., dims)`` gives ``(..., num_embeddings)``. This ties the output layer of
        a language model to its embedding.
        """
        return x @ self["weight"].T

    def to_quantized(
        self,
        group_size: Optional[int] = None,
        bits: Optional[int] = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ):
        """The layer with quantised vectors; the arguments are those of `Linear.to_quantized`.

        Raises:
            ValueError: If ``quantize_input``: indices can't be quantised.
        """
        if quantize_input:
            raise ValueError("to_quantized: the input of an embedding can't be quantised")
        return QuantizedEmbedding.from_embedding(self, group_size, bits, mode)
