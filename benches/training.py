"""Times a training step of the examples `mlp` and `convnet` beside the same step in PyTorch: Adam
on batches of 128 Fashion-MNIST images, gathered from bytes. The two run in turn, each for itself,
and the median of the rounds' medians counts.

cargo build --release --package lazulite --examples
.venv-bench/bin/python benches/training.py target/release/examples [ROUNDS [THREADS]]
"""

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

STEPS = {"mlp": 300, "convnet": 100}
DATA = Path(__file__).resolve().parent.parent / ".cache" / "fashion-mnist"


def torch_step(name):
    """The median of the milliseconds of a step in PyTorch."""
    import numpy as np
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["LAZULITE_NUM_THREADS"]))
    torch.manual_seed(1)
    read = lambda part, header: np.fromfile(DATA / part, np.uint8)[header:]  # noqa: E731
    images = torch.from_numpy(read("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28))
    labels = torch.from_numpy(read("train-labels-idx1-ubyte", 8).astype(np.int64))
    if name == "mlp":
        sizes = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
        model = nn.Sequential(nn.Flatten(), *sizes)
    else:
        model = nn.Sequential(
            *[nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Flatten(), nn.Linear(7 * 7 * 32, 64), nn.ReLU(), nn.Linear(64, 10)],
        )
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    order = torch.randperm(len(images))
    times = []
    for step in range(STEPS[name]):
        start = time.perf_counter()
        ids = order[step * 128 : (step + 1) * 128]
        loss = nn.functional.cross_entropy(model(images[ids].float() / 255), labels[ids])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def run(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"([0-9.]+) ms a step", out).group(1))


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--torch":
        print(f"{torch_step(sys.argv[2]):.3f} ms a step")
        return
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    folder = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    os.environ["LAZULITE_NUM_THREADS"] = sys.argv[3] if len(sys.argv) > 3 else "2"
    for name, steps in STEPS.items():
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(run([folder / name, "--steps", str(steps)]))
            theirs.append(run([sys.executable, __file__, "--torch", name]))
        a, b = statistics.median(ours), statistics.median(theirs)
        ratios = sorted(x / y for x, y in zip(ours, theirs))
        print(
            f"{name:8} lazulite {a:.2f} ms  PyTorch {b:.2f} ms  ratio {a / b:.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f} in {rounds} rounds)"
        )


if __name__ == "__main__":
    main()
