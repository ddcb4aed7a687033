"""Arrays of more than 2^31 elements: views of few elements always, a real one where asked for.

`LAZULITE_LARGE_TESTS=1` runs the real one, which takes 5 GB of memory.
"""

import os

import lazulite.core as mx
import pytest

LARGE = os.environ.get("LAZULITE_LARGE_TESTS") == "1"
ROWS, COLUMNS = 1 << 16, (1 << 15) + 1
COUNT = ROWS * COLUMNS


@pytest.fixture
def view():
    """More elements than 31 bits count, all in one row of memory."""
    row = mx.arange(COLUMNS, dtype=mx.int32)
    return mx.broadcast_to(row, (ROWS, COLUMNS))


def test_sizes_of_views(view):
    assert view.size == COUNT > 1 << 31
    assert view.nbytes == 4 * COUNT
    assert view.T.shape == (COLUMNS, ROWS)
    assert mx.expand_dims(view, 0).size == COUNT


@pytest.mark.parametrize(
    "pick, want",
    [
        (lambda v: v[-1, -1], COLUMNS - 1),
        (lambda v: v[ROWS - 1, 5], 5),
        (lambda v: v[::-1][0, 7], 7),
        (lambda v: v[ROWS // 2 :, 3][-1], 3),
        (lambda v: v[mx.array([0, ROWS - 1]), mx.array([1, COLUMNS - 1])][1], COLUMNS - 1),
        (lambda v: v.T[COLUMNS - 1, ROWS - 1], COLUMNS - 1),
        (lambda v: mx.take(v, mx.array([COLUMNS - 1]), axis=1)[-1, 0], COLUMNS - 1),
    ],
)
def test_elements_of_views(view, pick, want):
    assert pick(view).item() == want


def test_sizes_that_no_array_has_are_refused():
    with pytest.raises(ValueError):
        mx.broadcast_to(mx.array(0), (1 << 31, 1 << 31, 1 << 31))


@pytest.mark.skipif(not LARGE, reason="needs 5 GB of memory: LAZULITE_LARGE_TESTS=1 runs it")
def test_a_real_one():
    """2.1 GB of bytes: made, changed, reduced, sliced, joined and read beyond the 2^31st element."""
    x = mx.zeros(COUNT, mx.uint8)
    last = COUNT - 2
    x[last] = 7
    x[5] = 3
    assert x[last].item() == 7 and x[-2].item() == 7
    assert x.max().item() == 7 and mx.argmax(x).item() == last
    assert mx.sum(x == 7).item() == 1
    y = x + 1
    assert y.dtype == mx.uint8 and y[last].item() == 8 and y[last - 1].item() == 1
    assert y.reshape(ROWS, COLUMNS)[-1, -2].item() == 8
    del x
    assert y[mx.array([5, last], mx.int64)].tolist() == [4, 8]
    assert memoryview(y[last - 1 :]).tolist() == [1, 8, 1]
    # Sums of bytes are of 32 bits, as in MLX: this many would wrap.
    assert mx.all(y > 0).item() and not mx.any(y > 8).item()
