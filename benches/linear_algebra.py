"""Do factorisations take the time of a good LAPACK?"""

from case import Case


def build(t, p):
    op, shape = p["op"], (*p["batch"], p["n"], p["n"])
    x = t.input(1, shape)
    if op in ("cholesky", "eigvalsh"):
        x = t.positive(x)
    if op == "solve":
        return lambda a, b: t.linalg(op, a, b), [t.positive(x), t.input(2, shape)]
    return lambda a: t.linalg(op, a), [x]


CASES = [
    Case(
        "linalg",
        "x is input 1 (*batch, n, n); positive(x) is x x^T / n + 1. inv: of x; solve: positive(x) "
        "with input 2 on the right; cholesky: the lower factor of positive(x); qr: the absolute "
        "values of R, Q is made as well; svd: the singular values, the vectors are made as well; "
        "eigvalsh: the eigenvalues of positive(x)",
        [{"op": op, "batch": [], "n": 512} for op in ("inv", "solve", "cholesky", "qr")]
        + [{"op": op, "batch": [], "n": 256} for op in ("svd", "eigvalsh")]
        + [{"op": op, "batch": [256], "n": 32} for op in ("inv", "solve", "cholesky", "qr")],
        build,
        tolerance={"float32": 2e-3},
    )
]

if __name__ == "__main__":
    from run import main

    main(CASES)
