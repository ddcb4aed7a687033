"""Are products of matrices level with the best BLAS, in single and in half precision?"""

from case import Case

SIZE = {"float32": 4, "float16": 2, "bfloat16": 2}


def build(t, p):
    n, dtype = p["n"], p["dtype"]
    return lambda a, b: a @ b, [t.input(1, (n, n), dtype), t.input(2, (n, n), dtype)]


CASES = [
    Case(
        "square",
        "a @ b, both (n, n); a is input 1, b is input 2",
        [{"n": n, "dtype": "float32"} for n in (512, 1024, 2048)],
        build,
        threads="both",
        flops=lambda p: 2 * p["n"] ** 3,
    ),
    Case(
        "half_square",
        "a @ b, both (n, n) in a half type; a is input 1, b is input 2",
        [{"n": 1024, "dtype": dtype} for dtype in ("float16", "bfloat16")],
        build,
        flops=lambda p: 2 * p["n"] ** 3,
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
