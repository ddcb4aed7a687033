"""Expressions for the names of the manifest that `test_differential.py` has no table for, and which
names the expressions of all tables call.

Files, memory, devices and drawn numbers are compared through what both packages must agree on:
what was stored, types, and results for a given key.
"""

import re

import golden_cases as cases

#: Inputs of the products below: of every dtype, 0-d, empty and strided.
SOME = ["x", "i", "k", "b", "h", "g", "c", "s", "e", "t", "r"]

ALIASES = "acos acosh asin asinh atan atanh conjugate square".split()
METHODS = """abs conj cos exp log log10 log1p log2 reciprocal round rsqrt sin sqrt square
argmax argmin cummax cummin cumprod cumsum logcumsumexp diag diagonal squeeze real imag mT""".split()
PAIRS = "atan2 pow bitwise_left_shift bitwise_right_shift".split()
SEVERAL = """count_nonzero({}) | count_nonzero({}, axis=0) | cumulative_sum({}, axis=0)
cumulative_prod({}, axis=-1) | median({}) | median({}, axis=0, keepdims=True) | minmax({})
minmax({}, axis=-1) | argpartition({}, 0, axis=-1).shape | diff({}) | flip({}) | flip({}, axis=0)
flatten({}) | matrix_transpose({}) | permute_dims({}) | full_like({}, 1) | empty_like({}).shape
asarray({}) | astype({}, mx.float16) | astype({}, mx.int64) | unstack({}) | depends({}, v)"""

DUNDERS = """add and div eq floordiv ge gt le lt matmul mod mul ne or pow rshift lshift sub truediv xor
radd rdiv rfloordiv rmod rmul rpow rsub rtruediv
iadd iand ifloordiv ilshift imod imul ior ipow irshift isub itruediv ixor""".split()
ALONE = """x.__abs__() | x.__neg__() | i.__invert__() | x.__bool__() | s.__bool__() | s.__float__() | s.__int__()
s.__complex__() | z.__index__() | s.__index__() | x.__len__() | s.__len__() | list(x.__iter__()) | x.__getitem__(0)
x.__copy__() | x.__deepcopy__({}) | x.__repr__() | h.__repr__() | c.__repr__() | e.__repr__() | n.__repr__() | b.__repr__() | w.__repr__()
s.__format__(".3f") | f"{s} {z}" | mx.array(0.1).__format__("") | b[0, 0].__format__("") | c[0, 0].__format__("") | x.__format__("") | x.__array__() | i.__array__().dtype | z.__pos__() | x.__dlpack_device__()[0] == x.__dlpack_device__()[0]
len(i.__bytes__()) | type(x.__array_namespace__()).__name__ | np.array(mx.from_dlpack(np.ones((2, 3), np.float32))) | np.from_dlpack(x)
a = mx.array(x); a.__setitem__(0, 5); result = a | a = mx.array(m); result = a.__imatmul__(m)
import pickle; result = pickle.loads(pickle.dumps(x)) | import copy; result = copy.deepcopy([mx.cpu, mx.gpu]) == [mx.cpu, mx.gpu]
"""

CONVOLUTIONS = """
mx.conv1d(w, w[:1]) | mx.conv1d(w, w, stride=2, padding=1) | mx.conv1d(w, w[..., :2], groups=2) | mx.conv1d(w, w[:, :2], dilation=2) | mx.conv1d(w.astype(mx.float16), w[:1].astype(mx.float16))
mx.conv1d(w, x) | mx.conv1d(w, w, groups=3) | mx.conv1d(w, w[..., :3]) | mx.conv1d(r, r[:, :2]) | mx.conv1d(w, w, stride=0)
mx.conv2d(q, q[:1]) | mx.conv2d(q, q[:, :2, :3], stride=(1, 2), padding=(1, 0)) | mx.conv2d(q, q[:1, :2, :2], dilation=(2, 1)) | mx.conv2d(q, q[:1], padding=2) | mx.conv2d(q, w)
mx.conv2d(mx.tile(q, (1, 1, 1, 2)), q[:2, :2, :2], groups=2) | mx.conv2d(q.astype(mx.bfloat16), q[:1, :2, :2].astype(mx.bfloat16)) | mx.conv2d(q, q[:1, :3, :3].astype(mx.int32))
mx.conv3d(q[None], q[None, :1]) | mx.conv3d(q[None], q[None, :, :2, :2], padding=1) | mx.conv3d(q[None], q[None, :1], stride=2) | mx.conv3d(q, q)
mx.conv_general(q, q[:1, :2, :2], padding=([1, 0], [0, 2]), input_dilation=2) | mx.conv_general(w, w[:1], flip=True) | mx.conv_general(w, w[:1], 1, ([2], [0]), 1, 2, 1, True) | mx.conv_general(q, q[:1, :2, :2], kernel_dilation=(1, 2))
mx.conv_transpose1d(w, w[:1]) | mx.conv_transpose1d(w, w[:1], stride=2, padding=1, output_padding=1) | mx.conv_transpose1d(w, w[:1], dilation=2) | mx.conv_transpose1d(w, w[..., :2], groups=2) | mx.conv_transpose1d(w, x)
mx.conv_transpose2d(q, q[:1]) | mx.conv_transpose2d(q, q[:1, :2, :2], stride=(2, 1), padding=(0, 1)) | mx.conv_transpose2d(q, q, 2, 1, 1, 1) | mx.conv_transpose3d(q[None], q[None, :1]) | mx.conv_transpose3d(q[None], q[None, :1], stride=2)
mx.convolve(v, v) | mx.convolve(v, v[:3], mode="same") | mx.convolve(v, v[:2], mode="valid") | mx.convolve(v, v[:2], "some") | mx.convolve(x, v) | mx.convolve(v[:0], v)
mx.grad(lambda a: mx.conv2d(a, q[:1, :2, :2]).sum())(q) | mx.grad(lambda a: mx.conv2d(q, a, stride=2).square().sum())(q[:1, :2, :2]) | mx.vmap(lambda a: mx.conv1d(a, w[:1]))(mx.stack([w, 2 * w]))
"""

ARRAYS = """
mx.concat([x, y]) | mx.concat([x, i], axis=1) | mx.concat([]) | mx.flatten(w, 1) | mx.flatten(w, 0, 1) | mx.flatten(w, 2, 1) | mx.flatten(w, 5) | mx.full_like(x, 3, dtype=mx.int32) | mx.full_like(x, v) | mx.full_like(i, 2.5)
mx.empty((2, 3)).shape | mx.empty((2,), mx.int8).dtype | mx.empty_like(h).dtype | mx.flip(w, (0, 2)) | mx.flip(x, 4) | mx.permute_dims(w, (2, 0, 1)) | mx.permute_dims(x, (0, 0)) | mx.matrix_transpose(w) | mx.matrix_transpose(v)
mx.diff(x, n=2) | mx.diff(x, axis=0) | mx.diff(x, n=0) | mx.diff(x, n=9) | mx.diff(x, n=-1) | mx.median(w, axis=(0, 2)) | mx.median(n) | mx.median(e) | mx.median(x, axis=5) | mx.minmax(w, axis=(0, 1)) | mx.minmax(x, 0, True) | mx.minmax(n)
mx.count_nonzero(w, axis=(0, 2), keepdims=True) | mx.unstack(w, axis=1) | mx.unstack(x, axis=3) | mx.depends([x, y], [v]) | mx.depends(x, [v, s]) | mx.asarray([1, 2.5]) | mx.asarray(x, mx.int32) | mx.asarray(np.arange(3), copy=True) | mx.asarray("a") | mx.astype(x, "float32")
mx.slice(x, mx.array([1]), (0,), (2, 4)) | mx.slice(x, mx.array([1, 2]), (0, 1), (2, 2)) | mx.slice(x, mx.array([1]), (5,), (2, 4)) | mx.slice_update(x, y[:2], mx.array([1]), (0,)) | mx.slice_update(x, y[:1, :2], mx.array([2, 1]), (0, 1)) | mx.slice_update(x, y, mx.array([0]), (0, 1))
mx.einsum("ij,kj->ik", x, y) | mx.einsum("ij->ji", x) | mx.einsum("ij->", x) | mx.einsum("...j,j->...", w, v) | mx.einsum("ii->i", m) | mx.einsum("ii", m) | mx.einsum("ij,jk,kl->il", x, y.T, x) | mx.einsum("ij,ij->ij", i, j) | mx.einsum("ij,jk", x, y) | mx.einsum("ij", w) | mx.einsum("bij,bjk->bik", w, w.swapaxes(1, 2))
mx.bartlett(5) | mx.blackman(5) | mx.hamming(5) | mx.hanning(6) | mx.bartlett(1) | mx.blackman(1) | mx.hamming(0) | mx.hamming(-2) | mx.atan2(x, v) | mx.acosh(u + 1.5)
mx.can_cast(mx.int16, mx.float32) | mx.can_cast(mx.float32, mx.int64) | mx.can_cast(i, mx.int64) | mx.can_cast(mx.uint16, mx.int16) | mx.isdtype(mx.float32, mx.float32) | mx.isdtype(mx.int8, "signed integer") | mx.isdtype(mx.bool_, "numeric") | mx.isdtype(mx.float16, ("bool", "real floating")) | mx.isdtype(mx.int8, "odd")
mx.__version__ | mx.pi | mx.e | mx.euler_gamma | mx.inf | mx.nan | mx.newaxis | mx.cpu | mx.gpu | mx.int64 | mx.uint16 | mx.issubdtype(mx.int64, mx.signedinteger) | mx.issubdtype(mx.uint16, mx.unsignedinteger) | mx.issubdtype(mx.complex64, mx.complexfloating) | mx.issubdtype(mx.float16, mx.inexact) | mx.issubdtype(mx.bool_, mx.generic) | mx.generic
isinstance(mx.float32, mx.Dtype) | isinstance(mx.floating, mx.DtypeCategory) | isinstance(x.at, mx.ArrayAt) | isinstance(v.at[0], mx.ArrayAt) | type(iter(x)) is mx.ArrayIterator | isinstance(mx.default_device(), mx.Device) | isinstance(mx.cpu, mx.DeviceType) | isinstance(mx.default_stream(mx.cpu), mx.Stream)
sorted(mx.__array_namespace_info__().default_dtypes()) | sorted(mx.__array_namespace_info__().dtypes()) | mx.__array_namespace_info__().capabilities() | isinstance(mx.fast, type(mx)) | isinstance(mx.linalg, type(mx.fft)) | mx.random.__name__ == mx.distributed.__name__
"""

DEVICES = """
mx.default_device() | mx.default_stream(mx.cpu).device | mx.device_count(mx.cpu) | type(mx.device_info(mx.cpu)) | mx.is_available(mx.cpu) | mx.is_available(mx.cpu) is mx.is_available(mx.Device(mx.cpu)) | mx.new_stream(mx.cpu).device | type(mx.new_thread_local_stream(mx.cpu)).__name__
isinstance(mx.new_thread_local_stream(mx.cpu), mx.ThreadLocalStream) | mx.new_thread_unsafe_stream(mx.cpu).device | mx.Device(mx.cpu) == mx.cpu | mx.Device(mx.cpu, 0) | mx.Device("cpu") | mx.new_stream("cpu") | mx.synchronize() | mx.synchronize(mx.default_stream(mx.cpu))
with mx.stream(mx.cpu) as stream: result = mx.add(x, y) | isinstance(mx.stream(mx.cpu), mx.StreamContext) | mx.stream("cpu") | mx.set_default_device(mx.cpu); result = mx.default_device() | mx.set_default_device("cpu") | mx.add(x, y, stream=mx.new_stream(mx.cpu))
s = mx.new_stream(mx.cpu); mx.set_default_stream(s); result = mx.default_stream(mx.cpu) == s | mx.async_eval(x, [y]) | mx.async_eval(1) | mx.disable_compile(); result = mx.compile(lambda a: a + 1)(x); mx.enable_compile() | mx.enable_compile()
type(mx.get_active_memory()) | type(mx.get_peak_memory()) | type(mx.get_cache_memory()) | mx.clear_cache() | mx.reset_peak_memory() | type(mx.set_cache_limit(mx.set_cache_limit(2**30))) | type(mx.get_memory_limit()) | type(mx.set_memory_limit(mx.get_memory_limit())) | mx.set_memory_limit("a") | type(mx.set_wired_limit(0))
mx.metal.is_available() | mx.cuda.is_available() | type(mx.metal.get_active_memory()) | type(mx.metal.get_cache_memory()) | type(mx.metal.get_peak_memory()) | mx.metal.clear_cache() | mx.metal.reset_peak_memory() | type(mx.metal.set_cache_limit(mx.metal.set_cache_limit(2**30))) | type(mx.metal.set_memory_limit(mx.get_memory_limit())) | type(mx.metal.set_wired_limit(0)) | mx.metal.start_capture(tmp + "/a") | mx.metal.stop_capture()
type(mx.metal.device_info()) | mx.get_array_buffer_size(x) | mx.get_array_buffer_size(1) | mx.get_array_buffer_size(mx.zeros((2,)), mx.zeros((3,)))
mx.fast.cuda_kernel("k", ["a"], ["b"], "b[0] = a[0];") | mx.fast.cuda_kernel("k") | mx.fast.metal_kernel("k", ["a"], ["b"], "b[0] = a[0];") | mx.fast.metal_kernel("k", ["a"], ["b"], "b[0] = a[0];")(inputs=[x], grid=(1, 1, 1), threadgroup=(1, 1, 1), output_shapes=[(1,)], output_dtypes=[mx.float32])
mx.fast.precompiled_cuda_kernel(name="k", compiled_source=b"", inputs=[x], output_shapes=[(3,)], output_dtypes=[mx.float16], scalars=[], grid=(1, 1, 1), threadgroup=(1, 1, 1)) | mx.fast.precompiled_cuda_kernel(name="k")
mx.random.__getattr__("odd") | type(mx.random.__getattr__("state")).__name__ | type(x.__dlpack__()).__name__ | callable(mx._gc_func) | isinstance(mx.ArrayLike(x), mx.ArrayLike)
mx.distributed.is_available() | isinstance(mx.distributed.init(), mx.distributed.Group) | mx.distributed.init().rank() | mx.distributed.init().size() | mx.distributed.all_sum(x) | mx.distributed.all_max(x) | mx.distributed.all_min(x) | mx.distributed.all_gather(x) | mx.distributed.sum_scatter(x) | mx.distributed.send(x, 0) | mx.distributed.recv((2,), mx.float32, 0) | mx.distributed.recv_like(x, 0) | mx.distributed.init(strict=True)
"""

FILES = """
mx.save(tmp + "/a.npy", x); result = mx.load(tmp + "/a.npy") | mx.save(tmp + "/a", t); result = mx.load(tmp + "/a.npy") | mx.save(tmp + "/a.npy", g) | mx.save(tmp + "/a.npy", c); result = mx.load(tmp + "/a.npy") | mx.save(tmp + "/a.npy", [1, 2]) | mx.save(3, x)
mx.savez(tmp + "/a.npz", x, b=i); result = mx.load(tmp + "/a.npz") | mx.savez_compressed(tmp + "/a.npz", a=x, h=h); result = mx.load(tmp + "/a.npz") | mx.load(tmp + "/none.npy") | mx.load(tmp + "/a.odd") | mx.load(tmp)
mx.save_safetensors(tmp + "/a.safetensors", {"x": x, "g": g, "b": b, "t": t}); result = mx.load(tmp + "/a.safetensors") | mx.save_safetensors(tmp + "/a", {"x": x}, {"k": "v"}); result = mx.load(tmp + "/a.safetensors", return_metadata=True) | mx.save_safetensors(tmp + "/a", [x]) | mx.save_safetensors(tmp + "/a", {"x": 1})
mx.save_gguf(tmp + "/a.gguf", {"x": x, "h": h}, {"n": mx.array(3), "t": "v", "l": ["a", "b"]}); result = mx.load(tmp + "/a.gguf", return_metadata=True) | mx.save_gguf(tmp + "/a.gguf", {"x": x}); result = mx.load(tmp + "/a.gguf") | mx.save_gguf(tmp + "/a.gguf", {"x": c})
mx.export_function(tmp + "/f", lambda a, b: a * b + 1, x, y); result = mx.import_function(tmp + "/f")(x, y) | mx.export_function(tmp + "/f", lambda a, b: a * b + 1, x, y); result = mx.import_function(tmp + "/f")(x, v) | mx.export_function(tmp + "/f", lambda a, *, k: [a, k], x, k=y); result = mx.import_function(tmp + "/f")(x, k=y) | mx.export_function(tmp + "/f", mx.exp, h); result = mx.import_function(tmp + "/f")(g)
mx.export_function(tmp + "/f", mx.sin, x, shapeless=True); result = mx.import_function(tmp + "/f")(y[:2]) | mx.export_function(tmp + "/f", mx.sin, i, metadata="m"); result = mx.import_function(tmp + "/f", return_metadata=True)[1] | mx.export_function(tmp + "/f", lambda a: a + s, e); result = mx.import_function(tmp + "/f")(e) | mx.export_function(tmp + "/f", lambda a: 1, x) | mx.export_function(tmp + "/f", mx.abs, x); result = mx.grad(lambda a: mx.import_function(tmp + "/f")(a)[0].sum())(x)
mx.import_function(tmp + "/none") | seen = []; mx.export_function(lambda a: seen.append(a["type"]), mx.abs, x); result = sorted(set(seen))
f = mx.exporter(tmp + "/f", lambda *a: a[0] * 2); f.__enter__(); f(x); f(x, y); f.__exit__(None, None, None); g = mx.import_function(tmp + "/f"); result = [g(x), g(x, y)] | isinstance(mx.exporter(tmp + "/f", mx.abs), mx.FunctionExporter) | f = mx.exporter(tmp + "/f", mx.abs); f(x); f.close(); result = mx.import_function(tmp + "/f")(x) | f = mx.exporter(tmp + "/f", mx.abs); f.close(); result = f(x)
import io; o = io.StringIO(); mx.export_to_dot(o, x + y); result = o.getvalue().startswith("digraph") | mx.export_to_dot(tmp + "/g", x + 1); result = open(tmp + "/g").read().startswith("digraph") | mx.export_to_dot(tmp + "/g", 1) | mx.export_to_dot(tmp + "/no/g", x + 1)
result = mx.get_printoptions().precision | mx.set_printoptions(precision=2); result = str(x); mx.set_printoptions() | isinstance(mx.get_printoptions(), mx.PrintOptions) | mx.PrintOptions(3).precision | isinstance(mx.printoptions(precision=3), mx._PrintOptionsContext) | mx.printoptions(precision=1).__enter__(); result = str(v); mx.set_printoptions()
"""

# The outcome of a quantised product of two quantised sides, on every mode and with wrong arguments.
QUANTISED = """
mx.qqmm(mx.tile(x, (1, 16)), mx.tile(y, (1, 16))) | mx.qqmm(mx.tile(x, (1, 16)), mx.tile(y, (1, 16)), mode="mxfp8") | mx.qqmm(mx.tile(h, (1, 16)), mx.tile(h, (1, 16)), mode="mxfp8") | mx.qqmm(mx.tile(g, (1, 16)), mx.tile(g, (1, 16)))
mx.qqmm(mx.tile(x, (1, 16)), mx.tile(y, (1, 16)), mode="affine") | mx.qqmm(mx.tile(x, (1, 16)), y) | mx.qqmm(mx.tile(x, (1, 9)), mx.tile(y, (1, 9))) | mx.qqmm(mx.tile(i, (1, 16)), mx.tile(i, (1, 16))) | mx.qqmm(mx.tile(x, (1, 16)), *mx.quantize(mx.tile(y, (1, 16)), mode="nvfp4")) | mx.qqmm(mx.tile(x, (1, 16)), *mx.quantize(mx.tile(y, (1, 16)), mode="mxfp8"), mode="mxfp8") | mx.qqmm(mx.tile(x, (1, 16)), mx.tile(y, (1, 16)), mode="odd") | mx.qqmm(s, s)
mx.gather_qqmm(mx.tile(x, (1, 16)), mx.tile(y, (1, 16))[None]) | mx.gather_qqmm(mx.tile(w, (1, 1, 16)), mx.tile(w, (1, 1, 16)), rhs_indices=mx.array([1, 0])) | mx.gather_qqmm(mx.tile(w, (1, 1, 16)), mx.tile(w, (1, 1, 16)), lhs_indices=mx.array([0, 1, 1]), rhs_indices=mx.array([0, 0, 1]), sorted_indices=True) | mx.gather_qqmm(mx.tile(w, (1, 1, 16)), mx.tile(w, (1, 1, 16)), mode="mxfp8") | mx.gather_qqmm(x, w)
mx.fast.cross_entropy(x, p[:3]) | mx.fast.cross_entropy(h, p[:3]) | mx.fast.cross_entropy(w, p[:3]) | mx.fast.cross_entropy(w, mx.zeros((2, 3), mx.int32)) | mx.fast.cross_entropy(x, y) | mx.fast.cross_entropy(e, p[:0]) | mx.grad(lambda a: mx.fast.cross_entropy(a, p[:3]).sum())(x)
mx.random.laplace((3,), key=mx.random.key(8)) | mx.random.laplace((2, 2), mx.float16, 1.0, 2.0, mx.random.key(8)) | mx.random.laplace((2,), mx.int32) | mx.random.seed(5); result = mx.random.uniform(shape=(3,)) | mx.random.seed(5); result = mx.random.state[0] | mx.random.seed("a") | type(mx.random.state).__name__ | type(mx.random.state) is mx.random._RandomState
f = mx.custom_function(lambda a: a * 2); f.vjp(lambda p, c, o: c * 7); result = mx.grad(lambda a: f(a).sum())(v) | f = mx.custom_function(lambda a: a * 2); f.jvp(lambda p, t: t * 5); result = mx.jvp(f, [v], [v]) | mx.custom_function(mx.exp)(v) | mx.custom_function(3)
"""

NETWORKS = """
nn.CELU()(x) | nn.ELU()(x) | nn.GELU()(x) | nn.GELU("fast")(x) | nn.GELU("odd") | nn.GLU()(x) | nn.HardShrink()(x) | nn.HardTanh()(x) | nn.Hardswish()(x) | nn.LeakyReLU(0.1)(x) | nn.LogSigmoid()(x) | nn.LogSoftmax()(x) | nn.Mish()(x) | nn.ReLU()(h) | nn.ReLU2()(x) | nn.ReLU6()(x) | nn.SELU()(x) | nn.SiLU()(g)
nn.Sigmoid()(x) | nn.Softmax()(x) | nn.Softmin()(x) | nn.Softplus()(x) | nn.Softshrink()(x) | nn.Softsign()(x) | nn.Step()(x) | nn.Tanh()(x) | nn.Dropout(0.5)(x).shape | nn.Dropout(1.5) | nn.Dropout2d(0.5)(q).shape | nn.Dropout2d(0.5).eval()(q) | nn.Dropout3d(0.5).eval()(q[None]) | nn.Dropout2d()(x) | nn.relu(i) | nn.gelu(i) | nn.softmax(i)
mx.random.seed(3); result = nn.Embedding(4, 3)(p) | mx.random.seed(3); result = nn.Embedding(4, 3).as_linear(mx.ones((2, 3))) | mx.random.seed(3); result = nn.Linear(4, 2)(x) | nn.Linear(4, 2)(mx.ones((2, 3))) | mx.random.seed(3); result = nn.Linear(4, 2).parameters() | isinstance(nn.Linear(4, 2), nn.Module) | nn.Module().children() | nn.Module().x
mx.random.seed(3); m = nn.Sequential(nn.Linear(4, 2), nn.ReLU()); result = nn.value_and_grad(m, lambda a: m(a).sum())(x) | mx.random.seed(3); m = nn.Linear(64, 2); nn.quantize(m); result = m(mx.ones((2, 64))) | m = nn.Linear(64, 2); nn.quantize(m, 48) | nn.average_gradients({"a": x}) | nn.fully_shard.__name__ | isinstance(nn.upsample, type(nn.init))
nn.TransformerEncoderLayer(4, 2)(w, None).shape | nn.TransformerDecoderLayer(4, 2)(w, w, None, None).shape | nn.MultiHeadAttention.create_additive_causal_mask(3) | nn.QuantizedAllToShardedLinear(64, 8)(mx.ones((2, 64))).shape | nn.QuantizedShardedToAllLinear(64, 8)(mx.ones((2, 64))).shape | issubclass(nn.FullyShardedModule, nn.Module)
nn.init.constant(2.0)(x) | mx.random.seed(3); result = nn.init.normal(1.0, 2.0)(x) | mx.random.seed(3); result = nn.init.uniform(-1, 2)(x) | nn.init.identity()(m) | nn.init.identity()(x) | mx.random.seed(3); result = nn.init.glorot_normal()(x) | mx.random.seed(3); result = nn.init.glorot_uniform()(x, gain=2.0) | mx.random.seed(3); result = nn.init.he_normal()(x) | mx.random.seed(3); result = nn.init.he_uniform()(x, mode="fan_out") | nn.init.he_normal()(x, mode="odd") | nn.init.glorot_normal()(v)
mx.random.seed(3); a = nn.init.orthogonal()(m); result = a @ a.T | nn.init.orthogonal()(v) | (nn.init.sparse(0.5)(x) == 0).sum(axis=0) | nn.init.sparse(0.5)(v)
nn.losses.cross_entropy(x, p[:3]) | nn.losses.cross_entropy(x, p) | nn.losses.cross_entropy(x, u) | nn.losses.cross_entropy(x, u, label_smoothing=0.1, reduction="mean") | nn.losses.cross_entropy(x, p[:3], label_smoothing=1.5) | nn.losses.mse_loss(x, v) | nn.losses.mse_loss(x, y, reduction="odd") | nn.losses.hinge_loss(h, h) | nn.losses.gaussian_nll_loss(x, y, v)
nn.utils.checkpoint(nn.ReLU())(x) | nn.utils.clip_grad_norm_sharded({"a": x}, 1.0) | nn.utils.average_gradients({"a": x}) | nn.utils.value_and_grad.__name__
nn.layers.distributed.sum_gradients(mx.distributed.init())(x) | nn.layers.distributed.shard_linear(nn.Linear(4, 2), "all-to-sharded").weight.shape | nn.layers.distributed.shard_linear(nn.Linear(4, 2), "odd") | m = nn.Linear(4, 2); nn.layers.distributed.shard_inplace(m, "sharded-to-all"); result = m.weight.shape
optim.clip_grad_norm({"a": x}, 1.0) | optim.clip_grad_norm({"a": h * 300}, 1.0) | optim.clip_grad_norm({"a": g}, 1.0) | optim.clip_grad_norm({"a": x}, -1.0) | optim.clip_grad_norm({"a": [x, y]}, 100.0) | optim.cosine_decay(0.1, 10)(mx.array(3)) | optim.exponential_decay(0.1, 0.9)(4) | optim.step_decay(0.1, 0.9, 2)(5) | optim.linear_schedule(0.0, 1.0, 4)(mx.array(2)) | optim.linear_schedule(0.0, 1.0, 0) | optim.join_schedules([optim.linear_schedule(0.0, 0.1, 5), optim.cosine_decay(0.1, 5)], [5])(mx.array(7)) | optim.join_schedules([], []) | isinstance(optim.SGD(0.1), optim.Optimizer) | optim.Optimizer().state
utils.tree_flatten({"a": [x, {"b": y}], "c": s}) | utils.tree_flatten([1, (2, None)], prefix="p") | utils.tree_flatten({"a": x}, destination={}) | utils.tree_unflatten([("a.0", 1), ("a.1", 2), ("b", 3)]) | utils.tree_unflatten([("", 1)]) | utils.tree_map(lambda a: a * 2, {"a": x, "b": (y,)}) | utils.tree_map(lambda a, b: a + b, [x, [y]], [y, [x]]) | utils.tree_map(lambda a: 1, None) | utils.tree_map(lambda a, b: a, [x], {"a": x})
utils.tree_map_with_path(lambda k, a: k, {"a": [x, y]}) | utils.tree_reduce(lambda n, a: n + a.size, {"a": x, "b": [y]}, 0) | utils.tree_reduce(lambda a, b: a + b, [1, [2, 3]]) | utils.tree_merge({"a": 1}, {"b": 2}) | utils.tree_merge({"a": 1}, {"a": 2}) | utils.tree_merge({"a": 1}, {"a": 2}, lambda a, b: a + b) | utils.tree_merge([1, None], [None, 2])
"""

#: Names that no expression calls, and why.
REASONS = {
    "mlx.core.clear_streams": "a thread of MLX that has called it cannot evaluate any more",
    "array.__init__": "every `mx.array(...)` calls it",
    "array.__getstate__": "each package has a form of its own; pickling is compared by what comes back",
    "array.__setstate__": "see `__getstate__`",
    "mlx.nn.layers.distributed.lru_cache": "the standard library's",
    "mlx.nn.utils.wraps": "the standard library's",
}

TABLES = (ALONE, CONVOLUTIONS, ARRAYS, DEVICES, FILES, QUANTISED, NETWORKS)


def cells(table):
    """The expressions of a table."""
    for line in table.strip().splitlines():
        yield from (e.strip() for e in line.split(" | "))


def expressions():
    """Every expression of the tables above."""
    for a in SOME:
        yield from (f"mx.{name}({a})" for name in ALIASES)
        yield from (f"{a}.{name}" + "()" * (name not in ("real", "imag", "mT")) for name in METHODS)
        yield from (f"{a}.swapaxes(0, -1)", f"{a}.moveaxis(0, -1)")
        yield from ("mx." + e.format(a) for e in cells(SEVERAL))
    for name in PAIRS:
        yield from (
            f"mx.{name}({a})" for a in ["x, y", "x, v", "i, j", "k, k", "b, b", "h, g", "c, x"]
        )
    for name in DUNDERS:
        for a in ["(x, y)", "(i, j)", "(k, 2)", "(b, b)", "(h, g)", "(x, 'a')"]:
            left, right = a.strip("()").split(", ")
            # Called by name, MLX's product of matrices raises what Python raises for `@`.
            if name == "matmul" and right in ("2", "'a'"):
                continue
            yield f"a = mx.array({left}); result = a.__{name}__({right})"
    for table in TABLES:
        yield from cells(table)


def golden():
    """The calls whose results of the real MLX are stored."""
    yield from cases.CALLS
    yield from (layer for layer, _ in cases.LAYERS)
    yield from (layer for layer, _ in cases.QUANTIZED)
    yield from (f"nn.losses.{loss}" for loss, _ in cases.LOSSES)
    yield from (f"optim.{optimizer}" for optimizer in cases.OPTIMIZERS)


def called(expressions):
    """The names that expressions reach: `mlx.core.fft.fft`, `array.T`, `mlx.nn.relu`."""
    packages = {"mx": "mlx.core", "nn": "mlx.nn", "optim": "mlx.optimizers", "utils": "mlx.utils"}
    found = set()
    for e in expressions:
        for package, path in re.findall(r"\b(mx|nn|optim|utils)((?:\.\w+)+)", e):
            parts = path.split(".")[1:]
            found |= {".".join([packages[package], *parts[:n]]) for n in range(1, len(parts) + 1)}
        found |= {f"array.{name}" for name in re.findall(r"(?:\b[a-z]|[)\]])\.(\w+)", e)}
    return found
