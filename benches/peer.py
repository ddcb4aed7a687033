"""A worker of the benchmarks: one framework in one process, behind the protocol of README.md.

python benches/peer.py --framework numpy --threads 2
"""

import argparse
import json
import os
import sys
import time

from case import Unsupported, sampled
from run import ALL_CASES
from toolkits import TOOLKITS


class Worker:
    """Keeps the prepared call of the last request, so that rounds do not pay for inputs."""

    def __init__(self, toolkit, threads):
        self.toolkit, self.count = toolkit, threads
        toolkit.threads(threads)
        self.key = self.call = None

    def answer(self, request):
        if request["case"] == "hello":
            name, version = self.toolkit.name, self.toolkit.version
            return {"name": name, "version": version, "threads": self.count}
        key = (request["case"], json.dumps(request["params"], sort_keys=True))
        answer = {}
        if key != self.key:
            answer["check"] = self.prepare(ALL_CASES[request["case"]], request["params"])
            self.key = key
        seconds, end = [], time.perf_counter() + request["budget"]
        while not seconds or (time.perf_counter() < end and len(seconds) < request["repeats"]):
            start = time.perf_counter()
            self.toolkit.sync(self.call())
            seconds.append(time.perf_counter() - start)
        return {**answer, "seconds": seconds}

    def prepare(self, case, params):
        self.key = self.call = None
        f, inputs = case.build(self.toolkit, params)
        if case.jit:
            f = self.toolkit.compiled(f)
        self.call = lambda: f(*inputs)
        out = self.call()
        self.toolkit.sync(out)
        return sampled(self.toolkit.to_numpy(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=TOOLKITS, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(TOOLKITS[args.framework](), args.threads)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Unsupported as reason:
            answer = {"unsupported": str(reason)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
