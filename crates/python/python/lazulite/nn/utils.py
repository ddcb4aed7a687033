"""Gradients of models, rematerialisation, and gradients across processes."""

from functools import wraps
from typing import Any, Callable, Optional

import lazulite.core as mx
from lazulite.nn.layers.base import Module
from lazulite.utils import tree_flatten, tree_map, tree_reduce, tree_unflatten


def value_and_grad(model: Module, fn: Callable):
    """Turn ``fn`` into a function that also returns the gradient for the model's trainable
    parameters.

    Shapes: each gradient has that of its parameter; the function returns one number, or a tuple
    that begins with it.
    Dtypes: floats.
    Any other result of the function raises ValueError.

    Args:
        model: The model, which ``fn`` calls.
        fn: A function whose result is a scalar array, or a tuple that starts with one.

    Returns:
        A function of the arguments of ``fn`` that returns ``(result, gradients)``, with
        gradients like ``model.trainable_parameters()``.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> model = nn.Linear(2, 1, bias=False)
        >>> value, grads = nn.value_and_grad(model, lambda x: model(x).sum())(mx.ones((3, 2)))
        >>> grads["weight"].tolist()
        [[3.0, 3.0]]
    """

    differentiated = mx.value_and_grad(_with_parameters(model, fn))

    @wraps(fn)
    def wrapped(*args, **kwargs):
        return differentiated(model.trainable_parameters(), *args, **kwargs)

    return wrapped


def _with_parameters(module: Module, fn: Callable) -> Callable:
    """``fn`` with the trainable parameters of ``module`` as a first argument.

    They stand in the module for the length of a call. What ``fn`` itself puts into the module,
    such as running statistics, stays.
    """

    def call(parameters, *args, **kwargs):
        before = module.trainable_parameters()
        module.update(parameters)
        try:
            return fn(*args, **kwargs)
        finally:
            _put_back(module, parameters, before)

    return call


def _put_back(holder, given, before) -> None:
    """Where ``holder`` still has an array of ``given``, replace it by that of ``before``."""
    for key in given if isinstance(given, dict) else range(len(given)):
        if isinstance(given[key], mx.array):
            if holder[key] is given[key]:
                holder[key] = before[key]
        elif given[key]:
            _put_back(holder[key], given[key], before[key])


def checkpoint(module: Module, fn: Optional[Callable] = None):
    """Turn ``fn`` into a function that keeps no intermediate arrays for its gradient but
    computes them again.

    Shapes: those of the function.
    Dtypes: those of the function.
    Exceptions of the function are passed on; one that cannot be called raises TypeError then.

    Args:
        module: The module whose trainable parameters ``fn`` uses.
        fn: The function, by default the module itself.

    Returns:
        A function of the same arguments and results.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> layer = nn.Linear(4, 4)
        >>> nn.utils.checkpoint(layer)(mx.zeros((2, 4))).shape
        (2, 4)
    """
    fn = module if fn is None else fn

    # The parameters are arguments of the inner function, so that they get gradients.
    rematerialised = mx.checkpoint(_with_parameters(module, fn))

    @wraps(fn)
    def wrapped(*args, **kwargs):
        return rematerialised(module.trainable_parameters(), *args, **kwargs)

    return wrapped


def average_gradients(
    gradients: Any,
    group: Optional[mx.distributed.Group] = None,
    all_reduce_size: int = 32 * 1024**2,
    communication_stream: Optional[mx.Stream] = None,
):
    """The mean of ``gradients`` over the processes of ``group``.

    Shapes: those of the gradients, which stay.
    Dtypes: floats.
    A process that cannot be reached raises RuntimeError.

    Args:
        gradients: A tree of arrays, of the same structure in every process.
        group: The group, by default all processes.
        all_reduce_size: Neighbouring small arrays are sent together until they have this many
            bytes; with 0 each array is sent alone.
        communication_stream: The stream of the exchange, by default the default one.

    Returns:
        A tree like ``gradients``; ``gradients`` itself in a group of one.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.average_gradients({"w": mx.ones((2,))})["w"].tolist()
        [1.0, 1.0]
    """
    group = group or mx.distributed.init()
    size = group.size()
    if size == 1:
        return gradients

    def average(x):
        return mx.distributed.all_sum(x, group=group, stream=communication_stream) / size

    leaves = tree_flatten(gradients)
    if all_reduce_size <= 0 or len({x.dtype for _, x in leaves}) != 1:
        return tree_map(average, gradients)

    averaged = []
    for batch in _batches(leaves, all_reduce_size):
        whole = average(mx.concatenate([x.reshape(-1) for _, x in batch]))
        start = 0
        for path, x in batch:
            averaged.append((path, whole[start : start + x.size].reshape(x.shape)))
            start += x.size
    return tree_unflatten(averaged)


def _batches(leaves, least_bytes):
    """Split into runs, each but the last of at least ``least_bytes``."""
    batch, total = [], 0
    for leaf in leaves:
        batch.append(leaf)
        total += leaf[1].nbytes
        if total >= least_bytes:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def clip_grad_norm_sharded(
    gradients: Any, max_norm: float, group: Optional[mx.distributed.Group] = None
):
    """Scale ``gradients``, of which every process holds a shard, to a norm of at most
    ``max_norm`` over all processes.

    Shapes: those of the gradients; the norm is one number.
    Dtypes: those of the gradients.
    A gradient that is not an array raises AttributeError.

    Args:
        gradients: A tree of arrays, such as the gradients of a model that
            `lazulite.nn.fully_shard` split.
        max_norm: The greatest norm.
        group: The group, by default all processes.

    Returns:
        The pair of the scaled tree and the norm that it had.
    """
    group = group or mx.distributed.init()
    square = tree_reduce(lambda total, g: total + mx.square(g).sum(), gradients, 0.0)
    if group.size() > 1:
        square = mx.distributed.all_sum(square, group=group)
    norm = mx.sqrt(square)
    factor = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * factor, gradients), norm
