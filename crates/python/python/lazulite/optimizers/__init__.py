"""Optimisers and learning rate schedules."""

import lazulite.core as mx
from lazulite.nn import Module
from lazulite.optimizers import optimizers, schedulers
from lazulite.optimizers.base import MultiOptimizer, Optimizer, clip_grad_norm
from lazulite.optimizers.optimizers import (
    SGD,
    AdaDelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Muon,
    RMSprop,
)
from lazulite.optimizers.schedulers import (
    cosine_decay,
    exponential_decay,
    join_schedules,
    linear_schedule,
    step_decay,
)
from lazulite.utils import tree_flatten, tree_map, tree_merge, tree_reduce, tree_unflatten
