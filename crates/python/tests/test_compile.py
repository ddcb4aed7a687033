"""Compiled functions: traces are counted, and nothing is stale."""

import gc
import weakref
from functools import partial

import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
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


losses = []
scale = 2.0


def scaled(x):
    """Names `losses` only as an attribute; loads `scale`."""
    return x * scale + nn.losses.mse_loss(x, x)


def test_only_globals_that_are_loaded_count():
    f, traces = counted(scaled)
    for _ in range(4):
        losses.append(f(mx.array(1.0)))
    assert len(traces) == 1
    assert [loss.item() for loss in losses] == [2.0] * 4


def test_numbers_that_code_loads_are_never_stale(monkeypatch):
    power, history = 2, []

    def g(x):
        history.append(None)
        return x**power * scale

    f = mx.compile(g)
    for expected in (8.0, 16.0, 64.0, 64.0):
        assert f(mx.array(2.0)).item() == expected
        history.append(0.5)
        if expected == 8.0:
            power = 3
        else:
            monkeypatch.setitem(globals(), "scale", 8.0)
    # The list that the function appends to asks for no trace.
    assert history.count(None) == 3


def test_what_a_function_counts_itself_asks_for_no_trace():
    calls = 0

    def g(x):
        nonlocal calls
        calls += 1
        return x + 1

    f = mx.compile(g)
    for n in (2, 3, 2, 3, 2):
        f(mx.ones(n))
    assert calls == 2


def lambda_of(k):
    return lambda x: x * k


def test_functions_and_partial_arguments_are_never_stale():
    act = lambda_of(2)
    f = mx.compile(partial(lambda x, k: act(x) * k, k=3))
    assert f(mx.array(1.0)).item() == 6
    act = mx.square
    assert f(mx.array(3.0)).item() == 27
    act = mx.negative
    assert f(mx.array(3.0)).item() == -9
    act = lambda_of(5)
    assert f(mx.array(3.0)).item() == 45


class Configured(nn.Module):
    """A layer of which every kind of attribute has a part in the result."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Identity(), nn.Softplus()]
        self.factor = 2.0
        self.kind = "sum"
        self.square = False
        self.powers = [1, 2]
        self.table = {"shift": 0}
        self.act = mx.abs
        self.width = mx.float32
        self.extra = None
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        for layer in self.layers:
            x = layer(x)
        if self.extra is not None:
            x = self.extra(x)
        x = (mx.square(x) if self.square else x).astype(self.width)
        x = self.act(x) * self.factor + self.table["shift"]
        x = mx.stack([x**p for p in self.powers])
        return x.sum() if self.kind == "sum" else x.max()


CHANGES = {
    "a number": lambda m: setattr(m, "factor", 3.0),
    "a string": lambda m: setattr(m, "kind", "max"),
    "a bool": lambda m: setattr(m, "square", True),
    "a list of numbers": lambda m: m.powers.append(3),
    "a number in a list": lambda m: m.powers.__setitem__(0, 5),
    "a number in a dict": lambda m: m.table.update(shift=1),
    "a function": lambda m: setattr(m, "act", mx.negative),
    "a dtype": lambda m: setattr(m, "width", mx.int32),
    "a child more": lambda m: m.layers.append(nn.Softplus()),
    "a child less": lambda m: m.layers.pop(),
    "another child": lambda m: m.layers.__setitem__(0, nn.Softplus()),
    "a child by name": lambda m: setattr(m, "extra", nn.Softplus()),
    "update_modules": lambda m: m.update_modules({"layers": [nn.Softplus()]}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("through", ["a function", "the instance", "a list"])
def test_changes_of_modules_are_seen(change, through):
    model, x = Configured(), mx.array([-1.5, 2.0])
    models = [model]
    f = mx.compile(
        {"a function": lambda x: model(x), "the instance": model, "a list": lambda x: models[0](x)}[
            through
        ]
    )
    first = f(x).item()
    assert f(x).item() == first and model.calls == 1
    CHANGES[change](model)
    assert f(x).item() == pytest.approx(model(x).item(), rel=1e-6)
    assert f(x).item() != pytest.approx(first, rel=1e-3)


def test_the_mode_of_modules_is_seen_and_both_traces_stay():
    model = nn.Sequential(nn.Linear(4, 64), nn.Sequential(nn.Dropout(0.5)))
    f, traces = counted(lambda x: model(x))
    x = mx.ones((2, 4))
    for _ in range(3):
        assert (f(x) == 0).any().item()
        model.eval()
        assert mx.allclose(f(x), model.layers[0](x), atol=1e-6)
        model.train()
    assert len(traces) == 2


def test_freezing_changes_the_gradients_of_a_step():
    model = nn.Linear(2, 2)
    step = mx.compile(nn.value_and_grad(model, lambda x: model(x).sum()))
    x = mx.ones((1, 2))
    assert set(step(x)[1]) == {"weight", "bias"}
    model.freeze(keys="bias")
    assert set(step(x)[1]) == {"weight"}
    model.unfreeze()
    assert set(step(x)[1]) == {"weight", "bias"}


def test_numbers_of_optimizers_are_seen():
    weight = {"w": mx.array(1.0)}
    optimizer = optim.SGD(learning_rate=0.5)
    f, traces = counted(lambda g: optimizer.apply_gradients({"w": g}, weight)["w"])
    optimizer.init(weight)
    assert f(mx.array(1.0)).item() == 0.5
    optimizer.weight_decay = 0.5
    assert f(mx.array(1.0)).item() == pytest.approx(1 - 0.5 * 1.5)


def test_a_training_loop_is_traced_once():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm(4), nn.Dropout(0.1), nn.Linear(4, 1))
    optimizer = optim.AdamW(1e-2)
    optimizer.init(model.trainable_parameters())
    state, history = [model.state, optimizer.state, mx.random.state], []
    loss_and_grad = nn.value_and_grad(model, lambda x: mx.square(model(x)).mean())

    def step(x):
        loss, grads = loss_and_grad(x)
        optimizer.update(model, grads)
        return loss

    f, traces = counted(step, inputs=state, outputs=state)
    for _ in range(5):
        history.append(f(mx.ones((3, 2))))
        mx.eval(state)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        (lambda x: x.reshape(6), (2, 3), (3, 4)),
        (lambda x: mx.reshape(x, (3, 2)), (2, 3), (3, 4)),
        (lambda x: x.reshape(6, -1), (2, 3, 4), (5, 5, 3)),
    ],
)
def test_a_size_given_to_reshape_stays(call, old, new):
    f = mx.compile(call, shapeless=True)
    assert f(mx.ones(old)).shape == call(mx.ones(old)).shape
    with pytest.raises(ValueError, match="reshape") as error:
        f(mx.ones(new))
    assert str(new) in str(error.value) and str(old) in str(error.value)


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        (lambda x: x.reshape(-1), (2, 3), (3, 4)),
        (lambda x: x.reshape(2, -1), (2, 3), (2, 5)),
        (lambda x: x.reshape(*x.shape[:2], 2, -1), (2, 3, 4), (5, 7, 4)),
        (lambda x: x.reshape(x.shape[0], 1, x.shape[1]), (2, 3), (5, 7)),
        (lambda x: x.flatten(), (2, 3), (3, 4)),
    ],
)
def test_reshape_follows_the_sizes_that_it_was_not_given(call, old, new):
    f = mx.compile(call, shapeless=True)
    f(mx.ones(old))
    assert f(mx.ones(new)).shape == call(mx.ones(new)).shape
