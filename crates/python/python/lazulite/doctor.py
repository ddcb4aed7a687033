"""What costs a program time, with line, seconds and a mend.

``python -m lazulite.doctor [--trace FILE] [--json] SCRIPT ARGUMENTS...`` runs a program as
``python SCRIPT ARGUMENTS...`` would and prints the findings to standard error (as JSON to standard
output with ``--json``). Inside a program::

    with lazulite.doctor.visit() as report:
        train()
    print(report.text)
"""

import argparse
import contextlib
import importlib
import json
import os
import runpy
import sys

import lazulite.core  # noqa: F401  The extension brings the module below.

_doctor = importlib.import_module("lazulite._doctor")


class Report:
    """What a visit found; empty until it ends."""

    def __init__(self):
        self.text = ""
        self.findings = []
        self.seconds = 0.0
        self.trace = ""

    def _fill(self, text, report, trace):
        report = json.loads(report)
        self.text, self.trace = text, trace
        self.findings, self.seconds = report["findings"], report["seconds"]


@contextlib.contextmanager
def visit():
    """Watches the process while the block runs."""
    report = Report()
    _doctor.begin()
    try:
        yield report
    finally:
        report._fill(*_doctor.finish())


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="lazulite doctor", description=__doc__.split("\n")[0])
    parser.add_argument("--trace", help="write a trace for Perfetto to this file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("script", help="the program")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(arguments)
    sys.argv = [options.script, *options.rest]
    sys.path.insert(0, os.path.dirname(os.path.abspath(options.script)))
    code = 0
    with visit() as report:
        try:
            runpy.run_path(options.script, run_name="__main__")
        except SystemExit as end:
            code = end.code
    if options.json:
        print(json.dumps({"seconds": report.seconds, "findings": report.findings}))
    else:
        print(report.text, file=sys.stderr, end="")
    if options.trace:
        with open(options.trace, "w", encoding="utf-8") as file:
            file.write(report.trace)
    sys.exit(code)


if __name__ == "__main__":
    main()
