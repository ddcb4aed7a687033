"""Times of one framework on one GPU, for the cases that the CUDA test program's `bench` prints.

python benches/gpu_peer.py torch
"""

import math
import sys
import time


def clock(name, repeats, run, sync):
    """Prints the best of five series of calls, in milliseconds for a call."""
    try:
        sync(run())
        best = math.inf
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(repeats):
                out = run()
            sync(out)
            best = min(best, (time.perf_counter() - begin) * 1e3 / repeats)
        print(f"bench {name}: {best:.4f} ms", flush=True)
    except Exception as error:  # a peer that lacks an op must not end the others
        print(f"bench {name}: {type(error).__name__} {str(error)[:80]!r}", flush=True)


def with_torch():
    import torch
    import torch.nn.functional as F

    print(f"version torch {torch.__version__}, CUDA {torch.version.cuda}")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.set_grad_enabled(False)

    def sync(_):
        torch.cuda.synchronize()

    def draw(*shape, dtype=torch.bfloat16):
        return torch.randn(shape, device="cuda", dtype=dtype)

    def time_(name, repeats, run):
        clock(name, repeats, run, sync)

    x = draw(1 << 26)
    time_("copy 2^26 (negative)", 20, lambda: -x)

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    time_("gelu 2^26", 20, lambda: gelu(x))
    rows, w = draw(16384, 4096), draw(4096)
    time_("softmax 16384x4096", 20, lambda: rows.softmax(-1))
    time_("rms_norm", 20, lambda: F.rms_norm(rows, (4096,), w, 1e-5))

    def residual(x, w):
        return x + 0.5 * F.rms_norm(x, (4096,), w, 1e-5)

    compiled = torch.compile(residual)
    time_("residual + scale * rms_norm", 20, lambda: compiled(rows, w))
    time_("layer_norm", 20, lambda: F.layer_norm(rows, (4096,), w, w, 1e-5))

    def rms_by_hand(x, w):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w

    def layer_by_hand(x, w):
        centred = x - x.mean(-1, keepdim=True)
        return centred * torch.rsqrt(x.var(-1, correction=0, keepdim=True) + 1e-5) * w + w

    time_("rms_norm by hand", 20, lambda: rms_by_hand(rows, w))
    time_("layer_norm by hand", 20, lambda: layer_by_hand(rows, w))
    time_("sum rows", 20, lambda: rows.sum(1))
    time_("sum cols", 20, lambda: rows.sum(0))
    time_("sum all", 20, lambda: rows.sum())
    time_("var rows", 20, lambda: rows.var(1))
    time_("argmax rows", 10, lambda: rows.argmax(1))
    vocab = draw(2048, 128_256)
    time_("softmax 2048x128256", 20, lambda: vocab.softmax(-1))
    targets = torch.randint(0, 128_256, (2048,), device="cuda")
    time_("cross-entropy 2048x128256", 20, lambda: F.cross_entropy(vocab, targets))
    leaf = vocab.clone().requires_grad_()

    def gradient_of_loss():
        with torch.enable_grad():
            return torch.autograd.grad(F.cross_entropy(leaf, targets), leaf)

    time_("cross-entropy with gradient", 20, gradient_of_loss)
    a, b, v = draw(8192, 8192), draw(8192, 8192), draw(1, 8192)
    column = draw(8192, 1)
    time_("matmul 8192^3", 10, lambda: a @ b)
    time_("x@W.T 8192", 50, lambda: v @ a.T)
    time_("x@W 8192", 50, lambda: v @ a)
    time_("W@x 8192", 50, lambda: a @ column)
    time_("W.T@x 8192", 50, lambda: a.T @ column)
    wide = draw(4096, 4096)
    for m in (8, 64, 512):
        y = draw(m, 4096)
        time_(f"matmul M={m} 4096", 50, lambda: y @ wide.T)
    square = draw(4096, 4096)
    time_("linear with bias 4096^3", 20, lambda: F.linear(square, wide, w))
    try:
        packed = torch.randint(0, 256, (4096, 2048), device="cuda", dtype=torch.uint8)
        packed = torch.ops.aten._convert_weight_to_int4pack(packed, 8)
        scales = draw(64, 4096, 2)
        for m in (1, 8, 64, 512):
            y = draw(m, 4096)
            name = f"4-bit matmul M={m} 4096"
            product = torch.ops.aten._weight_int4pack_mm
            time_(name, 20, lambda: product(y, packed, 64, scales))
    except Exception as error:
        print(f"int4: {str(error)[:100]}")
    idx = torch.randint(0, 16384, (16384,), device="cuda")
    time_("row gather", 20, lambda: rows[idx])
    places = idx[:, None].expand(16384, 4096)
    time_("row gather by take_along_axis", 20, lambda: rows.gather(0, places))
    columns = torch.randint(0, 4096, (16384, 4096), device="cuda")
    time_("take_along_axis 16384x4096", 20, lambda: rows.gather(1, columns))
    time_("put_along_axis", 10, lambda: rows.scatter(1, columns, rows))
    time_("scatter set rows", 10, lambda: rows.index_put((idx,), rows))
    time_("scatter add rows", 10, lambda: rows.index_add(0, idx, rows))
    time_("cumsum 2^26", 10, lambda: x.cumsum(0))
    x32 = x.float()
    time_("cumsum 2^26 f32", 10, lambda: x32.cumsum(0))
    part = x[: 1 << 24]
    time_("sort 2^24", 10, lambda: part.sort()[0])
    time_("sort rows 16384x4096", 5, lambda: rows.sort(1)[0])
    time_("argsort rows 16384x4096", 5, lambda: rows.argsort(1))
    time_("topk 50 rows 16384x4096", 5, lambda: rows.topk(50, 1)[0])
    time_("uniform 2^26", 10, lambda: torch.rand(1 << 26, device="cuda"))
    time_("normal 2^26", 10, lambda: torch.randn(1 << 26, device="cuda"))
    q, k, u = (draw(4, 32, 2048, 128) for _ in range(3))
    attend = F.scaled_dot_product_attention
    time_("attention 4x32x2048x128", 10, lambda: attend(q, k, u))
    time_("attention causal", 10, lambda: attend(q, k, u, is_causal=True))
    leaves = [y.clone().requires_grad_() for y in (q, k, u)]

    def gradients_of_attention():
        with torch.enable_grad():
            return torch.autograd.grad(attend(*leaves, is_causal=True), leaves, u)

    time_("attention causal with gradients", 10, gradients_of_attention)
    q, k, u = draw(8, 32, 1, 128), draw(8, 8, 8192, 128), draw(8, 8, 8192, 128)
    name = "decode attention 8x32(8)x8192x128"
    time_(name, 20, lambda: attend(q, k, u, enable_gqa=True))
    q, k, u = (draw(4, 16, 2048, 64, dtype=torch.float32) for _ in range(3))
    time_("attention f32 4x16x2048x64", 5, lambda: attend(q, k, u))
    time_("attention f32 causal", 5, lambda: attend(q, k, u, is_causal=True))
    torch_networks(time_, draw)
    one = torch.ones(32, device="cuda")

    def tiny(n):
        y = one
        for _ in range(n):
            y = y + one
        return y

    time_("one tiny op", 1000, lambda: one + one)
    time_("1000 tiny ops (one by one)", 5, lambda: tiny(1000))
    time_("10,000 tiny ops", 3, lambda: tiny(10_000))
    sizes = [torch.ones(n, 32, device="cuda") for n in range(1, 101)]

    def sums():
        every = sizes
        for _ in range(100):
            every = [y.sum(0, keepdim=True) + y for y in every]
        return every

    time_("10,000 tiny ops that cannot fuse", 3, sums)
    begin = time.perf_counter()
    sync(torch.compile(lambda x: (x * x + 2).sin().tanh().cos() * x)(one))
    took = (time.perf_counter() - begin) * 1e3
    print(f"bench first call of a new function, compiled: {took:.4f} ms", flush=True)


def torch_networks(time_, draw):
    """Convolution, and one block of a transformer of width 2048 with 16 heads, 2 x 2048 rows."""
    import torch
    import torch.nn.functional as F

    x = draw(32, 128, 56, 56).to(memory_format=torch.channels_last)
    w = (draw(128, 128, 3, 3) / 34).to(memory_format=torch.channels_last)
    time_("conv2d 3x3 32x56x56x128", 20, lambda: F.conv2d(x, w, padding=1))
    leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]

    def gradients():
        with torch.enable_grad():
            out = F.conv2d(*leaves, padding=1)
            return torch.autograd.grad(out, leaves, x)

    time_("conv2d with gradients", 10, gradients)
    width, heads = 2048, 16

    def block(x, w):
        y = F.rms_norm(x, (width,), w[4], 1e-5)
        q, k, v = F.linear(y, w[0]).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).flatten(-2), w[1])
        y = F.gelu(F.linear(F.rms_norm(x, (width,), w[5], 1e-5), w[2]), approximate="tanh")
        return x + F.linear(y, w[3])

    def rested(name, repeats, run):
        # A card that has multiplied matrices for a while is slower for a while.
        time.sleep(0.5)
        time_(name, repeats, run)

    x = draw(2, 2048, width)
    shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    weights = [draw(*s) * s[1] ** -0.5 for s in shapes] + [draw(width), draw(width)]
    weights = [w.requires_grad_() for w in weights]
    rested("transformer block", 10, lambda: block(x, weights))
    compiled = torch.compile(block)
    rested("transformer block compiled", 10, lambda: compiled(x, weights))

    def step(block):
        with torch.enable_grad():
            loss = block(x, weights).float().square().mean()
            gradients = torch.autograd.grad(loss, weights)
        return [w - 1e-3 * g for w, g in zip(weights, gradients)]

    rested("train step", 5, lambda: step(block))
    rested("train step compiled", 5, lambda: step(compiled))
    line = draw(1 << 24, dtype=torch.complex64)
    time_("fft 2^24 complex64", 20, lambda: torch.fft.fft(line))
    time_("ifft 2^24 complex64", 20, lambda: torch.fft.ifft(line))
    images = draw(64, 1024, 1024, dtype=torch.complex64)
    time_("fft2 64x1024x1024", 10, lambda: torch.fft.fft2(images))
    real = images.real.contiguous()
    time_("rfft 64x1024x1024 f32", 10, lambda: torch.fft.rfft(real))
    for shape in ((2048, 2048), (512, 64, 64)):
        a = draw(*shape, dtype=torch.float32)
        positive = a @ a.mT + shape[-1] * torch.eye(shape[-1], device="cuda")
        name = f"{'x'.join(map(str, shape))} f32"
        time_(f"cholesky {name}", 10, lambda p=positive: torch.linalg.cholesky(p))
        time_(f"solve {name}", 10, lambda p=positive, a=a: torch.linalg.solve(p, a))
        time_(f"inv {name}", 10, lambda p=positive: torch.linalg.inv(p))
        time_(f"qr {name}", 1, lambda a=a: torch.linalg.qr(a))
        time_(f"eigh {name}", 1, lambda p=positive: torch.linalg.eigh(p))
        time_(f"svd {name}", 1, lambda a=a: torch.linalg.svd(a))
        time_(f"svdvals {name}", 1, lambda a=a: torch.linalg.svdvals(a))


def with_jax():
    import os

    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax
    import jax.numpy as jnp

    print(f"version jax {jax.__version__}")
    key = jax.random.key(1)

    def draw(*shape):
        return jax.random.normal(key, shape, jnp.bfloat16)

    def time_(name, repeats, f, *inputs):
        f = jax.jit(f)
        clock(name, repeats, lambda: f(*inputs), jax.block_until_ready)

    x = draw(1 << 26)
    time_("copy 2^26 (negative)", 20, lambda x: -x, x)

    def gelu(x):
        return 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    time_("gelu 2^26", 20, gelu, x)
    rows, w = draw(16384, 4096), draw(4096)
    time_("softmax 16384x4096", 20, lambda x: jax.nn.softmax(x, -1), rows)

    def rms(x, w):
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + 1e-5)
        return (y * w).astype(x.dtype)

    def layer(x, w):
        y = x.astype(jnp.float32)
        y = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)
        return (y * w + w).astype(x.dtype)

    time_("rms_norm", 20, rms, rows, w)
    time_("residual + scale * rms_norm", 20, lambda x, w: x + 0.5 * rms(x, w), rows, w)
    time_("layer_norm", 20, layer, rows, w)
    time_("sum rows", 20, lambda x: x.sum(1), rows)
    time_("sum cols", 20, lambda x: x.sum(0), rows)
    time_("sum all", 20, lambda x: x.sum(), rows)
    time_("var rows", 20, lambda x: x.var(1), rows)
    time_("argmax rows", 10, lambda x: x.argmax(1), rows)
    vocab = draw(2048, 128_256)
    time_("softmax 2048x128256", 20, lambda x: jax.nn.softmax(x, -1), vocab)
    targets = jax.random.randint(key, (2048,), 0, 128_256)

    def loss(x, targets):
        wide = x.astype(jnp.float32)
        picked = jnp.take_along_axis(wide, targets[:, None], 1)[:, 0]
        return (jax.nn.logsumexp(wide, -1) - picked).mean()

    time_("cross-entropy 2048x128256", 20, loss, vocab, targets)
    time_("cross-entropy with gradient", 20, jax.value_and_grad(loss), vocab, targets)
    del vocab
    a, b, v, column = draw(8192, 8192), draw(8192, 8192), draw(1, 8192), draw(8192, 1)
    time_("matmul 8192^3", 10, lambda a, b: a @ b, a, b)
    time_("x@W.T 8192", 50, lambda v, a: v @ a.T, v, a)
    time_("x@W 8192", 50, lambda v, a: v @ a, v, a)
    time_("W@x 8192", 50, lambda a, c: a @ c, a, column)
    time_("W.T@x 8192", 50, lambda a, c: a.T @ c, a, column)
    wide = draw(4096, 4096)
    for m in (8, 64, 512):
        time_(f"matmul M={m} 4096", 50, lambda y, w: y @ w.T, draw(m, 4096), wide)
    square = draw(4096, 4096)
    time_("linear with bias 4096^3", 20, lambda x, w, b: x @ w.T + b, square, wide, w)
    idx = jax.random.randint(key, (16384,), 0, 16384)
    time_("row gather", 20, lambda x, i: x[i], rows, idx)
    columns = jax.random.randint(key, (16384, 4096), 0, 4096)
    along = jnp.take_along_axis
    name = "row gather by take_along_axis"
    time_(name, 20, lambda x, i: along(x, i[:, None], 0), rows, idx)
    time_("take_along_axis 16384x4096", 20, lambda x, c: along(x, c, 1), rows, columns)
    time_("scatter set rows", 10, lambda x, i: x.at[i].set(x), rows, idx)
    time_("scatter add rows", 10, lambda x, i: x.at[i].add(x), rows, idx)
    time_("cumsum 2^26", 5, lambda x: x.cumsum(), x)
    time_("sort 2^24", 5, lambda x: x[: 1 << 24].sort(), x)
    time_("sort rows 16384x4096", 5, lambda x: jnp.sort(x, 1), rows)
    time_("topk 50 rows 16384x4096", 5, lambda x: jax.lax.top_k(x, 50)[0], rows)
    time_("uniform 2^26", 10, lambda k: jax.random.uniform(k, (1 << 26,)), key)
    time_("normal 2^26", 10, lambda k: jax.random.normal(k, (1 << 26,)), key)
    # (batch, length, heads, elements)
    attend = jax.nn.dot_product_attention
    q, k, u = (draw(4, 2048, 32, 128) for _ in range(3))
    name = "attention 4x32x2048x128"
    time_(name, 10, lambda q, k, u: attend(q, k, u, implementation="cudnn"), q, k, u)
    name = "attention causal"
    causal = dict(implementation="cudnn", is_causal=True)
    time_(name, 10, lambda q, k, u: attend(q, k, u, **causal), q, k, u)


if __name__ == "__main__":
    {"torch": with_torch, "jax": with_jax}[sys.argv[1]]()
