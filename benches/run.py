"""Runs benchmarks on lazulite and its peers, interleaved, and prints tables.

    python benches/run.py                        peers only, all cases
    python benches/run.py --lazulite PROGRAM     with lazulite (cargo xtask bench does this)
    python benches/run.py --cases square,gelu    some cases; --peers numpy,jax some peers

Every framework is a process of its own that answers over the protocol of README.md. In each round
each process measures a short while, in an order that turns from round to round; all others are
stopped meanwhile (SIGSTOP), so that no waiting thread of theirs takes a core. Medians and quartiles
are over all rounds. The results are compared before times are believed.
"""

import argparse
import importlib
import json
import math
import os
import platform
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUESTIONS = (
    "elementwise",
    "products",
    "vectors",
    "rows",
    "quantized",
    "reductions",
    "indexing",
    "convolution",
    "linear_algebra",
    "fourier",
    "contraction",
    "overhead",
    "language_model",
)
MODULES = {name: importlib.import_module(name) for name in QUESTIONS}
ALL_CASES = {case.name: case for module in MODULES.values() for case in module.CASES}
PEERS = ("numpy", "torch", "jax", "mlx")
# A worker that spent this long on one row sits out its remaining rounds.
ENOUGH_SECONDS = 6.0
# Real MLX takes more than a minute to read the prompt of 256 tokens, and reads it twice.
ANSWER_SECONDS = 400.0
REPEATS = 200


def cores():
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(some):
    """Keeps this process on some cores, where the system has such a call."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, some)


class Worker:
    """A process that measures; stopped while it has no request."""

    def __init__(self, label, command, threads):
        self.label, self.threads = label, threads
        count = str(threads)
        names = ("OMP", "OPENBLAS", "MKL", "LAZULITE")
        environment = {**os.environ, **{f"{name}_NUM_THREADS": count for name in names}}
        # A setting for old builds of OpenBLAS that holds the present one back.
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=HERE.parent,
            # Pools that ask for the number of cores (XLA) get the number of threads wanted.
            preexec_fn=lambda: pin(cores()[:threads]),
        )
        self.hello = self.ask({"case": "hello"})

    def ask(self, request):
        """The answer to one request, or None once the process has died or does not answer."""
        if self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], ANSWER_SECONDS)[0]:
                raise TimeoutError
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            self.process.kill()
            self.process.wait()
            return None
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()


class Row:
    """One line of a table: a case with its params at a number of threads."""

    def __init__(self, case, params, threads):
        self.case, self.params, self.threads = case, params, threads
        self.seconds, self.checks, self.notes = {}, {}, {}

    @property
    def title(self):
        shown = {k: v for k, v in self.params.items() if k != "model"}
        return " ".join([self.case.name, *(f"{k}={compact(v)}" for k, v in shown.items())])

    def measure(self, workers, rounds, budget):
        for turn in range(rounds):
            for i in range(len(workers)):
                worker = workers[(i + turn) % len(workers)]
                if worker.label in self.notes:
                    continue
                if sum(self.seconds.get(worker.label, ())) < ENOUGH_SECONDS:
                    self.measure_once(worker, budget)

    def measure_once(self, worker, budget):
        request = {"case": self.case.name, "params": self.params}
        answer = worker.ask({**request, "budget": budget, "repeats": REPEATS})
        if answer is None:
            self.notes[worker.label] = "died or did not answer"
        elif "seconds" not in answer:
            self.notes[worker.label] = answer.get("unsupported") or "ERROR " + answer["error"]
        else:
            self.seconds.setdefault(worker.label, []).extend(answer["seconds"])
            if "check" in answer:
                self.checks[worker.label] = answer["check"]

    def check(self):
        """Takes out the times of a worker whose result differs from that of the first one."""
        if not self.checks:
            return
        first, *others = self.checks
        expected = self.checks[first]
        bound = self.case.tolerance[self.params.get("dtype", "float32")]
        scale = max(map(abs, expected["samples"]), default=0) or 1
        for label in others:
            got = self.checks[label]
            same_form = got["shape"] == expected["shape"]
            pairs = zip(got["samples"], expected["samples"], strict=same_form)
            if not same_form:
                wrong = f"shape {got['shape']}, {first} has {expected['shape']}"
            else:
                error = max((abs(a - b) for a, b in pairs), default=0) / scale
                # Written so that a NaN is wrong too.
                wrong = None if error <= bound else f"differs from {first} by {error:.1e}"
            if wrong:
                self.notes[label] = "WRONG " + wrong
                self.seconds.pop(label, None)

    def median(self, label):
        return statistics.median(self.seconds[label]) if self.seconds.get(label) else None

    def cell(self, label):
        """Milliseconds: median and quartiles."""
        times = self.seconds.get(label)
        if not times:
            loud = self.notes.get(label, "").partition(" ")[0]
            return loud if loud in ("ERROR", "WRONG") else "-"
        low, middle, high = (
            statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
        )
        return f"{digits(middle)} ({digits(low)}-{digits(high)})"

    def rate(self, seconds):
        """What the hardware did, in the unit that fits the case."""
        if self.case.per:
            return f"{self.case.per(self.params) / seconds:.3g} tokens/s"
        if self.case.flops and not (self.case.bytes and self.params.get("m", 1) == 1):
            return f"{self.case.flops(self.params) / seconds / 1e9:.3g} GFLOP/s"
        if self.case.bytes:
            return f"{self.case.bytes(self.params) / seconds / 1e9:.3g} GB/s"
        return ""


def compact(value):
    return "x".join(map(str, value)) if isinstance(value, list) else value


def digits(seconds):
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def start(label, args, threads):
    """The worker of a label, or None with a message if it does not start."""
    framework, _, fixed = label.partition("@")
    if framework in ("lazulite", "before"):
        command = [args.lazulite if framework == "lazulite" else args.against, "bench", "--serve"]
    else:
        command = [sys.executable, HERE / "peer.py", "--framework", framework]
        command += ["--threads", fixed or str(threads)]
    try:
        worker = Worker(label, command, int(fixed or threads))
    except OSError as error:
        print(f"{label}: does not start: {error}", file=sys.stderr)
        return None
    if worker.hello is None or "version" not in worker.hello:
        worker.close()
        print(f"{label}: does not answer, left out", file=sys.stderr)
        return None
    return worker


def run_group(rows, labels, args, threads):
    """Measures all rows of one number of threads; returns the versions of the workers."""
    workers = [w for w in (start(label, args, threads) for label in labels) if w]
    try:
        for row in rows:
            print(f"{row.title} ({threads} threads)", file=sys.stderr, flush=True)
            row.measure(workers, args.rounds, args.budget)
            row.check()
            for label, note in row.notes.items():
                if note.startswith(("ERROR", "WRONG", "died")):
                    print(f"  {label}: {note}", file=sys.stderr)
    finally:
        for worker in workers:
            worker.close()
    return {w.label: w.hello["version"] for w in workers}


def tables(rows, labels, copies):
    """Markdown: one table for each question, and the notes below it."""
    out = []
    for module in MODULES.values():
        mine = [row for row in rows if row.case in module.CASES]
        if not mine:
            continue
        seen = [label for label in labels if any(row.seconds.get(label) for row in mine)]
        ours = "lazulite" in seen
        head = ["case", "threads", *seen, "best peer"]
        head += (["lazulite / best"] if ours else []) + ["x copy", "rate"]
        out += [f"### {module.__doc__.splitlines()[0]}", "", f"| {' | '.join(head)} |"]
        out += ["|" + "---|" + "---:|" * (len(head) - 1)]
        for row in mine:
            out.append(f"| {' | '.join(line(row, seen, ours, copies))} |")
        notes = {}
        for row in mine:
            for label, note in row.notes.items():
                notes.setdefault((label, note), []).append(row)
        out.append("")
        for (label, note), told in notes.items():
            where = "" if len(told) == len(mine) else f" ({len(told)} of {len(mine)} rows)"
            out.append(f"- {label}: {note}{where}")
        out += [""] if notes else []
    return "\n".join(out)


def line(row, seen, ours, copies):
    """The cells of one row. The copy and the rate are of lazulite, or of the best peer without."""
    peers = [x for x in seen if x not in ("lazulite", "before") and row.median(x)]
    best = min(peers, key=row.median) if peers else None
    cells = [row.title, str(row.threads), *map(row.cell, seen), best or "-"]
    own = row.median("lazulite")
    if ours:
        cells.append(f"{own / row.median(best):.2f}" if own and best else "-")
    shown = own or (best and row.median(best))
    copy = copy_seconds(row, copies)
    cells.append(f"{shown / copy:.2f}" if shown and copy else "")
    return [*cells, row.rate(shown) if shown else ""]


def copy_seconds(row, copies):
    """The time to copy as many bytes as the row must move, at its number of threads, at the
    bandwidth of the measured copy of the nearest size; None where that is not known."""
    alike = [c for c in copies if c.threads == row.threads]
    if not alike or not row.case.bytes:
        return None
    count = row.case.bytes(row.params)
    nearest = min(alike, key=lambda c: abs(math.log(c.case.bytes(c.params) / count)))
    best = min(nearest.median(label) for label in nearest.seconds)
    return best * count / nearest.case.bytes(nearest.params)


def machine():
    """The processor's name with its number of cores in use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        name = found[1] if found else name
    name = re.sub(r"\((R|TM)\)", "", name)
    return f"{name}, {len(cores())} cores"


def cases_page():
    """The Markdown page that lists every case; committed as CASES.md."""
    out = ["# The cases", "", "Made by `cargo xtask gen` from the files of this folder.", ""]
    for name, module in MODULES.items():
        out += [f"## {name}.py", "", module.__doc__.strip(), ""]
        for case in module.CASES:
            threads = "one thread and all" if case.threads == "both" else "all threads"
            out += [f"- **`{case.name}`** ({threads}): {case.text}."]
            out += [f"  - `{json.dumps(params)}`" for params in case.params]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lazulite", metavar="PROGRAM", help="the program to measure")
    parser.add_argument("--against", metavar="PROGRAM", help="an older build, beside it")
    parser.add_argument("--cases", help="names of cases or files, with commas (default: all)")
    parser.add_argument("--peers", default=",".join(PEERS), help="frameworks, with commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=0.15, help="seconds a worker and round")
    parser.add_argument("--write", action="store_true", help="write benches/results/MACHINE.md")
    parser.add_argument("--list-markdown", action="store_true", help="print CASES.md and end")
    return parser.parse_args(argv)


def chosen(args, cases):
    """The cases to run: those given, else those named, by case or by file."""
    if cases is not None:
        return [ALL_CASES[case.name] for case in cases]
    if not args.cases:
        return list(ALL_CASES.values())
    picked = []
    for name in args.cases.split(","):
        if name in MODULES:
            picked += MODULES[name].CASES
        elif name in ALL_CASES:
            picked.append(ALL_CASES[name])
        else:
            sys.exit(f"no case or file named {name}; there are {', '.join([*MODULES, *ALL_CASES])}")
    return picked


def main(cases=None, argv=None):
    args = parse(argv)
    # An end by this signal, too, must not leave stopped processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.list_markdown:
        print(cases_page(), end="")
        return
    cases = chosen(args, cases)
    everything = len(cases) == len(ALL_CASES) and args.peers == ",".join(PEERS)
    copy = ALL_CASES["copy"]
    every = len(cores())
    own = [name for name in ("lazulite", "against") if getattr(args, name)]
    own = ["before" if name == "against" else name for name in own]
    peers = args.peers.split(",") if args.peers else []
    begun, load = time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    rows, copies, versions, labels = [], [], {}, []
    for threads in sorted({1, every}):
        mine = [c for c in cases if threads == every or c.threads == "both"]
        if not mine:
            continue
        # The copy comes first: the others are held against it.
        mine = [copy, *(c for c in mine if c is not copy)]
        group = [Row(case, params, threads) for case in mine for params in case.params]
        # PyTorch at one thread as well: on a busy machine its threads wait for each other.
        split = ["torch@1"] if "torch" in peers and threads > 1 else []
        labels_here = [*peers, *split, *own]
        versions |= run_group(group, labels_here, args, threads)
        labels += [label for label in labels_here if label not in labels]
        copies += [row for row in group if row.case is copy and row.seconds]
        rows += group
    # lazulite's columns come last.
    labels.sort(key=lambda label: label in ("lazulite", "before"))
    shown = ", ".join(f"{label} {version}" for label, version in versions.items())
    head = f"# {machine()}\n\n{begun}, load {load:.1f} at the start; {shown}.\n\n"
    head += (
        "Milliseconds: median (quartiles). `x copy`: time over that of copying as many bytes at\n"
    )
    head += (
        "the same number of threads. `x copy` and `rate` are of lazulite where it ran, else of\n"
    )
    head += (
        "the best peer; `torch@1` is PyTorch at one thread. `lazulite / best` below 1: faster.\n\n"
    )
    page = head + tables(rows, labels, copies)
    print(page)
    if args.write or everything:
        slug = re.sub(r"[^a-z0-9]+", "-", machine().lower()).strip("-")
        path = HERE / "results" / f"{slug}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(page.rstrip() + "\n")
        print(f"written to {path}", file=sys.stderr)
    failed = any(
        n.startswith(("ERROR", "WRONG", "died")) for row in rows for n in row.notes.values()
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
