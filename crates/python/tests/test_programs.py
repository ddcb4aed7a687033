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

GRAPHS = """
import json
import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
import mlx_graphs.nn as gnn
from mlx_graphs.data import GraphData, GraphDataBatch

mx.random.seed(1)
edges = mx.array([[0, 1, 2, 3, 4, 1, 2], [0, 0, 1, 1, 3, 4, 3]])
x = mx.random.normal((5, 6))
results = {}
for name, layer in {
    "gcn": gnn.GCNConv(6, 4),
    "gat": gnn.GATConv(6, 4, heads=2),
    "sage": gnn.SAGEConv(6, 4),
    "gin": gnn.GINConv(nn.Linear(6, 4)),
    "simple": gnn.SimpleConv(),
}.items():
    results[name] = layer(edges, x).tolist()
batch = GraphDataBatch([GraphData(edge_index=edges, node_features=x)] * 2)
results["pooled"] = gnn.global_mean_pool(batch.node_features, batch.batch_indices).tolist()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = gnn.GCNConv(6, 8), gnn.GCNConv(8, 2)
    def __call__(self, x):
        return self.last(edges, nn.relu(self.first(edges, x)))

net, labels = Net(), mx.array([0, 1, 0, 1, 1])
optimizer = optim.Adam(1e-2)
step = nn.value_and_grad(net, lambda: nn.losses.cross_entropy(net(x), labels, reduction="mean"))
results["losses"] = []
for _ in range(10):
    loss, grads = step()
    optimizer.update(net, grads)
    results["losses"].append(loss.item())
print(json.dumps(results))
"""

KAN = """
import json
import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
from kan.kan import KANLinear

mx.random.seed(2)
x = mx.random.uniform(-1, 1, (64, 3))
y = mx.sin(3 * x).sum(axis=1, keepdims=True)
results = {"layer": KANLinear(3, 4)(x[:4]).tolist()}
model = nn.Sequential(KANLinear(3, 6), KANLinear(6, 1))
optimizer = optim.Adam(1e-2)
step = nn.value_and_grad(model, lambda: nn.losses.mse_loss(model(x), y))
results["losses"] = []
for _ in range(10):
    loss, grads = step()
    optimizer.update(model, grads)
    results["losses"].append(loss.item())
print(json.dumps(results))
"""

IMAGE = """
import json
import mlx.core as mx
from mlxim.model import create_model

mx.random.seed(3)
x = mx.random.normal((1, 64, 64, 3))
results = {}
for name in ("resnet18", "mobilenet_v3_small", "efficientnet_b0"):
    model = create_model(name, weights=False, num_classes=5)
    model.eval()
    results[name] = model(x).tolist()
print(json.dumps(results))
"""

LEARN = """
import json
import numpy as np
from mlxlearn.linear_model import LogisticRegression
from mlxlearn.neighbors import KNeighborsClassifier
from mlxlearn.svm import SVC

rng = np.random.default_rng(0)
x = rng.normal(size=(120, 4)).astype(np.float32)
y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int)
results = {}
for model in (LogisticRegression(), KNeighborsClassifier(3), SVC()):
    model.fit(x[:90], y[:90])
    results[type(model).__name__] = model.predict(x[90:]).tolist()
print(json.dumps(results))
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


def near(got, want):
    """True if numbers agree to float32's roundings, which the order of sums moves, and the rest is
    equal."""
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(near(got[k], want[k]) for k in want)
    if isinstance(want, list):
        return len(got) == len(want) and all(map(near, got, want))
    if isinstance(want, float):
        return got == pytest.approx(want, rel=1e-4, abs=1e-6)
    return got == want


@pytest.mark.parametrize(
    "package, script",
    [("mlx_graphs", GRAPHS), ("kan", KAN), ("mlxim", IMAGE), ("mlxlearn", LEARN)],
    ids=["graphs", "kan", "image", "learn"],
)
def test_near_output(package, script):
    ours, real = outputs(package, script)
    assert near(ours, real), f"\nours {ours}\nreal {real}"


def test_optimizers():
    ours, real = outputs("mlx_optimizers", f"NAMES = {NAMES}\n{OPTIMIZERS}")
    for name in NAMES:
        assert ours[name] == pytest.approx(real[name], rel=TOLERANCES.get(name, 1e-5)), name
        assert ours[name][-1] < ours[name][0], name
