"""The examples of the docs pages and docstrings run, and print what they say."""

import doctest
from pathlib import Path

import lazulite.data
import lazulite.utils
import pytest

PAGES = sorted(Path(__file__).parents[1].joinpath("docs").glob("*.md"))
MODULES = [lazulite.data, lazulite.utils]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages(page):
    found = doctest.testfile(str(page), module_relative=False)
    assert found.failed == 0 and (found.attempted > 0) == (">>>" in page.read_text())


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_docstrings(module):
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted > 0
