"""The logits of small made-up Llama, Qwen 2, Qwen 3 and Mistral models in NumPy in float64, with no
code of the engine; the test writes folders with the same weights.

python tests/reference/tiny_llama.py crates/cli/tests/data/tiny_llama.json

A weight's elements are `fill` with the place of its name among all names in order. Architecture:
Touvron et al. 2023, section 2.2; pairs that are turned are (i, i + d/2), as in folders of weights.
"""

import json
import math
import sys

import numpy as np

BASE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "max_position_embeddings": 128,
    "vocab_size": 40,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "llama": {**BASE, "model_type": "llama", "rope_scaling": LLAMA3},
    "mistral": {**BASE, "model_type": "mistral", "head_dim": 32, "sliding_window": 64},
    "qwen2": {**BASE, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {**BASE, "model_type": "qwen3", "head_dim": 32},
}
IDS = [3, 17, 39, 0, 8, 25, 31]


def fill(shape, seed):
    i = np.arange(math.prod(shape))
    return (((i * 37 + 11 * seed + 5) % 101) / 50 - 1).astype(np.float32).reshape(shape)


def shapes(c):
    """The shapes of all tensors by name."""
    width, hidden = c["hidden_size"], c["intermediate_size"]
    head = c.get("head_dim", width // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    out = {"model.embed_tokens.weight": (c["vocab_size"], width), "model.norm.weight": (width,)}
    if not c.get("tie_word_embeddings"):
        out["lm_head.weight"] = (c["vocab_size"], width)
    for i in range(c["num_hidden_layers"]):
        part = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
        part |= {"self_attn.q_proj.weight": (q, width), "self_attn.k_proj.weight": (kv, width)}
        part |= {"self_attn.v_proj.weight": (kv, width), "self_attn.o_proj.weight": (width, q)}
        part |= {"mlp.gate_proj.weight": (hidden, width), "mlp.up_proj.weight": (hidden, width)}
        part |= {"mlp.down_proj.weight": (width, hidden)}
        if c["model_type"] == "qwen2":
            part |= {f"self_attn.{n}_proj.bias": (s,) for n, s in (("q", q), ("k", kv), ("v", kv))}
        if c["model_type"] == "qwen3":
            part |= {f"self_attn.{n}_norm.weight": (head,) for n in "qk"}
        out |= {f"model.layers.{i}.{name}": shape for name, shape in part.items()}
    return out


def weights(c):
    """Norms are around 1, matrices have about unit gain."""
    table = {}
    for seed, (name, shape) in enumerate(sorted(shapes(c).items())):
        x = fill(shape, seed)
        if name.endswith("norm.weight"):
            x = np.float32(1) + np.float32(0.25) * x
        elif len(shape) == 2:
            x = x * np.float32(0.125)
        table[name] = x
    return {name: x.astype(np.float64) for name, x in table.items()}


def frequencies(c, head):
    freq = c["rope_theta"] ** (-2.0 * np.arange(head // 2) / head)
    s = c.get("rope_scaling")
    if s is None:
        return freq
    wave = 2 * np.pi / freq
    low = s["original_max_position_embeddings"] / s["low_freq_factor"]
    high = s["original_max_position_embeddings"] / s["high_freq_factor"]
    smooth = s["original_max_position_embeddings"] / wave - s["low_freq_factor"]
    smooth = smooth / (s["high_freq_factor"] - s["low_freq_factor"])
    between = (1 - smooth) * freq / s["factor"] + smooth * freq
    return np.where(wave < high, freq, np.where(wave > low, freq / s["factor"], between))


def logits(c, ids):
    w = weights(c)
    heads, groups = c["num_attention_heads"], c["num_key_value_heads"]
    head = c.get("head_dim", c["hidden_size"] // heads)
    norm = lambda x, g: x / np.sqrt((x**2).mean(-1, keepdims=True) + c["rms_norm_eps"]) * g  # noqa: E731
    angles = np.arange(len(ids))[:, None] * frequencies(c, head)
    cos, sin = np.cos(angles), np.sin(angles)

    def turn(x):
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    x = w["model.embed_tokens.weight"][ids]
    hidden = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        y = norm(x, w[p + "input_layernorm.weight"])

        def project(name, count, p=p, y=y):
            out = y @ w[f"{p}self_attn.{name}_proj.weight"].T
            out = out + w.get(f"{p}self_attn.{name}_proj.bias", 0)
            return out.reshape(len(ids), count, head).swapaxes(0, 1)

        q, k, v = project("q", heads), project("k", groups), project("v", groups)
        if c["model_type"] == "qwen3":
            q, k = (
                norm(q, w[p + "self_attn.q_norm.weight"]),
                norm(k, w[p + "self_attn.k_norm.weight"]),
            )
        q, k = turn(q), np.repeat(turn(k), heads // groups, 0)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(head) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        out = (scores @ np.repeat(v, heads // groups, 0)).swapaxes(0, 1).reshape(len(ids), -1)
        x = x + out @ w[p + "self_attn.o_proj.weight"].T
        y = norm(x, w[p + "post_attention_layernorm.weight"])
        gate = y @ w[p + "mlp.gate_proj.weight"].T
        up = y @ w[p + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "mlp.down_proj.weight"].T
    head_name = "lm_head" if "lm_head.weight" in w else "model.embed_tokens"
    return norm(x, w["model.norm.weight"])[-1] @ w[f"{head_name}.weight"].T


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    out = {"ids": IDS, "models": {}}
    for name, c in CONFIGS.items():
        values = [round(float(v), 6) for v in logits(c, IDS)]
        out["models"][name] = {"config": c, "shapes": shapes(c), "logits": values}
    with open(sys.argv[1], "w") as file:
        json.dump(out, file)
        file.write("\n")


if __name__ == "__main__":
    main()
