"""Times of MLX on one GPU, for the cases that the CUDA test program's `bench` prints.

python benches/gpu_mlx.py                      # MLX itself (mlx-cuda)
python -m lazulite.mlx benches/gpu_mlx.py      # the same program on lazulite
"""

import math
import time

import mlx.core as mx
import mlx.nn as nn


def draw(*shape, dtype=mx.bfloat16):
    return mx.random.normal(shape).astype(dtype)


def run(name, repeats, call, most=2.0):
    """Prints the best of five series of calls (fewer past `most` seconds), in ms for a call."""
    try:
        mx.eval(call())
        mx.synchronize()
        best, start = math.inf, time.perf_counter()
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(repeats):
                mx.async_eval(call())
            mx.synchronize()
            best = min(best, (time.perf_counter() - begin) * 1e3 / repeats)
            if time.perf_counter() - start > most:
                break
        print(f"bench {name}: {best:.4f} ms", flush=True)
    except Exception as error:  # an op that a framework lacks must not end the others
        print(f"bench {name}: {type(error).__name__} {str(error)[:80]!r}", flush=True)


def elementwise_and_rows():
    x = draw(1 << 26)
    run("copy 2^26 (negative)", 20, lambda: -x)
    run("gelu 2^26", 5, lambda: 0.5 * x * (1 + mx.tanh(0.7978845608 * (x + 0.044715 * x * x * x))))
    rows, w = draw(16384, 4096), draw(4096)
    run("softmax 16384x4096", 20, lambda: mx.softmax(rows, -1))
    run("rms_norm", 20, lambda: mx.fast.rms_norm(rows, w, 1e-5))
    run("residual + scale * rms_norm", 10, lambda: rows + 0.5 * mx.fast.rms_norm(rows, w, 1e-5))
    run("layer_norm", 20, lambda: mx.fast.layer_norm(rows, w, w, 1e-5))
    run(
        "rms_norm by hand",
        5,
        lambda: rows * mx.rsqrt((rows * rows).mean(-1, keepdims=True) + 1e-5) * w,
    )

    def layer_by_hand():
        centred = rows - rows.mean(-1, keepdims=True)
        return centred * mx.rsqrt(rows.var(-1, keepdims=True) + 1e-5) * w + w

    run("layer_norm by hand", 5, layer_by_hand)
    run("sum rows", 20, lambda: rows.sum(1))
    run("sum cols", 20, lambda: rows.sum(0))
    run("sum all", 20, lambda: rows.sum())
    run("var rows", 10, lambda: rows.var(1))
    run("argmax rows", 10, lambda: rows.argmax(1))
    idx = mx.random.randint(0, 16384, (16384,))
    run("row gather", 10, lambda: rows[idx])
    places = idx[:, None]
    run("row gather by take_along_axis", 5, lambda: mx.take_along_axis(rows, places, 0))
    columns = mx.random.randint(0, 4096, (16384, 4096))
    run("take_along_axis 16384x4096", 5, lambda: mx.take_along_axis(rows, columns, 1))
    run("put_along_axis", 5, lambda: mx.put_along_axis(rows, columns, rows, 1))

    def scatter():
        out = mx.array(rows)
        out[idx] = rows
        return out

    run("scatter set rows", 5, scatter)
    run("scatter add rows", 5, lambda: rows.at[idx].add(rows))
    run("sort rows 16384x4096", 5, lambda: mx.sort(rows, 1))
    run("argsort rows 16384x4096", 5, lambda: mx.argsort(rows, 1))
    run("topk 50 rows 16384x4096", 5, lambda: mx.topk(rows, 50, 1))
    run("cumsum 2^26", 2, lambda: mx.cumsum(x))
    run("cumsum 2^26 f32", 2, lambda y=x.astype(mx.float32): mx.cumsum(y))
    run("sort 2^24", 5, lambda: mx.sort(x[: 1 << 24]))
    run("uniform 2^26", 5, lambda: mx.random.uniform(shape=(1 << 26,)))
    run("normal 2^26", 5, lambda: mx.random.normal((1 << 26,)))


def vocabulary():
    logits = draw(2048, 128_256)
    run("softmax 2048x128256", 10, lambda: mx.softmax(logits, -1))
    targets = mx.random.randint(0, 128_256, (2048,))

    def loss(x):
        return nn.losses.cross_entropy(x, targets, reduction="mean")

    run("cross-entropy 2048x128256", 10, lambda: loss(logits))
    both = mx.value_and_grad(loss)
    run("cross-entropy with gradient", 10, lambda: both(logits))


def products():
    a, b, v, column = draw(8192, 8192), draw(8192, 8192), draw(1, 8192), draw(8192, 1)
    run("matmul 8192^3", 10, lambda: a @ b)
    run("x@W.T 8192", 50, lambda: v @ a.T)
    run("x@W 8192", 50, lambda: v @ a)
    run("W@x 8192", 50, lambda: a @ column)
    run("W.T@x 8192", 50, lambda: a.T @ column)
    wide, square, bias = draw(4096, 4096), draw(4096, 4096), draw(4096)
    for m in (8, 64, 512):
        run(f"matmul M={m} 4096", 50, lambda y=draw(m, 4096): y @ wide.T)
    run("linear with bias 4096^3", 20, lambda: mx.addmm(bias, square, wide.T))
    packed = mx.quantize(wide, 64, 4)
    for m in (1, 8, 64, 512):
        name = f"4-bit matmul M={m} 4096"
        run(name, 20, lambda y=draw(m, 4096): mx.quantized_matmul(y, *packed, True, 64, 4))


def attention():
    attend = mx.fast.scaled_dot_product_attention
    scale = 128**-0.5
    q, k, u = (draw(4, 32, 2048, 128) for _ in range(3))
    run("attention 4x32x2048x128", 10, lambda: attend(q, k, u, scale=scale))
    run("attention causal", 10, lambda: attend(q, k, u, scale=scale, mask="causal"))
    total = mx.grad(
        lambda q, k, u: attend(q, k, u, scale=scale, mask="causal").sum(), argnums=(0, 1, 2)
    )
    run("attention causal with gradients", 5, lambda: total(q, k, u))
    q, k, u = draw(8, 32, 1, 128), draw(8, 8, 8192, 128), draw(8, 8, 8192, 128)
    name = "decode attention 8x32(8)x8192x128"
    run(name, 20, lambda: attend(q, k, u, scale=scale))
    q, k, u = (draw(4, 16, 2048, 64, dtype=mx.float32) for _ in range(3))
    run("attention f32 4x16x2048x64", 5, lambda: attend(q, k, u, scale=0.125))
    run("attention f32 causal", 5, lambda: attend(q, k, u, scale=0.125, mask="causal"))


def networks():
    """Convolution, and one block of a transformer of width 2048 with 16 heads, 2 x 2048 rows."""
    x, w = draw(32, 56, 56, 128), draw(128, 3, 3, 128) / 34
    run("conv2d 3x3 32x56x56x128", 20, lambda: mx.conv2d(x, w, padding=1))
    both = mx.grad(lambda x, w: mx.conv2d(x, w, padding=1).sum(), argnums=(0, 1))
    run("conv2d with gradients", 10, lambda: both(x, w))
    width, heads = 2048, 16

    def block(x, w):
        y = mx.fast.rms_norm(x, w[4], 1e-5) @ w[0].T
        q, k, v = mx.unflatten(y, -1, (3, heads, -1)).transpose(2, 0, 3, 1, 4)
        scale = (width // heads) ** -0.5
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal")
        x = x + y.transpose(0, 2, 1, 3).flatten(-2) @ w[1].T
        y = nn.gelu_approx(mx.fast.rms_norm(x, w[5], 1e-5) @ w[2].T)
        return x + y @ w[3].T

    def rested(name, repeats, call):
        # A card that has multiplied matrices for a while is slower for a while.
        time.sleep(0.5)
        run(name, repeats, call)

    x = draw(2, 2048, width)
    shapes = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    weights = [draw(*s) * s[1] ** -0.5 for s in shapes] + [draw(width), draw(width)]
    mx.eval(x, weights)
    rested("transformer block", 10, lambda: block(x, weights))
    compiled = mx.compile(block)
    rested("transformer block compiled", 10, lambda: compiled(x, weights))

    def step(weights):
        loss = lambda w: block(x, w).astype(mx.float32).square().mean()  # noqa: E731
        return [w - 1e-3 * g for w, g in zip(weights, mx.grad(loss)(weights))]

    rested("train step", 5, lambda: step(weights))
    compiled_step = mx.compile(step)
    rested("train step compiled", 5, lambda: compiled_step(weights))


def overhead():
    one = mx.ones(32)

    def tiny(n):
        y = one
        for _ in range(n):
            y = y + one
        return y

    run("one tiny op", 1000, lambda: one + one)
    run("10,000 tiny ops", 3, lambda: tiny(10_000))
    begin = time.perf_counter()
    mx.eval(mx.compile(lambda x: mx.cos(mx.tanh(mx.sin(x * x + 2))) * x)(one))
    mx.synchronize()
    took = (time.perf_counter() - begin) * 1e3
    print(f"bench first call of a new function, compiled: {took:.4f} ms", flush=True)


if __name__ == "__main__":
    print(f"version mlx {mx.__version__}")
    for part in (elementwise_and_rows, vocabulary, products, attention, networks, overhead):
        part()
        mx.clear_cache()
