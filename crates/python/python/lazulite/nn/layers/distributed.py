"""Layers whose weights are spread over the processes of a group.

Tensor parallel layers hold a slice of a weight. "All to sharded" splits the outputs: every
process sees the whole input and computes some of the outputs. "Sharded to all" splits the
inputs: every process sees some of the input and the partial products are summed. One after the
other they need one exchange. `fully_shard` instead splits all parameters of a module and gathers
them for the time of a call.
"""

import math
from functools import lru_cache
from typing import Callable, Optional, Union

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.nn.layers.linear import Linear
from lazulite.utils import tree_flatten, tree_map_with_path, tree_unflatten


@lru_cache
def sum_gradients(group):
    """A function that is the identity, and whose gradient is summed over ``group``.

    Shapes: any, which the result has.
    Dtypes: floats.
    A process that cannot be reached raises RuntimeError.
    """
    if group.size() == 1:
        return lambda x: x

    @mx.custom_function
    def identity(x):
        return x

    @identity.vjp
    def sum_cotangents(x, cotangent, _):
        return mx.distributed.all_sum(cotangent, group=group)

    return identity


def _split_segments(x, segments, axis):
    """Split into segments that are sharded apart: a number of equal ones, or where to cut.

    Cuts are indices, or shares of the axis if they are fractions.
    """
    if isinstance(segments, int):
        return mx.split(x, segments, axis=axis)
    if isinstance(segments[0], int):
        return mx.split(x, segments, axis=axis)
    size = x.shape[axis]
    return mx.split(x, [int(share * size) for share in segments], axis=axis)


def _shard_array(x, axis, segments, group):
    """The part of ``x`` that this process holds: its part of each segment, put together."""
    size, rank = group.size(), group.rank()
    parts = [
        mx.split(segment, size, axis=axis)[rank] for segment in _split_segments(x, segments, axis)
    ]
    return mx.contiguous(parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=axis))


def _shard_tree(tree, rule, group):
    """Shard the arrays of a parameter tree, each as ``rule(path, array)`` says."""

    def shard(path, x):
        if not isinstance(x, mx.array):
            return x
        decision = rule(path, x)
        if decision is None:
            return x
        if isinstance(decision, tuple):
            axis, segments = decision
        elif isinstance(decision, int):
            axis, segments = decision, 1
        else:
            raise ValueError(
                "A sharding function must return None, an axis or a tuple of an axis and "
                f"segments, got {decision!r}"
            )
        return _shard_array(x, axis, segments, group)

    return tree_map_with_path(shard, tree)


def _all_to_sharded(segments):
    """Split the outputs: the first axis of a bias, the second to last of a weight."""

    def rule(path, x):
        return -1 if path.endswith("bias") else max(x.ndim - 2, 0), segments

    return rule


def _sharded_to_all(segments):
    """Split the inputs: the last axis of a weight; every process has the whole bias."""

    def rule(path, x):
        return None if path.endswith("bias") else (-1, segments)

    return rule


def _check_sharding(sharding):
    if sharding not in ("all-to-sharded", "sharded-to-all"):
        raise ValueError(f"sharding must be 'all-to-sharded' or 'sharded-to-all', got {sharding!r}")


def _check_divides(what, size, group):
    if size % group.size() != 0:
        raise ValueError(f"The {what} of size {size} can't be split over {group.size()} processes")


def shard_inplace(
    module: Module,
    sharding: Union[str, Callable],
    *,
    segments: Union[int, list] = 1,
    group: Optional[mx.distributed.Group] = None,
):
    """Replace the parameters of ``module`` by this process's slices of them.

    Shapes: the axis that is split has an equal part of its size.
    Dtypes: all, which stay.

    The module itself stays as it is, and its owner sees to the exchange.

    Args:
        module: The module.
        sharding: ``"all-to-sharded"``, ``"sharded-to-all"``, or a function of the path and the
            array of each parameter that returns the axis to split, a pair of axis and segments,
            or None for what every process keeps whole.
        segments: For weights that were put together, such as queries, keys and values: how many
            equal parts they have, or where to cut them, as a list of indices or of shares. Each
            is split over the processes.
        group: The group, by default all processes.

    Raises:
        ValueError: For any other ``sharding`` and where sizes don't divide.
    """
    group = group or mx.distributed.init()
    if callable(sharding):
        rule = sharding
    else:
        _check_sharding(sharding)
        make = _all_to_sharded if sharding == "all-to-sharded" else _sharded_to_all
        rule = make(segments)
    module.update(_shard_tree(module.parameters(), rule, group))


def shard_linear(
    module: Module,
    sharding: str,
    *,
    segments: Union[int, list] = 1,
    group: Optional[mx.distributed.Group] = None,
):
    """The layer that computes this process's part of a `Linear` or `QuantizedLinear`.

    Shapes: those of `AllToShardedLinear` and `ShardedToAllLinear`.
    Dtypes: those of the layer.

    Args:
        module: The layer to split.
        sharding: ``"all-to-sharded"`` or ``"sharded-to-all"``.
        segments: As in `shard_inplace`.
        group: The group, by default all processes.

    Raises:
        ValueError: For any other ``sharding`` and where sizes don't divide.

    Example:
        >>> import lazulite.nn as nn
        >>> from lazulite.nn.layers.distributed import shard_linear
        >>> shard_linear(nn.Linear(4, 4), "all-to-sharded")
        AllToShardedLinear(input_dims=4, output_dims=4, bias=True)
    """
    _check_sharding(sharding)
    plain = isinstance(module, Linear)
    if sharding == "all-to-sharded":
        cls = AllToShardedLinear if plain else QuantizedAllToShardedLinear
    else:
        cls = ShardedToAllLinear if plain else QuantizedShardedToAllLinear
    make = cls.from_linear if plain else cls.from_quantized_linear
    return make(module, segments=segments, group=group)


def _random_linear(layer, output_dims, input_dims, bias_dims, fan_in):
    """Set weight and bias as `Linear` does for the whole, unsplit layer."""
    bound = math.sqrt(1.0 / fan_in)
    layer.weight = mx.random.uniform(low=-bound, high=bound, shape=(output_dims, input_dims))
    if bias_dims:
        layer.bias = mx.random.uniform(low=-bound, high=bound, shape=(bias_dims,))


class AllToShardedLinear(Module):
    """A `Linear` of whose outputs every process computes an equal part.

    Shapes: ``x: (..., input_dims)``, the whole input in every process; ``weight: (output_dims /
    size, input_dims)``, ``bias: (output_dims / size,)``; the result is ``(..., output_dims /
    size)``. The gradient of the input is summed over the group.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        input_dims: The size of the last axis of the input.
        output_dims: The number of outputs of all processes together.
        bias: If false, there is no bias.
        group: The group, by default all processes.

    Raises:
        ValueError: If the outputs can't be split equally.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group: Optional[mx.distributed.Group] = None,
    ):
        super().__init__()
        self.group = group or mx.distributed.init()
        _check_divides("output", output_dims, self.group)
        local = output_dims // self.group.size()
        _random_linear(self, local, input_dims, local if bias else 0, input_dims)

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        output_dims *= self.group.size()
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        x = sum_gradients(self.group)(x)
        if "bias" in self:
            return mx.addmm(self["bias"], x, self["weight"].T)
        return x @ self["weight"].T

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        *,
        segments: Union[int, list] = 1,
        group: Optional[mx.distributed.Group] = None,
    ):
        """This process's part of ``linear_layer``; ``segments`` as in `shard_inplace`."""
        group = group or mx.distributed.init()
        output_dims, input_dims = linear_layer.weight.shape
        layer = cls(input_dims, output_dims, "bias" in linear_layer, group)
        layer.update(_shard_tree(linear_layer.parameters(), _all_to_sharded(segments), group))
        return layer


class ShardedToAllLinear(Module):
    """A `Linear` of whose inputs every process sees an equal part.

    Shapes: ``x: (..., input_dims / size)``; ``weight: (output_dims, input_dims / size)``,
    ``bias: (output_dims,)``; the result is ``(..., output_dims)``, the same in every process.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        input_dims: The number of inputs of all processes together.
        output_dims: The size of the last axis of the result.
        bias: If false, there is no bias.
        group: The group, by default all processes.

    Raises:
        ValueError: If the inputs can't be split equally.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group: Optional[mx.distributed.Group] = None,
    ):
        super().__init__()
        self.group = group or mx.distributed.init()
        _check_divides("input", input_dims, self.group)
        local = input_dims // self.group.size()
        _random_linear(self, output_dims, local, output_dims if bias else 0, input_dims)

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        input_dims *= self.group.size()
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.distributed.all_sum(x @ self["weight"].T, group=self.group)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        *,
        segments: Union[int, list] = 1,
        group: Optional[mx.distributed.Group] = None,
    ):
        """This process's part of ``linear_layer``; ``segments`` as in `shard_inplace`."""
        group = group or mx.distributed.init()
        output_dims, input_dims = linear_layer.weight.shape
        layer = cls(input_dims, output_dims, "bias" in linear_layer, group)
        layer.update(_shard_tree(linear_layer.parameters(), _sharded_to_all(segments), group))
        return layer


class _QuantizedSharded(Module):
    """What the split quantised layers share: the format, the frozen parameters, the product."""

    def __init__(self, weight_shape, bias_dims, fan_in, group_size, bits, mode, group):
        super().__init__()
        self.group_size = group_size
        self.bits = bits
        self.mode = mode
        self.group = group
        bound = math.sqrt(1 / fan_in)
        weight = mx.random.uniform(low=-bound, high=bound, shape=weight_shape)
        self.weight, self.scales, *biases = mx.quantize(weight, group_size, bits, mode=mode)
        self.biases = biases[0] if biases else None
        if bias_dims:
            self.bias = mx.zeros((bias_dims,))
        self.freeze()

    def unfreeze(self, *args, **kwargs):
        """Like `Module.unfreeze`, but this layer's own parameters stay frozen."""
        super().unfreeze(*args, **kwargs)
        self.freeze(recurse=False)

    def _format_repr(self, input_dims, output_dims):
        return (
            f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}, "
            f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"
        )

    def _product(self, x):
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
    def _split(cls, whole, rule, group):
        group = group or mx.distributed.init()
        output_dims, packed = whole.weight.shape
        layer = cls(
            packed * 32 // whole.bits,
            output_dims,
            "bias" in whole,
            group_size=whole.group_size,
            bits=whole.bits,
            mode=whole.mode,
            group=group,
        )
        layer.update(_shard_tree(whole.parameters(), rule, group))
        return layer


class QuantizedAllToShardedLinear(_QuantizedSharded):
    """A `QuantizedLinear` of whose outputs every process computes an equal part.

    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Shapes: those of `AllToShardedLinear`, with the weight packed as in `QuantizedLinear`.

    Args:
        input_dims: The size of the last axis of the input.
        output_dims: The number of outputs of all processes together.
        bias: If false, there is no bias.
        group_size: How many weights share a scale.
        bits: The bits of a weight.
        mode: The format, see `lazulite.core.quantize`.
        group: The group, by default all processes.

    Raises:
        ValueError: If the outputs can't be split equally.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: Optional[mx.distributed.Group] = None,
    ):
        group = group or mx.distributed.init()
        _check_divides("output", output_dims, group)
        local = output_dims // group.size()
        shape, bias_dims = (local, input_dims), local if bias else 0
        super().__init__(shape, bias_dims, input_dims, group_size, bits, mode, group)

    def _extra_repr(self) -> str:
        output_dims, packed = self.weight.shape
        return self._format_repr(packed * 32 // self.bits, output_dims * self.group.size())

    def __call__(self, x: mx.array) -> mx.array:
        y = self._product(sum_gradients(self.group)(x))
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_quantized_linear(
        cls,
        quantized_linear_layer: Module,
        *,
        segments: Union[int, list] = 1,
        group: Optional[mx.distributed.Group] = None,
    ):
        """This process's part of the layer; ``segments`` as in `shard_inplace`."""
        return cls._split(quantized_linear_layer, _all_to_sharded(segments), group)


class QuantizedShardedToAllLinear(_QuantizedSharded):
    """A `QuantizedLinear` of whose inputs every process sees an equal part.

    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Shapes: those of `ShardedToAllLinear`, with the weight packed as in `QuantizedLinear`. The
    arguments are those of `QuantizedAllToShardedLinear`.

    Raises:
        ValueError: If the inputs can't be split equally.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: Optional[mx.distributed.Group] = None,
    ):
        group = group or mx.distributed.init()
        _check_divides("input", input_dims, group)
        shape = (output_dims, input_dims // group.size())
        bias_dims = output_dims if bias else 0
        super().__init__(shape, bias_dims, input_dims, group_size, bits, mode, group)

    def _extra_repr(self) -> str:
        output_dims, packed = self.weight.shape
        return self._format_repr(packed * 32 // self.bits * self.group.size(), output_dims)

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.distributed.all_sum(self._product(x), group=self.group)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_quantized_linear(
        cls,
        quantized_linear_layer: Module,
        *,
        segments: Union[int, list] = 1,
        group: Optional[mx.distributed.Group] = None,
    ):
        """This process's part of the layer; ``segments`` as in `shard_inplace`."""
        return cls._split(quantized_linear_layer, _sharded_to_all(segments), group)


def _gather_shards(group, compute_dtype):
    """A function from local shards to whole arrays, in one exchange, whose gradient is scattered
    back and averaged in one exchange."""
    size = group.size()

    def to_row(x):
        x = x.reshape(1, -1)
        return x if compute_dtype is None else x.astype(compute_dtype)

    @mx.custom_function
    def gather(*shards):
        if size == 1:
            return [s if compute_dtype is None else s.astype(compute_dtype) for s in shards]
        row = mx.concatenate([to_row(s) for s in shards], axis=1)
        rows = mx.distributed.all_gather(row, group=group)
        whole, start = [], 0
        for s in shards:
            part = rows[:, start : start + s.size]
            whole.append(part.reshape(s.shape[0] * size, *s.shape[1:]))
            start += s.size
        return whole

    @gather.vjp
    def scatter(shards, cotangents, _):
        shards = shards if isinstance(shards, (list, tuple)) else [shards]
        cotangents = cotangents if isinstance(cotangents, (list, tuple)) else [cotangents]
        if size == 1:
            return [c.astype(s.dtype) for c, s in zip(cotangents, shards)]
        rows = mx.concatenate([c.reshape(size, -1) for c in cotangents], axis=1)
        row = mx.distributed.sum_scatter(rows, group=group) / size
        local, start = [], 0
        for s in shards:
            part = row[:, start : start + s.size]
            local.append(part.reshape(s.shape).astype(s.dtype))
            start += s.size
        return local

    return gather


class FullyShardedModule(Module):
    """A module of whose parameters every process keeps an equal part.

    Shapes: those of the module.
    Dtypes: floats, which the results have.

    For the time of a call the whole parameters are gathered; their gradients are averaged over
    the group and split again (Zhao et al., "PyTorch FSDP", 2023). The parameters below a
    `FullyShardedModule` inside ``module`` are that one's own.

    Args:
        module: The module, whose parameters are split along their first axes, in place.
        group: The group, by default all processes.
        compute_dtype: The dtype in which parameters are gathered and gradients exchanged, by
            default their own.

    Raises:
        ValueError: If a parameter has no axis, or one whose size the group doesn't divide.
    """

    def __init__(
        self,
        module: Module,
        group: Optional[mx.distributed.Group] = None,
        compute_dtype: Optional[mx.Dtype] = None,
    ):
        super().__init__()
        group = group or mx.distributed.init()
        size = group.size()
        shards = {}
        for path, x in _own_parameters(module):
            if x.ndim == 0:
                raise ValueError(f"The parameter {path!r} can't be split: it has no axes")
            if x.shape[0] % size != 0:
                raise ValueError(
                    f"The parameter {path!r} of shape {x.shape} can't be split: {size} processes "
                    "must divide its first axis"
                )
            shards[path] = _shard_array(x, 0, 1, group)
        if shards:
            module.update(tree_unflatten(shards))
        self.module = module
        # Plain attributes: the paths are no part of the tree.
        object.__setattr__(self, "_paths", list(shards))
        object.__setattr__(self, "_gather_fn", _gather_shards(group, compute_dtype))

    def _extra_repr(self) -> str:
        return f"num_sharded_params={len(self._paths)}"

    def _gathered_call(self, fn, *args, **kwargs):
        """Call ``fn`` while the module holds its whole parameters."""
        if not self._paths:
            return fn(*args, **kwargs)
        now = tree_flatten(self.module.parameters(), destination={})
        shards = {path: now[path] for path in self._paths}
        whole = self._gather_fn(*shards.values())
        if isinstance(whole, mx.array):
            whole = [whole]
        self.module.update(tree_unflatten(list(zip(self._paths, whole))))
        try:
            return fn(*args, **kwargs)
        finally:
            self.module.update(tree_unflatten(shards))

    def __call__(self, *args, **kwargs):
        return self._gathered_call(self.module, *args, **kwargs)

    def as_linear(self, *args, **kwargs):
        """The module's ``as_linear``, with whole parameters."""
        return self._gathered_call(self.module.as_linear, *args, **kwargs)


def _own_parameters(module):
    """The paths and arrays below ``module`` that no inner `FullyShardedModule` holds."""
    own = module.filter_and_map(
        lambda m, k, v: (
            Module.valid_parameter_filter(m, k, v) and not isinstance(v, FullyShardedModule)
        )
    )
    return tree_flatten(own)


def fully_shard(
    module: Module,
    *,
    group: Optional[mx.distributed.Group] = None,
    compute_dtype: Optional[mx.Dtype] = None,
) -> Module:
    """Wrap ``module`` into a `FullyShardedModule`; in a group of one return it as it is.

    Shapes: those of the module.
    Dtypes: floats, which the results have.

    Args:
        module: The module, whose parameters are split in place.
        group: The group, by default all processes.
        compute_dtype: As in `FullyShardedModule`.

    Raises:
        ValueError: If a parameter can't be split.
    """
    group = group or mx.distributed.init()
    if group.size() == 1:
        return module
    return FullyShardedModule(module, group, compute_dtype)
