"""The CUDA backend beside PyTorch, JAX and MLX on one GPU: a table, and a page on demand.

python benches/gpu.py --program target/release/deps/gpu-... --page benches/results/h100.md

The program is the test program of the CUDA crate, from
`cargo test --release -p lazulite-cuda --test gpu --no-run`. Processes take turns; a figure is the
best over all rounds, since everything runs on one device alone. A peer that is not installed has no
column's figures; MLX is `mlx[cuda13]`.
"""

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def lines_of(command, seconds):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        return (run.stdout + run.stderr).splitlines()
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode().splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=120, help="for each process")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    peer = [sys.executable, str(HERE / "gpu_peer.py")]
    commands = {
        "lazulite": [args.program, "bench"],
        "torch": [*peer, "torch"],
        "jax": [*peer, "jax"],
        "mlx": [sys.executable, str(HERE / "gpu_mlx.py")],
    }
    times = {name: {} for name in commands}
    facts = []
    for _ in range(args.rounds):
        for name, command in commands.items():
            for line in lines_of(command, args.seconds):
                found = re.fullmatch(r"bench (.*): ([0-9.]+) ms", line)
                if found:
                    case, value = found[1], float(found[2])
                    times[name][case] = min(value, times[name].get(case, value))
                elif line.startswith(("version", "bench")) and line not in facts:
                    facts.append(line)
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    device = lines_of(query, 20)
    rows = ["| case (ms) | lazulite | torch | jax | mlx | best peer / lazulite |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    for case, own in times["lazulite"].items():
        peers = [times[p].get(case) for p in ("torch", "jax", "mlx")]
        best = min((p for p in peers if p is not None), default=None)
        cells = [f"{p:.4f}" if p else "" for p in (own, *peers)]
        cells.append(f"{best / own:.2f}" if best else "")
        rows.append(f"| {case} | {' | '.join(cells)} |")
    print("\n".join([*facts, *rows]))
    if args.page:
        versions = "; ".join(f.removeprefix("version ") for f in facts if f.startswith("version"))
        today = datetime.datetime.now(datetime.UTC).date()
        head = [
            f"# {device[0] if device else 'GPU'}, {today}",
            "",
            f"`benches/gpu.py`, {args.rounds} rounds; {versions}.",
            "The elements are bfloat16 unless a case says otherwise.",
            "A ratio above 1 means that lazulite is faster.",
            "",
        ]
        args.page.parent.mkdir(parents=True, exist_ok=True)
        args.page.write_text("\n".join([*head, *rows]) + "\n")


if __name__ == "__main__":
    main()
