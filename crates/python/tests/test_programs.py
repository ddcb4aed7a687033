"""Programs from PyPI that were written for MLX, unchanged: the same answers as on the real one.

`docs/programs.md` has the table of what runs.
"""

import importlib.util
import json
import subprocess
import sys

import pytest

EINOPS = """
import json
import mlx.core as mx
from einops import einsum, pack, rearrange, reduce, unpack

x = mx.arange(24).reshape(2, 3, 4).astype(mx.float32)
packed, shapes = pack([x, x[:, 0]], "a * c")
results = [
    rearrange(x, "a b c -> c (a b)"),
    rearrange(x, "a b (c1 c2) -> (c2 a) b c1", c1=2),
    reduce(x, "a b c -> a c", "mean"),
    reduce(x, "a (b1 b2) c -> b1 c", "max", b1=3),
    reduce(x, "a b c -> b", "sum"),
    packed,
    *unpack(packed, shapes, "a * c"),
    mx.grad(lambda x: reduce(x * x, "a b c -> ", "sum"))(x),
]
print(json.dumps([r.tolist() for r in results]))
"""

SAFETENSORS = """
import json, os, tempfile
import mlx.core as mx
from safetensors.mlx import load, load_file, save, save_file

arrays = {
    "half": mx.arange(6).reshape(2, 3).astype(mx.float16),
    "long": mx.array([1, -2], dtype=mx.int64),
    "scalar": mx.array(2.5),
    "view": mx.arange(6).reshape(2, 3).T,
}
path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
save_file(arrays, path, {"kind": "test"})
loaded = [load_file(path), load(save(arrays)), mx.load(path)]
print(json.dumps([{k: [str(v.dtype), v.tolist()] for k, v in d.items()} for d in loaded]))
"""

OPTIMIZERS = """
import json
import mlx.core as mx, mlx.nn as nn, mlx_optimizers

losses = {}
for name in NAMES:
    mx.random.seed(3)
    x = mx.random.normal((64, 8))
    y = x @ mx.random.normal((8, 4))
    model = nn.Sequential(nn.Linear(8, 16), nn.tanh, nn.Linear(16, 4))
    optimizer = getattr(mlx_optimizers, name)(learning_rate=1e-2)
    step = nn.value_and_grad(model, lambda m: nn.losses.mse_loss(m(x), y))
    losses[name] = []
    for _ in range(8):
        loss, grads = step(model)
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)
        losses[name].append(loss.item())
print(json.dumps(losses))
"""

#: The optimisers of mlx-optimizers.
NAMES = "ADOPT DiffGrad Kron Lamb MADGRAD MARS Muon QHAdam Shampoo".split()

#: Muon orthogonalises in bfloat16, whose roundings differ with the order of sums; the others
#: compute in float32.
TOLERANCES = {"Muon": 1e-3}


def outputs(package, script):
    """The script's JSON on this package and on the real MLX."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    if not importlib.util.find_spec("mlx"):
        pytest.skip("the real MLX is not installed")
    runners = [[sys.executable, "-m", "lazulite.mlx"], [sys.executable]]
    results = []
    for runner in runners:
        command = [*runner, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        results.append(json.loads(done.stdout))
    return results


@pytest.mark.parametrize(
    "package, script", [("einops", EINOPS), ("safetensors", SAFETENSORS)], ids=["einops", "file"]
)
def test_same_output(package, script):
    ours, real = outputs(package, script)
    assert ours == real


def test_optimizers():
    ours, real = outputs("mlx_optimizers", f"NAMES = {NAMES}\n{OPTIMIZERS}")
    for name in NAMES:
        assert ours[name] == pytest.approx(real[name], rel=TOLERANCES.get(name, 1e-5)), name
        assert ours[name][-1] < ours[name][0], name
