"""Do convolutions and their gradients run at the speed of products?"""

from case import Case


def shapes(p):
    x = (p["batch"], p["size"], p["size"], p["in"])
    return x, (p["out"], p["kernel"], p["kernel"], p["in"])


def forward(t, p):
    x, w = shapes(p)
    return t.conv2d, [t.input(1, x), t.input(2, w)]


def gradients(t, p):
    x, w = shapes(p)
    inputs = [t.input(1, x), t.input(2, w), t.input(3, (*x[:3], p["out"]))]

    def both(x, w, cotangent):
        return t.flat(t.vjp(t.conv2d, (x, w), cotangent))

    return both, inputs


def flops(p):
    return 2 * p["batch"] * p["size"] ** 2 * p["out"] * p["in"] * p["kernel"] ** 2


SHAPES = [
    {"batch": 8, "size": 56, "in": 64, "out": 64, "kernel": 3},
    {"batch": 8, "size": 28, "in": 128, "out": 128, "kernel": 3},
    {"batch": 8, "size": 28, "in": 128, "out": 128, "kernel": 1},
]
CASES = [
    Case(
        "conv2d",
        "images (batch, size, size, in), input 1, with kernels (out, kernel, kernel, in), input 2; "
        "stride 1, zeros around so that sizes stay; channels last in every framework",
        SHAPES,
        forward,
        flops=flops,
    ),
    Case(
        "conv2d_gradients",
        "the gradients of `conv2d` for images and kernels, one after the other in one vector; the "
        "cotangent is input 3",
        SHAPES[:2],
        gradients,
        flops=lambda p: 2 * flops(p),
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
