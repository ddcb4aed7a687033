"""Do all spellings of a product with a vector take the time of reading the matrix once?"""

from case import Case

SPELLINGS = {
    "x@W.T": lambda t: lambda x, w: x @ t.transpose(w),
    "x@W": lambda t: lambda x, w: x @ w,
    "W@x": lambda t: lambda x, w: w @ x,
    "W.T@x": lambda t: lambda x, w: t.transpose(w) @ x,
}


def build(t, p):
    n = p["n"]
    return SPELLINGS[p["spelling"]](t), [t.input(1, (n,)), t.input(2, (n, n))]


CASES = [
    Case(
        "vector",
        "the spelling, x of (n,) is input 1, W of (n, n) is input 2",
        [{"spelling": spelling, "n": 4096} for spelling in SPELLINGS],
        build,
        bytes=lambda p: 4 * p["n"] ** 2,
        flops=lambda p: 2 * p["n"] ** 2,
    )
]

if __name__ == "__main__":
    from run import main

    main(CASES)
