"""The scripts of `examples/` run to their end, learn or answer, and save their plots."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = Path(__file__).parents[1] / "examples"
GGUF = ROOT / ".cache/SmolLM2-135M-Instruct.Q4_1.gguf"
PNG = b"\x89PNG\r\n\x1a\n"


def run(name, *args, needs):
    for package in (*needs, "tqdm", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_train_transformer(tmp_path):
    plot = tmp_path / "loss.png"
    out = run("train_transformer.py", "--steps", 25, "--sample", 8, "--plot", plot, needs=())
    first, last = map(float, re.search(r"from ([0-9.]+) to ([0-9.]+)", out).groups())
    # A model that knows nothing is near the logarithm of the number of letters, ln 98 = 4.6.
    assert first > 4 and last < 0.8 * first
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.skipif(not GGUF.is_file(), reason=f"{GGUF} is not there; `make model`")
def test_chat(tmp_path):
    model, plot = tmp_path / "model.gguf", tmp_path / "chat.png"
    model.symlink_to(GGUF)
    question = ("--ask", "What is the capital of France?", "--max-tokens", 12)
    out = run("chat.py", model, *question, "--plot", plot, needs=("mlx_lm", "transformers"))
    assert "The capital of France is Paris." in out
    assert plot.read_bytes().startswith(PNG)
