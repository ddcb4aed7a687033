"""What do building, planning and starting cost, where the arithmetic is nothing?"""

from case import Case


def tiny_ops(t, p):
    def f(x):
        for _ in range(p["ops"] // 2):
            x = x * 0.999 + 0.001
        return x

    return f, [t.input(1, (p["n"],))]


def new_function(t, p):
    """Each call makes a function of a structure that this process has not run before."""
    x = t.input(1, (p["n"],))
    count = -1

    def call():
        nonlocal count
        count += 1
        pattern = count

        def f(x):
            y = x
            for j in range(p["ops"]):
                y = t.sin(y) if pattern >> j & 1 else 0.5 * y + x
            return y

        return t.compiled(f)(x)

    return call, []


CASES = [
    Case(
        "tiny_ops",
        "ops / 2 times x = x * 0.999 + 0.001, from input 1 (n,): built and evaluated, op by op in "
        "a framework that would compile it",
        [{"ops": 10_000, "n": 16}],
        tiny_ops,
        jit=False,
    ),
    Case(
        "new_function",
        "y = x = input 1 (n,); for j below ops: y = sin(y) if bit j of c is 1, else "
        "y = 0.5 * y + x, where c is 0 at the first call (the one that is checked) and one more at "
        "each later call of the process: the cost of a structure not seen before, with a "
        "framework's compiler where it has one (JAX), eager otherwise",
        [{"ops": 24, "n": 1024}],
        new_function,
        jit=False,
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
