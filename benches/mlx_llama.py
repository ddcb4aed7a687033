"""SmolLM2 in plain MLX, as its users would write it: quantised products from the GGUF that MLX
itself reads, `fast` norms, rotary embedding and attention, a growing cache."""

import json
from pathlib import Path

import mlx.core as mx

GOLDEN = Path(__file__).parents[1] / "tests" / "reference" / "smollm2_golden.json"
GROUP = 32


class Llama:
    def __init__(self, path):
        # float32 scales: with those of the file, float16, MLX would convert them at each product.
        weights, meta = mx.load(path, return_metadata=True)
        as_float = {
            k: v if v.dtype == mx.uint32 else v.astype(mx.float32) for k, v in weights.items()
        }
        self.weights = as_float
        self.layers, self.heads, self.groups, self.rotated = (
            int(meta["llama." + key].item())
            for key in (
                "block_count",
                "attention.head_count",
                "attention.head_count_kv",
                "rope.dimension_count",
            )
        )
        self.base = meta["llama.rope.freq_base"].item()
        self.eps = meta["llama.attention.layer_norm_rms_epsilon"].item()
        mx.eval(list(self.weights.values()))

    def golden_prompt(self):
        return mx.array(json.loads(GOLDEN.read_text())["cases"][0]["prompt_ids"])

    def prompt(self, ids):
        """Logits of the next token and the cache, after `ids` from the start."""
        logits, cache = self._forward(ids, [None] * self.layers)
        mx.eval(logits, cache)
        return logits, cache

    def decode(self, logits, cache, count):
        """The next `count` greedy tokens."""
        new = []
        for _ in range(count):
            token = mx.argmax(logits).reshape(1)
            new.append(token)
            logits, cache = self._forward(token, cache)
            mx.eval(logits, cache)
        return mx.concatenate(new)

    def _product(self, x, name):
        w, scales, biases = (
            self.weights[f"{name}.{part}"] for part in ("weight", "scales", "biases")
        )
        bits = w.shape[-1] * 32 // x.shape[-1]
        return mx.quantized_matmul(x, w, scales, biases, group_size=GROUP, bits=bits)

    def _norm(self, x, name):
        return mx.fast.rms_norm(x, self.weights[name + ".weight"], self.eps)

    def _forward(self, ids, cache):
        parts = [self.weights["token_embd." + part][ids] for part in ("weight", "scales", "biases")]
        x = mx.dequantize(*parts, group_size=GROUP, bits=8)
        after = []
        for layer in range(self.layers):
            p = f"blk.{layer}."
            h, kept = self._attention(self._norm(x, p + "attn_norm"), p, cache[layer])
            after.append(kept)
            x = x + h
            h = self._norm(x, p + "ffn_norm")
            gate, up = self._product(h, p + "ffn_gate"), self._product(h, p + "ffn_up")
            x = x + self._product(gate * mx.sigmoid(gate) * up, p + "ffn_down")
        last = self._norm(x[-1:], "output_norm")
        return self._product(last, "token_embd")[0], after

    def _attention(self, x, p, kept):
        count = x.shape[0]
        q, k, v = (
            self._product(x, p + name).reshape(1, count, heads, -1).transpose(0, 2, 1, 3)
            for name, heads in (
                ("attn_q", self.heads),
                ("attn_k", self.groups),
                ("attn_v", self.groups),
            )
        )
        past = 0 if kept is None else kept[0].shape[2]
        q, k = (
            mx.fast.rope(y, self.rotated, traditional=True, base=self.base, scale=1.0, offset=past)
            for y in (q, k)
        )
        if past:
            k, v = (mx.concatenate(pair, axis=2) for pair in zip(kept, (k, v)))
        mask = "causal" if count > 1 else None
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask=mask)
        out = out.transpose(0, 2, 1, 3).reshape(count, -1)
        return self._product(out, p + "attn_output"), (k, v)
