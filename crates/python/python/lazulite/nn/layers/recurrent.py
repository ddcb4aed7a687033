"""Recurrent layers, which run over the second to last axis of their input."""

import math
from typing import Callable, Optional

import lazulite.core as mx
from lazulite.nn.layers.activations import tanh
from lazulite.nn.layers.base import Module


def _uniform(hidden_size, *shape):
    """A weight uniform in ``[-k, k)`` with ``k = 1 / sqrt(hidden_size)``."""
    bound = 1.0 / math.sqrt(hidden_size)
    return mx.random.uniform(low=-bound, high=bound, shape=shape)


class RNN(Module):
    """The Elman recurrence, ``h' = nonlinearity(x @ Wxh.T + h @ Whh.T + bias)``.

    Shapes: ``x: (n, l, input_size)`` or ``(l, input_size)``, ``hidden: (n, hidden_size)`` or
    ``(hidden_size,)``; the result, the hidden state after each step, is ``(n, l, hidden_size)``
    or ``(l, hidden_size)``. ``Wxh: (hidden_size, input_size)``, ``Whh: (hidden_size,
    hidden_size)``, ``bias: (hidden_size,)``.
    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.

    Args:
        input_size: The size of the last axis of the input.
        hidden_size: The size of the hidden state.
        bias: If false, there is no bias.
        nonlinearity: A function of an array, by default `tanh`.

    Raises:
        ValueError: If ``nonlinearity`` is not callable.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.RNN(4, 8)(mx.zeros((2, 5, 4))).shape
        (2, 5, 8)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Optional[Callable] = None,
    ):
        super().__init__()
        self.nonlinearity = nonlinearity or tanh
        if not callable(self.nonlinearity):
            raise ValueError(f"RNN: nonlinearity must be callable, got {nonlinearity!r}")
        self.hidden_size = hidden_size
        self.Wxh = _uniform(hidden_size, hidden_size, input_size)
        self.Whh = _uniform(hidden_size, hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self):
        return (
            f"input_dims={self.Wxh.shape[1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={self.bias is not None}"
        )

    def __call__(self, x, hidden=None):
        projected = x @ self["Wxh"].T
        if "bias" in self:
            projected = projected + self["bias"]
        recurrent = self["Whh"].T
        states = []
        for t in range(x.shape[-2]):
            step = projected[..., t, :]
            if hidden is not None:
                step = step + hidden @ recurrent
            hidden = self.nonlinearity(step)
            states.append(hidden)
        return mx.stack(states, axis=-2)


class GRU(Module):
    """The gated recurrent unit (Cho et al., 2014).

    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    ``r = sigmoid(Wxr x + Whr h + br)``, ``z = sigmoid(Wxz x + Whz h + bz)``,
    ``n = tanh(Wxn x + bn + r * (Whn h + bhn))``, ``h' = (1 - z) * n + z * h``; without ``hidden``
    the first ``h`` is 0.

    Shapes: those of `RNN`; ``Wx: (3 * hidden_size, input_size)`` and ``Wh: (3 * hidden_size,
    hidden_size)`` hold the rows of r, z and n in this order, ``b: (3 * hidden_size,)``,
    ``bhn: (hidden_size,)``.

    Args:
        input_size: The size of the last axis of the input.
        hidden_size: The size of the hidden state.
        bias: If false, there are no biases.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 3 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 3 * hidden_size, hidden_size)
        self.b = _uniform(hidden_size, 3 * hidden_size) if bias else None
        self.bhn = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self):
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.b is not None}"
        )

    def __call__(self, x, hidden=None):
        size = self.hidden_size
        projected = x @ self["Wx"].T
        if "b" in self:
            projected = projected + self["b"]
        recurrent = self["Wh"].T
        states = []
        for t in range(x.shape[-2]):
            gates = projected[..., t, : 2 * size]
            n = projected[..., t, 2 * size :]
            n_hidden = self["bhn"] if "bhn" in self else None
            if hidden is not None:
                from_hidden = hidden @ recurrent
                gates = gates + from_hidden[..., : 2 * size]
                from_hidden = from_hidden[..., 2 * size :]
                n_hidden = from_hidden if n_hidden is None else from_hidden + n_hidden
            r, z = mx.split(mx.sigmoid(gates), 2, axis=-1)
            n = mx.tanh(n if n_hidden is None else n + r * n_hidden)
            hidden = (1 - z) * n if hidden is None else (1 - z) * n + z * hidden
            states.append(hidden)
        return mx.stack(states, axis=-2)


class LSTM(Module):
    """The long short-term memory (Hochreiter and Schmidhuber, 1997).

    Dtypes: promoted with those of the parameters, which are float32 unless the module is cast.
    An input with another last axis raises ValueError.

    With ``i, f, g, o`` the four parts of ``Wx x + Wh h + bias``:
    ``c' = sigmoid(f) * c + sigmoid(i) * tanh(g)`` and ``h' = sigmoid(o) * tanh(c')``.

    Shapes: those of `RNN`, ``cell`` like ``hidden``; ``Wx: (4 * hidden_size, input_size)``
    and ``Wh: (4 * hidden_size, hidden_size)`` hold the rows of i, f, g and o in this order,
    ``bias: (4 * hidden_size,)``. The result is the pair of the hidden and the cell states after
    each step.

    Args:
        input_size: The size of the last axis of the input.
        hidden_size: The size of the hidden state.
        bias: If false, there is no bias.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> hidden, cell = nn.LSTM(4, 8)(mx.zeros((2, 5, 4)))
        >>> hidden.shape, cell.shape
        ((2, 5, 8), (2, 5, 8))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 4 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, 4 * hidden_size) if bias else None

    def _extra_repr(self):
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.bias is not None}"
        )

    def __call__(self, x, hidden=None, cell=None):
        projected = x @ self["Wx"].T
        if "bias" in self:
            projected = projected + self["bias"]
        recurrent = self["Wh"].T
        hiddens, cells = [], []
        for t in range(x.shape[-2]):
            gates = projected[..., t, :]
            if hidden is not None:
                gates = gates + hidden @ recurrent
            i, f, g, o = mx.split(gates, 4, axis=-1)
            new = mx.sigmoid(i) * mx.tanh(g)
            cell = new if cell is None else mx.sigmoid(f) * cell + new
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            cells.append(cell)
            hiddens.append(hidden)
        return mx.stack(hiddens, axis=-2), mx.stack(cells, axis=-2)
