"""Cases that are known to differ from MLX, in `known_failures.txt`: the list may only shrink.

They are reported as expected failures, so a run shows how many there are.
"""

from pathlib import Path

import pytest

KNOWN = frozenset(
    (Path(__file__).with_name("known_failures.txt")).read_text(encoding="utf-8").splitlines()
)


def pytest_collection_modifyitems(items):
    for item in items:
        if f"{item.path.name}::{item.name}" in KNOWN:
            item.add_marker(pytest.mark.xfail(reason="listed in known_failures.txt"))
