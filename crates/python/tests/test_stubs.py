"""The type stubs are those that `scripts/stubs.py` writes for this extension."""

import importlib.util
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("stubs", PACKAGE / "scripts/stubs.py")
MAKER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MAKER)
STUBS = MAKER.stubs()


@pytest.mark.parametrize("name", sorted(STUBS))
def test_fresh(name):
    committed = (MAKER.FOLDER / name).read_text(encoding="utf-8")
    assert committed == STUBS[name], "stale: run python crates/python/scripts/stubs.py"


def test_no_others():
    assert {path.name for path in MAKER.FOLDER.glob("*.pyi")} == set(STUBS)
