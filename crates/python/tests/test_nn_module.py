"""`nn.Module`: attributes, trees, updates, freezing, files, modes."""

import copy

import lazulite.core as mx
import lazulite.nn as nn
import pytest
from lazulite.utils import tree_flatten


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.norm = nn.BatchNorm(3)
        self.blocks = [nn.Sequential(nn.Linear(3, 3), nn.ReLU()), {"drop": nn.Dropout(0.5)}]
        self.scale = mx.ones((3,))
        self._hidden = mx.zeros((1,))
        self.pair = (1, 2)
        self.name = "model"

    def __call__(self, x):
        return self.blocks[0](self.norm(self.linear(x))) * self.scale


NAMES = [
    "linear.weight",
    "linear.bias",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "blocks.0.layers.0.weight",
    "blocks.0.layers.0.bias",
    "scale",
]
TRAINABLE = [n for n in NAMES if "running" not in n]


def names(tree):
    return [name for name, _ in tree_flatten(tree)]


def test_what_is_an_entry_and_what_an_attribute():
    model = Model()
    assert list(model) == ["linear", "norm", "blocks", "scale", "_hidden", "pair"]
    assert model.name == "model" and "name" in vars(model)
    model.scale = None
    assert "scale" not in model and model.scale is None
    model.scale = mx.ones((3,))
    assert "scale" in model and "scale" not in vars(model)
    del model.scale
    for access in (lambda: model.scale, lambda: delattr(model, "scale"), lambda: model.nothing):
        with pytest.raises(AttributeError, match="'Model' object has no attribute"):
            access()
    with pytest.raises(AttributeError):
        model.state = {}


def test_trees_of_parameters_and_modules():
    model = Model()
    assert names(model.parameters()) == NAMES
    assert names(model.trainable_parameters()) == TRAINABLE
    assert model.state is model
    expected = ["", "blocks.1.drop", "blocks.0", "blocks.0.layers.1", "blocks.0.layers.0"]
    assert [name for name, _ in model.named_modules()] == expected + ["norm", "linear"]
    assert model.modules()[0] is model
    children = tree_flatten(model.children(), is_leaf=nn.Module.is_module)
    assert [n for n, _ in children] == ["linear", "norm", "blocks.0", "blocks.1.drop"]
    leaves = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    assert [n for n, _ in leaves][2:] == ["blocks.0.layers.0", "blocks.0.layers.1", "blocks.1.drop"]
    shapes = model.filter_and_map(nn.Module.valid_parameter_filter, lambda a: a.ndim)
    assert shapes["linear"] == {"weight": 2, "bias": 1}
    with pytest.raises(RuntimeError):
        model.filter_and_map(lambda m, k, v: True, is_leaf_fn=lambda m, k, v: False)


def test_repr_shows_the_tree():
    text = repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU())))
    assert text == (
        "Sequential(\n"
        "  (layers.0): Linear(input_dims=2, output_dims=3, bias=True)\n"
        "  (layers.1): Sequential(\n"
        "    (layers.0): ReLU()\n"
        "  )\n"
        ")"
    )


def test_update_replaces_what_it_is_given():
    model = Model()
    before = model.linear.bias
    model.update({"linear": {"weight": mx.ones((3, 2))}, "blocks": [{"layers": [{}, {}]}]})
    assert model.linear.weight.sum().item() == 6 and model.linear.bias is before
    assert model.apply(lambda a: a * 0).scale.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "parameters",
    [
        {"nothing": mx.ones((1,))},
        {"linear": {"nothing": mx.ones((1,))}},
        {"linear": {"weight": 3}},
        {"linear": {"weight": [mx.ones((1,))]}},
        {"linear": mx.ones((1,))},
        {"blocks": [{}, {}, {"x": mx.ones((1,))}]},
    ],
)
def test_update_is_strict(parameters):
    with pytest.raises(ValueError):
        Model().update(parameters)


def test_update_can_be_lenient():
    model = Model()
    model.update({"nothing": mx.ones((1,)), "linear": mx.ones((1,))}, strict=False)
    assert "nothing" not in model and isinstance(model.linear, nn.Linear)


def test_update_modules():
    model = Model()
    model.update_modules({"linear": nn.Identity(), "blocks": [{"layers": [nn.Tanh()]}]})
    assert isinstance(model.linear, nn.Identity)
    assert isinstance(model.blocks[0].layers[0], nn.Tanh)
    for modules in ({"nothing": nn.ReLU()}, {"linear": 3}, {"blocks": [{}, {}, nn.ReLU()]}):
        with pytest.raises(ValueError):
            model.update_modules(modules)
        model.update_modules(modules, strict=False)
    assert isinstance(model.linear, nn.Identity)


def test_set_dtype():
    model = nn.QuantizedLinear(32, 2, group_size=32)
    model.set_dtype(mx.float16)
    assert (model.scales.dtype, model.weight.dtype) == (mx.float16, mx.uint32)
    layer = nn.Linear(2, 2)
    layer.set_dtype(mx.bfloat16, lambda dtype: False)
    assert layer.weight.dtype == mx.float32
    layer.set_dtype(mx.int32, None)
    assert layer.weight.dtype == mx.int32


@pytest.mark.parametrize(
    "steps, trainable",
    [
        (lambda m: m.freeze(), []),
        (lambda m: m.freeze(keys="bias"), [n for n in TRAINABLE if not n.endswith("bias")]),
        (lambda m: m.freeze(keys=["linear"]), [n for n in TRAINABLE if "linear" not in n]),
        (lambda m: m.freeze(recurse=False), [n for n in TRAINABLE if n != "scale"]),
        (lambda m: m.freeze().blocks[0].unfreeze(), [n for n in TRAINABLE if "blocks" in n]),
        (lambda m: m.freeze().unfreeze(keys="bias"), [n for n in TRAINABLE if "bias" in n]),
        # As in MLX, unfreezing everything includes running statistics, unless asked directly.
        (lambda m: m.freeze().unfreeze(), NAMES),
        (lambda m: (m.freeze(), m.norm.unfreeze()), ["norm.weight", "norm.bias"]),
    ],
)
def test_freeze(steps, trainable):
    model = Model()
    steps(model)
    assert names(model.trainable_parameters()) == trainable


def test_freeze_is_strict_on_request():
    model = Model()
    assert model.freeze(keys=["nothing"]) is model
    for call in (model.freeze, model.unfreeze):
        with pytest.raises(KeyError):
            call(keys=["nothing"], strict=True)
        with pytest.raises(KeyError):
            call(keys="weight", recurse=False, strict=True)
        assert call(keys="weight", strict=True) is model


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_weights_in_files(tmp_path, ending):
    file = str(tmp_path / f"weights.{ending}")
    a, b = Model(), Model()
    a.save_weights(file)
    b.load_weights(file)
    for (_, x), (_, y) in zip(tree_flatten(a.parameters()), tree_flatten(b.parameters())):
        assert x.tolist() == y.tolist()
    with pytest.raises(ValueError, match="unsupported"):
        a.save_weights(str(tmp_path / "weights.bin"))


@pytest.mark.parametrize(
    "weights",
    [
        [("weight", mx.ones((3, 2)))],
        [("weight", mx.ones((3, 2))), ("bias", mx.ones((3,))), ("more", mx.ones((1,)))],
        [("weight", mx.ones((2, 3))), ("bias", mx.ones((3,)))],
        [("weight", 1.0), ("bias", mx.ones((3,)))],
    ],
)
def test_load_weights_is_strict(weights):
    with pytest.raises(ValueError, match="weight|bias|more"):
        nn.Linear(2, 3).load_weights(weights)


def test_load_weights_can_be_lenient():
    layer = nn.Linear(2, 3).load_weights([("bias", mx.ones((3,))), ("x", mx.ones((1,)))], False)
    assert layer.bias.tolist() == [1.0, 1.0, 1.0]


def test_modes_reach_all_modules():
    model = Model()
    assert all(m.training for m in model.modules())
    assert model.eval() is model and not any(m.training for m in model.modules())
    assert all(m.training for m in model.train().modules())


def test_copies_are_independent():
    model = Model()
    other = copy.deepcopy(model)
    other.linear.weight = mx.zeros((3, 2))
    assert model.linear.weight.abs().sum().item() > 0
    with pytest.raises(TypeError):
        hash(model)


def test_quantize_replaces_leaves():
    model = nn.Sequential(nn.Embedding(4, 64), nn.Linear(64, 8), nn.ReLU(), nn.Linear(64, 8))
    choose = {"layers.0": True, "layers.1": {"group_size": 32, "bits": 8}}
    nn.quantize(model, class_predicate=lambda path, m: choose.get(path, False))
    types = [type(m).__name__ for m in model.layers]
    assert types == ["QuantizedEmbedding", "QuantizedLinear", "ReLU", "Linear"]
    assert (model.layers[1].group_size, model.layers[1].bits) == (32, 8)
    for bad in (lambda p, m: "yes", lambda p, m: isinstance(m, nn.ReLU)):
        with pytest.raises(ValueError):
            nn.quantize(model, class_predicate=bad)
    with pytest.raises(NotImplementedError):
        nn.Linear(64, 8).to_quantized(mode="nvfp4", quantize_input=True)
    with pytest.raises(ValueError):
        nn.Linear(64, 8).to_quantized(quantize_input=True)


def test_qqlinear_packs_in_evaluation_mode():
    layer = nn.QQLinear(64, 8)
    assert list(layer.trainable_parameters()) == ["weight"] and layer.weight.dtype == mx.float32
    layer.eval()
    assert layer.weight.dtype == mx.uint32 and "scales" in layer
    layer.train()
    assert layer.weight.shape == (8, 64) and "scales" not in layer


def test_value_and_grad_leaves_the_parameters_in_place():
    model = Model()
    before = dict(tree_flatten(model.trainable_parameters()))
    loss, grads = nn.value_and_grad(model, lambda x: model(x).sum())(mx.ones((4, 2)))
    assert sorted(names(grads)) == sorted(TRAINABLE)
    after = dict(tree_flatten(model.trainable_parameters()))
    assert all(after[k].tolist() == before[k].tolist() for k in before)
    # What the call itself put into the model stays.
    assert model.norm.running_var.tolist() != [1.0, 1.0, 1.0]


def test_checkpoint_has_the_gradients_of_the_call():
    model = nn.Linear(2, 2)
    for fn in (model, nn.utils.checkpoint(model)):
        loss = nn.value_and_grad(model, lambda x: fn(x).square().sum())
        value, grads = loss(mx.array([[1.0, 2.0]]))
        if fn is model:
            expected = value.item(), grads["weight"].tolist()
    assert (value.item(), grads["weight"].tolist()) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dropout(1.0),
        lambda: nn.Dropout2d(-0.1),
        lambda: nn.Dropout3d(0.5)(mx.ones((2, 2))),
        lambda: nn.GELU("other"),
        lambda: nn.GroupNorm(3, 4),
        lambda: nn.BatchNorm(4)(mx.ones((4,))),
        lambda: nn.BatchNorm(4)(mx.ones((1, 4))),
        lambda: nn.MultiHeadAttention(7, 2),
        lambda: nn.Conv1d(3, 4, 3, groups=2),
        lambda: nn.MaxPool2d((1, 2, 3)),
        lambda: nn.MaxPool2d(2.5),
        lambda: nn.MaxPool2d((0, 2)),
        lambda: nn.AvgPool1d(2, stride=0),
        lambda: nn.MaxPool3d(2, padding=-1),
        lambda: nn.MaxPool1d(2)(mx.ones((1, 4, 4, 1))),
        lambda: nn.RNN(2, 2, nonlinearity="tanh"),
        lambda: nn.Upsample(2, "other"),
        lambda: nn.Upsample(2, antialias=True),
        lambda: nn.Upsample((2, 2))(mx.ones((1, 2, 2))),
        lambda: nn.Upsample(2)(mx.ones((2, 2))),
        lambda: nn.layers.distributed.shard_linear(nn.Linear(2, 2), "other"),
        lambda: nn.losses.mse_loss(mx.ones((3,)), mx.ones((4,))),
        lambda: nn.losses.mse_loss(mx.ones((3,)), mx.ones((3,)), "other"),
        lambda: nn.losses.cross_entropy(mx.ones((2, 3)), mx.array([0]), label_smoothing=1.0),
        lambda: nn.losses.cross_entropy(mx.ones((2, 3)), mx.array([[0, 1]])),
        lambda: nn.losses.cross_entropy(mx.ones((1, 3)), mx.array([0]), weights=mx.ones((3,))),
    ],
)
def test_wrong_arguments_raise_value_errors(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize(
    "layer, shape, varies",
    [
        (nn.Dropout, (40, 50), (40, 50)),
        (nn.Dropout2d, (40, 3, 2, 50), (40, 1, 1, 50)),
        (nn.Dropout3d, (40, 2, 3, 2, 50), (40, 1, 1, 1, 50)),
    ],
)
def test_dropout(layer, shape, varies, p):
    mx.random.seed(1)
    y = layer(p)(mx.ones(shape))
    kept = mx.abs(y - 1 / (1 - p)) < 1e-5
    assert mx.all(kept | (y == 0)).item()
    # 2000 draws: the share lies within five standard deviations.
    assert abs(kept.astype(mx.float32).mean().item() - (1 - p)) < 5 * (p * (1 - p) / 2000) ** 0.5
    axes = [i for i, n in enumerate(varies) if n == 1]
    if axes:
        assert mx.all(y.max(axis=axes) == y.min(axis=axes)).item()
    assert layer(p).eval()(mx.ones(shape)).min().item() == 1


class _Pair(nn.Module):
    label = "a class's own"

    def __init__(self, second=True):
        super().__init__()
        self.first = mx.array([1.0])
        if second:
            self.second = mx.array([2.0])
        self.label = [mx.array([3.0])]


def test_entries_are_read_as_attributes_of_the_instance_that_has_them():
    full, half = _Pair(), _Pair(second=False)
    assert full.second.item() == 2.0 and full.first is full["first"]
    assert not hasattr(half, "second") and "second" not in half
    with pytest.raises(AttributeError, match="'_Pair' object has no attribute 'second'"):
        half.second
    # What a class defines comes before an entry, as in any class with `__getattr__`.
    assert full.label == "a class's own" and full["label"][0].item() == 3.0
    full["first"] = mx.array([4.0])
    assert full.first.item() == 4.0
    del full.first
    assert not hasattr(full, "first")
    full.second = 5
    assert full.second == 5 and "second" not in full
    full.second = mx.array([6.0])
    assert full.second.item() == 6.0 and "second" not in vars(full)


def test_entries_of_copies_are_attributes():
    pair = _Pair()
    other = copy.deepcopy(pair)
    assert other.second.item() == 2.0 and other.second is not pair.second
    bare = _Pair.__new__(_Pair)
    dict.__setitem__(bare, "first", mx.array([8.0]))
    assert bare.first.item() == 8.0 and not hasattr(bare, "second")
