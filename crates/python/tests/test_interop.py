"""Exchange of arrays with NumPy and others, pickling, copies, threads."""

import array
import copy
import gc
import pickle
import threading
import weakref

import lazulite.core as mx
import numpy as np
import pytest

DTYPES = {
    mx.bool_: np.bool_, mx.uint8: np.uint8, mx.uint16: np.uint16, mx.uint32: np.uint32,
    mx.uint64: np.uint64, mx.int8: np.int8, mx.int16: np.int16, mx.int32: np.int32,
    mx.int64: np.int64, mx.float16: np.float16, mx.float32: np.float32, mx.complex64: np.complex64,
}  # fmt: skip


@pytest.mark.parametrize("ours, theirs", DTYPES.items(), ids=str)
def test_numpy_both_ways(ours, theirs):
    source = np.arange(-6, 6).reshape(3, 4).astype(theirs)
    for view in (source, source.T, source[::-1, ::2], source[:0], source[1, 2]):
        made = mx.array(view)
        assert made.dtype == ours and made.shape == view.shape
        back = np.array(made)
        assert back.dtype == theirs
        np.testing.assert_array_equal(back, view)


def test_float64_narrows_unless_asked():
    assert mx.array(np.arange(3.0)).dtype == mx.float32
    assert mx.array(np.arange(3.0), mx.float64).dtype == mx.float64
    assert mx.array(np.float64(1 / 3), mx.float64).item() == 1 / 3


def test_exports_share_memory():
    x = mx.arange(12).reshape(3, 4)
    mx.eval(x)
    a, b = np.asarray(x), np.asarray(x)
    assert np.shares_memory(a, b) and not a.flags.writeable
    np.testing.assert_array_equal(np.asarray(x.T), a.T)
    del x
    gc.collect()
    assert a.sum() == 66


def test_arrays_do_not_see_later_writes():
    source = np.zeros(4, np.float32)
    made = mx.array(source)
    source[:] = 1
    assert made.sum().item() == 0


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = mx.array([1.5, -2.25, 1e30], mx.bfloat16)
    a = np.array(x)
    assert a.dtype == ml_dtypes.bfloat16
    back = mx.array(a)
    assert back.dtype == mx.bfloat16 and mx.array_equal(back, x)


def test_dlpack():
    x = mx.arange(6).reshape(2, 3)
    a = np.from_dlpack(x)
    np.testing.assert_array_equal(a, np.arange(6).reshape(2, 3))
    assert mx.array_equal(
        mx.from_dlpack(np.arange(6, dtype=np.int32).reshape(2, 3).T), x.reshape(2, 3).T
    )
    assert x.__dlpack_device__() == (1, 0)


def test_other_sources():
    assert mx.array(array.array("f", [1, 2])).tolist() == [1, 2]
    assert mx.array(memoryview(b"ab")).tolist() == [97, 98]
    stacked = mx.array([np.full((2, 3), i, np.float32) for i in range(4)])
    assert stacked.shape == (4, 2, 3) and stacked[3, 0, 0].item() == 3
    assert mx.array([1, mx.array(2), 3]).tolist() == [1, 2, 3]
    assert mx.array([[mx.array([1, 2]), mx.array([3, 4])]]).shape == (1, 2, 2)

    class Holder:
        def __mlx_array__(self):
            return mx.array([7])

    assert (mx.array([1]) + Holder()).item() == 8


def test_pickle_and_copy():
    for x in (mx.arange(6).reshape(2, 3).T, mx.array(1.5, mx.bfloat16), mx.zeros((0, 2))):
        for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x)):
            assert y.dtype == x.dtype and y.shape == x.shape and mx.array_equal(x, y).item()
    a = mx.zeros(2)
    b = copy.copy(a)
    b += 1
    assert a.tolist() == [0, 0] and b.tolist() == [1, 1]
    assert pickle.loads(pickle.dumps(mx.float16)) == mx.float16


def test_identity():
    a = mx.array([1, 2])
    b = a
    b += 1
    assert a.tolist() == [2, 3] and hash(a) == hash(b)
    assert {a: 1}[a] == 1
    ref = weakref.ref(a)
    del a, b
    gc.collect()
    assert ref() is None


def test_threads_evaluate_each_others_arrays():
    x = mx.arange(1000.0)
    made = [x * i + 1 for i in range(8)]
    sums = [None] * 8

    def work(i):
        sums[i] = (made[i].sum() + mx.ones(3).sum()).item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sums == [499500.0 * i + 1003 for i in range(8)]


def test_errors_are_of_several_classes():
    with pytest.raises(IndexError) as caught:
        mx.zeros((2,)).sum(axis=3)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(IndexError):
        mx.arange(5)[10].item()


def test_masks_read():
    x = mx.arange(6).reshape(2, 3)
    assert x[x > 2].tolist() == [3, 4, 5]
    assert x[mx.array([False, True])].tolist() == [[3, 4, 5]]


def test_graphs_for_graphviz(tmp_path):
    import io

    x = mx.array([1.0, 2.0])
    y = mx.exp(x) * x
    text = io.StringIO()
    mx.export_to_dot(text, y, {"more": [y + 1]}, x=x, y=y)
    assert 'label="x\\nfloat32 (2,)"' in text.getvalue() and text.getvalue().count("shape=box") == 4
    mx.export_to_dot(str(tmp_path / "a.dot"), y)
    assert (tmp_path / "a.dot").read_text().startswith("digraph {")
    with pytest.raises(ValueError):
        mx.vmap(lambda a: (mx.export_to_dot(text, a + 1), a)[1])(x)
