"""Memory returns to its level: small graphs, models, exceptions in transforms, cycles."""

import gc
import os
import weakref

import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
import pytest


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def graphs():
    x = mx.array(1.0)
    for _ in range(20):
        x = x * 1.5 + 0.1
    x.item()


def unevaluated():
    x = mx.array(1.0)
    for _ in range(20):
        x = mx.sin(x)


def model():
    net = nn.Sequential(nn.Linear(8, 8), nn.relu, nn.Linear(8, 8))
    optimizer = optim.Adam(1e-3)
    step = nn.value_and_grad(net, lambda m, x: m(x).sum())
    _, grads = step(net, mx.ones((2, 8)))
    optimizer.update(net, grads)
    mx.eval(net.parameters(), optimizer.state)


def compiled():
    f = mx.compile(lambda x: mx.exp(x) * 2)
    mx.eval(f(mx.ones(4)))


def refused():
    def fails(x):
        raise KeyError("no")

    for transform in (mx.grad, mx.vmap, mx.compile, mx.checkpoint):
        with pytest.raises(KeyError):
            transform(fails)(mx.ones(3))
    with pytest.raises(ValueError):
        mx.compile(lambda x: x if x.sum() > 0 else -x)(mx.ones(3))
    with pytest.raises(ValueError):
        mx.ones((2, 3)) @ mx.ones((2, 3))


def exported():
    mx.export_function(lambda part: None, lambda x: mx.exp(x) + 1, mx.ones(4))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
@pytest.mark.parametrize("work", [graphs, unevaluated, model, compiled, refused, exported])
def test_memory_returns(work):
    for _ in range(100):
        work()
    gc.collect()
    mx.clear_cache()
    active, before = mx.get_active_memory(), resident()
    for _ in range(500):
        work()
    gc.collect()
    mx.clear_cache()
    assert mx.get_active_memory() == active
    # 500 rounds that each kept one graph of 20 nodes would hold more than this.
    assert resident() - before < 2 << 20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_a_million_small_graphs():
    x = mx.array(1.0)

    def rounds(count):
        for i in range(count):
            y = x + 1.0
            if i % 16 == 0:
                mx.eval(y)

    rounds(10_000)
    mx.clear_cache()
    active, before = mx.get_active_memory(), resident()
    rounds(1_000_000)
    mx.clear_cache()
    assert mx.get_active_memory() == active
    # A byte for each would hold as much.
    assert resident() - before < 1 << 20


def test_cycles_through_transformed_functions_are_collected():
    class Owner:
        def __init__(self):
            self.weight = mx.ones(4)
            self.step = mx.compile(self.forward)
            self.slope = mx.grad(lambda x: self.forward(x).sum())
            self.rows = mx.vmap(self.forward)

        def forward(self, x):
            return x * self.weight

    owner = Owner()
    mx.eval(owner.step(mx.ones(4)), owner.slope(mx.ones(4)), owner.rows(mx.ones((2, 4))))
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_deep_graphs_are_dropped_without_recursion():
    x = mx.array(0.0)
    for _ in range(100_000):
        x = x + 1
    del x
    y = mx.array(0.0)
    for _ in range(100_000):
        y = y + 1
    assert y.item() == 100_000
