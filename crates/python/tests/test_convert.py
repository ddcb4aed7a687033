"""The converter on small files of each architecture and kind of tokenizer."""

import json

import lazulite.core as mx
import pytest
from lazulite.convert import convert

TEXTS = ["<s>", "</s>", "a", "b", "ab", "\u2581", "\u2581a", "c"]
WIDTH, HEADS, KV, HEAD, HIDDEN = 32, 4, 2, 8, 64


def matrix(rows, columns, bits):
    """A quantised matrix as GGUF files give it, or one in float32 if `bits` is None."""
    w = mx.random.normal((rows, columns))
    if bits is None:
        return {"weight": w}
    packed, scales, biases = mx.quantize(w, group_size=32, bits=bits)
    return {"weight": packed, "scales": scales, "biases": biases}


def contents(name, bits, **metadata):
    """Arrays and metadata of a model of one block."""
    arrays = {
        "token_embd": {"weight": mx.random.normal((len(TEXTS), WIDTH))},
        "output_norm": {"weight": mx.ones(WIDTH)},
        "blk.0.attn_norm": {"weight": mx.ones(WIDTH)},
        "blk.0.ffn_norm": {"weight": mx.ones(WIDTH)},
        "blk.0.attn_q": matrix(HEADS * HEAD, WIDTH, bits),
        "blk.0.attn_k": matrix(KV * HEAD, WIDTH, bits),
        "blk.0.attn_v": matrix(KV * HEAD, WIDTH, bits),
        "blk.0.attn_output": matrix(WIDTH, HEADS * HEAD, bits),
        "blk.0.ffn_gate": matrix(HIDDEN, WIDTH, bits),
        "blk.0.ffn_up": matrix(HIDDEN, WIDTH, bits),
        "blk.0.ffn_down": matrix(WIDTH, HIDDEN, bits and 8),
    }
    if name == "qwen2":
        for part, rows in (("q", HEADS * HEAD), ("k", KV * HEAD), ("v", KV * HEAD)):
            arrays[f"blk.0.attn_{part}"]["bias"] = mx.zeros(rows)
    if name == "qwen3":
        arrays["blk.0.attn_q_norm"] = {"weight": mx.ones(HEAD)}
        arrays["blk.0.attn_k_norm"] = {"weight": mx.ones(HEAD)}
        arrays["output"] = matrix(len(TEXTS), WIDTH, None)
    facts = {
        "general.architecture": name,
        f"{name}.block_count": mx.array(1, mx.uint32),
        f"{name}.embedding_length": mx.array(WIDTH, mx.uint32),
        f"{name}.feed_forward_length": mx.array(HIDDEN, mx.uint32),
        f"{name}.attention.head_count": mx.array(HEADS, mx.uint32),
        f"{name}.attention.head_count_kv": mx.array(KV, mx.uint32),
        f"{name}.attention.layer_norm_rms_epsilon": mx.array(1e-5, mx.float32),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": TEXTS,
        "tokenizer.ggml.scores": mx.array([0, 0, -5, -6, -1, -7, -2, -8], mx.float32),
        "tokenizer.ggml.token_type": mx.array([3, 3, 1, 1, 1, 1, 1, 1], mx.int32),
        "tokenizer.ggml.bos_token_id": mx.array(0, mx.uint32),
        "tokenizer.ggml.eos_token_id": mx.array(1, mx.uint32),
    } | metadata
    return {f"{s}.{k}": a for s, parts in arrays.items() for k, a in parts.items()}, facts


@pytest.fixture
def save(monkeypatch, tmp_path):
    """Converts arrays and metadata as if a GGUF file had them: its quantised blocks cannot be
    written."""

    def converted(arrays, metadata):
        monkeypatch.setattr(mx, "load", lambda *_, **__: (arrays, metadata))
        settings = convert("model.gguf", tmp_path)
        monkeypatch.undo()
        return settings, mx.load(str(tmp_path / "model.safetensors"))

    return converted


def test_reads_a_file(tmp_path):
    arrays, metadata = contents("llama", None)
    mx.save_gguf(str(tmp_path / "a.gguf"), arrays, metadata)
    settings = convert(tmp_path / "a.gguf", tmp_path / "out", mx.float16)
    assert settings["num_key_value_heads"] == KV and settings["rms_norm_eps"] == 1e-5
    assert json.loads((tmp_path / "out/config.json").read_text()) == settings
    weights = mx.load(str(tmp_path / "out/model.safetensors"))
    assert {w.dtype for w in weights.values()} == {mx.float16}


@pytest.mark.parametrize("name, tied", [("llama", True), ("qwen2", True), ("qwen3", False)])
def test_bits_names_and_ties(save, name, tied):
    settings, weights = save(*contents(name, 4))
    down = {"group_size": 32, "bits": 8}
    own = {"model.layers.0.mlp.down_proj": down}
    assert settings["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine", **own}
    assert settings["tie_word_embeddings"] == tied and ("lm_head.weight" in weights) != tied
    assert weights["model.layers.0.mlp.down_proj.weight"].shape == (WIDTH, HIDDEN // 4)


def test_groups_of_their_own(save):
    """The types of two levels have groups of 16 or 32, told by the matrix's columns."""
    arrays, metadata = contents("llama", 4)
    w = mx.random.normal((WIDTH, HIDDEN))
    parts = dict(zip(("weight", "scales", "biases"), mx.quantize(w, 16, 6), strict=True))
    arrays |= {f"blk.0.ffn_down.{part}": array for part, array in parts.items()}
    settings, weights = save(arrays, metadata)
    own = {"model.layers.0.mlp.down_proj": {"group_size": 16, "bits": 6}}
    assert settings["quantization"] == {"group_size": 32, "bits": 4, "mode": "affine", **own}
    assert weights["model.layers.0.mlp.down_proj.scales"].shape == (WIDTH, HIDDEN // 16)


def test_rows_of_heads_go_back_to_halves(save):
    arrays, metadata = contents("llama", None)
    # Row i of a head holds what was row `order[i]` before the pairs were put together.
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    heads = [h * HEAD + i for h in range(HEADS) for i in order]
    arrays["blk.0.attn_q.weight"] = mx.array(heads)[:, None] * mx.ones((1, WIDTH))
    _, weights = save(arrays, metadata)
    q = weights["model.layers.0.self_attn.q_proj.weight"]
    assert q[:, 0].tolist() == list(range(HEADS * HEAD))


def test_tokens_by_score(save, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    save(*contents("llama", None))
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    # "▁ab": the pair with the better score, "ab", is joined first.
    assert tokenizer.encode("ab", add_special_tokens=False).tokens == ["\u2581", "ab"]
    assert tokenizer.encode("ac").tokens == ["<s>", "\u2581a", "c"]
    assert tokenizer.decode(tokenizer.encode("a c").ids) == "a c"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"general.architecture": "mamba"}, "'mamba'"),
        ({"llama.rope.scaling.type": "yarn"}, "'yarn'"),
        ({"tokenizer.ggml.model": "rwkv"}, "'rwkv'"),
        ({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "new"}, "'new'"),
        ({"llama.block_count": None}, "'llama.block_count'"),
    ],
)
def test_refusals_name_what_is_not_known(save, tmp_path, change, message):
    arrays, metadata = contents("llama", None)
    metadata = {k: v for k, v in (metadata | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        save(arrays, metadata)
    assert not list(tmp_path.iterdir())


def test_tensors_without_a_counterpart_are_refused(save):
    arrays, metadata = contents("llama", None)
    with pytest.raises(ValueError, match="'rope_freqs.weight'"):
        save(arrays | {"rope_freqs.weight": mx.ones(4)}, metadata)
