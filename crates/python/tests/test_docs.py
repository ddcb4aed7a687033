"""The examples of the docs pages and docstrings run, and print what they say."""

import doctest
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import lazulite.core as mx
import lazulite.data
import lazulite.nn as nn
import lazulite.optimizers as optim
import lazulite.utils as utils
import pytest

PAGES = sorted(Path(__file__).parents[1].joinpath("docs").glob("*.md"))
PARTS = [m.name for p in (nn, optim) for m in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")]
MODULES = [lazulite.data, utils, *(importlib.import_module(name) for name in sorted(PARTS))]
MODULES = [m for m in MODULES if ">>>" in inspect.getsource(m)]


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


#: Functions that take and give no arrays, or arrays of which they read nothing.
NO_ARRAYS = set(
    """async_eval can_cast clear_cache clear_streams default_device default_stream device_count
    device_info disable_compile enable_compile eval export_to_dot get_active_memory
    get_array_buffer_size get_cache_memory get_memory_limit get_peak_memory get_printoptions
    is_available isdtype issubdtype new_stream new_thread_local_stream new_thread_unsafe_stream
    printoptions random.seed reset_peak_memory result_type set_cache_limit set_default_device
    set_default_stream set_memory_limit set_printoptions set_wired_limit stream synchronize""".split()
)
OPS = Path(__file__).parents[3] / "docs/ops.md"
ROWS = [line.split("|") for line in OPS.read_text().splitlines() if line.startswith("| `")]
#: The dtypes that each function was seen to take.
TAKEN = {row[1].strip(" `"): row[2].strip() for row in ROWS}
ALL = "bool, integers, floats, complex"


@pytest.mark.parametrize("function", FUNCTIONS, ids=FUNCTIONS.values())
def test_facts_of_functions(function):
    """Docs say shapes, dtypes and exceptions; the dtypes are those that `docs/ops.md` has seen."""
    name, text = FUNCTIONS[function], inspect.getdoc(function).partition(">>>")[0]
    if inspect.signature(function).parameters:
        assert re.search(r"\b[A-Z]\w*Error\b", text), "no exception"
    if name in NO_ARRAYS:
        return
    assert re.search(r"^Shapes|^Sizes agree", text, re.M), "no shapes"
    said = re.search(r"^Dtypes: ([^;.]*)", text, re.M)
    assert said, "no dtypes"
    taken = TAKEN.get(name, "")
    if taken in ("", "makes arrays from none") or name.startswith("random."):
        return
    assert said[1].replace("\n", " ") == ("all" if taken == ALL else taken)


OTHERS = json.loads(Path(__file__).with_name("data").joinpath("api_manifest.json").read_text())


def public():
    """Functions and classes of nn, optimizers and utils, by name, under further names once."""
    found = {}
    for module, names in OTHERS["modules"].items():
        owner = importlib.import_module(module.replace("mlx", "lazulite", 1))
        for name in names:
            thing = getattr(owner, name)
            if callable(thing) and getattr(thing, "__module__", "").startswith("lazulite"):
                found.setdefault(thing, f"{module[4:]}.{name}")
    return found


PUBLIC = public()


@pytest.mark.parametrize("thing", PUBLIC, ids=PUBLIC.values())
def test_facts_of_layers_and_optimisers(thing):
    """Docs of classes and functions say shapes, dtypes and exceptions."""
    text = inspect.getdoc(thing)
    assert re.search(r"\bShapes: ", text), "no shapes"
    assert re.search(r"^Dtypes: ", text, re.M), "no dtypes"
    # It takes whatever it is given.
    assert thing is nn.Identity or re.search(r"\b[A-Z]\w*Error\b", text), "no exception"
