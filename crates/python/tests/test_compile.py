"""Compiled functions: traces are counted, and nothing is stale."""

import gc
import weakref
from functools import partial

import lazulite.core as mx
import pytest


def counted(f, **options):
    """The compiled function, and a list that grows with each trace."""
    traces = []

    def g(*args, **kwargs):
        traces.append(1)
        return f(*args, **kwargs)

    return mx.compile(g, **options), traces


def test_traces_follow_form():
    f, traces = counted(lambda x, k=1: x * k)
    for n, (args, kwargs) in enumerate(
        [((mx.ones(3),), {}), ((mx.ones(4),), {}), ((mx.ones(3, mx.int32),), {}),
         ((mx.ones(3),), {"k": 2}), ((mx.ones(3), 3), {})], 1
    ):  # fmt: skip
        first = f(*args, **kwargs).tolist()
        assert f(*args, **kwargs).tolist() == first and len(traces) == n


def test_shapeless_traces_once():
    f, traces = counted(lambda x: mx.exp(x).sum(axis=-1), shapeless=True)
    for n in (3, 5, 8):
        assert f(mx.zeros((2, n))).tolist() == [n, n]
    assert len(traces) == 1


def test_closures_are_never_stale():
    w = mx.array([1.0, 2.0])
    f, traces = counted(lambda x: x * (w + 1))
    assert f(mx.ones(2)).tolist() == [2, 3] and f(mx.ones(2)).tolist() == [2, 3]
    assert len(traces) == 1
    w = mx.array([10.0, 20.0])
    assert f(mx.ones(2)).tolist() == [11, 21]
    w += 1
    assert f(mx.ones(2)).tolist() == [12, 22]
    w[0] = 0
    assert f(mx.ones(2)).tolist() == [1, 22]
    assert len(traces) == 4


class Model:
    def __init__(self):
        self.layers = [{"w": mx.array(2.0)}]

    def forward(self, x):
        return x * self.layers[0]["w"]


def test_members_are_never_stale():
    model = Model()
    f = mx.compile(model.forward)
    assert f(mx.array(3.0)).item() == 6
    model.layers[0]["w"] = mx.array(5.0)
    assert f(mx.array(3.0)).item() == 15


def test_inputs_and_outputs():
    state = {"n": mx.array(0.0), "more": [mx.array(1.0)]}
    traces = []

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x):
        traces.append(1)
        state["n"] = state["n"] + x
        state["more"][0] = state["more"][0] * 2
        return state["n"] * 10

    for n in range(1, 4):
        assert step(mx.array(1.0)).item() == 10 * n
        assert state["n"].item() == n and state["more"][0].item() == 2**n
    assert len(traces) == 1


def test_an_exception_leaves_inputs_as_they_were():
    state = [mx.array(1.0)]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x):
        state[0] = state[0] + x
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        step(mx.array(1.0))
    assert mx.isfinite(mx.array(1.0)).item()


@pytest.mark.parametrize("options", [{}, {"inputs": mx.random.state, "outputs": mx.random.state}])
def test_random_numbers_differ_between_calls(options):
    f, traces = counted(lambda: mx.random.uniform(shape=(4,)), **options)
    mx.random.seed(3)
    first, second = f().tolist(), f().tolist()
    mx.random.seed(3)
    assert first != second and len(traces) == 1
    assert mx.random.uniform(shape=(4,)).tolist() == first
    mx.random.seed(3)
    assert f().tolist() == first


def test_evaluation_inside_names_the_line():
    def f(x):
        return x.item()

    with pytest.raises(ValueError, match=r"test_compile\.py:\d+"):
        mx.compile(f)(mx.array(1.0))
    with pytest.raises(ValueError, match="[Ee]val|value"):
        mx.vmap(f)(mx.ones(3))


def test_exceptions_pass_through_transforms():
    def f(x):
        raise ZeroDivisionError("mine")

    for call in (mx.grad(f), mx.compile(f), mx.vmap(f), mx.checkpoint(f)):
        with pytest.raises(ZeroDivisionError, match="mine"):
            call(mx.ones(2))


def test_custom_function():
    @mx.custom_function
    def f(x, y):
        return mx.sin(x) * y

    @f.vjp
    def f_vjp(primals, cotangent, output):
        return cotangent * 10, cotangent * 20

    assert f(mx.array(0.5), mx.array(2.0)).item() == pytest.approx(0.958851, rel=1e-5)
    assert mx.grad(f, argnums=(0, 1))(mx.array(0.5), mx.array(2.0))[1].item() == 20

    @mx.custom_function
    def g(x):
        return mx.sin(x)

    @g.jvp
    def g_jvp(primals, tangents):
        return tangents * 7

    @g.vmap
    def g_vmap(x, axis):
        return x * 0 + 5, axis

    assert mx.jvp(g, [mx.array(0.0)], [mx.array(1.0)])[1][0].item() == 7
    assert mx.vmap(g)(mx.zeros(2)).tolist() == [5, 5]


def test_cycles_are_collected():
    class Holder:
        pass

    def make():
        holder = Holder()
        holder.f = mx.compile(lambda x: x + holder.w)
        holder.w = mx.array(1.0)
        assert holder.f(mx.array(1.0)).item() == 2
        return weakref.ref(holder)

    ref = make()
    gc.collect()
    assert ref() is None
