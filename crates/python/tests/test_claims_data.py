"""Claims 35 to 56 of the guide: files, broadcasting, gathers and scatters, numerics, memory."""

import re
from pathlib import Path

import lazulite.core as mx
import lazulite.nn as nn
import numpy as np
import pytest
from claims import SLACK, extra, normal
from lazulite.optimizers import Adam

HALVES = [mx.float16, mx.bfloat16]
MIB = 1 << 20


def wide(x):
    return np.array(x.astype(mx.float32)).astype(np.float64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of eight tensors of 1 MiB."""
    path = str(tmp_path_factory.mktemp("weights") / "w.safetensors")
    mx.save_safetensors(path, {f"w{i}": normal(512, 512, seed=i) for i in range(8)})
    return path


def test_c35_loading_reads_what_is_used(weights):
    assert extra(lambda: (mx.load(weights), [])[1]) <= SLACK
    assert extra(lambda: mx.load(weights)["w3"]) <= MIB + SLACK
    with open(weights, "rb") as file:
        assert mx.array_equal(mx.load(file)["w5"], mx.load(weights)["w5"])


def test_c36_casting_before_evaluation_holds_one_tensor_at_a_time(weights):
    def load():
        return {k: w.astype(mx.float16) for k, w in mx.load(weights).items()}

    # The result, and the tensor that is being cast.
    assert extra(load) <= 8 * MIB // 2 + MIB + SLACK


def test_c37_eval_takes_trees_and_ignores_other_leaves():
    x = normal(4)
    tree = {"a": x + 1, "b": [x * 2, {"c": (x, 3)}], "name": "model", "none": None}
    mx.eval(tree)
    assert extra(lambda: [tree["a"], tree["b"][0]]) == 0


def test_c38_a_list_of_images_is_copied_once():
    images = [np.full((64, 64, 3), i, np.float32) for i in range(16)]
    stacked = np.stack(images)
    assert np.array_equal(np.array(mx.array(images)), stacked)
    assert extra(lambda: mx.array(images)) <= stacked.nbytes + SLACK
    assert mx.array([list(map(float, row)) for row in stacked[:, 0, :, 0]]).shape == (16, 64)


def test_c39_items_evaluated_alone_and_together_agree():
    items = [normal(16, seed=i) for i in range(20)]
    alone = []
    for item in items:
        y = mx.tanh(item) * 2
        mx.eval(y)
        alone.append(y)
    together = [mx.tanh(item) * 2 for item in items]
    mx.eval(together)
    assert all(mx.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool", "complex64"])
def test_c40_a_data_set_at_once(dtype):
    data = np.arange(3000).reshape(1000, 3).astype(dtype)
    x = mx.array(data)
    assert x.dtype == getattr(mx, dtype.replace("bool", "bool_"))
    assert np.array_equal(np.array(x), data)


def test_c41_repeating_an_axis_of_size_one_allocates_nothing():
    row = normal(1, 4096)
    assert extra(lambda: mx.repeat(row, 64, axis=0)) <= SLACK
    assert extra(lambda: mx.tile(row, (64, 1))) <= SLACK
    assert extra(lambda: mx.broadcast_to(row, (64, 4096))) <= SLACK
    blocks = [normal(64, 64, seed=i) for i in range(4)]
    assert extra(lambda: mx.concatenate(blocks)) <= 4 * blocks[0].nbytes + SLACK


def test_c42_repeat_is_not_tile():
    x = mx.array([[1, 2], [3, 4]])
    tiled = [[1, 2], [3, 4], [1, 2], [3, 4]]
    assert mx.concatenate([x] * 2).tolist() == tiled == mx.tile(x, (2, 1)).tolist()
    assert mx.repeat(x, 2, axis=0).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_c43_broadcast_operands_are_not_materialised():
    x, w = normal(256, 512), normal(512, seed=1)
    for make in (
        lambda: x * w[None, :],
        lambda: x * mx.broadcast_to(w, x.shape),
        lambda: x * mx.repeat(w[None], 256, axis=0),
    ):
        assert extra(make) <= x.nbytes + SLACK
        assert mx.array_equal(make(), x * w)


def test_c44_three_spellings_of_a_gather_of_rows():
    x, rows = normal(64, 16), mx.array([3, -1, 3, 0])
    taken = x[rows]
    assert mx.array_equal(mx.take(x, rows, axis=0), taken)
    assert mx.array_equal(mx.take_along_axis(x, rows[:, None] % 64, axis=0), taken)
    # The guide's snippet on one axis.
    with pytest.raises(ValueError):
        mx.take_along_axis(x[:, 0], rows[:, None], axis=0)


def test_c45_put_along_axis_returns_and_takes_over_memory():
    x, rows = normal(256, 256), mx.array([[1], [2], [1]])
    values = normal(3, 256, seed=1)
    before = np.array(x)
    y = mx.put_along_axis(x, rows, values, axis=0)
    assert np.array_equal(np.array(x), before)
    expect = before.copy()
    expect[2], expect[1] = np.array(values)[1], np.array(values)[2]
    assert np.array_equal(np.array(y), expect)
    sums = mx.zeros((4,)).at[mx.array([1, 1, 3])].add(mx.array([1.0, 2.0, 4.0]))
    assert sums.tolist() == [0, 3, 0, 4]

    held = [normal(256, 256, seed=2)]
    # Nobody else has the target: its buffer becomes the result's.
    need = extra(lambda: mx.put_along_axis(held.pop(), rows, values, axis=0))
    assert need <= values.nbytes + SLACK


@pytest.mark.parametrize("dtype", [*HALVES, mx.float32])
@pytest.mark.parametrize("precise", [True, False])
def test_c46_softmax_of_large_logits_is_finite(dtype, precise):
    p = mx.softmax((500 + 50 * normal(8, 64)).astype(dtype), axis=-1, precise=precise)
    assert mx.isfinite(p).all() and np.allclose(wide(p).sum(axis=-1), 1, atol=1e-2)


@pytest.mark.parametrize("dtype", HALVES)
def test_c47_logsumexp_rounds_once(dtype):
    x = normal(4, 8192, dtype=dtype) * 3 + 100
    mx.eval(x)
    exact = np.log(np.exp(wide(x) - 100).sum(axis=-1)) + 100
    found = mx.logsumexp(x, axis=-1)
    # Near 110 half a unit of bfloat16 is 0.25, of float16 0.03125; a little for float32.
    half_unit = {mx.float16: 2.0**-5, mx.bfloat16: 2.0**-2}[dtype]
    assert np.max(np.abs(wide(found) - exact)) <= half_unit * 1.01


def test_c48_log_probabilities_need_no_temporary():
    logits = normal(128, 1024)
    assert mx.allclose(
        logits - mx.logsumexp(logits, axis=-1, keepdims=True), nn.log_softmax(logits), atol=1e-5
    )
    assert (
        extra(lambda: logits - mx.logsumexp(logits, axis=-1, keepdims=True))
        <= logits.nbytes + SLACK
    )


@pytest.mark.parametrize("dtype", HALVES)
def test_c49_cross_entropy_of_half_logits_is_computed_in_single(dtype):
    logits, targets = normal(512, 64, dtype=dtype), mx.arange(512) % 64
    x = wide(logits)
    exact = np.log(np.exp(x).sum(axis=-1)) - x[np.arange(512), np.arange(512) % 64]
    found = mx.fast.cross_entropy(logits, targets)
    assert found.dtype == mx.float32 and np.max(np.abs(wide(found) - exact)) < 1e-5
    # The loss of the layer library has the logits' type: rounded once.
    rounded = nn.losses.cross_entropy(logits, targets)
    unit = {mx.float16: 2.0**-10, mx.bfloat16: 2.0**-7}[dtype]
    assert rounded.dtype == dtype
    assert np.all(np.abs(wide(rounded) - exact) <= 0.51 * unit * 2.0 ** np.ceil(np.log2(exact)))


def test_c50_the_loss_over_tokens():
    logits, targets = normal(2, 6, 16), mx.arange(12).reshape(2, 6)
    ce = nn.losses.cross_entropy(logits, targets)
    assert ce.shape == (2, 6)
    loss = ce.astype(mx.float32).sum() / ce.size
    assert loss.item() == pytest.approx(ce.mean().item(), rel=1e-6)


def test_c51_the_loss_of_mlx_lm_trains():
    """The pattern of its trainer; `test_mlx_lm.py` runs the trainer itself."""
    model = nn.Sequential(nn.Embedding(16, 32), nn.Linear(32, 16))
    tokens = mx.arange(64).reshape(4, 16) * 7 % 16
    lengths = mx.array([16, 12, 9, 16])

    def loss(model, tokens, lengths):
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        logits = model(inputs).astype(mx.float16)
        mask = mx.arange(inputs.shape[1])[None] < lengths[:, None]
        ce = nn.losses.cross_entropy(logits, targets) * mask
        count = mask.sum()
        return ce.astype(mx.float32).sum() / count, count

    optimizer, step = Adam(1e-2), nn.value_and_grad(model, loss)
    losses = []
    for _ in range(10):
        (value, count), grads = step(model, tokens, lengths)
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)
        losses.append(value.item())
    assert count.item() == 15 + 12 + 9 + 15 and losses[-1] < losses[0] / 2


def test_c52_features_are_freed_when_they_are_used():
    x = normal(512, 512)

    def total():
        features = [mx.tanh(x * i) for i in range(16)]
        return sum(f.sum() for f in features)

    # A loop over the features in turn, none of which is stored.
    assert extra(total) <= x.nbytes + SLACK

    def stored():
        feature = x
        for i in range(16):
            feature = mx.tanh(feature @ x)
        return feature.sum()

    # Each is freed as soon as the next one is there.
    assert extra(stored) <= 3 * x.nbytes + SLACK


def test_c53_the_cache_is_bounded_and_can_be_cleared():
    former = mx.set_cache_limit(8 * MIB)
    try:
        for i in range(40):
            mx.eval(normal(100 + 7 * i, 300, seed=i).sum())
            assert mx.get_cache_memory() <= 8 * MIB
        mx.clear_cache()
        assert mx.get_cache_memory() == 0
    finally:
        mx.set_cache_limit(former)


@pytest.mark.parametrize(
    "name", ["get_peak_memory", "get_active_memory", "get_cache_memory", "device_info"]
)
def test_c54_the_old_names_forward(name):
    assert getattr(mx.metal, name)() == getattr(mx, name)()


def test_c54_the_old_names_act():
    normal(1024)
    mx.metal.reset_peak_memory()
    assert mx.get_peak_memory() <= mx.get_active_memory()
    mx.metal.clear_cache()
    assert mx.get_cache_memory() == 0


def test_c55_counters_are_exact():
    mx.synchronize()
    mx.clear_cache()
    before = mx.get_active_memory()
    x = normal(1024, 1024)
    assert 4 * MIB <= mx.get_active_memory() - before <= 4 * MIB + SLACK
    del x
    assert mx.get_active_memory() - before <= SLACK
    assert mx.get_cache_memory() >= 4 * MIB


def test_c56_slow_and_fast_spellings_are_the_same():
    """The pairs of the guide have equal results, and need memory within one small array."""
    x, w, bias = normal(64, 64), normal(64, 64, seed=1), normal(64, seed=2)
    rows = mx.array([1, 5, 5])
    pairs = [
        (lambda: x @ w.T, lambda: (w @ x.T).T),
        (lambda: x @ w.T + bias, lambda: mx.addmm(bias, x, w.T)),
        (lambda: nn.gelu(x), lambda: mx.compile(nn.gelu)(x)),
        (lambda: mx.concatenate([bias[None]] * 8), lambda: mx.repeat(bias[None], 8, axis=0)),
        (lambda: x[rows], lambda: mx.take_along_axis(x, rows[:, None], axis=0)),
        (lambda: mx.vmap(lambda a: a * bias)(x), lambda: x * bias),
    ]
    for slow, fast in pairs:
        assert mx.allclose(slow(), fast(), rtol=1e-5, atol=1e-5)
        assert abs(extra(slow) - extra(fast)) <= SLACK


def test_every_claim_has_a_test():
    files = Path(__file__).parent.glob("test_claims_*.py")
    found = {int(n) for f in files for n in re.findall(r"def test_c(\d\d)_", f.read_text())}
    assert found == set(range(1, 57))
