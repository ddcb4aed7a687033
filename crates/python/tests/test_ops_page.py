"""`docs/ops.md` is what `scripts/ops.py` writes for this extension, and leaves nothing open."""

import importlib.util
from pathlib import Path

import lazulite.core as mx
import pytest

PACKAGE = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("ops", PACKAGE / "scripts/ops.py")


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="the page is of the processor")
def test_fresh():
    maker = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(maker)
    made, committed = maker.page().splitlines(), maker.PAGE.read_text(encoding="utf-8").splitlines()
    changed = [(a, b) for a, b in zip(made, committed, strict=False) if a != b]
    assert not changed and len(made) == len(committed), (
        f"stale: run python crates/python/scripts/ops.py: {changed[:3]}"
    )


def test_nothing_is_open():
    text = (PACKAGE.parents[1] / "docs/ops.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    assert len(cells) > 200
    for row in cells:
        assert len(row) == 8 and all(cell.strip() for cell in row), row
        assert not any("unknown" in cell for cell in row), row
    assert "absent" not in text
