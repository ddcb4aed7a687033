"""Attention and the transformer (Vaswani et al., 2017)."""

import math
from typing import Any, Callable, Optional

import lazulite.core as mx
from lazulite.nn.layers.activations import relu
from lazulite.nn.layers.base import Module
from lazulite.nn.layers.dropout import Dropout
from lazulite.nn.layers.linear import Linear
from lazulite.nn.layers.normalization import LayerNorm
from lazulite.nn.utils import checkpoint as checkpointed


class MultiHeadAttention(Module):
    """Scaled dot-product attention with several heads.

    Shapes: ``queries: (n, q, query_input_dims)``, ``keys: (n, k, key_input_dims)``,
    ``values: (n, k, value_input_dims)``, the result ``(n, q, value_output_dims)``. ``mask``
    broadcasts to ``(n, num_heads, q, k)`` and is added to the scores, or, if boolean, keeps
    those where it is true.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        dims: The size of all projected queries and keys together.
        num_heads: The number of heads.
        query_input_dims: Defaults to ``dims``.
        key_input_dims: Defaults to ``dims``.
        value_input_dims: Defaults to ``key_input_dims``.
        value_dims: The size of all projected values together; defaults to ``dims``.
        value_output_dims: Defaults to ``dims``.
        bias: If true, the projections have biases.

    Raises:
        ValueError: If ``num_heads`` doesn't divide ``dims``.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> x = mx.zeros((1, 3, 8))
        >>> nn.MultiHeadAttention(8, 2)(x, x, x).shape
        (1, 3, 8)
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        query_input_dims: Optional[int] = None,
        key_input_dims: Optional[int] = None,
        value_input_dims: Optional[int] = None,
        value_dims: Optional[int] = None,
        value_output_dims: Optional[int] = None,
        bias: bool = False,
    ):
        super().__init__()
        if dims % num_heads != 0:
            raise ValueError(
                "The input feature dimensions should be divisible by the "
                f"number of heads ({dims} % {num_heads}) != 0"
            )
        query_input_dims = query_input_dims or dims
        key_input_dims = key_input_dims or dims
        value_input_dims = value_input_dims or key_input_dims
        value_dims = value_dims or dims
        value_output_dims = value_output_dims or dims

        self.num_heads = num_heads
        self.query_proj = Linear(query_input_dims, dims, bias=bias)
        self.key_proj = Linear(key_input_dims, dims, bias=bias)
        self.value_proj = Linear(value_input_dims, value_dims, bias=bias)
        self.out_proj = Linear(value_dims, value_output_dims, bias=bias)

    def _split_heads(self, x):
        n, length, dims = x.shape
        return x.reshape(n, length, self.num_heads, dims // self.num_heads).transpose(0, 2, 1, 3)

    def __call__(self, queries, keys, values, mask=None):
        queries = self._split_heads(self["query_proj"](queries))
        keys = self._split_heads(self["key_proj"](keys))
        values = self._split_heads(self["value_proj"](values))
        scale = math.sqrt(1 / queries.shape[-1])
        y = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        return self["out_proj"](y.transpose(0, 2, 1, 3).flatten(-2, -1))

    @staticmethod
    def create_additive_causal_mask(N: int, dtype: mx.Dtype = mx.float32):
        """An ``(N, N)`` mask: the lowest number of ``dtype`` where a key stands after the query,
        0 elsewhere."""
        positions = mx.arange(N)
        after = positions[:, None] < positions[None]
        return after.astype(dtype) * mx.finfo(dtype).min


class TransformerEncoderLayer(Module):
    """Self-attention and a two-layer perceptron, each with a residual connection.

    Shapes: ``x: (n, l, dims)``, and so the result; ``mask`` as in `MultiHeadAttention`.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    A number of heads that does not divide ``dims``, and inputs of other sizes, are a
    ValueError.

    Args:
        dims: The size of the last axis.
        num_heads: The number of heads.
        mlp_dims: The size of the perceptron's hidden layer; defaults to ``4 * dims``.
        dropout: The probability of dropout.
        activation: The perceptron's activation.
        norm_first: If true, normalise the inputs of both parts; if false, the sums after them.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
    ):
        super().__init__()
        mlp_dims = mlp_dims or dims * 4
        self.attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def _perceptron(self, x):
        return self["linear2"](self["dropout2"](self.activation(self["linear1"](x))))

    def __call__(self, x, mask):
        if self.norm_first:
            y = self["ln1"](x)
            x = x + self["dropout1"](self["attention"](y, y, y, mask))
            return x + self._perceptron(self["ln2"](x))
        x = self["ln1"](x + self["dropout1"](self["attention"](x, x, x, mask)))
        return self["ln2"](x + self._perceptron(x))


class TransformerEncoder(Module):
    """A stack of `TransformerEncoderLayer` and a last normalisation.

    Shapes: ``(batch, length, dims)``, which the result has.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    A number of heads that does not divide ``dims``, and inputs of other sizes, are a
    ValueError.

    Args:
        num_layers: The number of layers.
        dims, num_heads, mlp_dims, dropout, activation, norm_first: As in
            `TransformerEncoderLayer`.
        checkpoint: If true, the layers' activations are recomputed in the backward pass rather
            than kept.
    """

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation=relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        self.layers = [
            TransformerEncoderLayer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)
        self.checkpoint = checkpoint

    def __call__(self, x, mask):
        for layer in self["layers"]:
            x = (checkpointed(layer) if self.checkpoint else layer)(x, mask)
        return self["ln"](x)


class TransformerDecoderLayer(Module):
    """Self-attention, attention to a memory, and a two-layer perceptron, each with a residual
    connection.

    Shapes: ``x: (n, l, dims)``, and so the result, ``memory: (n, m, dims)``; ``x_mask`` and
    ``memory_mask`` as in `MultiHeadAttention`. The arguments are those of
    `TransformerEncoderLayer`.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    A number of heads that does not divide ``dims``, and inputs of other sizes, are a
    ValueError.
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        norm_first: bool = True,
    ):
        super().__init__()
        mlp_dims = mlp_dims or dims * 4
        self.self_attention = MultiHeadAttention(dims, num_heads)
        self.cross_attention = MultiHeadAttention(dims, num_heads)
        self.ln1 = LayerNorm(dims)
        self.ln2 = LayerNorm(dims)
        self.ln3 = LayerNorm(dims)
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def _perceptron(self, x):
        return self["linear2"](self["dropout3"](self.activation(self["linear1"](x))))

    def __call__(self, x, memory, x_mask, memory_mask):
        if self.norm_first:
            y = self["ln1"](x)
            x = x + self["dropout1"](self["self_attention"](y, y, y, x_mask))
            y = self["cross_attention"](self["ln2"](x), memory, memory, memory_mask)
            x = x + self["dropout2"](y)
            return x + self._perceptron(self["ln3"](x))
        x = self["ln1"](x + self["dropout1"](self["self_attention"](x, x, x, x_mask)))
        y = self["cross_attention"](x, memory, memory, memory_mask)
        x = self["ln2"](x + self["dropout2"](y))
        return self["ln3"](x + self._perceptron(x))


class TransformerDecoder(Module):
    """A stack of `TransformerDecoderLayer` and a last normalisation; the arguments are those of
    `TransformerEncoder`.

    Shapes: ``(batch, length, dims)``, which the result has.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    A number of heads that does not divide ``dims``, and inputs of other sizes, are a
    ValueError.
    """

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation=relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        self.layers = [
            TransformerDecoderLayer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)
        self.checkpoint = checkpoint

    def __call__(self, x, memory, x_mask, memory_mask):
        for layer in self["layers"]:
            call = checkpointed(layer) if self.checkpoint else layer
            x = call(x, memory, x_mask, memory_mask)
        return self["ln"](x)


class Transformer(Module):
    """An encoder of ``src`` and a decoder of ``tgt`` that attends to it.

    Shapes: ``src: (n, s, dims)``, ``tgt: (n, t, dims)``, the result ``(n, t, dims)``; the masks
    as in `MultiHeadAttention`.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    A number of heads that does not divide ``dims``, and inputs of other sizes, are a
    ValueError.

    Args:
        dims, num_heads, mlp_dims, dropout, activation, norm_first, checkpoint: As in
            `TransformerEncoder`.
        num_encoder_layers: The number of layers of the encoder.
        num_decoder_layers: The number of layers of the decoder.
        custom_encoder: Called with ``(src, src_mask)`` in place of the encoder.
        custom_decoder: Called with ``(tgt, memory, tgt_mask, memory_mask)`` in place of the
            decoder.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> model = nn.Transformer(8, 2, 1, 1)
        >>> model(mx.zeros((1, 3, 8)), mx.zeros((1, 4, 8)), None, None, None).shape
        (1, 4, 8)
    """

    def __init__(
        self,
        dims: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dims: Optional[int] = None,
        dropout: float = 0.0,
        activation: Callable[[Any], Any] = relu,
        custom_encoder: Optional[Any] = None,
        custom_decoder: Optional[Any] = None,
        norm_first: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        self.encoder = custom_encoder or TransformerEncoder(
            num_encoder_layers,
            dims,
            num_heads,
            mlp_dims,
            dropout,
            activation,
            norm_first,
            checkpoint,
        )
        self.decoder = custom_decoder or TransformerDecoder(
            num_decoder_layers,
            dims,
            num_heads,
            mlp_dims,
            dropout,
            activation,
            norm_first,
            checkpoint,
        )

    def __call__(self, src, tgt, src_mask, tgt_mask, memory_mask):
        memory = self.encoder(src, src_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask)
