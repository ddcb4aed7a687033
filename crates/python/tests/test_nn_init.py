"""Initialisers: shapes, dtypes, bounds and moments."""

import math

import lazulite.core as mx
import lazulite.nn as nn
import numpy as np
import pytest

# fan in 30 * 5, fan out 40 * 5
WEIGHT = mx.zeros((40, 5, 30))


@pytest.mark.parametrize(
    "initialise, low, high, std",
    [
        (nn.init.normal(0.5, 2.0), -math.inf, math.inf, 2.0),
        (nn.init.uniform(-1.0, 3.0), -1.0, 3.0, 4 / math.sqrt(12)),
        (nn.init.glorot_normal(), -math.inf, math.inf, math.sqrt(2 / 350)),
        (nn.init.glorot_uniform(), -math.sqrt(6 / 350), math.sqrt(6 / 350), math.sqrt(2 / 350)),
        (nn.init.he_normal(), -math.inf, math.inf, math.sqrt(1 / 150)),
        (nn.init.he_uniform(), -math.sqrt(3 / 150), math.sqrt(3 / 150), math.sqrt(1 / 150)),
        (
            lambda a: nn.init.he_uniform()(a, mode="fan_out", gain=2.0),
            -2 * math.sqrt(3 / 200),
            2 * math.sqrt(3 / 200),
            2 * math.sqrt(1 / 200),
        ),
        (
            lambda a: nn.init.glorot_normal()(a, gain=3.0),
            -math.inf,
            math.inf,
            3 * math.sqrt(2 / 350),
        ),
    ],
)
def test_distributions(initialise, low, high, std):
    mx.random.seed(3)
    w = np.array(initialise(WEIGHT))
    assert w.shape == WEIGHT.shape and w.dtype == np.float32
    assert low <= w.min() and w.max() <= high
    # The deviation of 6000 samples has a relative error of about 1 / sqrt(12000) = 0.9 %.
    assert abs(w.std() / std - 1) < 0.05


@pytest.mark.parametrize("shape", [(4, 4), (6, 4), (4, 6)])
def test_orthogonal(shape):
    w = np.array(nn.init.orthogonal(gain=2.0)(mx.zeros(shape)))
    product = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(min(shape)), atol=1e-5)


def test_sparse():
    w = np.array(nn.init.sparse(0.3)(mx.zeros((5, 8))))
    assert ((w == 0).sum(axis=1) == 3).all()


def test_constant_and_identity():
    assert nn.init.constant(0.5, mx.float16)(mx.zeros((2,))).dtype == mx.float16
    assert nn.init.identity()(mx.zeros((2, 2))).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "initialise, shape",
    [
        (nn.init.glorot_uniform(), (3,)),
        (nn.init.he_normal(), (3,)),
        (lambda a: nn.init.he_normal()(a, mode="fan"), (3, 3)),
        (nn.init.identity(), (3, 4)),
        (nn.init.sparse(0.5), (3,)),
        (nn.init.orthogonal(), (3, 4, 2)),
    ],
)
def test_wrong_arrays(initialise, shape):
    with pytest.raises(ValueError):
        initialise(mx.zeros(shape))


@pytest.mark.parametrize(
    "make, bound",
    [
        (lambda: nn.Linear(16, 64), 1 / 4),
        (lambda: nn.Bilinear(16, 3, 20), 1 / 4),
        (lambda: nn.Conv2d(8, 40, 2, groups=2), 1 / 4),
        (lambda: nn.GRU(40, 16), 1 / 4),
    ],
)
def test_layers_start_uniform(make, bound):
    mx.random.seed(5)
    values = np.concatenate(
        [np.array(a).ravel() for a in make().values() if isinstance(a, mx.array) and a.ndim > 1]
    )
    assert abs(values).max() <= bound and abs(values).max() > 0.95 * bound
