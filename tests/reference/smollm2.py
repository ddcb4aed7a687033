"""A plain NumPy reference of SmolLM2-135M-Instruct, and the maker of `smollm2_golden.json`.

Every weight is dequantised and every product runs in float64, so the logits are exact to about
1e-12 for the given file; an engine in float32 is held to 2e-3 on logits and to equal greedy tokens.

    python tests/reference/smollm2.py MODEL.gguf            rewrite the golden file
    python tests/reference/smollm2.py MODEL.gguf --check    compare with it, exit 1 on a difference

Architecture: Touvron et al. 2023 (LLaMA), section 2.2, with grouped heads (Ainslie et al. 2023).
Rotary embeddings (Su et al. 2021, equation 34): the converter of llama.cpp permutes the rows of q
and k so that the pair of a rotation is (2i, 2i + 1) and not (i, i + d/2); this file rotates the
interleaved pairs of the rows as stored.
"""

import argparse
import json
import sys
from pathlib import Path

import jinja2
import numpy as np
import regex
from gguf_file import GgufFile

GOLDEN = Path(__file__).with_name("smollm2_golden.json")
MAX_NEW = 24
TOP = 10
PROMPTS = [
    "What is the capital of France?",
    "Name three fruits.",
    "What is 12 + 30?",
    "Translate to French: good morning, José! It's 7:45\u2026",
]
# Each text exercises one rule of the tokenizer: digits stand alone, contractions, runs of blanks
# and their last blank, bytes beyond ASCII, special tokens inside text.
TOKENIZER_TEXTS = [
    "",
    "Hello, world!",
    " leading and trailing ",
    "in 2024 there were 365 days, x1y22",
    "I'm sure they'll say it's what we've done; don't SHOUT'S",
    "tabs\tand\n\nnewlines \n  indent    end   ",
    "naïve café 日本語 русский 😀 ½ ٤٢",
    "def f(x):\n    return x**2  # ok",
    "<|im_start|>user\nhi<|im_end|>\n",
]


class Tokenizer:
    """Byte-level byte-pair encoding from the metadata, with the `smollm` splitting rule: each digit
    is cut out first, and the GPT-2 pattern (Radford et al. 2019, section 2.2) splits what lies
    between."""

    _DIGIT = regex.compile(r"(\p{N})")
    _WORDS = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )

    def __init__(self, metadata):
        if (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
            raise ValueError(
                "this reference knows the gpt2 model with the smollm splitting rule only"
            )
        self._tokens = metadata["tokenizer.ggml.tokens"]
        self._ids = {token: i for i, token in enumerate(self._tokens)}
        self._ranks = {
            tuple(pair.split(" ")): i for i, pair in enumerate(metadata["tokenizer.ggml.merges"])
        }
        control = [
            t
            for t, kind in zip(self._tokens, metadata["tokenizer.ggml.token_type"])
            if kind in (3, 4)
        ]
        self._special = regex.compile(
            "(" + "|".join(map(regex.escape, sorted(control, key=len, reverse=True))) + ")"
        )
        self._control = set(control)
        # GPT-2 writes each byte as a printable character: itself where it prints, else the next
        # one from U+0100.
        shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
        hidden = [b for b in range(256) if b not in shown]
        self._letter = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
        self._byte = {c: b for b, c in self._letter.items()}

    def encode(self, text):
        """Token ids of `text`; control tokens written out in it become their own ids."""
        ids = []
        for piece in self._special.split(text):
            if piece in self._control:
                ids.append(self._ids[piece])
                continue
            for run in self._DIGIT.split(piece):
                for word in self._WORDS.findall(run):
                    letters = [self._letter[b] for b in word.encode("utf-8")]
                    ids.extend(self._ids[part] for part in self._merge(letters))
        return ids

    def decode(self, ids):
        """The text of `ids`; bytes that do not form UTF-8 become U+FFFD."""
        data = b"".join(
            t.encode("utf-8") if t in self._control else bytes(self._byte[c] for c in t)
            for t in (self._tokens[i] for i in ids)
        )
        return data.decode("utf-8", errors="replace")

    def _merge(self, parts):
        """Joins the pair of lowest rank, everywhere it occurs, until no pair has a rank."""
        while len(parts) > 1:
            best = min(
                zip(parts, parts[1:]), key=lambda pair: self._ranks.get(pair, len(self._ranks))
            )
            if best not in self._ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                joined = tuple(parts[i : i + 2]) == best
                merged.append(parts[i] + parts[i + 1] if joined else parts[i])
                i += 2 if joined else 1
            parts = merged
        return parts


class Model:
    """The network, with a cache of keys and values. Weights are (out, in), as stored."""

    def __init__(self, file, dtype=np.float64):
        meta = file.metadata
        if meta["general.architecture"] != "llama":
            raise ValueError("this reference knows the llama architecture only")
        self.layers = meta["llama.block_count"]
        self.heads = meta["llama.attention.head_count"]
        self.groups = meta["llama.attention.head_count_kv"]
        self.eps = meta["llama.attention.layer_norm_rms_epsilon"]
        self.rotated = meta["llama.rope.dimension_count"]
        self.base = meta["llama.rope.freq_base"]
        self.dtype = dtype
        self.weights = {name: file.tensor(name, dtype) for name in file.names()}

    def start(self):
        """An empty cache: one (keys, values) pair a layer, each (groups, positions, head size)."""
        return [None] * self.layers

    def logits(self, ids, cache):
        """Feeds `ids` after what `cache` holds and extends it; logits of the next token."""
        w = self.weights
        x = w["token_embd.weight"][np.asarray(ids)]
        for layer in range(self.layers):
            p = f"blk.{layer}."
            x = x + self._attention(self._norm(x, w[p + "attn_norm.weight"]), p, layer, cache)
            h = self._norm(x, w[p + "ffn_norm.weight"])
            gate = h @ w[p + "ffn_gate.weight"].T
            x = (
                x
                + (gate / (1 + np.exp(-gate)) * (h @ w[p + "ffn_up.weight"].T))
                @ w[p + "ffn_down.weight"].T
            )
        last = self._norm(x[-1], w["output_norm.weight"])
        # The head is tied to the embedding where the file holds no head of its own.
        return w.get("output.weight", w["token_embd.weight"]) @ last

    def _norm(self, x, weight):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * weight

    def _rotate(self, x, start):
        """Rotary embedding of x (heads, positions, head size), positions counted from `start`."""
        half = self.rotated // 2
        rate = self.base ** (-np.arange(half, dtype=np.float64) / half)
        angle = (np.arange(start, start + x.shape[1])[:, None] * rate).astype(self.dtype)
        cos, sin = np.cos(angle), np.sin(angle)
        even, odd = x[..., 0 : self.rotated : 2], x[..., 1 : self.rotated : 2]
        out = x.copy()
        out[..., 0 : self.rotated : 2] = even * cos - odd * sin
        out[..., 1 : self.rotated : 2] = even * sin + odd * cos
        return out

    def _attention(self, x, p, layer, cache):
        w, count = self.weights, len(x)
        q, k, v = (
            (x @ w[f"{p}attn_{name}.weight"].T).reshape(count, heads, -1).transpose(1, 0, 2)
            for name, heads in (("q", self.heads), ("k", self.groups), ("v", self.groups))
        )
        past = 0 if cache[layer] is None else cache[layer][0].shape[1]
        q, k = self._rotate(q, past), self._rotate(k, past)
        if past:
            k, v = (np.concatenate(pair, axis=1) for pair in zip(cache[layer], (k, v)))
        cache[layer] = (k, v)
        share = self.heads // self.groups
        k, v = np.repeat(k, share, axis=0), np.repeat(v, share, axis=0)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        future = np.arange(past + count)[None, :] > np.arange(past, past + count)[:, None]
        scores = np.where(future, -np.inf, scores)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out = scores / scores.sum(axis=-1, keepdims=True) @ v
        return out.transpose(1, 0, 2).reshape(count, -1) @ w[p + "attn_output.weight"].T


def chat(metadata, text):
    """The prompt of one user message, through the file's own chat template."""
    template = jinja2.Environment(keep_trailing_newline=True).from_string(
        metadata["tokenizer.chat_template"]
    )
    return template.render(messages=[{"role": "user", "content": text}], add_generation_prompt=True)


def greedy(model, ids, end, max_new=MAX_NEW):
    """Greedy continuation of `ids`: logits after the prompt, new ids without the end token, whether
    the end token came, and the smallest gap between the best and the second-best logit, which says
    how robust the choice is."""
    cache = model.start()
    first = logits = model.logits(ids, cache)
    new, margin = [], np.inf
    while True:
        second, best = np.sort(logits)[-2:]
        margin = min(margin, best - second)
        token = int(np.argmax(logits))
        if token == end:
            return first, new, True, margin
        new.append(token)
        if len(new) == max_new:
            return first, new, False, margin
        logits = model.logits([token], cache)


def golden(path):
    """The contents of the golden file for the model at `path`."""
    file = GgufFile(path)
    tokenizer, model = Tokenizer(file.metadata), Model(file)
    cases = []
    for prompt in PROMPTS:
        ids = tokenizer.encode(chat(file.metadata, prompt))
        logits, new, ended, margin = greedy(
            model, ids, file.metadata["tokenizer.ggml.eos_token_id"]
        )
        top = np.argsort(-logits, kind="stable")[:TOP]
        cases.append(
            {
                "prompt": prompt,
                "prompt_ids": ids,
                "new_ids": new,
                "ended": ended,
                "text": tokenizer.decode(new),
                "top_ids": top.tolist(),
                "top_logits": [round(float(v), 9) for v in logits[top]],
                "least_margin": round(float(margin), 6),
            }
        )
    return {
        "model": path.name,
        "max_new": MAX_NEW,
        "chat": {"message": PROMPTS[0], "rendered": chat(file.metadata, PROMPTS[0])},
        "tokenizer": [{"text": text, "ids": tokenizer.encode(text)} for text in TOKENIZER_TEXTS],
        "cases": cases,
    }


def close(a, b):
    """Equal, but for floats, which may differ by 1e-6: BLAS libraries add in different orders."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-6
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b


def main():
    parser = argparse.ArgumentParser(
        description="Reference run of SmolLM2-135M-Instruct in float64."
    )
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed golden file"
    )
    args = parser.parse_args()
    made = golden(args.model)
    if not args.check:
        GOLDEN.write_text(json.dumps(made, indent=1, ensure_ascii=True) + "\n")
        for case in made["cases"]:
            print(f"{case['prompt']!r} -> {case['text']!r} (least margin {case['least_margin']})")
    elif not close(made, json.loads(GOLDEN.read_text())):
        sys.exit(f"{GOLDEN}: differs from what the reference computes")
    else:
        print(
            f"{GOLDEN.name}: {len(made['cases'])} prompts and {len(made['tokenizer'])} texts agree"
        )


if __name__ == "__main__":
    main()
