"""Numbers and arrays of other libraries beside arrays, and what the array API standard asks for."""

import lazulite.core as mx
import numpy as np
import pytest

#: Operand on the left, operand on the right, dtype of the sum.
WEAK = [
    ("float16", np.float32(2), "float16"),
    ("float16", np.array([2.0], np.float32), "float16"),
    ("bfloat16", np.float64(2), "bfloat16"),
    ("int8", np.int64(3), "int8"),
    ("int32", np.float32(2.5), "float32"),
    ("bool_", np.int64(3), "int64"),
    ("float32", np.complex64(1j), "complex64"),
    ("uint8", np.bool_(True), "uint8"),
]


@pytest.mark.parametrize("dtype, other, expect", WEAK)
def test_numbers_of_numpy_are_weak(dtype, other, expect):
    a = mx.array([1, 0]).astype(getattr(mx, dtype))
    for total in (a + other, mx.add(a, other), mx.add(other, a)):
        assert total.dtype == getattr(mx, expect)
        assert np.allclose(np.array(total.astype(mx.complex64)), np.array([1, 0]) + other)


def test_facts():
    facts = mx.__array_namespace_info__()
    assert mx.array(1).__array_namespace__() is mx
    assert facts.default_device() == mx.default_device() and mx.Device(mx.cpu) in facts.devices()
    assert facts.default_dtypes()["integral"] == mx.int32
    assert list(facts.dtypes(kind="bool")) == ["bool"]
    assert set(facts.dtypes(kind=("unsigned integer", "complex floating"))) == {
        "uint8", "uint16", "uint32", "uint64", "complex64",
    }  # fmt: skip
    assert facts.capabilities()["boolean indexing"] and mx.arange(3)[mx.arange(3) > 1].item() == 2


def test_array_like():
    assert mx.array(mx.ArrayLike(np.arange(3))).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no array data"):
        mx.ArrayLike(object())


def test_state_of_an_array():
    a, b = mx.array([1, 2]), mx.array(3.0)
    b.__setstate__((a, 0))
    assert b.tolist() == [1, 2]


def test_a_group_of_one_has_nobody_to_talk_to():
    for call in (
        lambda: mx.distributed.send(mx.array(1.0), 0),
        lambda: mx.distributed.recv((1,), mx.float32, 0),
        lambda: mx.distributed.recv_like(mx.array(1.0), 0),
    ):
        with pytest.raises(ValueError, match="singleton group"):
            call()


def test_kernels_of_other_devices_fail_when_called():
    kernel = mx.fast.metal_kernel("mine", ["x"], ["y"], "y[i] = x[i];")
    with pytest.raises(RuntimeError, match="mine: no Metal device"):
        kernel(inputs=[mx.array(1.0)], output_shapes=[(1,)], output_dtypes=[mx.float32])


def test_differences_are_explained():
    """Each section of the list of differences is a heading of the page with the reasons."""
    from pathlib import Path

    from conftest import LISTED

    page = Path(__file__).parents[1].joinpath("docs/differences.md").read_text(encoding="utf-8")
    headings = {line[3:] for line in page.splitlines() if line.startswith("## ")}
    assert set(LISTED.values()) <= headings
