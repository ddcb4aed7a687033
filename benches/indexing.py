"""Sorting, gathering rows and adding rows into an array."""

from case import Case


def sort(t, p):
    return lambda x: t.sort(x), [t.input(1, (p["n"],))]


def gather(t, p):
    table = t.input(1, (p["rows"], p["width"]))
    return lambda x, i: t.take(x, i), [table, t.integers(2, (p["count"],), p["rows"])]


def scatter(t, p):
    table, updates = t.input(1, (p["rows"], p["width"])), t.input(3, (p["count"], p["width"]))
    index = t.integers(2, (p["count"],), p["rows"])
    return lambda x, i, u: t.scatter_add(x, i, u), [table, index, updates]


ROWS = {"rows": 32768, "width": 512, "count": 8192}
CASES = [
    Case("sort", "sort of input 1 (n,)", [{"n": 1 << 20}], sort),
    Case(
        "gather_rows",
        "rows of input 1 (rows, width) at `count` indices: integers 2, modulo rows",
        [ROWS],
        gather,
        bytes=lambda p: 8 * p["count"] * p["width"],
    ),
    Case(
        "scatter_add",
        "input 1 (rows, width) plus input 3 (count, width), added at the rows that `count` "
        "indices name (integers 2, modulo rows; they repeat); the input is kept",
        [ROWS],
        scatter,
        bytes=lambda p: 8 * p["rows"] * p["width"] + 12 * p["count"] * p["width"],
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
