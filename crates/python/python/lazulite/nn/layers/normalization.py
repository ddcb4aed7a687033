"""Layers that normalise to zero mean and unit variance, each over its own set of axes."""

import math

import lazulite.core as mx
from lazulite.nn.layers.base import Module


class LayerNorm(Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` over the last axis (Ba et al., 2016).

    Shapes: ``x, y: (..., dims)``, ``weight, bias: (dims,)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    Args:
        dims: The size of the last axis.
        eps: Added to the variance.
        affine: If false, there is neither weight nor bias.
        bias: If false, there is no bias.
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True):
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            if bias:
                self.bias = mx.zeros((dims,))
        self.eps = eps
        self.dims = dims

    def _extra_repr(self):
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x):
        return mx.fast.layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class RMSNorm(Module):
    """``y = x / sqrt(mean(x^2) + eps) * weight`` over the last axis (Zhang and Sennrich, 2019).

    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    The mean is taken in float32. Shapes: ``x, y: (..., dims)``, ``weight: (dims,)``.

    Args:
        dims: The size of the last axis.
        eps: Added to the mean square.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.RMSNorm(2, eps=0.0)(mx.array([3.0, 3.0])).tolist()
        [1.0, 1.0]
    """

    def __init__(self, dims: int, eps: float = 1e-5):
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def _extra_repr(self):
        return f"{self.weight.shape[0]}, eps={self.eps}"

    def __call__(self, x):
        return mx.fast.rms_norm(x, self["weight"], self.eps)


class InstanceNorm(Module):
    """Normalises each channel of each example over the spatial axes (Ulyanov et al., 2016).

    Shapes: ``x, y: (n, ..., dims)``, ``weight, bias: (dims,)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    With parameters, an input with another last axis raises ValueError.

    Args:
        dims: The number of channels.
        eps: Added to the variance.
        affine: If true, there are a weight and a bias for each channel.
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False):
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            self.bias = mx.zeros((dims,))
        self.dims = dims
        self.eps = eps

    def _extra_repr(self):
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        axes = tuple(range(1, x.ndim - 1))
        mean = mx.mean(x, axis=axes, keepdims=True)
        var = mx.var(x, axis=axes, keepdims=True)
        y = (x - mean) * mx.rsqrt(var + self.eps)
        return self["weight"] * y + self["bias"] if "weight" in self else y


class GroupNorm(Module):
    """Normalises groups of channels of each example (Wu and He, 2018).

    Shapes: ``x, y: (n, ..., dims)``, ``weight, bias: (dims,)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        num_groups: How many groups the channels form.
        dims: The number of channels.
        eps: Added to the variance.
        affine: If true, there are a weight and a bias for each channel.
        pytorch_compatible: If true, a group is ``dims / num_groups`` neighbouring channels, as
            in PyTorch. If false, channels ``g, g + num_groups, ...`` form group ``g``.

    Raises:
        ValueError: If ``num_groups`` doesn't divide ``dims``.
    """

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ):
        super().__init__()
        if dims % num_groups != 0:
            raise ValueError(
                f"The number of features ({dims}) must be evenly divisible by "
                f"the number of groups ({num_groups})."
            )
        if affine:
            self.bias = mx.zeros((dims,))
            self.weight = mx.ones((dims,))
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self):
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, "
            f"affine={'weight' in self}, pytorch_compatible={self.pytorch_compatible}"
        )

    def _normalize_neighbours(self, x):
        batch, *spatial, dims = x.shape
        size = dims // self.num_groups
        # Each group becomes one row, which layer_norm handles in one pass.
        rows = x.reshape(batch, -1, self.num_groups, size).transpose(0, 2, 1, 3)
        rows = mx.fast.layer_norm(rows.reshape(batch, self.num_groups, -1), None, None, self.eps)
        rows = rows.reshape(batch, self.num_groups, -1, size).transpose(0, 2, 1, 3)
        return rows.reshape(batch, *spatial, dims)

    def _normalize_strided(self, x):
        columns = x.reshape(x.shape[0], -1, self.num_groups)
        mean = mx.mean(columns, axis=1, keepdims=True)
        var = mx.var(columns, axis=1, keepdims=True)
        return ((columns - mean) * mx.rsqrt(var + self.eps)).reshape(x.shape)

    def __call__(self, x):
        if self.pytorch_compatible:
            y = self._normalize_neighbours(x)
        else:
            y = self._normalize_strided(x)
        return self["weight"] * y + self["bias"] if "weight" in self else y


class BatchNorm(Module):
    """Normalises each channel over the batch and the spatial axes (Ioffe and Szegedy, 2015).

    In training mode the batch's own mean and variance are used, and the running ones move
    towards them: ``running = (1 - momentum) * running + momentum * batch``. In evaluation mode
    the running ones are used, if there are any. The running variance follows the unbiased
    variance of the batch.

    Shapes: ``x, y: (n, num_features)``, ``(n, l, num_features)`` or ``(n, h, w, num_features)``;
    all parameters and running statistics: ``(num_features,)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        num_features: The number of channels.
        eps: Added to the variance.
        momentum: How far the running statistics move.
        affine: If true, there are a weight and a bias for each channel.
        track_running_stats: If false, there are no running statistics.

    Raises:
        ValueError: When called with an input of another number of axes, or in training mode with
            only one value for each channel.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = mx.ones((num_features,))
            self.bias = mx.zeros((num_features,))
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def unfreeze(self, *args, **kwargs):
        """Like `Module.unfreeze`, but the running statistics stay frozen."""
        super().unfreeze(*args, **kwargs)
        self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def _extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def _track(self, count: int, mean: mx.array, var: mx.array) -> None:
        """Move the running statistics towards those of a batch of ``count`` values a channel."""
        move = self.momentum
        unbiased = var * (count / (count - 1))
        self.running_mean = (1 - move) * self.running_mean + move * mean
        self.running_var = (1 - move) * self.running_var + move * unbiased

    def __call__(self, x: mx.array) -> mx.array:
        if not 2 <= x.ndim <= 4:
            raise ValueError(
                f"BatchNorm: expected an input of 2, 3 or 4 axes, got one of shape {x.shape}"
            )
        count = math.prod(x.shape[:-1])
        if self.training and count == 1:
            raise ValueError(
                f"BatchNorm: training needs more than one value per channel, got shape {x.shape}"
            )
        tracked = "running_mean" in self
        if self.training or not tracked:
            axes = tuple(range(x.ndim - 1))
            mean = mx.mean(x, axis=axes)
            var = mx.var(x, axis=axes)
            if self.training and tracked:
                self._track(count, mean, var)
        else:
            mean, var = self["running_mean"], self["running_var"]
        y = (x - mean) * mx.rsqrt(var + self.eps)
        return self["weight"] * y + self["bias"] if "weight" in self else y
