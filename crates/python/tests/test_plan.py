"""`mx.estimate` and `mx.explain`: what an evaluation takes is known before it runs."""

import json
import re

import lazulite.core as mx
import pytest

MB = 1 << 20


def normal(*shape):
    x = mx.random.normal(shape)
    mx.eval(x)
    return x


def layers(x, w):
    for _ in range(8):
        x = mx.tanh(x @ w)
    return x


def softmax(x, w):
    e = mx.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def loss(w, x):
    return mx.square(layers(x, w)).mean()


PROGRAMS = {
    "layers": layers,
    "softmax": softmax,
    "gradients": lambda x, w: mx.grad(loss)(w, x),
    "value and gradients": lambda x, w: mx.value_and_grad(loss)(w, x),
    "compiled": mx.compile(layers),
    "several results": lambda x, w: [x + 1, {"sum": x.sum(axis=0)}, x @ w],
    "joined": lambda x, w: mx.concatenate([x @ w, x, w], axis=0),
    "sorted": lambda x, w: mx.sort(x @ w, axis=-1)[:10],
    "a cast": lambda x, w: (x.astype(mx.float16) @ w.astype(mx.float16)).sum(axis=-1),
    "an update": lambda x, w: (x * 2).at[3:5].add(w[3:5]),
}


def test_a_plan_that_ran_tells_each_steps_share():
    x, w = normal(256, 256), normal(256, 256)
    text = mx.explain(layers, x, w, run=True)
    shares = [float(s) for s in re.findall(r" us +([0-9.]+) % ", text)]
    # Eight products, of which each has a share with one digit.
    assert len(shares) >= 8 and sum(shares) == pytest.approx(100, abs=1)
    assert " % " not in mx.explain(layers, x, w)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_peak_is_known_before(name):
    x, w = normal(1024, 1024), normal(1024, 1024)
    function = PROGRAMS[name]
    estimate = mx.estimate(function, x, w)
    # What is left of earlier results would be measured, too.
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    result = function(x, w)
    mx.eval(result)
    peak, kept = mx.get_peak_memory() - before, mx.get_active_memory() - before
    # Of one MB, scalars and scratch memory are small parts.
    assert estimate.peak == pytest.approx(peak, rel=0.05)
    assert estimate.kept == pytest.approx(kept, rel=0.05)
    assert estimate.moved > 0 and estimate.flops > 0 and estimate.steps > 0


def test_arrays_and_keywords():
    x = normal(256, 256)
    assert mx.estimate(x).steps == 0
    assert mx.estimate(x @ x).flops == pytest.approx(2 * 256**3, rel=0.01)
    both = mx.estimate([x + 1, {"a": x @ x}])
    assert both.kept == 2 * x.nbytes
    assert mx.estimate(mx.softmax, x, axis=0).kept == x.nbytes
    assert repr(both).startswith("Estimate(2 steps")
    with pytest.raises(ValueError, match="keyword"):
        mx.estimate(x, axis=0)


def test_a_limit_refuses_before_anything_runs():
    x = normal(1024, 1024)
    y = mx.stack([mx.sin(x) @ mx.cos(x + i) for i in range(16)])
    needed = mx.estimate(y).peak
    old = mx.set_memory_limit(mx.get_active_memory() + needed // 2)
    try:
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        with pytest.raises(MemoryError, match=f"{needed / 1e6:.1f} MB on top of"):
            mx.eval(y)
        assert mx.get_peak_memory() == before
    finally:
        mx.set_memory_limit(old)
    mx.eval(y)


def test_explain_in_three_forms():
    x, w = normal(64, 64), normal(64, 64)
    text = mx.explain(softmax, x, w)
    assert "[fuse_rows]" in text and "reciprocal" in text and "1 step" in text
    report = json.loads(mx.explain(layers, x, w, format="json", run=True))
    assert [step["kind"] for step in report["steps"]] == ["product"] * 8
    assert all(step["seconds"] > 0 for step in report["steps"])
    page = mx.explain(layers, x, w, format="html")
    assert page.startswith("<!DOCTYPE html>") and "<h1>layers</h1>" in page
    assert "tape" in mx.explain(x * 2 + 1)
    with pytest.raises(ValueError, match="format must be"):
        mx.explain(x + 1, format="pdf")
