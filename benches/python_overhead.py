"""What a node costs from Python: `python benches/python_overhead.py [--peer] [--graphs N]`.

Prints the import, a chain of 10,000 sums built and evaluated, a compiled call of ten operations,
and how much memory N small graphs leave behind. With `--peer` it measures MLX instead.
"""

import argparse
import gc
import importlib
import statistics
import subprocess
import sys
import time


def median(f, repeats=15):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--graphs", type=int, default=0)
    options = parser.parse_args()
    name = "mlx.core" if options.peer else "lazulite.core"
    bare = [sys.executable, "-c", "pass"]
    imports = [sys.executable, "-c", f"import {name}"]
    cost = median(lambda: subprocess.run(imports)) - median(lambda: subprocess.run(bare))
    print(f"import {name}: {cost * 1e3:.0f} ms over an empty program")

    mx = importlib.import_module(name)
    a, b = mx.array([1.0, 2.0]), mx.array([3.0, 4.0])
    mx.eval(a, b)
    nodes = 10_000

    def build():
        x = a
        for _ in range(nodes):
            x = x + b
        return x

    both = median(lambda: mx.eval(build()))
    only = median(build)
    each, building = (t / nodes * 1e6 for t in (both, only))
    print(f"chain of {nodes}: {each:.2f} us a node, of which building {building:.2f}")

    @mx.compile
    def ten(x, y):
        for _ in range(5):
            x = mx.sin(x) * y
        return x

    mx.eval(ten(a, b))
    calls = 1000
    cost = median(lambda: [ten(a, b) for _ in range(calls)]) / calls
    done = median(lambda: [mx.eval(ten(a, b)) for _ in range(calls)]) / calls
    print(f"compiled call of 10 operations: {cost * 1e6:.1f} us, evaluated {done * 1e6:.1f} us")

    if options.graphs:
        for n in (options.graphs // 100, options.graphs):
            for _ in range(n):
                (a * 2 + b).sum().item()
            gc.collect()
            mx.clear_cache()
            print(f"after {n} graphs: {resident() / 2**20:.1f} MiB, {mx.get_active_memory()} bytes")


if __name__ == "__main__":
    main()
