"""Does einsum find the order and the product; do a mixture's experts cost what one matrix costs?"""

from case import Case


def einsum(t, p):
    inputs = [t.input(i + 1, tuple(shape)) for i, shape in enumerate(p["shapes"])]
    return lambda *xs: t.einsum(p["spec"], *xs), inputs


def grouped(t, p):
    tokens, experts, k, n = p["tokens"], p["experts"], p["k"], p["n"]
    product = t.quantize_experts(t.input(2, (experts, n, k)), p["group"], p["bits"])
    x = t.input(1, (tokens, 1, k))
    return product, [x, t.integers(3, (tokens,), experts)]


CASES = [
    Case(
        "einsum",
        "einsum of `spec`, operand number s is input s",
        [
            {"spec": "ij,jk,kl->il", "shapes": [[1024, 64], [64, 1024], [1024, 64]]},
            {"spec": "bqhd,bkhd->bhqk", "shapes": [[4, 256, 16, 64], [4, 256, 16, 64]]},
            {"spec": "bij,kj,bk->bi", "shapes": [[32, 256, 256], [256, 256], [32, 256]]},
        ],
        einsum,
    ),
    Case(
        "grouped_product",
        "x (tokens, 1, k), input 1, each token with the matrix (n, k) of an expert, input 2 "
        "quantised as in `quantized_product`, picked by integers 3 modulo experts, in no order; to "
        "be held against `quantized_product` of as many rows",
        [{"tokens": 4096, "experts": 64, "k": 512, "n": 512, "group": 64, "bits": 4}],
        grouped,
        flops=lambda p: 2 * p["tokens"] * p["k"] * p["n"],
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
