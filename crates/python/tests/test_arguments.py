"""Arguments that count things, and what `array` takes."""

import lazulite.core as mx
import numpy as np
import pytest

X = mx.array([1.0, 2.0, 3.0])
W = mx.ones((64, 64))

#: Calls with a number that may not be negative: the op, the argument, the call.
COUNTS = [
    ("eye", "n", lambda n: mx.eye(n)),
    ("eye", "m", lambda n: mx.eye(2, n)),
    ("identity", "n", lambda n: mx.identity(n)),
    ("tri", "n", lambda n: mx.tri(n)),
    ("linspace", "num", lambda n: mx.linspace(0, 1, n)),
    ("repeat", "repeats", lambda n: mx.repeat(X, n)),
    ("split", "indices_or_sections", lambda n: mx.split(X, n)),
    ("as_strided", "offset", lambda n: mx.as_strided(X, (2,), (1,), n)),
    ("topk", "k", lambda n: mx.topk(X, n)),
    ("unique", "size", lambda n: mx.unique(X, n)),
    ("var", "ddof", lambda n: mx.var(X, ddof=n)),
    ("std", "ddof", lambda n: X.std(ddof=n)),
    ("conv1d", "groups", lambda n: mx.conv1d(mx.ones((1, 4, 1)), mx.ones((1, 2, 1)), groups=n)),
    ("block_masked_mm", "block_size", lambda n: mx.block_masked_mm(W, W, n)),
    ("quantize", "group_size", lambda n: mx.quantize(W, group_size=n)),
    ("quantize", "bits", lambda n: mx.quantize(W, bits=n)),
    ("fft", "n", lambda n: mx.fft.fft(X, n)),
    ("fftfreq", "n", lambda n: mx.fft.fftfreq(n)),
    ("stft", "n_fft", lambda n: mx.fft.stft(X, n_fft=n)),
    ("seed", "seed", lambda n: mx.random.seed(n)),
    ("key", "seed", lambda n: mx.random.key(n)),
    ("split", "num", lambda n: mx.random.split(mx.random.key(0), n)),
    ("categorical", "num_samples", lambda n: mx.random.categorical(X, num_samples=n)),
    ("set_cache_limit", "limit", lambda n: mx.set_cache_limit(n)),
]


@pytest.mark.parametrize("op, argument, call", COUNTS, ids=[f"{c[0]} {c[1]}" for c in COUNTS])
def test_counts(op, argument, call):
    for wrong in (-1, 10**30):
        with pytest.raises(
            ValueError, match=rf"^\[{op}\] {argument} is {wrong}; it must be an integer from 0"
        ):
            call(wrong)
    with pytest.raises(TypeError, match="float"):
        call(1.5)


@pytest.mark.parametrize("data", [b"", b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_bytes_are_a_buffer(data):
    x = mx.array(data)
    assert x.dtype == mx.uint8 and np.array(x).tobytes() == bytes(data)
    assert mx.array(data, mx.float32).tolist() == [float(b) for b in bytes(data)]


def test_bytes_in_a_list_are_text():
    with pytest.raises(ValueError, match="Invalid type bytes"):
        mx.array([b"ab", b"cd"])


def test_an_empty_range_of_integers_gives_its_low_end():
    assert mx.random.randint(5, 1, (4,)).tolist() == [5, 5, 5, 5]


def test_what_is_compiled_is_not_compiled_again():
    # Each trace looks for the arrays behind its function: 300 of them must not look behind one another.
    walks = 0

    class Watched:
        def __getattr__(self, name):
            nonlocal walks
            walks += 1
            raise AttributeError(name)

        def __call__(self, x):
            return x * 2

    g = Watched()
    for _ in range(300):
        g = mx.compile(g)
    assert g(X).tolist() == [2.0, 4.0, 6.0]
    assert walks < 100
