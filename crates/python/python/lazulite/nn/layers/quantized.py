"""Layers with quantised weights, and `quantize`, which puts them into a model."""

import math
from typing import Callable, Optional, Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.utils import tree_map_with_path

# The group size and the bits of each format, where it is not told otherwise.
_DEFAULTS = {"affine": (64, 4), "mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}


def _format(mode, group_size, bits):
    """Fill in what ``mode`` prescribes. An unknown mode is left to `mx.quantize` to refuse."""
    default_size, default_bits = _DEFAULTS.get(mode, (None, None))
    return (
        default_size if group_size is None else group_size,
        default_bits if bits is None else bits,
    )


def quantize(
    model: Module,
    group_size: int = None,
    bits: int = None,
    *,
    mode: str = "affine",
    quantize_input: bool = False,
    class_predicate: Optional[Callable[[str, Module], Union[bool, dict]]] = None,
):
    """Replace the leaf modules of ``model``, in place, by quantised ones.

    Shapes: the weights of the layers; see `lazulite.core.quantize`.
    Dtypes: float16, bfloat16 and float32.

    Args:
        model: The model, whose leaf modules with a method ``to_quantized`` are candidates.
        group_size: How many weights share a scale; by default what ``mode`` prescribes.
        bits: The bits of a weight; by default what ``mode`` prescribes.
        mode: The format, see `lazulite.core.quantize`.
        quantize_input: If true, the inputs of the layers are quantised too.
        class_predicate: Called with the path and the module of each leaf module. False leaves
            it alone, true quantises it, and a dict does so with these arguments to
            ``to_quantized`` instead. By default all candidates are quantised.

    Raises:
        ValueError: If the predicate returns anything else, or wants a module that has no
            ``to_quantized``, or the weights don't suit the format.

    Example:
        >>> import lazulite.nn as nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        >>> nn.quantize(model, group_size=32, bits=8)
        >>> model.layers[0]
        QuantizedLinear(input_dims=64, output_dims=64, bias=True, group_size=32, bits=8, mode=affine)
    """
    if class_predicate is None:

        def class_predicate(_, module):
            return hasattr(module, "to_quantized")

    arguments = {
        "group_size": group_size,
        "bits": bits,
        "mode": mode,
        "quantize_input": quantize_input,
    }

    def replace(path, module):
        decision = class_predicate(path, module)
        if not isinstance(decision, (bool, dict)):
            raise ValueError(
                "quantize: class_predicate must return a bool or a dict of arguments to "
                f"to_quantized, got {type(decision).__name__} for {path!r}"
            )
        if not decision:
            return module
        if not hasattr(module, "to_quantized"):
            raise ValueError(f"quantize: a {type(module).__name__} can't be quantised ({path!r})")
        return module.to_quantized(**(decision if isinstance(decision, dict) else arguments))

    leaves = model.leaf_modules()
    model.update_modules(tree_map_with_path(replace, leaves, is_leaf=Module.is_module))


class QuantizedLinear(Module):
    """``y = x @ dequantize(weight).T + bias``, without ever writing out the dequantised weight.

    Shapes: ``x: (..., input_dims)``, ``weight: (output_dims, input_dims * bits / 32)`` in uint32,
    ``scales`` and, in affine mode, ``biases: (output_dims, input_dims / group_size)``,
    ``bias: (output_dims,)``, ``y: (..., output_dims)``.
    Dtypes: float16, bfloat16 and float32.
    Rows without whole groups, and inputs with another last axis, raise ValueError.

    The parameters are frozen from the start: integers have no gradients. A layer is usually
    made by `quantize` or :meth:`from_linear`; a new one has random weights.

    Args:
        input_dims: The size of the last axis of the input.
        output_dims: The size of the last axis of the result.
        bias: If false, there is no bias.
        group_size: How many weights share a scale; by default what ``mode`` prescribes.
        bits: The bits of a weight; by default what ``mode`` prescribes.
        mode: The format, see `lazulite.core.quantize`.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> layer = nn.QuantizedLinear.from_linear(nn.Linear(64, 8))
        >>> layer(mx.zeros((3, 64))).shape
        (3, 8)
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = None,
        bits: int = None,
        mode: str = "affine",
    ):
        super().__init__()
        self.group_size, self.bits = _format(mode, group_size, bits)
        self.mode = mode
        bound = math.sqrt(1 / input_dims)
        weight = mx.random.uniform(low=-bound, high=bound, shape=(output_dims, input_dims))
        self._quantize_weight(weight)
        if bias:
            self.bias = mx.zeros((output_dims,))
        self.freeze()

    def _quantize_weight(self, weight):
        self.weight, self.scales, *biases = mx.quantize(
            weight, self.group_size, self.bits, mode=self.mode
        )
        self.biases = biases[0] if biases else None

    def _extra_repr(self):
        output_dims, packed = self.weight.shape
        return (
            f"input_dims={packed * 32 // self.bits}, output_dims={output_dims}, "
            f"bias={'bias' in self}, group_size={self.group_size}, bits={self.bits}, "
            f"mode={self.mode}"
        )

    def __call__(self, x):
        # By position, which takes half the time of names: a model calls this more than anything.
        transpose = True
        y = mx.quantized_matmul(
            x,
            self["weight"],
            self["scales"],
            self.get("biases"),
            transpose,
            self.group_size,
            self.bits,
            self.mode,
        )
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int = None,
        bits: int = None,
        mode: str = "affine",
    ):
        """The quantised form of a `Linear`, whose bias it shares."""
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer.group_size, layer.bits = _format(mode, group_size, bits)
        layer.mode = mode
        layer._quantize_weight(linear_layer.weight)
        layer.freeze()
        # As in MLX, the bias that came from the linear layer stays trainable.
        if "bias" in linear_layer:
            layer.bias = linear_layer.bias
        return layer


class QuantizedEmbedding(Module):
    """An `Embedding` whose vectors are stored quantised and dequantised as they are looked up.

    Shapes: indices ``(...)`` of any integer type give ``(..., dims)``;
    ``weight: (num_embeddings, dims * bits / 32)`` in uint32, ``scales`` and, in affine mode,
    ``biases: (num_embeddings, dims / group_size)``.
    Dtypes: indices are integers; the result has the type of the weights.
    Indices that are not integers raise ValueError; one out of range raises IndexError when it is
    evaluated.

    Args:
        num_embeddings: How many vectors there are.
        dims: The size of each.
        group_size: How many weights share a scale; by default what ``mode`` prescribes.
        bits: The bits of a weight; by default what ``mode`` prescribes.
        mode: The format, see `lazulite.core.quantize`.
    """

    def __init__(
        self,
        num_embeddings: int,
        dims: int,
        group_size: int = None,
        bits: int = None,
        mode: str = "affine",
    ):
        super().__init__()
        weight = mx.random.normal(shape=(num_embeddings, dims), scale=math.sqrt(1 / dims))
        self._quantize_weight(weight, group_size, bits, mode)

    def _quantize_weight(self, weight, group_size, bits, mode):
        self.group_size, self.bits = _format(mode, group_size, bits)
        self.mode = mode
        self.num_embeddings, self.dims = weight.shape
        self.weight, self.scales, *biases = mx.quantize(
            weight, self.group_size, self.bits, mode=mode
        )
        self.biases = biases[0] if biases else None
        self.freeze()

    def _extra_repr(self):
        return (
            f"{self.num_embeddings}, {self.dims}, group_size={self.group_size}, "
            f"bits={self.bits}, mode={self.mode}"
        )

    def __call__(self, x):
        biases = self.get("biases")
        return mx.dequantize(
            self["weight"][x],
            scales=self["scales"][x],
            biases=None if biases is None else biases[x],
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
        )

    def as_linear(self, x):
        """``x @ dequantize(weight).T``: from vectors to one score for each embedding.

        Shapes: ``x: (..., dims)`` gives ``(..., num_embeddings)``.
        """
        return mx.quantized_matmul(
            x,
            self["weight"],
            scales=self["scales"],
            biases=self.get("biases"),
            transpose=True,
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
        )

    @classmethod
    def from_embedding(
        cls,
        embedding_layer: Module,
        group_size: int = None,
        bits: int = None,
        mode: str = "affine",
    ):
        """The quantised form of an `Embedding`."""
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer._quantize_weight(embedding_layer.weight, group_size, bits, mode)
        return layer


class QQLinear(Module):
    """``y = quantize(x) @ quantize(weight).T``: a product of two quantised operands.

    In training mode the layer holds the full weight, so that it has a gradient; in evaluation
    mode it holds the packed weight and its scales. `Module.train` and `Module.eval` convert.

    Shapes: ``x: (..., input_dims)``, ``y: (..., output_dims)``; ``weight`` is
    ``(output_dims, input_dims)`` in training and packed in uint32 in evaluation mode.
    Dtypes: float16, bfloat16 and float32.
    Rows without whole groups, and inputs with another last axis, raise ValueError.

    Args:
        input_dims: The size of the last axis of the input.
        output_dims: The size of the last axis of the result.
        group_size: How many weights share a scale; by default what ``mode`` prescribes.
        bits: The bits of a weight; by default what ``mode`` prescribes.
        mode: ``"nvfp4"`` or ``"mxfp8"``.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        group_size: int = None,
        bits: int = None,
        mode: str = "nvfp4",
    ):
        super().__init__()
        self.group_size, self.bits = _format(mode, group_size, bits)
        self.mode = mode
        bound = math.sqrt(1 / input_dims)
        self.weight = mx.random.uniform(low=-bound, high=bound, shape=(output_dims, input_dims))
        self._quantized = False

    def _extra_repr(self):
        output_dims, input_dims = self.weight.shape
        if self.weight.dtype == mx.uint32:
            input_dims = input_dims * 32 // self.bits
        return (
            f"input_dims={input_dims}, output_dims={output_dims}, "
            f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"
        )

    def quantize(self):
        """Pack the weight; without effect if it is packed."""
        if not self._quantized:
            self.weight, self.scales = mx.quantize(
                self.weight, self.group_size, self.bits, mode=self.mode
            )
            self._quantized = True

    def dequantize(self):
        """Unpack the weight; without effect if it is not packed."""
        if self._quantized:
            self.weight = mx.dequantize(
                self.weight,
                scales=self.scales,
                group_size=self.group_size,
                bits=self.bits,
                mode=self.mode,
            )
            del self.scales
            self._quantized = False

    def _set_training_mode(self, mode: bool):
        super()._set_training_mode(mode)
        if mode:
            self.dequantize()
        else:
            self.quantize()

    def __call__(self, x):
        return mx.qqmm(
            x,
            self["weight"],
            scales=self.get("scales"),
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
        )

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int = None,
        bits: int = None,
        mode: str = "nvfp4",
    ):
        """The form of a `Linear` whose operands are quantised.

        Raises:
            NotImplementedError: If the linear layer has a bias.
        """
        if "bias" in linear_layer:
            raise NotImplementedError("QQLinear: a linear layer with a bias can't be converted")
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer.group_size, layer.bits = _format(mode, group_size, bits)
        layer.mode = mode
        layer.weight = linear_layer.weight
        layer._quantized = False
        layer.train(linear_layer.training)
        return layer
