"""Every public name of MLX 0.32.4 is compared with the real MLX, or a reason is given."""

import importlib
import inspect
import json
from pathlib import Path

import differential_names as tables
import test_differential
import test_manifest

OTHERS = json.loads(Path(__file__).with_name("data").joinpath("api_manifest.json").read_text())
CALLED = tables.called([*test_differential.ALL, *tables.golden()])


def names():
    """Every name of the manifests: of the core, of arrays, of nn, optimizers and utils."""
    yield from (f"{module}.{name}" for module, name, _ in test_manifest.names())
    yield from test_manifest.array_members()
    yield from (f"{m}.{name}" for m, entries in OTHERS["modules"].items() for name in entries)


def resolve(name):
    """What a name of MLX is here."""
    module, _, last = name.replace("mlx", "lazulite", 1).rpartition(".")
    return getattr(importlib.import_module(module), last)


def test_every_name_is_compared_or_has_a_reason():
    every = list(names())
    open_names = [n for n in every if n not in CALLED and n not in tables.REASONS]
    # The same objects under further names, and modules, which hold names of their own.
    compared = {id(resolve(n)) for n in every if n in CALLED and not n.startswith("array.")}
    left = [
        n for n in open_names if not inspect.ismodule(resolve(n)) and id(resolve(n)) not in compared
    ]
    counts = f"{len(every)} names, {len(open_names)} modules or further names, {len(left)} open"
    assert not left, f"{counts}: {left}"


def test_reasons_are_of_names_that_need_one():
    every = set(names())
    assert {n for n in tables.REASONS if n not in every or n in CALLED} == set()
