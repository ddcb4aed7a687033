"""From GGUF's metadata and tensor names to `config.json` and the names of the safetensors file."""

import re
from dataclasses import dataclass

from .. import core as mx


class Metadata:
    """The metadata of a GGUF file as Python values."""

    def __init__(self, values):
        self._values = values

    def get(self, key, default=None):
        """The value of a key; numbers and lists of numbers as Python's own."""
        value = self._values.get(key, default)
        return value.tolist() if isinstance(value, mx.array) else value

    def need(self, key):
        """The value of a key that must be there."""
        value = self.get(key)
        if value is None:
            raise ValueError(f"convert: the metadata lack {key!r}")
        return value


@dataclass(frozen=True)
class Architecture:
    """How a network of this name in GGUF is called elsewhere."""

    #: `model_type` and the class in `config.json`.
    model_type: str
    class_name: str
    #: True iff the rows of queries and keys are in the order of pairs that are turned together,
    #: (0, h/2, 1, h/2 + 1, ...), and have to go back to that of the halves.
    paired: bool


#: By `general.architecture`.
ARCHITECTURES = {
    "llama": Architecture("llama", "LlamaForCausalLM", paired=True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", paired=False),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", paired=False),
}

#: Names of tensors, without the suffixes `.weight`, `.scales`, `.biases` and `.bias`.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
NAMES_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
BLOCK = re.compile(r"blk\.(\d+)\.(.+)")


def config(metadata):
    """The contents of `config.json`, without what depends on the tensors."""
    name = metadata.need("general.architecture")
    architecture = ARCHITECTURES[name]

    def number(key, default=None):
        value = metadata.get(f"{name}.{key}", default)
        return metadata.need(f"{name}.{key}") if value is None else value

    width, heads = number("embedding_length"), number("attention.head_count")
    scaling = metadata.get(f"{name}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise ValueError(f"convert: rotary embeddings scaled by {scaling!r} are not supported")
    tokens = len(metadata.need("tokenizer.ggml.tokens"))
    settings = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "hidden_size": width,
        "num_hidden_layers": number("block_count"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": number("attention.key_length", width // heads),
        # The file has single precision, in which 1e-5 is 9.999999747e-6.
        "rms_norm_eps": float(f"{number('attention.layer_norm_rms_epsilon'):.7g}"),
        "rope_theta": float(f"{number('rope.freq_base', 10000.0):.7g}"),
        "max_position_embeddings": number("context_length", 2048),
        "vocab_size": number("vocab_size", tokens),
        "hidden_act": "silu",
    }
    if scaling == "linear":
        factor = number("rope.scaling.factor")
        settings["rope_scaling"] = {"rope_type": "linear", "factor": factor}
    for key, ids in special_ids(metadata).items():
        settings[key] = ids
    return settings


def special_ids(metadata):
    """The ids of the tokens that begin, end and pad a text; several may end one."""

    def token(key):
        return metadata.get(f"tokenizer.ggml.{key}_token_id")

    ends = [token(key) for key in ("eos", "eot", "eom")]
    ends = list(dict.fromkeys(end for end in ends if end is not None))
    ids = {"bos_token_id": token("bos"), "pad_token_id": token("padding")}
    ids["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    return {key: value for key, value in ids.items() if value is not None}


def rename(arrays, settings, metadata):
    """The tensors under their names in the safetensors file, rows in its order."""
    paired = ARCHITECTURES[metadata.need("general.architecture")].paired
    weights = {}
    for name, array in arrays.items():
        stem, _, suffix = name.rpartition(".")
        block = BLOCK.fullmatch(stem)
        if block and block[2] in NAMES_IN_BLOCK:
            new = f"model.layers.{block[1]}.{NAMES_IN_BLOCK[block[2]]}"
        elif stem in NAMES:
            new = NAMES[stem]
        else:
            raise ValueError(f"convert: the tensor {name!r} has no counterpart")
        if paired and block and block[2] in ("attn_q", "attn_k"):
            array = halves(array, settings["head_dim"])
        weights[f"{new}.{suffix}"] = array
    biased = any(name.endswith("q_proj.bias") for name in weights)
    if biased and settings["model_type"] == "llama":
        settings["attention_bias"] = True
    return weights


def halves(array, head):
    """Rows of heads from the order of pairs, (0, h/2, 1, h/2 + 1, ...), to (0, 1, ..., h - 1)."""
    paired = array.reshape(-1, head // 2, 2, *array.shape[1:])
    return paired.swapaxes(1, 2).reshape(array.shape)


def quantization(weights, settings):
    """What `config.json` says of quantised matrices: the format of most, and of each exception."""
    heads = settings["num_attention_heads"] * settings["head_dim"]
    columns = {"o_proj": heads, "down_proj": settings["intermediate_size"]}
    formats = {}
    for name in weights:
        stem = name.removesuffix(".scales")
        if stem != name:
            k = columns.get(stem.rpartition(".")[2], settings["hidden_size"])
            words, groups = weights[f"{stem}.weight"].shape[-1], weights[name].shape[-1]
            formats[stem] = {"group_size": k // groups, "bits": 32 * words // k}
    if not formats:
        return {}
    found = list(formats.values())
    usual = max(found, key=lambda f: (found.count(f), -f["bits"]))
    own = {stem: f for stem, f in formats.items() if f != usual}
    return {"quantization": {**usual, "mode": "affine", **own}}
