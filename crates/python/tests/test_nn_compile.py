"""Modules and `mx.compile`: calls replaced on instances, and training steps."""

import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
import pytest


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return self.inner(x)


def test_a_compiled_instance_call_takes_effect():
    layer = Counting()
    expected = layer(mx.ones((1, 2))).tolist()
    layer.__call__ = mx.compile(layer.__call__)
    for _ in range(5):
        assert layer(mx.ones((1, 2))).tolist()[0] == pytest.approx(expected[0], rel=1e-6)
    # One plain call and one trace.
    assert layer.calls == 2


def test_an_instance_call_is_the_instances_own():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    original = a.__call__
    a.__call__ = lambda x: original(x) * 0
    x = mx.ones((1, 2))
    assert a(x).tolist() == [[0.0, 0.0]]
    assert mx.abs(b(x)).sum().item() > 0
    assert isinstance(a, nn.Linear) and repr(a) == repr(b)
    assert list(a.parameters()) == ["weight", "bias"]
    model = nn.Sequential(a)
    assert model(x).tolist() == [[0.0, 0.0]]
    del a.__call__
    assert mx.abs(a(x)).sum().item() > 0


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_step_with_state_trees(compiled):
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm(8), nn.tanh, nn.Linear(8, 1))
    optimizer = optim.Adam(optim.linear_schedule(0.0, 0.05, 5))
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    x = mx.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = mx.array([[0.0], [1.0], [1.0], [0.0]])
    loss_and_grad = nn.value_and_grad(model, lambda x: nn.losses.mse_loss(model(x), y))

    def step(x):
        loss, grads = loss_and_grad(x)
        optimizer.update(model, grads)
        return loss

    if compiled:
        step = mx.compile(step, inputs=state, outputs=state)
    losses = []
    for _ in range(60):
        losses.append(step(x).item())
        mx.eval(state)
    assert losses[-1] < 0.1 * losses[0]
    assert optimizer.step.item() == 60
    assert optimizer.learning_rate.item() == pytest.approx(0.05)
