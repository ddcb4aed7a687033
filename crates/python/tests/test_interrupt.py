"""Ctrl-C, or any handler of a signal that raises, ends an evaluation; the arrays are lazy again."""

import io
import signal
import threading
import time

import lazulite.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")


def steps(x):
    """The operations that an evaluation of `x` would take."""
    text = io.StringIO()
    mx.export_to_dot(text, x)
    return text.getvalue().count("matmul")


def chain(count):
    """Products of which each waits for the one before: 0.27 GFLOP each."""
    a = mx.eye(512)
    x = a
    for _ in range(count):
        x = x @ a
    return x


@pytest.fixture
def alarm():
    """Raises KeyboardInterrupt in the main thread after a time."""

    def ring(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("stream", [None, "other"])
def test_evaluation_ends(alarm, stream):
    # Enough for any machine: several seconds at 200 GFLOP/s.
    with mx.stream(mx.new_stream(mx.default_device()) if stream else mx.default_device()):
        x = chain(8000)
        before = steps(x)
        alarm(0.3)
        with pytest.raises(KeyboardInterrupt):
            mx.eval(x)
        # What was computed until then stays, and the rest is lazy; a shorter evaluation works as before.
        assert 1000 < steps(x) < before
        assert np.array_equal(np.array(chain(3)), np.eye(512))


def test_reading_ends(alarm):
    x = chain(8000)
    alarm(0.3)
    with pytest.raises(KeyboardInterrupt):
        x.tolist()
    assert steps(x) > 1000


def test_other_threads_are_not_interrupted(alarm):
    done = []
    worker = threading.Thread(target=lambda: done.append(chain(40).sum().item()))
    worker.start()
    alarm(0.01)
    with pytest.raises(KeyboardInterrupt):
        while True:
            time.sleep(0.001)
    worker.join()
    assert done == [512]


def test_a_step_keeps_its_parameters(alarm):
    """An update writes over the parameters that it replaces: ended half-way, it would lose them."""
    state = {"w": mx.eye(1024), "m": mx.zeros((1024, 1024))}

    def update():
        for _ in range(8):
            state["m"] = 0.9 * state["m"] + mx.tanh(state["w"] @ state["w"])
            state["w"] = state["w"] - 1e-3 * state["m"]

    step = mx.compile(update, inputs=state, outputs=state)
    for trial in range(10):
        step()
        mx.eval(state)
        alarm(0.1 + 0.013 * trial)
        with pytest.raises(KeyboardInterrupt):
            while True:
                step()
                mx.eval(state)
        mx.eval(state)
        assert np.isfinite(np.array(state["w"])).all()
