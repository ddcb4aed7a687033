"""The optimisers, each a state per parameter and an update rule.

In the rules ``g`` is the gradient, ``w`` the parameter and ``lr`` the learning rate, which is
cast to the gradient's dtype: the arithmetic has the dtype of the parameters.
"""

import math
from typing import Callable, List, Optional, Tuple, Union

import lazulite.core as mx
from lazulite.optimizers.base import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    ``v' = momentum * v + (1 - dampening) * (g + weight_decay * w)``, ``w' = w - lr * v'``; with
    Nesterov's momentum ``w' = w - lr * (g + weight_decay * w + momentum * v')``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        momentum: The momentum; with 0 there is no state.
        weight_decay: How strongly parameters are drawn to 0.
        dampening: Reduces what the gradient adds to the momentum.
        nesterov: If true, use Nesterov's momentum.

    Raises:
        ValueError: If ``nesterov`` without momentum or with dampening.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ):
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening.")
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``v``, zeros like the parameter."""
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        rate = self.learning_rate.astype(gradient.dtype)
        if self.momentum <= 0:
            return parameter - rate * gradient
        v = self.momentum * state["v"]
        v = v + ((1 - self.dampening) * gradient if self.dampening > 0 else gradient)
        state["v"] = v
        move = gradient + self.momentum * v if self.nesterov else v
        return parameter - rate * move


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    ``v' = alpha * v + (1 - alpha) * g^2``, ``w' = w - lr * g / (sqrt(v') + eps)``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        alpha: How slowly the mean square forgets.
        eps: Keeps the quotient finite.

    Raises:
        ValueError: If ``alpha`` or ``eps`` is negative.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        alpha: float = 0.99,
        eps: float = 1e-8,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.alpha = alpha
        self.eps = eps
        _check_not_negative("RMSprop", alpha=alpha, eps=eps)

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``v``, zeros like the parameter."""
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        state["v"] = v
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    ``v' = v + g^2``, ``w' = w - lr * g / (sqrt(v') + eps)``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        eps: Keeps the quotient finite.

    Raises:
        ValueError: If ``eps`` is negative.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        eps: float = 1e-8,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        _check_not_negative("Adagrad", eps=eps)

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``v``, zeros like the parameter."""
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        v = state["v"] + mx.square(gradient)
        state["v"] = v
        return parameter - rate * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(Optimizer):
    """AdaDelta (Zeiler, 2012).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    ``v' = rho * v + (1 - rho) * g^2``, ``d = sqrt(u + eps) / sqrt(v' + eps) * g``,
    ``u' = rho * u + (1 - rho) * d^2``, ``w' = w - lr * d``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        rho: How slowly the mean squares forget.
        eps: Keeps the quotient finite.

    Raises:
        ValueError: If ``rho`` or ``eps`` is negative.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        rho: float = 0.9,
        eps: float = 1e-6,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.rho = rho
        self.eps = eps
        _check_not_negative("AdaDelta", rho=rho, eps=eps)

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``v`` and ``u``, zeros like the parameter."""
        state["v"] = mx.zeros_like(parameter)
        state["u"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        v = self.rho * state["v"] + (1 - self.rho) * mx.square(gradient)
        move = mx.sqrt(state["u"] + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["v"] = v
        state["u"] = self.rho * state["u"] + (1 - self.rho) * mx.square(move)
        return parameter - rate * move


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    ``m' = b1 * m + (1 - b1) * g``, ``v' = b2 * v + (1 - b2) * g^2``,
    ``w' = w - lr * m' / (sqrt(v') + eps)``. With bias correction, ``m'`` and ``v'`` are divided
    in the last rule by ``1 - b1^step`` and ``1 - b2^step``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        betas: ``b1`` and ``b2``.
        eps: Keeps the quotient finite.
        bias_correction: If true, correct for the zeros that the moments start with.

    Raises:
        ValueError: If a beta is not in ``[0, 1)`` or ``eps`` is negative.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> import lazulite.optimizers as optim
        >>> model = nn.Linear(2, 1)
        >>> optimizer = optim.Adam(learning_rate=0.1)
        >>> step = nn.value_and_grad(model, lambda x: model(x).square().sum())
        >>> loss, grads = step(mx.ones((4, 2)))
        >>> optimizer.update(model, grads)
        >>> optimizer.step.item()
        1
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        betas: List[float] = [0.9, 0.999],
        eps: float = 1e-8,
        bias_correction: bool = False,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.eps = eps
        self.bias_correction = bias_correction
        for i, beta in enumerate(betas, start=1):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Adam: beta{i} must be in [0, 1), got {beta}")
        _check_not_negative("Adam", eps=eps)

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``m`` and ``v``, zeros like the parameter."""
        state["m"] = mx.zeros_like(parameter)
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        state["m"] = m
        state["v"] = v
        if not self.bias_correction:
            return parameter - rate * m / (mx.sqrt(v) + self.eps)
        c1 = (rate / (1 - b1**self.step)).astype(gradient.dtype)
        c2 = mx.rsqrt(1 - b2**self.step).astype(gradient.dtype)
        return parameter - c1 * m / (mx.sqrt(v) * c2 + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    The rule of `Adam` with ``w * (1 - lr * weight_decay)`` in place of ``w``.

    Args:
        learning_rate, betas, eps, bias_correction: As in `Adam`.
        weight_decay: How strongly parameters are drawn to 0.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        betas: List[float] = [0.9, 0.999],
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ):
        super().__init__(learning_rate, betas, eps, bias_correction)
        self.weight_decay = weight_decay

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        decayed = parameter * (1 - rate * self.weight_decay)
        return super().apply_single(gradient, decayed, state)


class Adamax(Adam):
    """Adamax, Adam with the maximum norm (Kingma and Ba, 2015, section 7.1).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    ``m' = b1 * m + (1 - b1) * g``, ``v' = max(b2 * v, abs(g))``,
    ``w' = w - lr * m' / (v' + eps)``.

    Args:
        learning_rate, betas, eps: As in `Adam`.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        betas: List[float] = [0.9, 0.999],
        eps: float = 1e-8,
    ):
        super().__init__(learning_rate, betas, eps)

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``m`` and ``v``, zeros like the parameter."""
        super().init_single(parameter, state)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = mx.maximum(b2 * state["v"], mx.abs(gradient))
        state["m"] = m
        state["v"] = v
        return parameter - rate * m / (v + self.eps)


class Lion(Optimizer):
    """Lion (Chen et al., 2023).

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    ``c = b1 * m + (1 - b1) * g``, ``m' = b2 * m + (1 - b2) * g``,
    ``w' = w - lr * (sign(c) + weight_decay * w)``.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        betas: ``b1`` and ``b2``.
        weight_decay: How strongly parameters are drawn to 0.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        betas: List[float] = [0.9, 0.99],
        weight_decay: float = 0.0,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``m``, zeros like the parameter."""
        state["m"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        rate = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = state["m"]
        direction = mx.sign(b1 * m + (1 - b1) * gradient)
        state["m"] = b2 * m + (1 - b2) * gradient
        if self.weight_decay > 0:
            parameter = (1 - rate * self.weight_decay) * parameter
        return parameter - rate * direction


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018).

    Shapes: the state has a vector for each of the last two axes of a parameter, or its shape if
    it has one axis.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    For matrices the second moment is kept as its row and column means only. Each update is
    divided by ``max(1, rms(update) / clip_threshold)``.

    Args:
        learning_rate: The learning rate; used if ``relative_step`` is false.
        eps: Added to squares, and the least root mean square of a parameter for
            ``scale_parameter``.
        clip_threshold: The greatest root mean square of an update.
        decay_rate: The second moment forgets by ``1 - step ** decay_rate``.
        beta_1: If given, how slowly the first moment forgets; otherwise there is none.
        weight_decay: How strongly parameters are drawn to 0.
        scale_parameter: If true, the learning rate is multiplied by the root mean square of the
            parameter.
        relative_step: If true, the learning rate is ``min(1e-2, 1 / sqrt(step))``.
        warmup_init: If true, that ``1e-2`` is ``1e-6 * step`` instead.
    """

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array], None] = None,
        eps: Tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: Optional[float] = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ):
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: dict):
        """Makes the row and column means of a matrix, or the second moment of anything else, and
        the first moment if ``beta_1`` is given."""
        if parameter.ndim >= 2:
            shape, dtype = parameter.shape, parameter.dtype
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype=dtype)
            state["exp_avg_sq_col"] = mx.zeros(shape[:-2] + shape[-1:], dtype=dtype)
        else:
            state["exp_avg_sq"] = mx.zeros_like(parameter)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros_like(parameter)

    def _compute_rms(self, inputs):
        return mx.sqrt(mx.mean(mx.square(inputs)))

    def _compute_learning_rate(self, step, parameter_rms):
        if self.relative_step:
            most = 1e-6 * step if self.warmup_init else 1e-2
            rate = mx.minimum(most, mx.rsqrt(step))
        else:
            rate = self.learning_rate
        rate = rate.astype(parameter_rms.dtype)
        if self.scale_parameter:
            rate = rate * mx.maximum(self.eps[1], parameter_rms)
        return rate

    def _approximate_exp_moving_avg(self, exp_avg_sq_row, exp_avg_sq_col):
        """One over the root of the second moment, from its means: the outer product of rows over
        their mean, and columns."""
        rows = exp_avg_sq_row / mx.mean(exp_avg_sq_row, axis=-1, keepdims=True)
        return mx.rsqrt(rows)[..., None] * mx.rsqrt(exp_avg_sq_col)[..., None, :]

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        step = self.step
        rate = self._compute_learning_rate(step, self._compute_rms(parameter))
        beta_2 = (1.0 - step**self.decay_rate).astype(parameter.dtype)
        square = mx.square(gradient) + self.eps[0]

        if gradient.ndim >= 2:
            row = beta_2 * state["exp_avg_sq_row"] + (1 - beta_2) * mx.mean(square, axis=-1)
            col = beta_2 * state["exp_avg_sq_col"] + (1 - beta_2) * mx.mean(square, axis=-2)
            state["exp_avg_sq_row"] = row
            state["exp_avg_sq_col"] = col
            update = self._approximate_exp_moving_avg(row, col) * gradient
        else:
            second = beta_2 * state["exp_avg_sq"] + (1 - beta_2) * square
            state["exp_avg_sq"] = second
            update = mx.rsqrt(second) * gradient

        update = update / mx.maximum(1.0, self._compute_rms(update) / self.clip_threshold)
        update = rate * update
        if self.beta_1 is not None:
            update = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * update
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter + parameter * (-self.weight_decay * rate)
        return parameter - update


class Muon(Optimizer):
    """Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal.

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    ``v' = momentum * v + (1 - momentum) * g``; the update is ``v'``, or with Nesterov's momentum
    ``momentum * v' + (1 - momentum) * g``. Matrices, and convolution weights as matrices
    of their first axis, are brought near to the closest orthogonal matrix by Newton-Schulz
    iterations and scaled by ``sqrt(max(1, rows / columns))``. It is meant for the matrices inside
    a network; give other parameters to another optimiser with `MultiOptimizer`.

    Args:
        learning_rate: The learning rate, a number or a schedule.
        momentum: How slowly the momentum forgets.
        weight_decay: How strongly parameters are drawn to 0.
        nesterov: If true, use Nesterov's momentum.
        ns_steps: The number of Newton-Schulz iterations.
    """

    # The quintic of Jordan et al., chosen for the steepest slope at 0.
    _QUINTIC = (3.4445, -4.7750, 2.0315)

    def __init__(
        self,
        learning_rate: Union[float, Callable[[mx.array], mx.array]],
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def init_single(self, parameter: mx.array, state: dict):
        """Makes ``v``, zeros like the parameter."""
        state["v"] = mx.zeros_like(parameter)

    def _zeropower_via_newtonschulz5(self, X, steps: int):
        """A matrix near to ``U @ V.T`` for the singular value decomposition ``U @ S @ V.T`` of
        ``X``.

        Each step maps every singular value ``s`` to ``a * s + b * s^3 + c * s^5``.
        """
        a, b, c = self._QUINTIC
        tall = X.shape[-2] > X.shape[-1]
        if tall:
            X = X.T
        X = X / (mx.linalg.norm(X, keepdims=True) + 1e-7)
        for _ in range(steps):
            A = X @ X.T
            B = mx.addmm(b * A, A, A, beta=1.0, alpha=c)
            X = mx.addmm(a * X, B, X, beta=1.0, alpha=1.0)
        return X.T if tall else X

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The rule of the class."""
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        v = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = v
        update = gradient * (1 - self.momentum) + v * self.momentum if self.nesterov else v
        rate = self.learning_rate.astype(gradient.dtype)
        if update.ndim >= 2:
            matrix = update.reshape(update.shape[0], -1)
            matrix = self._zeropower_via_newtonschulz5(matrix, self.ns_steps)
            rate = rate * math.sqrt(max(1, matrix.shape[-2] / matrix.shape[-1]))
            update = matrix.reshape(update.shape)
        return parameter - rate * update


def _check_not_negative(optimizer, **arguments):
    for name, value in arguments.items():
        if value < 0:
            raise ValueError(f"{optimizer}: {name} must not be negative, got {value}")
