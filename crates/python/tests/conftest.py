"""Tests in which this package differs from MLX on purpose, in `differences.txt`.

They must differ: one that agrees is an error, so that the list and `docs/differences.md`, which
has the reasons, stay true.
"""

from pathlib import Path

import pytest


def differences():
    """The section of `docs/differences.md` of each test that is listed."""
    section, listed = None, {}
    for line in Path(__file__).with_name("differences.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif not line.startswith("#"):
            listed[line] = section
    return listed


LISTED = differences()


def pytest_collection_modifyitems(items):
    for item in items:
        section = LISTED.get(f"{item.path.name}::{item.name}")
        if section:
            item.add_marker(pytest.mark.xfail(reason=section, strict=True))
