"""Runs a program with `mlx` served by this package."""

import runpy
import sys

from . import install

USAGE = "usage: python -m lazulite.mlx [-m module | -c code | script.py] [arguments]"


def main(arguments):
    if not arguments:
        sys.exit(USAGE)
    install()
    first, rest = arguments[0], arguments[1:]
    if first in ("-m", "-c"):
        if not rest:
            sys.exit(USAGE)
        sys.argv = ["-c" if first == "-c" else rest[0], *rest[1:]]
        if first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
