"""`mlx-lm` from PyPI, unchanged, on this package: it generates, serves and trains SmolLM2.

The model folder is converted from the GGUF file of the project's own program, whose tokens,
computed in float64 by another implementation, these tests expect too.
"""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

for package in ("mlx_lm", "transformers", "tokenizers"):
    pytest.importorskip(package, reason="mlx-lm and what it needs are not installed")

ROOT = Path(__file__).resolve().parents[3]
GGUF = ROOT / ".cache/SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = ROOT / "tests/reference/smollm2_golden.json"

pytestmark = pytest.mark.skipif(not GGUF.is_file(), reason=f"{GGUF} is not there; `make model`")

#: No program may ask the network for a model.
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
ON_LAZULITE = [sys.executable, "-m", "lazulite.mlx"]

#: Greedy tokens of each prompt of the golden file, as JSON.
GREEDY = """
import json, sys
import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step

assert mx.__name__ == "lazulite.core"
model, tokenizer = load(sys.argv[1])
answers = []
for prompt, count in json.load(sys.stdin):
    messages = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    steps = generate_step(mx.array(ids), model, max_tokens=count)
    answers.append({"prompt_ids": ids, "new_ids": [int(token) for token, _ in steps]})
print(json.dumps(answers))
"""


def run(command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=OFFLINE, **options
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("smollm2")
    run([sys.executable, "-m", "lazulite.convert", GGUF, path, "--dtype", "float32"])
    return path


def test_tokenizer(folder, golden):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for case in golden["tokenizer"]:
        ids = tokenizer.encode(case["text"], add_special_tokens=False).ids
        assert ids == case["ids"], case["text"]
        assert tokenizer.decode(ids, skip_special_tokens=False) == case["text"]


def test_generates_the_tokens_of_the_reference(folder, golden):
    cases = golden["cases"]
    asked = json.dumps([(c["prompt"], len(c["new_ids"])) for c in cases])
    answers = json.loads(run([*ON_LAZULITE, "-c", GREEDY, str(folder)], input=asked))
    assert answers == [{k: c[k] for k in ("prompt_ids", "new_ids")} for c in cases]


@pytest.mark.skipif(not importlib.util.find_spec("mlx"), reason="the real MLX is not installed")
def test_the_real_one_reads_the_folder(folder, golden):
    case = golden["cases"][0]
    script = GREEDY.replace('assert mx.__name__ == "lazulite.core"', "")
    asked = json.dumps([(case["prompt"], len(case["new_ids"]))])
    answers = json.loads(run([sys.executable, "-c", script, str(folder)], input=asked))
    assert answers == [{k: case[k] for k in ("prompt_ids", "new_ids")}]


def test_server_answers(folder, golden):
    case = golden["cases"][0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*ON_LAZULITE, "-m", "mlx_lm", "server", "--model", str(folder), "--port", str(port)]
    log = (folder / "server.log").open("w+")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=OFFLINE)
    try:
        body = {
            "messages": [{"role": "user", "content": case["prompt"]}],
            "max_tokens": 16,
            "temperature": 0.0,
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        for _ in range(600):
            try:
                with urllib.request.urlopen(request, timeout=300) as reply:
                    answer = json.load(reply)
                break
            except ConnectionRefusedError:
                pass
            except urllib.error.URLError as error:
                assert isinstance(error.reason, ConnectionRefusedError), error
            assert server.poll() is None, Path(log.name).read_text()[-3000:]
            time.sleep(0.2)
        assert answer["choices"][0]["message"]["content"] == case["text"]
    finally:
        server.terminate()
        server.wait()
        log.close()


def test_lora_trainer_lowers_the_loss(folder, tmp_path):
    line = json.dumps({"text": "The code word of the day is lapis lazuli, said the painter."})
    for name in ("train", "valid"):
        (tmp_path / f"{name}.jsonl").write_text(f"{line}\n" * 2, encoding="utf-8")
    command = [*ON_LAZULITE, "-m", "mlx_lm", "lora", "--train", "--model", str(folder)]
    command += ["--data", str(tmp_path), "--adapter-path", str(tmp_path / "adapters")]
    command += ["--iters", "5", "--batch-size", "1", "--num-layers", "2", "--learning-rate", "2e-4"]
    text = run([*command, "--steps-per-report", "1", "--val-batches", "1"])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    # A step is a line of the table: its number, then the loss.
    losses = [float(x) for x in re.findall(r"^ +\d+ +([0-9.]+) ", plain, re.MULTILINE)]
    assert len(losses) == 5, plain
    # The same line at every step, so each step should gain.
    assert losses[-1] < losses[0] - 0.5, losses
    assert (tmp_path / "adapters/adapters.safetensors").is_file()
