"""Do reductions and scans read memory once, along every axis?"""

from case import Case

AXIS = {"rows": -1, "columns": 0, "all": None}


def total(t, p):
    return lambda x: t.sum(x, AXIS[p["over"]]), [t.input(1, (p["n"], p["n"]))]


def argmax(t, p):
    return lambda x: t.argmax(x, -1), [t.input(1, (p["n"], p["n"]))]


def cumsum(t, p):
    return lambda x: t.cumsum(x, -1), [t.input(1, tuple(p["shape"]))]


CASES = [
    Case(
        "sum",
        "sum of input 1 (n, n): over rows (last axis), columns (first axis) or all",
        [{"over": over, "n": 4096} for over in AXIS],
        total,
        bytes=lambda p: 4 * p["n"] ** 2,
        tolerance={"float32": 2e-3},
    ),
    Case(
        "argmax",
        "argmax over the last axis of input 1 (n, n)",
        [{"n": 4096}],
        argmax,
        bytes=lambda p: 4 * p["n"] ** 2,
    ),
    Case(
        "cumsum",
        "cumulative sum along the last axis of input 1",
        [{"shape": [1024, 4096]}, {"shape": [1 << 22]}],
        cumsum,
        bytes=lambda p: 8 << 22,
        tolerance={"float32": 2e-3},
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
