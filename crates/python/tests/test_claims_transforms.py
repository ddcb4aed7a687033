"""Claims 20 to 34 of the guide: vmap, streams, overlapping preparation and computation."""

import inspect
import random
import threading

import lazulite.core as mx
import lazulite.nn as nn
import pytest
from claims import SLACK, counted, extra, normal
from lazulite.data import prefetch


def each(f, *arrays):
    """What a loop over the first axis computes."""
    return mx.stack([f(*rows) for rows in zip(*arrays, strict=True)])


def test_c20_vmap_equals_the_loop():
    x, y = normal(5, 3), normal(5, 3, seed=1)

    def f(a, b):
        return mx.tanh(a * b).sum() + mx.max(a)

    assert mx.allclose(mx.vmap(f)(x, y), each(f, x, y))


def test_c21_vmap_of_a_model_on_one_example():
    model = nn.Sequential(nn.Linear(4, 8), nn.gelu, nn.LayerNorm(8), nn.Linear(8, 2))
    x = normal(6, 4)
    assert mx.allclose(mx.vmap(model)(x), each(model, x), atol=1e-6)
    assert mx.allclose(mx.vmap(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize("size", [2, 64])
def test_c22_the_function_is_called_once_for_any_batch(size):
    f, calls = counted(lambda a: mx.softmax(a * 2).max())
    x = normal(size, 7)
    assert mx.allclose(mx.vmap(f)(x), each(f, x)) and len(calls) == 1 + size


MODEL = {"w": normal(6, 4, seed=5), "b": normal(4, seed=6)}


def loss(params, x, y, mask):
    return (mask * (x @ params["w"] + params["b"] - y) ** 2).sum()


def batch(size=8, rows=3):
    ones = mx.random.uniform(shape=(size, rows, 4), key=mx.random.key(3)) > 0.5
    return normal(size, rows, 6), normal(size, rows, 4, seed=1), ones


def test_c23_a_loss_for_each_example():
    arrays = batch()
    losses = mx.vmap(lambda *a: loss(MODEL, *a))(*arrays)
    assert losses.shape == (8,)
    assert mx.allclose(losses, each(lambda *a: loss(MODEL, *a), *arrays), rtol=1e-5)


def test_c24_gradients_of_each_example():
    x, y, mask = batch()
    with pytest.raises(TypeError, match="mask"):
        mx.vmap(mx.grad(loss), in_axes=(None, 0, 0))(MODEL, x, y)
    f = mx.vmap(mx.grad(loss), in_axes=(None, 0, 0, 0))
    found = f(MODEL, x, y, mask)
    for i in range(8):
        alone = mx.grad(loss)(MODEL, x[i], y[i], mask[i])
        for name in MODEL:
            assert mx.allclose(found[name][i], alone[name], rtol=1e-5, atol=1e-5)
    mx.eval(mask)
    # The gradients, and twice what the forward pass holds.
    result = sum(4 * 8 * p.size for p in MODEL.values())
    assert extra(lambda: f(MODEL, x, y, mask)) <= result + 2 * 4 * y.size + SLACK


W, P = normal(4, 4, seed=8), mx.array([2, 0, 1])
PACKED = mx.quantize(normal(32, 32, seed=9), group_size=32, bits=4)
#: Functions of one example `(4, 4)`; MLX has no vmap for some, and a wrong one for another.
UNDER_VMAP = {
    "matmul": lambda a: a @ W,
    "matmul on the left": lambda a: W @ a,
    "addmm": lambda a: mx.addmm(W, a, W),
    "quantized_matmul": lambda a: mx.quantized_matmul(
        mx.concatenate([a.reshape(1, 16)] * 2, axis=1), *PACKED, group_size=32, bits=4
    ),
    "take": lambda a: mx.take(a, P, axis=0),
    "take_along_axis": lambda a: mx.take_along_axis(a, mx.argsort(a, axis=1), axis=1),
    "put_along_axis": lambda a: mx.put_along_axis(a, P[None], mx.array(5.0), axis=1),
    "index": lambda a: a[P, 1:],
    "slice_update of the example": lambda a: mx.slice_update(a, mx.ones((2, 2)), P[:2], (0, 1)),
    "slice_update with the example": lambda a: mx.slice_update(W, a[:2, :2], P[1:], (0, 1)),
    "slice at a place": lambda a: mx.slice(a, P[1:], (0, 1), (2, 2)),
    "at add": lambda a: a.at[P].add(1.0),
    "sort": lambda a: mx.sort(a, axis=0),
    "topk": lambda a: mx.sort(mx.topk(a, 2)),
    "cumsum": lambda a: mx.cumsum(a, axis=1, reverse=True),
    "logsumexp": lambda a: mx.logsumexp(a),
    "argmax": lambda a: mx.argmax(a, axis=0),
    "pad": lambda a: mx.pad(a, 1),
    "concatenate": lambda a: mx.concatenate([a, W], axis=1),
    "split": lambda a: mx.split(a, 2, axis=1)[1],
    "where": lambda a: mx.where(a > 0, a, W),
    "as_strided": lambda a: mx.as_strided(a, (2, 3), (1, 2)),
    "conv1d": lambda a: mx.conv1d(a[None], W[None, :2, :4].transpose(1, 0, 2)),
    "rms_norm": lambda a: mx.fast.rms_norm(a, W[0], 1e-5),
    "layer_norm": lambda a: mx.fast.layer_norm(a, W[0], W[1], 1e-5),
    "rope": lambda a: mx.fast.rope(a[None], 4, traditional=False, base=1e4, scale=1.0, offset=2),
    "attention": lambda a: mx.fast.scaled_dot_product_attention(
        a[None, None], W[None, None], a[None, None], scale=0.5
    ),
    "random": lambda a: a + mx.random.normal((4,), key=mx.random.key(1)),
    "depends": lambda a: mx.depends([a], [W])[0],
    "tri": lambda a: mx.tril(a),
    "view": lambda a: a.view(mx.int32),
}


@pytest.mark.parametrize("name", UNDER_VMAP)
def test_c25_operations_have_a_rule_for_vmap(name):
    f, x = UNDER_VMAP[name], normal(3, 4, 4)
    found, expect = mx.vmap(f)(x), each(f, x)
    assert found.dtype == expect.dtype and found.shape == expect.shape
    # Products of batches may sum in another order.
    assert mx.allclose(found, expect, rtol=1e-5, atol=1e-5)


def test_c26_values_are_not_known_while_tracing_and_the_error_says_where():
    def branch(x):
        if x.sum() > 0:
            return x
        return -x

    def item(x):
        return x * x.sum().item()

    for f, offset in ((branch, 1), (item, 1)):
        line = inspect.getsourcelines(f)[1] + offset
        for transformed in (mx.vmap(f), mx.compile(f)):
            with pytest.raises(ValueError, match=rf"test_claims_transforms\.py:{line}\)"):
                transformed(normal(3, 2))


def test_c26_loops_of_fixed_length_are_traced():
    def f(x):
        for i in range(3):
            x = mx.sin(x) * i + x
        return x

    x = normal(3, 2)
    assert mx.array_equal(mx.vmap(f)(x), f(x)) and mx.array_equal(mx.compile(f)(x), f(x))


def test_c26_masks_as_indices_have_no_shape_while_tracing():
    with pytest.raises(ValueError, match="test_claims_transforms"):
        mx.vmap(lambda x: x[x > 0])(normal(3, 2))


def test_c27_broadcasting_and_vmap_are_the_same_computation():
    x, w = normal(32, 8), normal(8, seed=1)
    f = mx.vmap(lambda a: a * w + 1)
    assert mx.array_equal(f(x), x * w + 1)
    assert abs(extra(lambda: f(x)) - extra(lambda: x * w + 1)) <= SLACK


def steps(prepare, work, count, stream=None):
    return [work(b) for b in prefetch(range(count), prepare, stream=stream)]


@pytest.mark.parametrize("stream", [None, "new"])
def test_c28_preparation_on_another_stream_gives_the_same_batches(stream):
    stream = mx.new_stream(mx.cpu) if stream else None

    def prepare(i):
        return mx.random.normal((64, 64), key=mx.random.key(i))

    found = steps(prepare, lambda b: (b @ b).sum().item(), 5, stream)
    assert found == [((b := prepare(i)) @ b).sum().item() for i in range(5)]


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="there is a GPU")
def test_c29_a_stream_of_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="gpu"):
        mx.new_stream(mx.gpu)


def test_c30_async_eval_needs_nobody_to_wait():
    x = normal(64, 64)
    y = x
    for _ in range(20):
        y = mx.tanh(y @ x)
    mx.async_eval(y, {"more": [y * 2]})
    z = y + 1
    found = []
    reader = threading.Thread(target=lambda: found.append(z.sum().item()))
    reader.start()
    reader.join()
    assert found == [(y + 1).sum().item()]


@pytest.mark.parametrize("ahead", [0, 1, 3, 10])
def test_c31_prefetch_gives_every_batch_and_runs_ahead(ahead):
    made = []

    def prepare(i):
        made.append(i)
        return mx.array(i) * 10

    seen = []
    for b in prefetch(range(6), prepare, ahead=ahead):
        seen.append(b.item())
        assert len(made) == min(len(seen) + ahead, 6)
    assert seen == [0, 10, 20, 30, 40, 50]
    with pytest.raises(ValueError, match="-1"):
        next(prefetch([], ahead=-1))


def test_c32_eval_waits_for_the_result():
    x = normal(128, 128)
    y = mx.exp(x @ x)
    mx.eval(y)
    # Evaluated: reading it allocates nothing.
    assert extra(lambda: y) == 0


def test_c33_two_streams_compute_what_one_does():
    x = normal(96, 96)

    def chain(seed):
        y = x + seed
        for _ in range(10):
            y = mx.tanh(y @ x)
        return y

    alone = [chain(s) for s in range(2)]
    mx.eval(alone)
    both = []
    for seed in range(2):
        with mx.stream(mx.new_stream(mx.cpu)):
            both.append(chain(seed))
    mx.async_eval(both)
    assert all(mx.array_equal(a, b) for a, b in zip(alone, both, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_c34_dependencies_across_streams_are_kept(seed):
    chance = random.Random(seed)
    streams = [mx.new_stream(mx.cpu) for _ in range(3)]

    def graph(choose):
        chance.seed(seed)
        arrays = [normal(8, 8, seed=i) for i in range(3)]
        for _ in range(60):
            a, b = chance.choice(arrays), chance.choice(arrays)
            op = chance.choice([mx.add, mx.multiply, mx.matmul, mx.maximum])
            place = chance.randrange(3)
            with mx.stream(choose(place)):
                arrays.append(mx.tanh(op(a, b)))
            if chance.random() < 0.1:
                mx.async_eval(arrays[-1])
        return arrays

    crossing = graph(lambda i: streams[i])
    mx.eval(crossing)
    plain = graph(lambda i: mx.default_stream(mx.cpu))
    assert all(mx.array_equal(a, b) for a, b in zip(crossing, plain, strict=True))
