"""Evaluates expressions in a module with the API of MLX, and tells results as plain data.

Run as a script, it is a worker: it reads pickled expressions from standard input, evaluates each
with the real MLX, and writes the pickled results to standard output. The tests evaluate the same
expressions in their own process.
"""

import importlib
import pickle
import struct
import sys
import tempfile

import numpy as np


def inputs(mx):
    """The arrays that expressions name: every dtype, ranks 0 to 4, empty and strided."""
    rng = np.random.default_rng(7)
    f = rng.normal(size=(3, 4)).astype(np.float32)
    named = {
        "x": mx.array(f),
        "y": mx.array(rng.normal(size=(3, 4)).astype(np.float32)),
        "u": mx.array(rng.uniform(0.1, 0.9, size=(3, 4)).astype(np.float32)),
        "v": mx.array(np.array([0.5, -1.5, 2.5, 0.0], np.float32)),
        "w": mx.array(rng.normal(size=(2, 3, 4)).astype(np.float32)),
        "q": mx.array(rng.normal(size=(2, 4, 4, 3)).astype(np.float32)),
        "n": mx.array(np.array([np.nan, np.inf, -np.inf, 1.0, -0.0], np.float32)),
        "i": mx.array(rng.integers(-9, 9, size=(3, 4)).astype(np.int32)),
        "j": mx.array(rng.integers(1, 5, size=(3, 4)).astype(np.int32)),
        "k": mx.array(rng.integers(0, 200, size=(3, 4)).astype(np.uint8)),
        "l": mx.array(rng.integers(-5, 5, size=(4,)).astype(np.int64)),
        "b": mx.array(rng.integers(0, 2, size=(3, 4)).astype(bool)),
        "p": mx.array(np.array([2, 0, 1, 2], np.int32)),
        "c": mx.array((f + 1j * f[::-1]).astype(np.complex64)),
        "s": mx.array(1.5),
        "z": mx.array(3),
        "e": mx.zeros((0, 4)),
        "o": mx.array(rng.normal(size=(1, 4)).astype(np.float32)),
    }
    named["m"] = named["x"] @ named["y"].T + 2 * mx.eye(3)
    named["h"] = named["x"].astype(mx.float16)
    named["g"] = named["x"].astype(mx.bfloat16)
    named["t"] = named["x"].T
    named["r"] = named["w"][:, ::-1, ::2]
    return named


def tell(mx, value):
    """A result as plain data: arrays with dtype, shape and elements, trees, everything else by
    its text."""
    if isinstance(value, mx.array):
        kind = value.dtype
        if kind == mx.bfloat16:
            value = value.astype(mx.float32)
        return ("array", str(kind), tuple(value.shape), np.array(value))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [tell(mx, v) for v in value])
    if isinstance(value, dict):
        return ("dict", {k: tell(mx, v) for k, v in value.items()})
    if isinstance(value, (bool, int, float, complex, str, type(None))):
        return (type(value).__name__, value)
    return ("text", str(value))


def evaluate(mx, expression):
    """The result of an expression (or of statements that set `result`), or its exception."""
    package = mx.__name__.split(".")[0]
    short = {"nn": "nn", "optim": "optimizers", "utils": "utils"}
    modules = {k: importlib.import_module(f"{package}.{m}") for k, m in short.items()}
    names = {"mx": mx, "np": np, **modules, **inputs(mx)}
    with tempfile.TemporaryDirectory() as names["tmp"]:
        try:
            if "result" in expression or ";" in expression:
                exec(expression, names)
                return tell(mx, names.get("result"))
            return tell(mx, eval(expression, names))
        except Exception as error:
            return ("error", [c.__name__ for c in type(error).__mro__], str(error))


def main():
    import mlx.core as mx

    mx.random.seed(0)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while size := stdin.read(8):
        expressions = pickle.loads(stdin.read(struct.unpack("q", size)[0]))
        results = pickle.dumps([evaluate(mx, e) for e in expressions])
        stdout.write(struct.pack("q", len(results)) + results)
        stdout.flush()


if __name__ == "__main__":
    main()
