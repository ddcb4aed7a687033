"""Learning rate schedules: functions of the number of the optimiser's step, an array."""

import math
from typing import Callable, List

import lazulite.core as mx


def exponential_decay(init: float, decay_rate: float) -> Callable:
    """``init * decay_rate ** step``.

    Shapes: one number for the number of a step, or an array of its shape.
    Dtypes: float32.
    A value that is not a number raises TypeError where it is used.

    Example:
        >>> exponential_decay(1.0, 0.5)(3)
        0.125
    """

    def schedule(step):
        return init * decay_rate**step

    return schedule


def step_decay(init: float, decay_rate: float, step_size: int) -> Callable:
    """``init * decay_rate ** (step // step_size)``.

    Shapes: one number for the number of a step, or an array of its shape.
    Dtypes: float32.
    A number of steps of 0 raises ZeroDivisionError or ValueError.

    Example:
        >>> step_decay(1.0, 0.5, 10)(25)
        0.25
    """

    def schedule(step):
        return init * decay_rate ** (step // step_size)

    return schedule


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Callable:
    """``end + (init - end) * (1 + cos(pi * min(step, decay_steps) / decay_steps)) / 2``
    (Loshchilov and Hutter, 2016).

    Shapes: one number for the number of a step, or an array of its shape.
    Dtypes: float32.
    A number of steps of 0 raises ZeroDivisionError or ValueError.

    Example:
        >>> cosine_decay(1.0, 10)(10).item()
        0.0
    """

    def schedule(step):
        done = mx.minimum(step, decay_steps) * (math.pi / decay_steps)
        return end + 0.5 * (init - end) * (1.0 + mx.cos(done))

    return schedule


def linear_schedule(init: float, end: float, steps: int) -> Callable:
    """From ``init`` to ``end`` in ``steps`` equal steps, and ``end`` from then on.

    Shapes: one number for the number of a step, or an array of its shape.
    Dtypes: float32.

    Raises:
        ValueError: If ``steps`` is below 1.

    Example:
        >>> linear_schedule(0.0, 1.0, 10)(5).item()
        0.5
    """
    if steps < 1:
        raise ValueError(f"linear_schedule: steps must be greater than 0, got {steps}")

    def schedule(step):
        return mx.minimum(step, steps) * ((end - init) / steps) + init

    return schedule


def join_schedules(schedules: List[Callable], boundaries: List[int]) -> Callable:
    """Several schedules one after the other.

    Shapes: one number for the number of a step, or an array of its shape.
    Dtypes: float32.

    Args:
        schedules: The schedules; each counts its steps from where it begins.
        boundaries: The steps at which the second and later schedules begin.

    Raises:
        ValueError: If there is no schedule or not one boundary less than schedules.

    Example:
        >>> warmup = linear_schedule(0.0, 1.0, 10)
        >>> schedule = join_schedules([warmup, cosine_decay(1.0, 10)], [10])
        >>> schedule(mx.array(20)).item()
        0.0
    """
    if len(schedules) == 0:
        raise ValueError("join_schedules: there must be at least 1 schedule")
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"join_schedules: {len(schedules)} schedules need {len(schedules) - 1} boundaries, "
            f"got {len(boundaries)}"
        )

    def schedule(step):
        # All schedules are evaluated, so that the step can be a placeholder of a trace.
        value = schedules[0](step)
        for start, later in zip(boundaries, schedules[1:]):
            value = mx.where(step < start, value, later(step - start))
        return value

    return schedule
