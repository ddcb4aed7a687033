"""Optimisers and schedules, against NumPy and against stored results of MLX 0.32.4."""

import golden_cases as cases
import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
import lazulite.utils as utils
import numpy as np
import pytest
from test_nn_golden import check, golden


@pytest.mark.parametrize("text", cases.OPTIMIZERS)
def test_golden(text):
    # Roots of small second moments amplify the rounding of the gradients.
    check(cases.run_optimizer(text, mx, optim, utils), golden("optimizers")[text], tolerance=1e-4)


def numpy_adam(w, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g**2
    m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    return w - 0.1 * m / (np.sqrt(v) + 1e-8)


def numpy_momentum(w, g, s, t):
    s["v"] = 0.9 * s.get("v", 0) + g
    return w - 0.1 * s["v"]


def numpy_rmsprop(w, g, s, t):
    s["v"] = 0.99 * s.get("v", 0) + 0.01 * g**2
    return w - 0.1 * g / (np.sqrt(s["v"]) + 1e-8)


def numpy_lion(w, g, s, t):
    m = s.get("m", np.zeros_like(g))
    s["m"] = 0.99 * m + 0.01 * g
    return w - 0.1 * (np.sign(0.9 * m + 0.1 * g) + 0.5 * w)


@pytest.mark.parametrize(
    "optimizer, rule",
    [
        (lambda: optim.Adam(0.1, bias_correction=True), numpy_adam),
        (lambda: optim.SGD(0.1, momentum=0.9), numpy_momentum),
        (lambda: optim.RMSprop(0.1), numpy_rmsprop),
        (lambda: optim.Lion(0.1, weight_decay=0.5), numpy_lion),
    ],
)
def test_rules(optimizer, rule):
    rng = np.random.default_rng(0)
    optimizer, state = optimizer(), {}
    w = rng.standard_normal((3, 4))
    parameters = {"w": mx.array(w.astype(np.float32))}
    for t in range(1, 6):
        g = rng.standard_normal((3, 4))
        w = rule(w, g, state, t)
        grads = {"w": mx.array(g.astype(np.float32))}
        parameters = optimizer.apply_gradients(grads, parameters)
    np.testing.assert_allclose(np.array(parameters["w"]), w, rtol=2e-5, atol=2e-5)
    assert optimizer.step.item() == 5


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
@pytest.mark.parametrize("text", cases.OPTIMIZERS)
def test_dtypes_stay(text, dtype):
    optimizer = eval("optim." + text)
    parameters = {"w": mx.ones((3, 4), dtype=dtype), "b": mx.ones((4,), dtype=dtype)}
    new = optimizer.apply_gradients(parameters, parameters)
    assert {k: a.dtype for k, a in new.items()} == {"w": dtype, "b": dtype}


def test_state_is_kept_in_place():
    optimizer = optim.Adam(0.1)
    state = optimizer.state
    optimizer.init({"layers": [{"w": mx.ones((2,))}, {}, {"w": mx.ones((2,))}]})
    assert state is optimizer.state
    assert state["layers"][0]["w"]["m"].tolist() == [0.0, 0.0]
    assert state["layers"][0]["w"]["m"] is not state["layers"][2]["w"]["m"]
    other = optim.Adam(0.2)
    other.state = state
    assert other.learning_rate.item() == pytest.approx(0.1)
    other.learning_rate = 0.3
    assert other.learning_rate.item() == pytest.approx(0.3)


def test_update_changes_the_model():
    model = nn.Linear(2, 1)
    model.freeze(keys="bias")
    bias = model.bias.tolist()
    grads = {"weight": mx.ones((1, 2))}
    before = model.weight
    optim.SGD(1.0).update(model, grads)
    np.testing.assert_allclose(np.array(before - model.weight), 1.0, rtol=1e-6)
    assert model.bias.tolist() == bias


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (lambda: optim.exponential_decay(1.0, 0.5), {0: 1.0, 3: 0.125}),
        (lambda: optim.step_decay(1.0, 0.5, 4), {0: 1.0, 3: 1.0, 4: 0.5, 9: 0.25}),
        (lambda: optim.cosine_decay(1.0, 10), {0: 1.0, 5: 0.5, 10: 0.0, 15: 0.0}),
        (lambda: optim.cosine_decay(1.0, 10, 0.2), {5: 0.6, 20: 0.2}),
        (lambda: optim.linear_schedule(0.0, 1.0, 10), {0: 0.0, 5: 0.5, 10: 1.0, 20: 1.0}),
        (
            lambda: optim.join_schedules(
                [optim.linear_schedule(0.0, 1.0, 10), optim.cosine_decay(1.0, 10)], [10]
            ),
            {5: 0.5, 10: 1.0, 15: 0.5, 20: 0.0},
        ),
    ],
)
def test_schedules(schedule, expected):
    for step, value in expected.items():
        assert float(schedule()(mx.array(step)).item()) == pytest.approx(value, abs=1e-6)
        assert float(mx.array(schedule()(step)).item()) == pytest.approx(value, abs=1e-6)


def test_a_schedule_sets_the_learning_rate():
    optimizer = optim.SGD(optim.linear_schedule(0.0, 1.0, 4))
    rates = []
    for _ in range(6):
        optimizer.apply_gradients({"w": mx.ones((1,))}, {"w": mx.ones((1,))})
        rates.append(optimizer.learning_rate.item())
    assert rates == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_clip_grad_norm():
    grads = {"a": mx.array([3.0, 0.0]), "b": [mx.array([4.0])]}
    for clip in (optim.clip_grad_norm, nn.utils.clip_grad_norm_sharded):
        same, norm = clip(grads, 10.0)
        assert norm.item() == 5.0 and same["b"][0].item() == 4.0
        clipped, norm = clip(grads, 1.0)
        assert norm.item() == 5.0
        np.testing.assert_allclose(np.array(clipped["a"]), [0.6, 0.0], rtol=1e-5)


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: optim.SGD(0.1, nesterov=True), ValueError),
        (lambda: optim.SGD(0.1, momentum=0.9, dampening=0.1, nesterov=True), ValueError),
        (lambda: optim.RMSprop(0.1, alpha=-1), ValueError),
        (lambda: optim.Adagrad(0.1, eps=-1), ValueError),
        (lambda: optim.AdaDelta(0.1, rho=-1), ValueError),
        (lambda: optim.Adam(0.1, betas=[0.9, 1.0]), ValueError),
        (lambda: optim.Adamax(0.1, eps=-1), ValueError),
        (lambda: optim.MultiOptimizer([optim.SGD(0.1)], [print]), ValueError),
        (lambda: setattr(optim.MultiOptimizer([optim.SGD(0.1)]), "state", {}), ValueError),
        (lambda: optim.linear_schedule(0.0, 1.0, 0), ValueError),
        (lambda: optim.join_schedules([], []), ValueError),
        (lambda: optim.join_schedules([print], [1]), ValueError),
        (lambda: optim.Optimizer().learning_rate, KeyError),
        (lambda: optim.Optimizer().init_single(mx.ones((1,)), {}), NotImplementedError),
    ],
)
def test_wrong_arguments(make, error):
    with pytest.raises(error):
        make()
