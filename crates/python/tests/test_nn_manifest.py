"""Every public name and signature of MLX 0.32.4's nn, optimizers and utils exists here.

Names, kinds and defaults of parameters are compared; annotations are not.
"""

import ast
import importlib
import inspect
import json
import pathlib
import re

import pytest

MANIFEST = json.loads((pathlib.Path(__file__).parent / "data" / "api_manifest.json").read_text())
ENTRIES = [
    (module, name) for module, names in MANIFEST["modules"].items() for name in sorted(names)
]


def parameters(text):
    """Name, kind and default of each parameter of a signature as text."""
    # What has no literal form, such as a function as a default, is only known to be there.
    text = re.sub(r"<.*?> ?at 0x\w+>|<[^>]*>", "'object'", text)
    text = re.sub(r"= mlx\.core\.\w+", "= 'object'", text)
    args = ast.parse(f"def f{text}: pass").body[0].args
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + args.defaults
    found = [(a.arg, "plain", d) for a, d in zip(plain, defaults)]
    found += [(args.vararg.arg, "*", None)] if args.vararg else []
    found += [(a.arg, "keyword", d) for a, d in zip(args.kwonlyargs, args.kw_defaults)]
    found += [(args.kwarg.arg, "**", None)] if args.kwarg else []
    # The name of a method's first parameter is nobody's business.
    return [
        ("self" if name == "_" else name, kind, None if d is None else ast.unparse(d))
        for name, kind, d in found
    ]


def signature_text(obj):
    parts, starred = [], False
    for p in inspect.signature(obj).parameters.values():
        default = "" if p.default is p.empty else f" = {show(p.default)}"
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        prefix = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(f"{prefix}{p.name}{default}")
    return f"({', '.join(parts)})"


def show(default):
    literal = isinstance(default, (int, float, str, type(None), list, tuple))
    return repr(default) if literal else "'object'"


def check_signature(obj, expected, where):
    assert parameters(signature_text(obj)) == parameters(expected), where


def inherited_from_dict(cls, member):
    return next(c for c in cls.__mro__ if member in vars(c)) is dict


@pytest.mark.parametrize("module, name", ENTRIES)
def test_name(module, name):
    entry = MANIFEST["modules"][module][name]
    obj = getattr(importlib.import_module(module.replace("mlx", "lazulite", 1)), name)
    if entry["kind"] not in ("class", "function"):
        return
    assert callable(obj)
    if entry.get("signatures") and name not in ("wraps", "lru_cache"):
        check_signature(obj, entry["signatures"][0], name)
    for member, facts in entry.get("members", {}).items():
        found = inspect.getattr_static(obj, member)
        if facts["kind"] == "property":
            assert isinstance(found, property), member
        elif facts.get("signatures") and not inherited_from_dict(obj, member):
            # A class method is looked up on the class, which binds its first parameter.
            target = getattr(obj, member)
            expected = facts["signatures"][0]
            if isinstance(found, classmethod):
                expected = re.sub(r"^\(cls(, )?", "(", expected)
            check_signature(target, expected, f"{name}.{member}")
