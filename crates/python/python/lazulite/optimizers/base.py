"""`Optimizer`, what all optimisers share, `MultiOptimizer`, and gradient clipping."""

from typing import Callable, Union

import lazulite.core as mx
from lazulite.nn import Module
from lazulite.utils import (
    tree_flatten,
    tree_map,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)


class Optimizer:
    """The base class of the optimisers.

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.
    A tree of gradients that does not fit that of the parameters raises KeyError; shapes that do
    not fit raise ValueError.

    A subclass defines :meth:`init_single` and :meth:`apply_single`, which see one parameter at a
    time. The state is a tree: ``"step"``, each scheduled argument by name, and, at the path of
    each parameter, a dict of its own. It is an input and output of a compiled training step.

    Args:
        schedulers: A dict from the name of an argument to its schedule, a function of the step.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.optimizers as optim
        >>> optimizer = optim.SGD(learning_rate=0.5)
        >>> optimizer.apply_gradients({"w": mx.array(2.0)}, {"w": mx.array(3.0)})["w"].item()
        2.0
    """

    def __init__(self, schedulers=None):
        self._initialized = False
        self._state = {"step": mx.array(0, mx.uint64)}
        self._schedulers = dict(schedulers or {})

    def init(self, parameters: dict):
        """Make the state of all ``parameters``.

        It is called by the first :meth:`update`; a compiled training step calls it before, since
        the state is one of its inputs. State that is there already is kept.

        Example:
            >>> import lazulite.core as mx
            >>> import lazulite.optimizers as optim
            >>> optimizer = optim.SGD(learning_rate=0.1, momentum=0.9)
            >>> optimizer.init({"w": mx.ones((2,))})
            >>> optimizer.state["w"]["v"].tolist()
            [0.0, 0.0]
        """
        self._state = _grow_state(self._state, parameters)
        tree_map(
            lambda parameter, state: state or self.init_single(parameter, state),
            parameters,
            self._state,
        )
        self._initialized = True

    def init_single(self, parameter: mx.array, state: dict):
        """Put into ``state``, a dict, what the optimiser remembers about ``parameter``."""
        raise NotImplementedError(f"{type(self).__name__} does not define init_single")

    def update(self, model: Module, gradients: dict):
        """Replace the parameters of ``model`` by those of :meth:`apply_gradients`."""
        model.update(self.apply_gradients(gradients, model))

    def apply_gradients(self, gradients: dict, parameters: dict):
        """Do one step.

        Args:
            gradients: A tree of gradients.
            parameters: A tree with at least its paths, which is left as it is.

        Returns:
            A tree of new parameters, with the paths of ``gradients``.
        """
        if not self._initialized:
            self.init(gradients)
        for name, schedule in self._schedulers.items():
            self.state[name] = schedule(self.step)
        self.state["step"] = self.step + 1
        return tree_map(self.apply_single, gradients, parameters, self.state)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict):
        """The new value of ``parameter``; changes ``state``, its own part of the state."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply_single")

    @property
    def state(self):
        """The state, a tree of arrays."""
        return self._state

    @state.setter
    def state(self, state: dict):
        self._initialized = False
        self._state = state

    @property
    def step(self):
        """The number of steps done, a uint64 array."""
        return self.state["step"]

    @property
    def learning_rate(self):
        """The learning rate, an array; setting it to a number takes effect in the next step."""
        return self.state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: Union[float, mx.array]):
        self.state["learning_rate"] = mx.array(learning_rate)

    def _maybe_schedule(self, name: str, param: Union[float, Callable[[mx.array], mx.array]]):
        """Keep ``param`` in the state under ``name``, by its schedule if it is one."""
        if isinstance(param, Callable):
            self._schedulers[name] = param
            parameter = param(self.step)
        else:
            parameter = mx.array(param)
        self.state[name] = parameter


def _grow_state(state, parameters):
    """``state`` with an empty dict at each path of ``parameters`` that it lacks.

    Dicts and lists grow in place: a compiled step may hold the state as one of its inputs.
    """
    if isinstance(parameters, (list, tuple)):
        known = state if isinstance(state, (list, tuple)) else []
        missing = [{} for _ in range(len(parameters) - len(known))]
        grown = [_grow_state(s, p) for s, p in zip([*known, *missing], parameters)]
        if isinstance(known, list) and isinstance(parameters, list):
            known[:] = grown
            return known
        return type(parameters)(grown)
    if isinstance(parameters, dict):
        for key, parameter in list(parameters.items()):
            state[key] = _grow_state(state.get(key, {}), parameter)
        return state
    return state or {}


class MultiOptimizer(Optimizer):
    """Several optimisers, each for some of the parameters.

    Shapes: the state has those of the parameters.
    Dtypes: those of the parameters, which stay.

    Args:
        optimizers: The optimisers.
        filters: One function of path and gradient for each optimiser but the last. The first
            optimiser whose filter is true takes the parameter; the last one takes the rest.

    Raises:
        ValueError: If there is not one filter less than optimisers.

    Example:
        >>> import lazulite.optimizers as optim
        >>> optimizer = optim.MultiOptimizer(
        ...     [optim.SGD(0.1), optim.Adam(0.01)], [lambda path, grad: path.endswith("bias")])
    """

    def __init__(self, optimizers, filters: list = []):
        super().__init__()
        self._state = {}
        if len(filters) != len(optimizers) - 1:
            raise ValueError(
                f"MultiOptimizer: {len(optimizers)} optimizers need {len(optimizers) - 1} "
                f"filters, got {len(filters)}"
            )
        self.optimizers = optimizers
        self.filters = [*filters, lambda path, gradient: True]

    def _split_dictionary(self, gradients: dict):
        """One tree for each optimiser."""
        if len(self.optimizers) == 1:
            return [gradients]
        parts = [[] for _ in self.optimizers]
        for path, gradient in tree_flatten(gradients):
            for part, takes in zip(parts, self.filters):
                if takes(path, gradient):
                    part.append((path, gradient))
                    break
        return [tree_unflatten(part) if part else {} for part in parts]

    def init(self, parameters: dict):
        """Make the states of all optimisers for their ``parameters``."""
        for optimizer, part in zip(self.optimizers, self._split_dictionary(parameters)):
            optimizer.init(part)

    def apply_gradients(self, gradients: dict, parameters: dict):
        """Do one step of each optimiser; see `Optimizer.apply_gradients`."""
        new = {}
        for optimizer, part in zip(self.optimizers, self._split_dictionary(gradients)):
            new = tree_merge(new, optimizer.apply_gradients(part, parameters))
        return new

    @property
    def state(self):
        """``{"states": [...]}``, the states of the optimisers."""
        return {"states": [optimizer.state for optimizer in self.optimizers]}

    @state.setter
    def state(self, state: dict):
        if "states" not in state or len(state["states"]) != len(self.optimizers):
            raise ValueError("MultiOptimizer: the state must have one entry for each optimizer")
        for optimizer, own in zip(self.optimizers, state["states"]):
            optimizer.state = own

    @property
    def learning_rate(self):
        """The learning rate of the first optimiser; setting it sets that of all."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Union[float, mx.array]):
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate


def clip_grad_norm(grads, max_norm):
    """Scale a tree of gradients to a norm of at most ``max_norm``.

    Shapes: those of the gradients; the norm is one number.
    Dtypes: those of the gradients; squares of ``float16`` are summed in ``float32``.
    A gradient that is not an array raises AttributeError; a negative ``max_norm`` raises ValueError.

    The norm is that of all gradients together, and the factor
    ``min(max_norm / (norm + 1e-6), 1)``.

    Returns:
        The pair of the scaled tree and the norm that it had.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.optimizers as optim
        >>> grads, norm = optim.clip_grad_norm({"w": mx.array([3.0, 4.0])}, max_norm=10.0)
        >>> norm.item(), grads["w"].tolist()
        (5.0, [3.0, 4.0])
    """
    if max_norm < 0:
        raise ValueError(f"clip_grad_norm: max_norm must not be negative, got {max_norm}")

    def square(g):
        g = g.astype(mx.float32) if g.dtype == mx.float16 else g
        return g.square().sum()

    def scaled(g):
        product = g * factor
        return product.astype(g.dtype) if mx.issubdtype(g.dtype, mx.floating) else product

    norm = mx.sqrt(tree_reduce(lambda total, g: total + square(g), grads, 0.0))
    factor = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(scaled, grads), norm
