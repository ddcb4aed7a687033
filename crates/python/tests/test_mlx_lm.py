"""`mlx-lm` from PyPI, unchanged, on this package: a tiny model with random weights generates."""

import importlib.util
import json
import subprocess
import sys

import lazulite.core as mx
import pytest

for package in ("mlx_lm", "transformers", "tokenizers"):
    pytest.importorskip(package, reason="mlx-lm and what it needs are not installed")

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 40,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": 0,
    "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder as mlx-lm reads it."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = tmp_path_factory.mktemp("llama")
    (path / "config.json").write_text(json.dumps(CONFIG))
    words = {"<eos>": 0, **{f"w{i}": i for i in range(1, CONFIG["vocab_size"])}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    mx.random.seed(11)
    d, ff, heads, kv = 64, 128, 64, 32
    shapes = {"model.embed_tokens.weight": (CONFIG["vocab_size"], d), "model.norm.weight": (d,)}
    for i in range(CONFIG["num_hidden_layers"]):
        layer = {
            "self_attn.q_proj": (heads, d), "self_attn.k_proj": (kv, d),
            "self_attn.v_proj": (kv, d), "self_attn.o_proj": (d, heads), "mlp.gate_proj": (ff, d),
            "mlp.up_proj": (ff, d), "mlp.down_proj": (d, ff), "input_layernorm": (d,),
            "post_attention_layernorm": (d,),
        }  # fmt: skip
        shapes |= {f"model.layers.{i}.{name}.weight": s for name, s in layer.items()}
    weights = {k: mx.random.normal(s) * (0.2 if len(s) > 1 else 1.0) for k, s in shapes.items()}
    mx.save_safetensors(str(path / "model.safetensors"), weights, {"format": "mlx"})
    return path


def generated(folder, *runner):
    command = [sys.executable, *runner, "mlx_lm.generate", "--model", str(folder)]
    command += ["--prompt", "w3 w5 w7", "--max-tokens", "12", "--temp", "0"]
    command += ["--ignore-chat-template"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    parts = done.stdout.split("==========")
    return parts[1].strip()


def test_generates(folder):
    text = generated(folder, "-m", "lazulite.mlx", "-m")
    assert text.startswith("w")
    if importlib.util.find_spec("mlx"):
        assert text == generated(folder, "-m")
