"""Activation functions, and the layers that apply them.

All are plain compositions of array operations: evaluation fuses them. Unless a function says
otherwise its result has the shape and the dtype of ``x``.
"""

import math
from typing import Any

import lazulite.core as mx
from lazulite.nn.layers.base import Module

# Klambauer et al., "Self-Normalizing Neural Networks" (2017), rounded as MLX rounds them.
_SELU_ALPHA = 1.67326
_SELU_SCALE = 1.0507


def sigmoid(x):
    """The logistic function, ``1 / (1 + exp(-x))``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.sigmoid(x)


def tanh(x):
    """The hyperbolic tangent.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.tanh(x)


def relu(x):
    """``max(x, 0)``.

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.

    Example:
        >>> import lazulite.core as mx
        >>> relu(mx.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    return mx.maximum(x, 0)


def relu2(x):
    """``max(x, 0)^2`` (So et al., "Primer", 2021).

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.square(mx.maximum(x, 0))


def relu6(x):
    """``min(max(x, 0), 6)``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.minimum(mx.maximum(x, 0), 6.0)


def leaky_relu(x, negative_slope=0.01):
    """``max(negative_slope * x, x)``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return mx.maximum(negative_slope * x, x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """``max(x, 0) + alpha * min(x, 0)`` with a learned ``alpha`` that broadcasts against ``x``
    (He et al., 2015).

    Shapes: those of ``x`` and ``alpha`` broadcast together.
    Dtypes: floats and complex; integers and bool become float32.
    Shapes that do not broadcast raise ValueError.
    """
    return mx.maximum(x, 0) + alpha * mx.minimum(x, 0)


def elu(x, alpha=1.0):
    """``x`` where ``x > 0`` and ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2015).

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    # The inner where keeps exp, and so the derivative of the branch not taken, from overflowing;
    # unlike a minimum it has the derivative of the lower branch at 0.
    return mx.where(x > 0, x, alpha * (mx.exp(mx.where(x > 0, 0, x)) - 1))


def celu(x, alpha=1.0):
    """``max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)`` (Barron, 2017).

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.maximum(x, 0.0) + alpha * (mx.exp(mx.minimum(x, 0.0) / alpha) - 1)


def selu(x):
    """``1.0507 * elu(x, 1.67326)`` (Klambauer et al., 2017).

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return elu(x, _SELU_ALPHA) * _SELU_SCALE


def silu(x):
    """``x * sigmoid(x)``, also called swish.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return x * mx.sigmoid(x)


def gelu(x) -> mx.array:
    """``x * (1 + erf(x / sqrt(2))) / 2`` (Hendrycks and Gimpel, 2016).

    Shapes: any, which the result has.
    Dtypes: floats; integers and bool become float32, complex is refused.
    An argument that is not an array raises TypeError.

    Example:
        >>> import lazulite.core as mx
        >>> round(gelu(mx.array(1.0)).item(), 4)
        0.8413
    """
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def gelu_approx(x):
    """GELU by ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.

    The absolute error is below 5e-4.
    """
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def gelu_fast_approx(x):
    """GELU by ``x * sigmoid(1.702 * x)``; the absolute error is below 0.021.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return x * mx.sigmoid(1.702 * x)


def mish(x: mx.array) -> mx.array:
    """``x * tanh(softplus(x))`` (Misra, 2019).

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return x * mx.tanh(softplus(x))


def hardswish(x):
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al., 2019).

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return x * mx.minimum(mx.maximum(x + 3, 0), 6) / 6


def hard_tanh(x, min_val=-1.0, max_val=1.0):
    """``x`` limited to ``[min_val, max_val]``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.minimum(mx.maximum(x, min_val), max_val)


def hard_shrink(x, lambd=0.5):
    """``x`` where ``abs(x) > lambd`` and 0 elsewhere.

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.where(mx.abs(x) > lambd, x, 0)


def softshrink(x, lambd: float = 0.5):
    """``x`` moved by ``lambd`` towards 0, and 0 where ``abs(x) <= lambd``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


def softplus(x):
    """``log(1 + exp(x))``, computed as ``logaddexp(x, 0)``, which does not overflow.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return mx.logaddexp(x, 0)


def softsign(x):
    """``x / (1 + abs(x))``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """
    return x / (1 + mx.abs(x))


def log_sigmoid(x):
    """``log(sigmoid(x))``, computed as ``-softplus(-x)``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers become float32, bool is refused.
    An argument that is not an array raises TypeError.
    """
    return -softplus(-x)


def softmax(x, axis=-1):
    """``exp(x) / sum(exp(x))`` along ``axis``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return mx.softmax(x, axis=axis)


def softmin(x, axis=-1):
    """``softmax(-x)`` along ``axis``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers become float32, bool is refused.
    An argument that is not an array raises TypeError.
    """
    return mx.softmax(-x, axis=axis)


def log_softmax(x, axis=-1):
    """``x - logsumexp(x)`` along ``axis``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """
    return x - mx.logsumexp(x, axis=axis, keepdims=True)


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """``a * sigmoid(b)`` for the two halves of ``x`` along ``axis`` (Dauphin et al., 2016).

    Shapes: ``(..., 2 n, ...) -> (..., n, ...)`` on the axis.
    Dtypes: floats and complex; integers and bool become float32.

    Raises:
        ValueError: If the size of ``axis``, which the result halves, is odd.

    Example:
        >>> import lazulite.core as mx
        >>> glu(mx.zeros((3, 4))).shape
        (3, 2)
    """
    a, b = mx.split(x, 2, axis=axis)
    return a * mx.sigmoid(b)


def step(x: mx.array, threshold: float = 0.0):
    """1 where ``x >= threshold`` and 0 elsewhere, in int32.

    Shapes: any, which the result has.
    Dtypes: all; the result is int32.
    An argument that is not an array raises TypeError.
    """
    return mx.where(x >= threshold, 1, 0)


class Sigmoid(Module):
    """:func:`sigmoid` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return sigmoid(x)


class Tanh(Module):
    """:func:`tanh` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return tanh(x)


class ReLU(Module):
    """:func:`relu` as a layer.

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return relu(x)


class ReLU2(Module):
    """:func:`relu2` as a layer.

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return relu2(x)


class ReLU6(Module):
    """:func:`relu6` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return relu6(x)


class LeakyReLU(Module):
    """:func:`leaky_relu` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __init__(self, negative_slope=0.01):
        super().__init__()
        self._negative_slope = negative_slope

    def __call__(self, x):
        return leaky_relu(x, self._negative_slope)


class PReLU(Module):
    """:func:`prelu` with the parameter ``weight`` of shape ``(num_parameters,)``.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    A last axis that does not broadcast with the slopes raises ValueError.

    Args:
        num_parameters: 1, or the size of the last axis of the input.
        init: The value that the parameters start with.
    """

    def __init__(self, num_parameters=1, init=0.25):
        super().__init__()
        self.weight = mx.full((num_parameters,), init)

    def __call__(self, x: mx.array):
        return prelu(x, self["weight"])


class ELU(Module):
    """:func:`elu` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __init__(self, alpha=1.0):
        super().__init__()
        self._alpha = alpha

    def __call__(self, x):
        return elu(x, self._alpha)


class CELU(Module):
    """:func:`celu` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __init__(self, alpha=1.0):
        super().__init__()
        self._alpha = alpha

    def __call__(self, x):
        return celu(x, self._alpha)


class SELU(Module):
    """:func:`selu` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return selu(x)


class SiLU(Module):
    """:func:`silu` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return silu(x)


class GELU(Module):
    """GELU as a layer, exact or approximated.

    Shapes: any, which the result has.
    Dtypes: floats; integers and bool become float32, complex is refused.

    Args:
        approx: ``"none"`` for :func:`gelu`, ``"precise"`` or ``"tanh"`` for
            :func:`gelu_approx`, ``"fast"`` for :func:`gelu_fast_approx`.

    Raises:
        ValueError: For any other ``approx``.
    """

    def __init__(self, approx="none"):
        super().__init__()
        if approx not in _GELUS:
            raise ValueError(f"GELU: approx must be one of {list(_GELUS)}, got {approx!r}")
        self._approx = approx

    def __call__(self, x):
        return _GELUS[self._approx](x)


_GELUS = {
    "none": gelu,
    "precise": gelu_approx,
    "tanh": gelu_approx,
    "fast": gelu_fast_approx,
}


class Mish(Module):
    """:func:`mish` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return mish(x)


class Hardswish(Module):
    """:func:`hardswish` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return hardswish(x)


class HardTanh(Module):
    """:func:`hard_tanh` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return hard_tanh(x)


class HardShrink(Module):
    """:func:`hard_shrink` as a layer.

    Shapes: any, which the result has.
    Dtypes: all; bool becomes int32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __init__(self, lambd=0.5):
        super().__init__()
        self.lambd = lambd

    def __call__(self, x):
        return hard_shrink(x, self.lambd)


class Softshrink(Module):
    """:func:`softshrink` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __init__(self, lambd=0.5):
        super().__init__()
        self.lambd = lambd

    def __call__(self, x):
        return softshrink(x, self.lambd)


class Softplus(Module):
    """:func:`softplus` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return softplus(x)


class Softsign(Module):
    """:func:`softsign` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is neither an array nor a number raises ValueError.
    """

    def __call__(self, x):
        return softsign(x)


class LogSigmoid(Module):
    """:func:`log_sigmoid` as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers become float32, bool is refused.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return log_sigmoid(x)


class Softmax(Module):
    """:func:`softmax` along the last axis as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return softmax(x)


class Softmin(Module):
    """:func:`softmin` along the last axis as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers become float32, bool is refused.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return softmin(x)


class LogSoftmax(Module):
    """:func:`log_softmax` along the last axis as a layer.

    Shapes: any, which the result has.
    Dtypes: floats and complex; integers and bool become float32.
    An argument that is not an array raises TypeError.
    """

    def __call__(self, x):
        return log_softmax(x)


class GLU(Module):
    """:func:`glu` as a layer.

    Shapes: ``(..., 2 n, ...) -> (..., n, ...)`` on the axis.
    Dtypes: floats and complex; integers and bool become float32.
    An axis of an odd size raises ValueError.
    """

    def __init__(self, axis: int = -1):
        super().__init__()
        self.axis = axis

    def __call__(self, x) -> Any:
        return glu(x, self.axis)


class Step(Module):
    """:func:`step` as a layer.

    Shapes: any, which the result has.
    Dtypes: all; the result is int32.
    An argument that is not an array raises TypeError.
    """

    def __init__(self, threshold: float = 0.0):
        super().__init__()
        self.threshold = threshold

    def __call__(self, x: mx.array):
        return step(x, self.threshold)
