"""Affine and bilinear layers."""

import math
from typing import Any, Optional

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.nn.layers.quantized import QQLinear, QuantizedLinear


class Identity(Module):
    """Returns its input; the arguments of the constructor are ignored.

    Shapes: any.
    Dtypes: all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Shapes: ``x: (..., input_dims)``, ``weight: (output_dims, input_dims)``,
    ``bias: (output_dims,)``, ``y: (..., output_dims)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    Both parameters start uniform in ``[-k, k)`` with ``k = 1 / sqrt(input_dims)``.

    Args:
        input_dims: The size of the last axis of the input.
        output_dims: The size of the last axis of the result.
        bias: If false, there is no bias.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Linear(4, 2)(mx.zeros((3, 4))).shape
        (3, 2)
    """

    def __init__(self, input_dims: int, output_dims: int, bias: bool = True) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / input_dims)
        self.weight = mx.random.uniform(low=-bound, high=bound, shape=(output_dims, input_dims))
        if bias:
            self.bias = mx.random.uniform(low=-bound, high=bound, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if "bias" in self:
            return mx.addmm(self["bias"], x, self["weight"].T)
        return x @ self["weight"].T

    def to_quantized(
        self,
        group_size: Optional[int] = None,
        bits: Optional[int] = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ):
        """The layer with quantised weights.

        Args:
            group_size: How many weights share a scale; by default what ``mode`` prescribes.
            bits: The bits of a weight; by default what ``mode`` prescribes.
            mode: The format, see `lazulite.core.quantize`.
            quantize_input: If true, the input is quantised too and the result is a `QQLinear`.

        Raises:
            ValueError: If ``quantize_input`` and ``mode`` is neither nvfp4 nor mxfp8.
            NotImplementedError: If ``quantize_input`` and there is a bias.
        """
        if not quantize_input:
            return QuantizedLinear.from_linear(self, group_size, bits, mode)
        if mode not in ("nvfp4", "mxfp8"):
            raise ValueError(f"to_quantized: inputs can be quantised to nvfp4 or mxfp8, got {mode}")
        return QQLinear.from_linear(self, group_size, bits, mode)


class Bilinear(Module):
    """``y[o] = sum over i, j of x1[i] * weight[o, j, i] * x2[j] + bias[o]``.

    Shapes: ``x1: (..., input1_dims)``, ``x2: (..., input2_dims)``,
    ``weight: (output_dims, input2_dims, input1_dims)``, ``bias: (output_dims,)``,
    ``y: (..., output_dims)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    Both parameters start uniform in ``[-k, k)`` with ``k = 1 / sqrt(input1_dims)``.
    """

    def __init__(
        self, input1_dims: int, input2_dims: int, output_dims: int, bias: bool = True
    ) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / input1_dims)
        self.weight = mx.random.uniform(
            low=-bound, high=bound, shape=(output_dims, input2_dims, input1_dims)
        )
        if bias:
            self.bias = mx.random.uniform(low=-bound, high=bound, shape=(output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input2_dims, input1_dims = self.weight.shape
        return (
            f"input1_dims={input1_dims}, input2_dims={input2_dims}, "
            f"output_dims={output_dims}, bias={'bias' in self}"
        )

    def __call__(self, x1: mx.array, x2: mx.array) -> mx.array:
        weight = self["weight"]
        output_dims, input2_dims, input1_dims = weight.shape
        y = x1 @ weight.reshape(output_dims * input2_dims, input1_dims).T
        y = y.reshape(*y.shape[:-1], output_dims, input2_dims)
        y = (y @ x2[..., None]).squeeze(-1)
        return y + self["bias"] if "bias" in self else y
