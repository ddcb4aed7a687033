"""Do Fourier transforms of any length take the time of a good FFT library?"""

from case import Case


def build(t, p):
    op, shape = p["op"], tuple(p["shape"])
    x = t.input(1, shape)
    return lambda x: t.fft(op, x), [x if op == "rfft" else t.complex(x, t.input(2, shape))]


CASES = [
    Case(
        "fft",
        "over the last axis, fft2 over the last two, of input 1 + i input 2 (of input 1 alone for "
        "rfft); the real parts are compared",
        [
            {"op": "fft", "shape": [1 << 20]},
            {"op": "fft", "shape": [1024, 1024]},
            {"op": "fft", "shape": [1024, 1000]},
            {"op": "fft", "shape": [64, 10007]},
            {"op": "rfft", "shape": [1024, 4096]},
            {"op": "fft2", "shape": [1024, 1024]},
        ],
        build,
    )
]

if __name__ == "__main__":
    from run import main

    main(CASES)
