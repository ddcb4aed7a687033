"""Layers made of layers."""

from lazulite.nn.layers.base import Module


class Sequential(Module):
    """Calls its modules, or any other callables, one after the other.

    Shapes: what a layer gives is what the next one takes.
    Dtypes: those of the layers.
    Exceptions of a layer are passed on; a layer that cannot be called raises TypeError.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 2))(mx.zeros((3, 4))).shape
        (3, 2)
    """

    def __init__(self, *modules):
        super().__init__()
        self.layers = list(modules)

    def __call__(self, x):
        for layer in self["layers"]:
            x = layer(x)
        return x
