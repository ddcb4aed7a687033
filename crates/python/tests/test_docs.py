"""The examples of the docs pages and docstrings run, and print what they say."""

import doctest
import inspect
import json
from pathlib import Path

import lazulite.core as mx
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


MANIFEST = json.loads(Path(__file__).with_name("data").joinpath("core_manifest.json").read_text())
SILENT = {"mlx.core.distributed", "mlx.core.metal", "mlx.core.cuda"}


def functions():
    """The functions of the core and its submodules, by name, aliases once."""
    found = {}
    for module, facts in MANIFEST["modules"].items():
        if not module.startswith("mlx.core") or module in SILENT:
            continue
        owner = mx if module == "mlx.core" else getattr(mx, module.rsplit(".", 1)[1])
        for name, fact in facts["names"].items():
            if fact["kind"] == "function" and not name.startswith("__"):
                found.setdefault(getattr(owner, name), f"{module[9:]}.{name}".strip("."))
    return found


FUNCTIONS = functions()
#: Devices and numbers of threads that only some machines have.
NEED_DEVICES = {"fast.metal_kernel", "fast.precompiled_cuda_kernel"}


@pytest.mark.parametrize("function", FUNCTIONS, ids=FUNCTIONS.values())
def test_examples_of_functions(function, tmp_path, monkeypatch):
    """Every function has an example, which prints what it says."""
    if FUNCTIONS[function] in NEED_DEVICES:
        pytest.skip("it needs a device that is not everywhere")
    monkeypatch.chdir(tmp_path)
    mx.random.seed(0)
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(function), {"mx": mx}, FUNCTIONS[function], None, 0
    )
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
