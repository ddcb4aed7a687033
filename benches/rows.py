"""Do softmax and the norms cost one pass over memory, and are half types no slower than float32?"""

from case import Case

ROWS, WIDTH, EPS = 1024, 4096, 1e-5
SIZE = {"float32": 4, "float16": 2, "bfloat16": 2}


def build(t, p):
    x = t.input(1, (p["rows"], p["width"]), p["dtype"])
    weight, bias = (t.input(seed, (p["width"],), p["dtype"]) for seed in (2, 3))
    return {
        "softmax": (lambda x: t.softmax(x), [x]),
        "layer_norm": (lambda x, w, b: t.layer_norm(x, w, b, EPS), [x, weight, bias]),
        "rms_norm": (lambda x, w: t.rms_norm(x, w, EPS), [x, weight]),
    }[p["op"]]


CASES = [
    Case(
        "rows",
        "the op over the last axis of input 1 (rows, width); weight is input 2, bias is input 3, "
        "both (width,); epsilon 1e-5; sums in float32",
        [
            {"op": op, "rows": ROWS, "width": WIDTH, "dtype": dtype}
            for op in ("softmax", "layer_norm", "rms_norm")
            for dtype in SIZE
        ],
        build,
        bytes=lambda p: 2 * SIZE[p["dtype"]] * p["rows"] * p["width"],
    )
]

if __name__ == "__main__":
    from run import main

    main(CASES)
