"""The same operations in four frameworks, so that a case is written once.

A toolkit has `name`, `version`, `threads(n)`, `input`, `integers`, the operations that the cases
use, `compiled(f)`, `sync(out)`, which waits for a result, and `to_numpy(out)`. An operation that a
framework does not have raises `Unsupported`. Each framework is imported only by its own toolkit.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from case import Unsupported, floats, integers


class NumPy:
    name = "numpy"

    def __init__(self):
        self.version = np.__version__
        self.pool = None

    def threads(self, n):
        # OpenBLAS and the affinity of the process are set before it starts.
        self.pool = ThreadPoolExecutor(n)
        self.n = n

    def input(self, seed, shape, dtype="float32"):
        if dtype != "float32":
            raise Unsupported("no half-precision kernels")
        return floats(seed, shape)

    def integers(self, seed, shape, high):
        return integers(seed, shape, high)

    def compiled(self, f):
        return f

    def sync(self, out):
        pass

    def to_numpy(self, out):
        return np.asarray(out).real

    def copy_into(self, out, x):
        """Each thread copies its part with memcpy: the bandwidth of the machine."""
        parts = zip(np.array_split(out, self.n), np.array_split(x, self.n))
        list(self.pool.map(lambda part: np.copyto(*part), parts))
        return out

    def empty_like(self, x):
        return np.zeros_like(x)

    def transpose(self, x):
        return x.T

    tanh, sin = staticmethod(np.tanh), staticmethod(np.sin)

    def sum(self, x, axis):
        return x.sum(axis=axis)

    def argmax(self, x, axis):
        return x.argmax(axis=axis)

    def sort(self, x):
        return np.sort(x)

    def cumsum(self, x, axis):
        return np.cumsum(x, axis=axis, dtype=x.dtype)

    def take(self, x, index):
        return np.take(x, index, axis=0)

    def scatter_add(self, x, index, updates):
        out = x.copy()
        np.add.at(out, index, updates)
        return out

    def softmax(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def layer_norm(self, x, weight, bias, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(eps)) * weight + bias

    def rms_norm(self, x, weight, eps):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * weight

    def positive(self, x):
        return x @ x.swapaxes(-1, -2) / x.shape[-1] + np.eye(x.shape[-1], dtype=x.dtype)

    def linalg(self, op, *args):
        out = getattr(np.linalg, op)(*args)
        return np.abs(out[1]) if op == "qr" else out[1] if op == "svd" else out

    def complex(self, re, im):
        return re + np.complex64(1j) * im

    def fft(self, op, x):
        return getattr(np.fft, op)(x)

    def einsum(self, spec, *xs):
        return np.einsum(spec, *xs, optimize=True)

    def conv2d(self, *args):
        raise Unsupported("no convolution of images")

    flat = vjp = conv2d

    def quantize_experts(self, w, group, bits):
        raise Unsupported("no quantised product")

    def quantize(self, w, group, bits):
        raise Unsupported("no quantised product")

    def language_model(self, path):
        raise Unsupported("no quantised product")


class Torch:
    name = "torch"

    def __init__(self):
        import torch

        self.torch, self.version = torch, torch.__version__
        torch.set_grad_enabled(False)

    def threads(self, n):
        self.torch.set_num_threads(n)

    def input(self, seed, shape, dtype="float32"):
        return self.torch.from_numpy(floats(seed, shape)).to(getattr(self.torch, dtype))

    def integers(self, seed, shape, high):
        return self.torch.from_numpy(integers(seed, shape, high).astype(np.int64))

    def compiled(self, f):
        return f

    def sync(self, out):
        pass

    def to_numpy(self, out):
        return (out.real if out.is_complex() else out).double().numpy()

    def copy_into(self, out, x):
        return out.copy_(x)

    def empty_like(self, x):
        return self.torch.zeros_like(x)

    def transpose(self, x):
        return x.T

    def tanh(self, x):
        return self.torch.tanh(x)

    def sin(self, x):
        return self.torch.sin(x)

    def sum(self, x, axis):
        return x.sum() if axis is None else x.sum(dim=axis)

    def argmax(self, x, axis):
        return x.argmax(dim=axis)

    def sort(self, x):
        return self.torch.sort(x).values

    def cumsum(self, x, axis):
        return self.torch.cumsum(x, dim=axis)

    def take(self, x, index):
        return self.torch.index_select(x, 0, index)

    def scatter_add(self, x, index, updates):
        return self.torch.index_add(x, 0, index, updates)

    def softmax(self, x):
        return self.torch.softmax(x, dim=-1)

    def layer_norm(self, x, weight, bias, eps):
        return self.torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps)

    def rms_norm(self, x, weight, eps):
        return self.torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)

    def positive(self, x):
        return x @ x.swapaxes(-1, -2) / x.shape[-1] + self.torch.eye(x.shape[-1], dtype=x.dtype)

    def linalg(self, op, *args):
        out = getattr(self.torch.linalg, op)(*args)
        return out[1].abs() if op == "qr" else out[1] if op == "svd" else out

    def complex(self, re, im):
        return self.torch.complex(re, im)

    def fft(self, op, x):
        return getattr(self.torch.fft, op)(x)

    def einsum(self, spec, *xs):
        return self.torch.einsum(spec, *xs)

    def conv2d(self, x, w):
        x, w = x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2)
        out = self.torch.nn.functional.conv2d(x, w, padding=w.shape[-1] // 2)
        return out.permute(0, 2, 3, 1)

    def vjp(self, f, args, cotangent):
        with self.torch.enable_grad():
            args = [x.detach().requires_grad_() for x in args]
            return self.torch.autograd.grad(f(*args), args, cotangent)

    def flat(self, xs):
        return self.torch.cat([x.reshape(-1) for x in xs])

    def quantize_experts(self, w, group, bits):
        raise Unsupported("no product in this format on a CPU")

    def quantize(self, w, group, bits):
        raise Unsupported("no product in this format on a CPU")

    def language_model(self, path):
        raise Unsupported("does not read this file")


class Jax:
    name = "jax"

    def __init__(self):
        import jax

        self.jax, self.np, self.version = jax, jax.numpy, jax.__version__

    def threads(self, n):
        # XLA sizes its pool by the affinity of the process, which is set before it starts.
        pass

    def input(self, seed, shape, dtype="float32"):
        return self.np.asarray(floats(seed, shape)).astype(dtype)

    def integers(self, seed, shape, high):
        return self.np.asarray(integers(seed, shape, high))

    def compiled(self, f):
        return self.jax.jit(f)

    def sync(self, out):
        out.block_until_ready()

    def to_numpy(self, out):
        return np.asarray(out).real.astype(np.float64)

    def copy_into(self, out, x):
        raise Unsupported("arrays cannot be written")

    def empty_like(self, x):
        return self.np.zeros_like(x)

    def transpose(self, x):
        return x.T

    def tanh(self, x):
        return self.np.tanh(x)

    def sin(self, x):
        return self.np.sin(x)

    def sum(self, x, axis):
        return x.sum(axis=axis)

    def argmax(self, x, axis):
        return x.argmax(axis=axis)

    def sort(self, x):
        return self.np.sort(x)

    def cumsum(self, x, axis):
        return self.np.cumsum(x, axis=axis)

    def take(self, x, index):
        return self.np.take(x, index, axis=0)

    def scatter_add(self, x, index, updates):
        return x.at[index].add(updates)

    def softmax(self, x):
        return self.jax.nn.softmax(x, axis=-1)

    def layer_norm(self, x, weight, bias, eps):
        wide = x.astype("float32")
        centred = wide - wide.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        scaled = centred * self.jax.lax.rsqrt(variance + eps)
        return scaled.astype(x.dtype) * weight + bias

    def rms_norm(self, x, weight, eps):
        wide = x.astype("float32")
        scale = self.jax.lax.rsqrt((wide * wide).mean(axis=-1, keepdims=True) + eps)
        return (wide * scale).astype(x.dtype) * weight

    def positive(self, x):
        return x @ x.swapaxes(-1, -2) / x.shape[-1] + self.np.eye(x.shape[-1], dtype=x.dtype)

    def linalg(self, op, *args):
        out = getattr(self.np.linalg, op)(*args)
        return abs(out[1]) if op == "qr" else out[1] if op == "svd" else out

    def complex(self, re, im):
        return self.jax.lax.complex(re, im)

    def fft(self, op, x):
        return getattr(self.np.fft, op)(x)

    def einsum(self, spec, *xs):
        return self.np.einsum(spec, *xs)

    def conv2d(self, x, w):
        order = ("NHWC", "OHWI", "NHWC")
        return self.jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=order)

    def vjp(self, f, args, cotangent):
        return self.jax.vjp(f, *args)[1](cotangent)

    def flat(self, xs):
        return self.np.concatenate([x.reshape(-1) for x in xs])

    def quantize_experts(self, w, group, bits):
        raise Unsupported("no quantised product")

    def quantize(self, w, group, bits):
        raise Unsupported("no quantised product")

    def language_model(self, path):
        raise Unsupported("does not read this file")


class Mlx:
    name = "mlx"

    def __init__(self):
        import mlx.core as mx

        self.mx, self.version = mx, mx.__version__
        mx.set_default_device(mx.cpu)

    def threads(self, n):
        # A CPU stream of MLX is one thread, whatever the number of cores.
        pass

    def input(self, seed, shape, dtype="float32"):
        return self._made(self.mx.array(floats(seed, shape)).astype(getattr(self.mx, dtype)))

    def integers(self, seed, shape, high):
        return self._made(self.mx.array(integers(seed, shape, high)))

    def _made(self, x):
        self.mx.eval(x)
        return x

    def compiled(self, f):
        return f

    def sync(self, out):
        self.mx.eval(out)

    def to_numpy(self, out):
        out = self.mx.real(out) if out.dtype == self.mx.complex64 else out
        return np.array(out.astype(self.mx.float32)).astype(np.float64)

    def copy_into(self, out, x):
        raise Unsupported("arrays cannot be written")

    def empty_like(self, x):
        return self._made(self.mx.zeros_like(x))

    def transpose(self, x):
        return x.T

    def tanh(self, x):
        return self.mx.tanh(x)

    def sin(self, x):
        return self.mx.sin(x)

    def sum(self, x, axis):
        return self.mx.sum(x, axis=axis)

    def argmax(self, x, axis):
        return self.mx.argmax(x, axis=axis)

    def sort(self, x):
        return self.mx.sort(x)

    def cumsum(self, x, axis):
        return self.mx.cumsum(x, axis=axis)

    def take(self, x, index):
        return self.mx.take(x, index, axis=0)

    def scatter_add(self, x, index, updates):
        return x.at[index].add(updates)

    def softmax(self, x):
        return self.mx.softmax(x, axis=-1, precise=True)

    def layer_norm(self, x, weight, bias, eps):
        return self.mx.fast.layer_norm(x, weight, bias, eps)

    def rms_norm(self, x, weight, eps):
        return self.mx.fast.rms_norm(x, weight, eps)

    def positive(self, x):
        return x @ x.swapaxes(-1, -2) / x.shape[-1] + self.mx.eye(x.shape[-1], dtype=x.dtype)

    def linalg(self, op, *args):
        # Its factorisations run on the CPU only, and want to be told so.
        out = getattr(self.mx.linalg, op)(*args, stream=self.mx.cpu)
        return self.mx.abs(out[1]) if op == "qr" else out[1] if op == "svd" else out

    def complex(self, re, im):
        return self._made(re + self.mx.array(1j) * im)

    def fft(self, op, x):
        return getattr(self.mx.fft, op)(x)

    def einsum(self, spec, *xs):
        return self.mx.einsum(spec, *xs)

    def conv2d(self, x, w):
        return self.mx.conv2d(x, w, padding=w.shape[1] // 2)

    def vjp(self, f, args, cotangent):
        return self.mx.vjp(lambda *args: f(*args), list(args), [cotangent])[1]

    def flat(self, xs):
        return self.mx.concatenate([x.reshape(-1) for x in xs])

    def quantize_experts(self, w, group, bits):
        parts = self.mx.quantize(w, group_size=group, bits=bits)
        self.mx.eval(parts)
        return lambda x, experts: self.mx.gather_qmm(
            x, *parts, rhs_indices=experts, transpose=True, group_size=group, bits=bits
        )

    def quantize(self, w, group, bits):
        parts = self.mx.quantize(w, group_size=group, bits=bits)
        self.mx.eval(parts)

        def product(x, transpose):
            return self.mx.quantized_matmul(
                x, *parts, transpose=transpose, group_size=group, bits=bits
            )

        return product

    def language_model(self, path):
        from mlx_llama import Llama

        return Llama(os.fspath(path))


TOOLKITS = {kit.name: kit for kit in (NumPy, Torch, Jax, Mlx)}
