"""Functions through files: forms of arguments, transforms, callbacks, damage."""

import json
import struct
import zlib

import lazulite.core as mx
import lazulite.nn as nn
import pytest

x, y = mx.array([1.0, 2.0, 3.0]), mx.array([4.0, 5.0, 6.0])


def add(x, y):
    return x + y


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "f.lazulite")


@pytest.mark.parametrize(
    "args, kwargs",
    [
        ((x, y), {}),
        (((x, y),), {}),
        (([x, y],), {}),
        ((x,), {"y": y}),
        (((x,), {"y": y}), {}),
        (({"x": x, "y": y},), {}),
    ],
)
def test_forms_of_arguments(path, args, kwargs):
    """As in MLX: one by one, or one tuple or list and one dictionary."""
    mx.export_function(path, add, *args, **kwargs)
    f = mx.import_function(path)
    (out,) = f(*args, **kwargs)
    assert out.tolist() == [5, 7, 9]
    named = kwargs or next((a for a in args if isinstance(a, dict)), {})
    if set(named) == {"y"}:
        assert f(x, y=y)[0].tolist() == f((x,), {"y": y})[0].tolist() == [5, 7, 9]
        with pytest.raises(ValueError):
            f(x, y)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f(x),
        lambda f: f(x[:2], y[:2]),
        lambda f: f(x.astype(mx.int32), y),
        lambda f: f(x, 1.0),
        lambda f: f(x, z=y),
        lambda f: f([(x, y)]),
        lambda f: f(x[None], y),
    ],
)
def test_calls_that_were_not_recorded(path, call):
    mx.export_function(path, add, x, y)
    with pytest.raises(ValueError):
        call(mx.import_function(path))


@pytest.mark.parametrize(
    "fun, args",
    [
        (add, (x, 2.0)),
        (lambda t: t[0][0], ([(x,)],)),
        (lambda x: None, (x,)),
        (lambda x: {"a": x}, (x,)),
        (lambda x: [x, (x,)], (x,)),
    ],
)
def test_what_cannot_be_recorded(path, fun, args):
    with pytest.raises(ValueError):
        mx.export_function(path, fun, *args)


def test_shapeless_metadata_and_transforms(path):
    def f(x):
        return mx.softmax(x @ x.T, axis=-1), x.sum()

    mx.export_function(path, f, mx.ones((2, 3)), shapeless=True, metadata='{"a": 1}')
    g, metadata = mx.import_function(path, return_metadata=True)
    assert json.loads(metadata) == {"a": 1}
    for shape in [(2, 3), (1, 1), (5, 2)]:
        x = mx.random.normal(shape)
        assert all(mx.array_equal(a, b) for a, b in zip(f(x), g(x), strict=True))

        def loss(f, x):
            return (f(x)[0] * mx.arange(shape[0])).sum()

        want = mx.grad(lambda x: loss(f, x))(x)
        assert mx.array_equal(mx.grad(lambda x: loss(g, x))(x), want)
        assert mx.array_equal(mx.compile(mx.grad(lambda x: loss(g, x)))(x), want)
        batch = mx.stack([x, 2 * x])
        assert mx.allclose(mx.vmap(lambda x: g(x)[0])(batch), mx.vmap(lambda x: f(x)[0])(batch))
    with pytest.raises(ValueError):
        mx.export_function(lambda part: None, f, mx.ones((2, 3)), metadata="x")


def test_a_model_and_its_gradient(path):
    mx.random.seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
    x = mx.random.normal((3, 4))
    step = mx.grad(lambda x: model(x).square().sum())
    for fun in [model, step, mx.compile(model)]:
        mx.export_function(path, fun, x)
        # Weights that were transposed views are plain in the file: sums are in another order.
        assert mx.allclose(mx.import_function(path)(x)[0], fun(x), 1e-5, 1e-6)


def test_several_recordings(path):
    def total(*arrays, scale=None):
        return sum(arrays) * (1 if scale is None else scale)

    with mx.exporter(path, total) as exporter:
        exporter(mx.array(1))
        exporter(mx.array(1), mx.array(2))
        exporter(x, scale=y)
        with pytest.raises(ValueError):
            exporter(mx.array(5))
    with pytest.raises(RuntimeError):
        exporter(x, x, x)
    exporter.close()
    f = mx.import_function(path)
    assert f(mx.array(3))[0].item() == 3
    assert f(mx.array(3), mx.array(4))[0].item() == 7
    assert f(x, scale=y)[0].tolist() == [4, 10, 18]
    with pytest.raises(ValueError):
        f(mx.array(3), mx.array(4), mx.array(5))


def test_an_exception_leaves_the_exporter_as_it_was(path):
    def f(x):
        if x.ndim:
            raise KeyError("mine")
        return x + 1

    with mx.exporter(path, f) as exporter:
        with pytest.raises(KeyError):
            exporter(x)
        exporter(mx.array(1))
    assert mx.import_function(path)(mx.array(2))[0].item() == 3


def test_a_callback_gets_the_parts():
    parts = []
    c = mx.array([1.0, 2, 3])
    mx.export_function(parts.append, lambda x, y: mx.exp(x * c + y).sum(axis=0), x, y=y)
    by_type = [p["type"] for p in parts]
    assert by_type[:4] == ["inputs", "keyword_inputs", "outputs", "constants"]
    assert parts[0]["inputs"] == [("A", (3,), mx.float32), ("B", (3,), mx.float32)]
    assert parts[1]["keywords"] == [("y", "B")]
    ((name, constant),) = parts[3]["constants"]
    assert name == "C" and constant.tolist() == [1, 2, 3]
    ops = parts[4:]
    assert [p["name"] for p in ops][:4] == ["Multiply", "Add", "Exp", "Reduce"]
    assert ops[3]["arguments"] == ["Sum", [0]]
    # Inputs are made before they are used, and the last step makes the output.
    known = {"A", "B", "C"}
    for op in ops:
        assert {i[0] for i in op["inputs"]} <= known
        known |= {o[0] for o in op["outputs"]}
    assert ops[-1]["outputs"] == parts[2]["outputs"]


def test_random_numbers_are_constants(path):
    """As in MLX: a file holds what the function drew."""
    mx.export_function(path, lambda x: x + mx.random.uniform(shape=(3,)), x)
    f = mx.import_function(path)
    assert mx.array_equal(f(x)[0], f(x)[0])


def rewritten(path, change):
    """Changes the stored text and gives it the right checksum."""
    data = open(path, "rb").read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    meta = header["__metadata__"]
    meta["functions"] = json.dumps(change(json.loads(meta["functions"])))
    meta["checksum"] = f"{zlib.crc32(meta['functions'].encode()):08x}"
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data[8 + size :])


def replaced(functions, **fields):
    functions[0]["graph"] |= fields
    return functions


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: [], "recorded for"),
        (lambda f: {}, "not valid"),
        (lambda f: replaced(f, outputs=[99]), "output 99"),
        (lambda f: replaced(f, nodes=[{"op": {"Nothing": 1}, "inputs": []}]), "not valid"),
        (lambda f: replaced(f, nodes=[{"op": {"Unary": "Exp"}, "inputs": [7]}]), "not made before"),
        (lambda f: replaced(f, nodes=[{"op": {"Unary": "Exp"}, "inputs": [0, 0]}]), "2 inputs"),
        (
            lambda f: replaced(
                f, nodes=[{"op": {"Sort": {"axis": 9, "kth": None}}, "inputs": [0]}]
            ),
            "axis",
        ),
        (lambda f: replaced(f, inputs=[{"shape": [1 << 50], "dtype": "float32"}]), "large"),
        (lambda f: replaced(f, inputs=[{"shape": [3], "dtype": "float99"}]), "float99"),
        (lambda f: [f[0] | {"constants": [5]}], "constant 5"),
    ],
)
def test_wrong_contents_are_named(path, change, message):
    mx.export_function(path, lambda x: x * y, x)
    rewritten(path, change)
    with pytest.raises((RuntimeError, ValueError), match=message):
        mx.import_function(path)(x)


def test_damaged_files_are_errors(path, tmp_path):
    mx.export_function(path, add, x, y)
    data = open(path, "rb").read()
    for end in range(0, len(data), 7):
        (tmp_path / "cut").write_bytes(data[:end])
        with pytest.raises(RuntimeError, match="cut"):
            mx.import_function(str(tmp_path / "cut"))
    with pytest.raises(RuntimeError):
        mx.import_function(str(tmp_path / "absent"))
    with pytest.raises(RuntimeError):
        mx.export_function(str(tmp_path / "absent" / "f"), add, x, y)
