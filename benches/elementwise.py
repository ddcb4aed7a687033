"""Does a chain of elementwise ops cost one pass over memory, without being asked to compile?"""

from case import Case

MIDDLE, LARGE = 1 << 22, 1 << 24


def copy(t, p):
    x = t.input(1, (p["n"],))
    return lambda out, x: t.copy_into(out, x), [t.empty_like(x), x]


def negate(t, p):
    return lambda x: -x, [t.input(1, (p["n"],))]


def gelu(t, p):
    def f(x):
        return 0.5 * x * (1 + t.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))

    return f, [t.input(1, (p["n"],), p["dtype"])]


CASES = [
    Case(
        "copy",
        "memcpy of input 1 (n,) into memory that is there already, all threads: the machine's "
        "bandwidth; the column `x copy` takes the size nearest to a case's",
        [{"n": MIDDLE}, {"n": LARGE}],
        copy,
        bytes=lambda p: 8 * p["n"],
        jit=False,
    ),
    Case(
        "negate",
        "-x of input 1 (n,), into new memory",
        [{"n": LARGE}],
        negate,
        bytes=lambda p: 8 * p["n"],
    ),
    Case(
        "gelu",
        "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) of input 1 (n,), "
        "as these separate ops",
        [{"n": LARGE, "dtype": "float32"}],
        gelu,
        bytes=lambda p: 8 * p["n"],
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
