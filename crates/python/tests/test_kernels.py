"""CUDA kernels of the user's, where there is no such device: errors that say so, and forms."""

import lazulite.core as mx
import pytest

GPU = mx.is_available(mx.gpu)
BODY = "auto i = cooperative_groups::this_grid().thread_rank(); if (i < N) out[i] = exp(T(inp[i]));"


def kernel(**options):
    return mx.fast.cuda_kernel("my_exp", ["inp"], ["out"], BODY, **options)


def call(kernel, **changes):
    given = {
        "inputs": [mx.zeros((2, 3))],
        "template": [("T", mx.float32), ("N", 6)],
        "grid": (6, 1, 1),
        "threadgroup": (6, 1, 1),
        "output_shapes": [(2, 3)],
        "output_dtypes": [mx.float32],
    }
    return kernel(**(given | changes))


def test_shapes_are_known_at_once():
    (out,) = call(kernel())
    assert (out.shape, out.dtype) == ((2, 3), mx.float32)


@pytest.mark.skipif(GPU, reason="a GPU is here")
def test_evaluation_names_the_missing_device():
    (out,) = call(kernel())
    with pytest.raises(RuntimeError, match="my_exp is CUDA code.*NVIDIA"):
        mx.eval(out)


@pytest.mark.skipif(not GPU, reason="no GPU is here")
def test_values_on_the_gpu():
    (out,) = call(kernel())
    assert out.tolist() == [[1, 1, 1], [1, 1, 1]]
    (out,) = call(kernel(), grid=(8, 1, 1), template=[("T", mx.float16), ("N", 3)], init_value=7)
    assert out.tolist() == [[1, 1, 1], [7, 7, 7]]


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"inputs": []}, ValueError),
        ({"output_dtypes": []}, ValueError),
        ({"grid": (0, 1, 1)}, ValueError),
        ({"template": [("T", "float")]}, TypeError),
    ],
)
def test_wrong_calls(changes, error):
    with pytest.raises(error):
        call(kernel(), **changes)


def test_verbose_prints_the_source(capsys):
    call(kernel(header="// mine"), verbose=True)
    assert "// mine" in capsys.readouterr().out


@pytest.mark.skipif(GPU, reason="a GPU is here")
def test_precompiled():
    given = {
        "name": "k",
        "compiled_source": b".version 8.0",
        "inputs": [mx.zeros(3), 1.5],
        "output_shapes": [(3,)],
        "output_dtypes": [mx.float16],
        "grid": (3, 1, 1),
        "threadgroup": (3, 1, 1),
    }
    (out,) = mx.fast.precompiled_cuda_kernel(**given, scalars=[1, 2.0, True])
    assert (out.shape, out.dtype) == ((3,), mx.float16)
    with pytest.raises(RuntimeError, match="NVIDIA"):
        mx.eval(out)
    with pytest.raises(TypeError):
        mx.fast.precompiled_cuda_kernel(**given, scalars=["1"])


def test_derivatives_are_the_users():
    with pytest.raises(NotImplementedError, match="custom_function"):
        mx.grad(lambda x: call(kernel(), inputs=[x])[0].sum())(mx.zeros((2, 3)))
