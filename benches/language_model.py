"""How fast does a small 4-bit language model read a prompt and answer?"""

from case import Case

MODEL = ".cache/SmolLM2-135M-Instruct.Q4_1.gguf"
CHECKED = 8


def prompt(t, p):
    model = t.language_model(p["model"])
    ids = t.integers(1, (p["tokens"],), 49152)
    return lambda: model.prompt(ids)[0], []


def decode(t, p):
    model = t.language_model(p["model"])
    logits, cache = model.prompt(model.golden_prompt())
    return lambda: model.decode(logits, cache, p["tokens"])[:CHECKED], []


CASES = [
    Case(
        "prompt",
        "the model at the path reads `tokens` ids (integers 1, modulo 49152) into an empty cache; "
        "result: the logits of the next token (vocabulary,)",
        [{"model": MODEL, "tokens": 256}],
        prompt,
        per=lambda p: p["tokens"],
        jit=False,
        tolerance={"float32": 2e-3},
    ),
    Case(
        "decode",
        "after the first prompt of tests/reference/smollm2_golden.json, read but not timed, "
        "`tokens` greedy tokens, going on past the end token; result: the first 8 of their ids",
        [{"model": MODEL, "tokens": 32}],
        decode,
        per=lambda p: p["tokens"],
        jit=False,
    ),
]

if __name__ == "__main__":
    from run import main

    main(CASES)
