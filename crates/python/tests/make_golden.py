"""Runs the golden cases with MLX and writes golden/*.json: `python make_golden.py`.

It needs `pip install mlx` (on Linux `mlx[cpu]`) and not lazulite.
"""

import json
import pathlib

import golden_cases as cases
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import mlx.utils as utils

FOLDER = pathlib.Path(__file__).parent / "golden"


def main():
    layers = {str((t, s)): cases.run_layer(t, s, mx, nn, utils) for t, s in cases.LAYERS}
    quantized = {t: cases.run_quantized(t, s, mx, nn, utils) for t, s in cases.QUANTIZED}
    golden = {
        "activations": {t: cases.run_call(t, mx, nn) for t in cases.CALLS},
        "layers": layers,
        "quantized": quantized,
        "losses": {f"{t} {r}": cases.run_loss(t, r, mx, nn) for t, r in cases.LOSSES},
        "optimizers": {t: cases.run_optimizer(t, mx, optim, utils) for t in cases.OPTIMIZERS},
    }
    for name, results in golden.items():
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in results.items())
        (FOLDER / f"{name}.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
