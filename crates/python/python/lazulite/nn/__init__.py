"""Neural networks: layers, losses, initialisers, and gradients of models."""

from lazulite.nn import init, layers, losses, utils
from lazulite.nn.layers import *
from lazulite.nn.utils import average_gradients, value_and_grad
