"""Does a 4-bit product take the time of reading the packed weights, in both orientations?"""

from case import Case

K = N = 4096


def packed(p):
    # Bits, and a scale and a bias in float32 for each group.
    return p["k"] * p["n"] * (p["bits"] / 8 + 8 / p["group"])


def quantized(t, p):
    shape = (p["n"], p["k"]) if p["transpose"] else (p["k"], p["n"])
    product = t.quantize(t.input(2, shape), p["group"], p["bits"])
    return lambda x: product(x, p["transpose"]), [t.input(1, (p["m"], p["k"]))]


def dense(t, p):
    x, w = t.input(1, (p["m"], p["k"])), t.input(2, (p["n"], p["k"]))
    return lambda x, w: x @ t.transpose(w), [x, w]


CASES = [
    Case(
        "quantized_product",
        "quantized_matmul(x, *quantize(w, group, bits), transpose), x of (m, k) is input 1, w is "
        "input 2, (n, k) when transposed and (k, n) otherwise; scales and biases in float32",
        [
            {"m": m, "k": K, "n": N, "group": 64, "bits": 4, "transpose": transpose}
            for m in (1, 64)
            for transpose in (True, False)
        ]
        + [{"m": 4096, "k": 512, "n": 512, "group": 64, "bits": 4, "transpose": True}],
        quantized,
        bytes=packed,
        flops=lambda p: 2 * p["m"] * p["k"] * p["n"],
    ),
    Case(
        "dense_product",
        "x @ w.T in float32, x of (m, k) is input 1, w of (n, k) is input 2: what the 4-bit "
        "product is held against",
        [{"m": m, "k": K, "n": N} for m in (1, 64)],
        dense,
        bytes=lambda p: 4 * p["k"] * p["n"],
        flops=lambda p: 2 * p["m"] * p["k"] * p["n"],
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
