"""Claims 1 to 19 of the guide: products, compilation, precision of fused operations.

Each test asserts what the guide's advice is about: the result, the memory, or the number of traces;
the benchmarks measure the time. Where the guide's own snippet is wrong, the test says what it does.
"""

import os
import tempfile

import lazulite.core as mx
import lazulite.nn as nn
import numpy as np
import pytest
from claims import SLACK, counted, extra, normal

N = 256
HALVES = [mx.float16, mx.bfloat16]


def wide(x):
    return np.array(x.astype(mx.float32)).astype(np.float64)


def test_c01_every_layout_of_a_product_is_read_where_it_lies():
    x, w = normal(N), normal(N, N, seed=1)
    for make, expect in (
        (lambda: x @ w, wide(x) @ wide(w)),
        (lambda: x @ w.T, wide(x) @ wide(w).T),
        (lambda: w @ x, wide(w) @ wide(x)),
        (lambda: w.T @ x, wide(w).T @ wide(x)),
    ):
        # Sums of 256 products in float32.
        assert np.allclose(wide(make()), expect, rtol=0, atol=2e-4)
        assert extra(make) <= 4 * N + SLACK


def test_c02_a_vector_times_a_transposed_matrix_copies_nothing():
    w = normal(N, N)
    for x in (normal(N, seed=1), normal(1, N, seed=1)):
        assert extra(lambda x=x: x @ w.T) <= 4 * N + SLACK
        assert np.allclose(wide(x @ w.T), wide(x) @ wide(w).T, rtol=0, atol=2e-4)


def test_c03_matrix_times_vector_is_the_same_work_as_vector_times_transposed():
    x, w = normal(N), normal(N, N, seed=1)
    assert mx.array_equal(w @ x, x @ w.T)


@pytest.mark.parametrize("rows", [1, 8, 64])
def test_c04_addmm_and_a_separate_sum_are_the_same(rows):
    x, w, bias = normal(rows, N), normal(N, N, seed=1), normal(N, seed=2)
    result = 4 * rows * N
    assert extra(lambda: mx.addmm(bias, x, w.T)) <= result + SLACK
    # The sum is an epilogue of the product: no array for what it adds to.
    assert extra(lambda: x @ w.T + bias) <= result + SLACK
    assert mx.allclose(mx.addmm(bias, x, w.T), x @ w.T + bias, rtol=1e-5, atol=1e-5)


def test_c05_addmm_takes_the_matrix_as_it_multiplies():
    x, w, bias = normal(3, 4), normal(8, 4, seed=1), normal(8, seed=2)
    with pytest.raises(ValueError, match=r"addmm: .*\(3, 4\).*\(8, 4\)"):
        mx.addmm(bias, x, w)
    assert mx.allclose(mx.addmm(bias, x, w.T), nn_linear(w, bias)(x))
    square, b = normal(4, 4, seed=3), normal(4, seed=4)
    # The guide's spelling, silently something else for a square matrix.
    assert mx.allclose(mx.addmm(b, x, square), x @ square + b)


def nn_linear(w, bias):
    layer = nn.Linear(w.shape[1], w.shape[0])
    layer.weight, layer.bias = w, bias
    return layer


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("transpose", [True, False])
def test_c06_quantised_products(bits, group, transpose):
    x, w = normal(2, 128), normal(128, 128, seed=1)
    packed, scales, biases = mx.quantize(w, group_size=group, bits=bits)
    assert packed.dtype == mx.uint32 and packed.shape == (128, 128 * bits // 32)
    full = wide(mx.dequantize(packed, scales, biases, group_size=group, bits=bits))
    y = mx.quantized_matmul(
        x, packed, scales, biases, transpose=transpose, group_size=group, bits=bits
    )
    assert np.allclose(wide(y), wide(x) @ (full.T if transpose else full), rtol=0, atol=1e-4)


def test_c06_groups_that_do_not_divide_the_rows_are_refused():
    with pytest.raises(ValueError, match="48"):
        mx.quantize(normal(32, 48), group_size=32, bits=4)


def test_c07_weights_are_not_unpacked_in_memory():
    w, x = normal(512, 512), normal(1, 512, seed=1)
    parts = mx.quantize(w, group_size=64, bits=4)
    mx.eval(parts)
    for transpose in (True, False):
        need = extra(lambda t=transpose: mx.quantized_matmul(x, *parts, transpose=t))
        assert need <= 4 * 512 + SLACK


@pytest.mark.parametrize(
    "of_x, of_scales, expect",
    [("float16", "float16", "float16"), ("bfloat16", "bfloat16", "bfloat16"),
     ("float16", "bfloat16", "float32"), ("float32", "float16", "float32"),
     ("float16", "float32", "float32")],
)  # fmt: skip
def test_c08_mixed_precision_promotes(of_x, of_scales, expect):
    x = normal(2, 64).astype(getattr(mx, of_x))
    packed, scales, biases = mx.quantize(normal(64, 64, seed=1))
    scales, biases = (a.astype(getattr(mx, of_scales)) for a in (scales, biases))
    assert mx.quantized_matmul(x, packed, scales, biases).dtype == getattr(mx, expect)


def test_c09_quantised_linear_is_this_product():
    layer = nn.QuantizedLinear.from_linear(nn.Linear(64, 32), group_size=32, bits=4)
    x = normal(3, 64)
    y = mx.quantized_matmul(
        x, layer.weight, layer.scales, layer.biases, transpose=True, group_size=32, bits=4
    )
    assert mx.allclose(layer(x), y + layer.bias)


def gelu(x):
    return x * (1 + mx.erf(x / 2**0.5)) / 2


@pytest.mark.parametrize("dtype", [mx.float32, *HALVES])
def test_c10_a_chain_of_elementwise_operations_is_one_pass(dtype):
    x = normal(1 << 16, dtype=dtype)
    compiled = mx.compile(gelu)
    assert mx.array_equal(compiled(x), gelu(x))
    # Only the result is allocated, compiled or not.
    assert extra(lambda: gelu(x)) <= x.nbytes + SLACK
    assert extra(lambda: compiled(x)) <= x.nbytes + SLACK


def test_c11_decorated_functions_trace_once_and_leave_no_files():
    def gelu_approx(x):
        return x * mx.sigmoid(1.702 * x)

    f, traces = counted(gelu_approx)
    before = set(os.listdir(tempfile.gettempdir()))
    compiled = mx.compile(f)
    for seed in range(4):
        x = normal(100, seed=seed)
        assert mx.array_equal(compiled(x), gelu_approx(x))
    assert len(traces) == 1
    made = set(os.listdir(tempfile.gettempdir())) - before
    assert not [name for name in made if "mlx" in name or "lazulite" in name]


def test_c12_a_norm_with_scale_and_residual_is_one_pass_and_sees_new_weights():
    x, residual = normal(64, N), normal(64, N, seed=1)
    weight = normal(N, seed=2)
    f, traces = counted(lambda x, r: mx.fast.rms_norm(x, weight, 1e-5) * 2.0 + r)
    compiled = mx.compile(f)
    assert mx.array_equal(compiled(x, residual), f(x, residual))
    assert extra(lambda: compiled(x, residual)) <= x.nbytes + SLACK
    weight = weight * 3
    del traces[:]
    fresh = compiled(x, residual)
    assert len(traces) == 1
    assert mx.allclose(fresh, mx.fast.rms_norm(x, weight, 1e-5) * 2.0 + residual)


def test_c13_a_compiled_model_follows_its_parameters():
    model = nn.Sequential(nn.Linear(8, 8), nn.relu, nn.Linear(8, 8))
    f, traces = counted(lambda x: model(x))
    compiled = mx.compile(f)
    x = normal(4, 8)
    for _ in range(3):
        assert mx.allclose(compiled(x), model(x), atol=1e-6)
    assert len(traces) == 1
    model.update({"layers": [{"bias": mx.ones(8)}]})
    assert mx.allclose(compiled(x), model(x), atol=1e-6)


def test_c14_a_shape_is_a_trace_unless_shapeless():
    shapes = [(2, 8), (3, 8), (5, 8), (3, 8), (2, 8)]
    for shapeless, expect in ((False, 3), (True, 1)):
        f, traces = counted(lambda x: mx.softmax(x * 2, axis=-1))
        compiled = mx.compile(f, shapeless=shapeless)
        for shape in shapes:
            x = normal(*shape)
            assert mx.array_equal(compiled(x), mx.softmax(x * 2, axis=-1))
        assert len(traces) == expect


def test_c15_a_compiled_call_of_an_instance_takes_effect():
    calls = []

    class Layer(nn.Module):
        def __call__(self, x):
            calls.append(1)
            return mx.tanh(x)

    layer, x = Layer(), normal(3)
    layer.__call__ = mx.compile(layer.__call__)
    for _ in range(5):
        assert mx.allclose(layer(x), mx.tanh(x))
    assert len(calls) == 1
    assert "__call__" not in layer.parameters()


def ulps(found, exact, dtype):
    """The greatest error in units in the last place of `dtype`."""
    digits = {mx.float16: 10, mx.bfloat16: 7}[dtype]
    # The least normal number of float16 is 2^-14; bfloat16's is far below all numbers here.
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-14)))
    return float(np.max(np.abs(found - exact) / 2.0 ** (exponent - digits)))


@pytest.mark.parametrize("dtype", HALVES)
def test_c16_rms_norm_rounds_once(dtype):
    # Squares of these overflow float16.
    x = normal(4, 8192, dtype=dtype) * 300
    mx.eval(x)
    exact = wide(x) / np.sqrt(np.mean(wide(x) ** 2, axis=-1, keepdims=True) + 1e-5)
    # Half a unit for the rounding, and float32's own error at ties.
    assert ulps(wide(mx.fast.rms_norm(x, None, 1e-5)), exact, dtype) <= 0.51


@pytest.mark.parametrize("dtype", HALVES)
def test_c17_layer_norm_rounds_once(dtype):
    x = normal(4, 8192, dtype=dtype) + 1
    mx.eval(x)
    centred = wide(x) - wide(x).mean(axis=-1, keepdims=True)
    exact = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5)
    found = wide(mx.fast.layer_norm(x, None, None, 1e-5))
    # Close to the mean the subtraction cancels, and what is left is float32's error of the mean.
    far = np.abs(exact) > 1e-2
    assert ulps(found[far], exact[far], dtype) <= 0.51
    assert np.max(np.abs(found - exact)[~far]) < 1e-4


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("length", [1024, 32768, 131072])
@pytest.mark.parametrize("precise", [True, False])
def test_c18_probabilities_of_long_rows_sum_to_one(dtype, length, precise):
    p = mx.softmax(normal(1, length, dtype=dtype), axis=-1, precise=precise)
    assert p.dtype == dtype and abs(wide(p).sum() - 1) < 1e-2


@pytest.mark.parametrize("dtype", HALVES)
def test_c19_casting_by_hand_changes_nothing(dtype):
    x, w = normal(8, 4096, dtype=dtype), normal(4096, dtype=dtype, seed=1)
    for f in (
        lambda x, w: mx.softmax(x, axis=-1),
        lambda x, w: mx.fast.rms_norm(x, w, 1e-5),
        lambda x, w: mx.fast.layer_norm(x, w, w, 1e-5),
    ):
        by_hand = f(x.astype(mx.float32), w.astype(mx.float32)).astype(dtype)
        assert mx.array_equal(f(x, w), by_hand)
