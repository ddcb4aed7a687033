"""Makes a model folder, as `mlx_lm.load` and Hugging Face's libraries read it, of a GGUF file.

`python -m lazulite.convert model.gguf folder` writes `config.json`, `model.safetensors`,
`tokenizer.json` and `tokenizer_config.json`. Quantised matrices stay as they are, and `config.json`
tells the bits and the size of groups of each matrix that has its own. Blocks of 32 become groups of
32, and so do those of Q4_K and Q5_K; Q2_K, Q3_K and Q6_K have groups of 16, which MLX itself does not
read.
"""

import json
from pathlib import Path

from .. import core as mx
from .architecture import ARCHITECTURES, Metadata, config, quantization, rename
from .tokenizer import tokenizer_config, tokenizer_json


def convert(gguf, folder, dtype=None):
    """Converts the file `gguf` into the folder `folder`, which is made where it is missing.

    Floating-point arrays (norms, scales, matrices that are not quantised) become `dtype`; None
    keeps what the file has. Returns the configuration.

    Raises ValueError for an architecture, a tensor or a tokenizer that has no counterpart.
    """
    arrays, metadata = mx.load(str(gguf), format="gguf", return_metadata=True, keep_quantized=True)
    metadata = Metadata(metadata)
    name = metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"convert: the architecture is {name!r}, expected one of: {known}")
    settings = config(metadata)
    weights = rename(arrays, settings, metadata)
    settings["tie_word_embeddings"] = "lm_head.weight" not in weights
    settings |= quantization(weights, settings)
    if dtype is not None:
        floats = (mx.float16, mx.bfloat16, mx.float32)
        weights = {k: w.astype(dtype) if w.dtype in floats else w for k, w in weights.items()}

    # Everything is made before the first file is written.
    pages = {
        "config.json": settings,
        "tokenizer.json": tokenizer_json(metadata),
        "tokenizer_config.json": tokenizer_config(metadata),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for page, contents in pages.items():
        text = json.dumps(contents, ensure_ascii=False, indent=2)
        (folder / page).write_text(text + "\n", encoding="utf-8")
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return settings
