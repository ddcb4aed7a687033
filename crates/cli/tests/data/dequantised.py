"""Reads a GGUF file of SmolLM2 with the `gguf` package; the NumPy reference answers a prompt.

    python dequantised.py FILE FOLDER PROMPT COUNT

FOLDER has the elements of some tensors of FILE as float32, in files of the tensors' names: fails
where one differs, but for the sign of zeros. Then `tests/reference/smollm2.py` runs on what the
package reads, in float64: the logits after the prompt are written to FOLDER/logits. Prints the
number of compared tensors, the ids of the prompt and those of the likeliest COUNT tokens, as JSON.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "tests/reference"))
import smollm2  # noqa: E402
from gguf_file import GgufFile  # noqa: E402


class Dequantised(GgufFile):
    """The file with its tensors as the package reads them."""

    def __init__(self, path):
        super().__init__(path)
        self._read = {t.name: t for t in gguf.GGUFReader(path).tensors}

    def tensor(self, name, dtype=np.float32):
        tensor = self._read[name]
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        return np.asarray(values, dtype).reshape([int(n) for n in tensor.shape][::-1])


def main(path, folder, prompt, count):
    file = Dequantised(path)
    paths = list(Path(folder).iterdir())
    for stored in paths:
        got = np.fromfile(stored, "<f4")
        differ = np.sum(got != file.tensor(stored.name).ravel())
        if differ:
            sys.exit(f"{stored.name}: {differ} elements differ")
    ids = smollm2.Tokenizer(file.metadata).encode(smollm2.chat(file.metadata, prompt))
    end = file.metadata["tokenizer.ggml.eos_token_id"]
    logits, new, _, margin = smollm2.greedy(smollm2.Model(file), ids, end, int(count))
    logits.astype("<f8").tofile(Path(folder) / "logits")
    print(json.dumps({"tensors": len(paths), "prompt": ids, "new": new, "margin": margin}))


if __name__ == "__main__":
    main(*sys.argv[1:])
