"""Names and signatures against the manifest of MLX 0.32.4."""

import ast
import inspect
import json
import re
from pathlib import Path

import lazulite.core as mx
import pytest

HERE = Path(__file__).parent
MANIFEST = json.loads((HERE / "data" / "core_manifest.json").read_text())
ABSENT = set((HERE / "absent.txt").read_text().split())
MODULES = [m for m in MANIFEST["modules"] if m.startswith("mlx.core")]

# Overloads, parameters that Python's notation cannot say, and `roll`, which takes its axis by
# keyword though its signature says otherwise.
NOT_COMPARED = {"arange", "__getattr__", "roll"}


def served(module):
    found = mx
    for part in module.split(".")[2:]:
        found = getattr(found, part, None)
    return found


def names():
    for module in MODULES:
        for name, facts in MANIFEST["modules"][module]["names"].items():
            yield module, name, facts


def array_members():
    groups = MANIFEST["array_groups"]
    return [f"array.{n}" for group in ("methods", "properties", "dunders") for n in groups[group]]


def test_absent_names():
    """The list of absent names is exact: it may only shrink."""
    missing = {f"{m}.{n}" for m, n, _ in names() if not hasattr(served(m), n)}
    missing |= {f"mlx.core.{a}" for a in array_members() if not hasattr(mx.array, a[6:])}
    assert missing == ABSENT


def plain(signature):
    """A signature as (name, kind, has a default), without types."""
    text = re.sub(r"<.*?>", "None", signature.split(") ->")[0].rstrip(")") + ")")
    text = text.replace("[writable=False]", "")
    tree = ast.parse(f"def f{text}: pass").body[0].args
    out = []
    defaults = [None] * (len(tree.posonlyargs) + len(tree.args) - len(tree.defaults))
    defaults += tree.defaults
    for i, a in enumerate(tree.posonlyargs + tree.args):
        kind = "positional" if i < len(tree.posonlyargs) else "either"
        out.append((a.arg, kind, defaults[i] is not None))
    if tree.vararg:
        out.append((tree.vararg.arg, "*", False))
    for a, d in zip(tree.kwonlyargs, tree.kw_defaults, strict=True):
        out.append((a.arg, "keyword", d is not None))
    if tree.kwarg:
        out.append((tree.kwarg.arg, "**", False))
    return [p for p in out if p[0] not in ("self", "slf")]


KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def functions():
    for module, name, facts in names():
        signatures = facts.get("signatures") or []
        if facts["kind"] == "function" and len(signatures) == 1 and name not in NOT_COMPARED:
            if f"{module}.{name}" not in ABSENT:
                yield pytest.param(module, name, signatures[0], id=f"{module}.{name}")


@pytest.mark.parametrize("module, name, signature", functions())
def test_signatures(module, name, signature):
    """Names, order, kinds and defaults; further keywords and further defaults are allowed."""
    want = plain(signature)
    found = inspect.signature(getattr(served(module), name)).parameters.values()
    got = [(p.name, KINDS[p.kind], p.default is not p.empty) for p in found]
    extra = [p for p in got if p[0] not in [w[0] for w in want]]
    assert all(kind == "keyword" and default for _, kind, default in extra), extra
    got = [p for p in got if p not in extra]
    assert [p[:2] for p in got] == [w[:2] for w in want]
    assert all(g[2] >= w[2] for g, w in zip(got, want, strict=True))
