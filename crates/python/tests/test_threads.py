"""Many threads at once: each gets what one thread alone gets.

With Python's lock the threads take turns between bytecodes and while arrays are computed; on a
free-threaded Python they run at the same time. `LAZULITE_TEST_ROUNDS` repeats the work.
"""

import os
import pickle
import sys
import sysconfig
import threading

import lazulite.core as mx
import lazulite.nn as nn
import lazulite.optimizers as optim
import lazulite.utils as utils
import pytest

THREADS = 8
ROUNDS = int(os.environ.get("LAZULITE_TEST_ROUNDS", "3"))


def together(work, threads=THREADS):
    """What `work(i)` returns in each of some threads that start at the same moment."""
    start, results, errors = threading.Barrier(threads), [None] * threads, []

    def run(i):
        start.wait()
        try:
            results[i] = work(i)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return results


def arithmetic(i):
    x = mx.arange(1, 65).astype(mx.float32).reshape(8, 8) + i
    for _ in range(10):
        x = mx.tanh(x @ x.T / 64) + x.sum(axis=0, keepdims=True) / 100
    return x.tolist()


def gradients(i):
    def f(x):
        return (mx.exp(-x * x) * (i + 1)).sum()

    x = mx.linspace(-1, 1, 16)
    return mx.grad(lambda y: mx.grad(f)(y).sum())(x).tolist()


def batches(i):
    x = mx.arange(24).reshape(4, 6) + i
    return mx.vmap(lambda row: mx.cumsum(row) * row.max())(x).tolist()


def draws(i):
    mx.random.seed(i)
    kept = [mx.random.normal((4,)), mx.random.uniform(shape=(3,)), mx.random.randint(0, 99, (5,))]
    return [k.tolist() for k in kept]


def compiled(i):
    @mx.compile
    def f(x, y):
        return mx.sigmoid(x) * y + mx.random.uniform(shape=x.shape)

    mx.random.seed(i)
    return [f(mx.ones(n) * i, mx.arange(n)).tolist() for n in (3, 5, 3, 5)]


def training(i):
    mx.random.seed(i)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = optim.Adam(1e-2)
    state = [model.state, optimizer.state, mx.random.state]
    loss = nn.value_and_grad(model, lambda x, y: nn.losses.mse_loss(model(x), y))

    def step(x, y):
        value, grads = loss(x, y)
        optimizer.update(model, grads)
        return value

    step = mx.compile(step, inputs=state, outputs=state)
    x = mx.random.normal((16, 4))
    losses = [step(x, x.sum(axis=1, keepdims=True)) for _ in range(5)]
    mx.eval(losses, model.state, optimizer.state)
    total = sum(v.sum().item() for _, v in utils.tree_flatten(model.parameters()))
    return [*(v.item() for v in losses), total]


def quantised(i):
    mx.random.seed(i)
    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 64))
    nn.quantize(model, group_size=32, bits=4)
    return model(mx.ones((2, 64))).tolist()


def writes(i):
    x = mx.zeros((6, 6))
    x[i % 6] = i
    x[:, ::2] += 1
    x = x.at[mx.array([0, 0, 2])].add(2)
    return x.tolist()


def streams(i):
    with mx.stream(mx.new_stream(mx.cpu)):
        x = mx.exp(mx.arange(8) / (i + 1))
        mx.async_eval(x)
    return (x + mx.ones(8)).tolist()


def errors(i):
    for _ in range(5):
        with pytest.raises(ValueError):
            mx.ones((2, 3)) @ mx.ones((4, i + 1))
        with pytest.raises(ZeroDivisionError):
            mx.grad(lambda x: x / 0 if i < 0 else 1 / 0)(mx.array(1.0))
    return True


def conversions(i):
    x = mx.arange(10).reshape(2, 5) + i
    return pickle.loads(pickle.dumps(x)).tolist(), str(x), bytes(memoryview(x.astype(mx.uint8)))


KINDS = [arithmetic, gradients, batches, draws, compiled, training, quantised, writes, streams]
KINDS += [errors, conversions]


@pytest.mark.parametrize("work", KINDS, ids=lambda f: f.__name__)
def test_each_alone_as_together(work):
    alone = [work(i) for i in range(THREADS)]
    for _ in range(ROUNDS):
        assert together(work) == alone


def test_everything_at_once():
    jobs = [KINDS[i % len(KINDS)] for i in range(2 * len(KINDS))]
    alone = [job(i) for i, job in enumerate(jobs)]
    for _ in range(ROUNDS):
        assert together(lambda i: jobs[i](i), len(jobs)) == alone


def test_one_array_for_all():
    """A lazy array is computed once, whoever asks first."""
    for _ in range(5 * ROUNDS):
        x = mx.arange(1000).reshape(10, 100)
        for _ in range(20):
            x = mx.maximum(x, x[::-1]) + 1
        want = [1000 - 1 + 20] * 2
        assert together(lambda i, x=x: x[0 if i % 2 else -1].max().item()) == [want[0]] * THREADS


def test_one_compiled_function_is_traced_once():
    for _ in range(ROUNDS):
        traces = []

        @mx.compile
        def f(x, traces=traces):
            traces.append(x.shape)
            return x * 2 + 1

        results = together(lambda i, f=f: [f(mx.full((4,), j)).tolist() for j in range(10)])
        assert results == [[[2 * j + 1] * 4 for j in range(10)]] * THREADS
        assert traces == [(4,)]


def test_one_state_for_all():
    """Compiled steps of one state count every call: none reads what another is about to replace."""
    for _ in range(ROUNDS):
        state = {"n": mx.array(0), "sum": [mx.array(0)]}

        def step(x, state=state):
            state["n"] = state["n"] + 1
            state["sum"][0] = state["sum"][0] + x

        steps = [mx.compile(step, inputs=state, outputs=state) for _ in range(2)]

        def work(i, steps=steps):
            for _ in range(20):
                steps[i % 2](mx.array(i))

        together(work)
        assert state["n"].item() == 20 * THREADS
        assert state["sum"][0].item() == 20 * sum(range(THREADS))


def test_a_module_is_read_while_others_change():
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    mx.eval(model.parameters())
    want = model(mx.ones((1, 8))).tolist()

    def work(i):
        if i % 2:
            return [model(mx.ones((1, 8))).tolist() for _ in range(20)] == [want] * 20
        for n in range(20):
            own = nn.Linear(8, 8)
            own.update({"weight": mx.eye(8), "bias": mx.zeros(8)})
            own.freeze(keys="bias")
            model[f"extra_{i}_{n}"] = mx.zeros(1)
            utils.tree_flatten(model.parameters())
        return True

    assert all(together(work))


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="Python has its lock")
def test_the_lock_stays_off():
    assert not sys._is_gil_enabled()
