"""Writes the type stubs of `lazulite.core`: `python scripts/stubs.py [FOLDER]`.

Names, parameters, defaults and docs are those of the extension that is installed; the types of
parameters and results are MLX's own, which `tests/data/core_manifest.json` has, since the two are
to be exchangeable. What MLX lacks is in the tables below.
"""

import ast
import inspect
import json
import re
import sys
import types
from pathlib import Path

import lazulite.core as mx

PACKAGE = Path(__file__).parents[1]
FOLDER = PACKAGE / "python/lazulite/core"
MANIFEST = json.loads((PACKAGE / "tests/data/core_manifest.json").read_text(encoding="utf-8"))

HEAD = '''"""Type stubs of `lazulite.core`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import IO, Any, Literal, TypeAlias, TypeVar

scalar: TypeAlias = bool | int | float | complex
File: TypeAlias = str | PathLike[str] | IO[bytes]
_F = TypeVar("_F", bound=Callable[..., Any])
'''
ALIASES = "StreamOrDevice: TypeAlias = Stream | ThreadLocalStream | Device | DeviceType | None\n"
HEAD_OF_MODULE = '''"""Type stubs of `lazulite.core.{name}`, written by `scripts/stubs.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from . import Device, DeviceType, Dtype, StreamOrDevice, array, scalar
'''

#: MLX's spellings of types, in order, and what the stubs say.
SPELLINGS = [
    (r"mlx\.core\.(distributed\.)?", ""),
    (r"collections\.abc\.", ""),
    (r"Stream \| ThreadLocalStream \| Device \| DeviceType \| None", "StreamOrDevice"),
    (r"file \| str \| pathlib\.Path", "File"),
    (r"ndarray\[[^\]]*\]|DLPackCompatible|object", "Any"),
    (r"\btuple\[int\] \| ", ""),
    (r"Callable\[P, R\]", "_F"),
    (r"Callable\[P,", "Callable[...,"),
    (r"\bR\b", "Any"),
    (r"\bCallable\b(?!\[)", "Callable[..., Any]"),
    (r"(?<!\[)\b(list|tuple|dict|Sequence)\b(?!\[)", r"\1[Any]"),
]
#: Types of parameters that MLX has not, or gives no types of.
PARAMETERS = {
    "args": "Any",
    "kwargs": "Any",
    "stream": "StreamOrDevice",
    "group": "Group | None",
    "correction": "int | None",
    "shape": "int | Sequence[int]",
    "axes": "Any",
    "dtype": "Dtype",
    "arrays": "Any",
    "operands": "array",
    "device": "Device | None",
    "name": "str",
    "format": "str",
    "run": "bool",
}
#: Types of results that MLX has not, by the function's name.
RESULTS = {
    "all_gather": "array",
    "all_max": "array",
    "all_min": "array",
    "all_sum": "array",
    "sum_scatter": "array",
    "item": "Any",
    "tolist": "Any",
    "astype": "array",
    "view": "array",
    "estimate": "Estimate",
    "explain": "str",
}
OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift div".split()
#: Signatures of special methods, of which Python knows the names only.
SPECIAL = {
    **{f"__{o}__": "(self, other: Any) -> array" for o in OPERATORS},
    **{f"__r{o}__": "(self, other: Any) -> array" for o in OPERATORS},
    **{f"__i{o}__": "(self, other: Any) -> array" for o in OPERATORS},
    **{f"__{o}__": "(self, other: Any) -> array" for o in "lt le gt ge".split()},
    **{f"__{o}__": "(self) -> array" for o in "neg pos abs invert copy".split()},
    **{f"__{o}__": f"(self) -> {o}" for o in "bool int float complex bytes".split()},
    # An array answers with an array.
    "__eq__": "(self, other: Any) -> array",
    "__ne__": "(self, other: Any) -> array",
    "__hash__": "(self) -> int",
    "__index__": "(self) -> int",
    "__len__": "(self) -> int",
    "__iter__": "(self) -> Iterator[array]",
    "__getitem__": "(self, index: Any) -> array",
    "__setitem__": "(self, index: Any, value: Any) -> None",
    "__array__": "(self, dtype: Any = None, copy: bool | None = None) -> Any",
    "__dlpack__": "(self, **kwargs: Any) -> Any",
    "__dlpack_device__": "(self) -> tuple[int, int]",
    "__array_namespace__": "(self, *, api_version: str | None = None) -> Any",
    "__deepcopy__": "(self, memo: Any) -> array",
    "__format__": "(self, spec: str, /) -> str",
    "__setstate__": "(self, state: tuple[Any, ...]) -> None",
}
#: Attributes of instances, by class, where they are not arrays.
ATTRIBUTES = {
    "array": {
        "shape": "tuple[int, ...]", "ndim": "int", "size": "int", "itemsize": "int",
        "nbytes": "int", "dtype": "Dtype", "at": "ArrayAt",
    },
    "Dtype": {"size": "int"},
    "Device": {"type": "DeviceType"},
    "Stream": {"device": "Device", "index": "int"},
    "ThreadLocalStream": {"device": "Device"},
    "finfo": {"bits": "int", "dtype": "Dtype"} | dict.fromkeys(("eps", "max", "min", "smallest_normal"), "float"),
    "iinfo": {"bits": "int", "dtype": "Dtype", "max": "int", "min": "int"},
    "PrintOptions": {"precision": "int"},
    "Estimate": dict.fromkeys(("peak", "kept", "moved", "flops", "steps"), "int"),
}  # fmt: skip
#: Classes that call: the transformed functions.
CALLABLE = "(self, *args: Any, **kwargs: Any) -> Any"
CLASSES = {
    "array": "(self, val: Any, dtype: Dtype | None = None) -> None",
    "Device": "(self, type: DeviceType, index: int = 0) -> None",
    "finfo": "(self, dtype: Dtype | array) -> None",
    "iinfo": "(self, dtype: Dtype | array) -> None",
    "ArrayLike": "(self, arg: Any, /) -> None",
    "custom_function": "(self, f: Callable[..., Any]) -> None",
    "PrintOptions": "(self, precision: int = -1) -> None",
}


def known(annotation):
    """The type in the stubs' spelling; Any if it does not parse."""
    for pattern, text in SPELLINGS:
        annotation = re.sub(pattern, text, annotation)
    try:
        ast.parse(annotation, mode="eval")
    except SyntaxError:
        return "Any"
    return annotation


def typed(module, name):
    """The types of the parameters of MLX's function, and of its result."""
    facts = MANIFEST["modules"].get(module, {"names": {}})["names"].get(name, {})
    signatures = facts.get("signatures") or []
    parameters, result = {}, None
    for signature in signatures:
        plain = re.sub(r"<[^>]*>", "None", signature).replace("[writable=False]", "")
        try:
            tree = ast.parse(f"def f{plain}: pass").body[0]
        except SyntaxError:
            continue
        a = tree.args
        for p in a.posonlyargs + a.args + a.kwonlyargs:
            if p.annotation is not None:
                parameters.setdefault(p.arg, known(ast.unparse(p.annotation)))
        if result is None and tree.returns is not None:
            result = known(ast.unparse(tree.returns))
    return parameters, result


def default(value):
    if isinstance(value, (bool, int, float, str, type(None))) and repr(value) not in ("inf", "nan"):
        return repr(value)
    return "..."


def signature(function, types_of, result):
    """The signature of a function of the extension, with types."""
    parts, star = [], False
    found = list(inspect.signature(function).parameters.values())
    last = [p.name for p in found if p.kind is p.POSITIONAL_ONLY][-1:]
    for p in found:
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star |= p.kind is p.VAR_POSITIONAL
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        kind = types_of.get(p.name) or PARAMETERS.get(p.name, "Any")
        if p.default is None and "None" not in kind and kind not in ("Any", "StreamOrDevice"):
            kind += " | None"
        text = p.name if p.name == "self" else f"{mark}{p.name}: {kind}"
        if p.default is not p.empty:
            text += f" = {default(p.default)}"
        parts.append(text)
        if [p.name] == last:
            parts.append("/")
    return f"({', '.join(parts)}) -> {result or 'Any'}"


def documented(head, doc, indent=""):
    """A definition with its docs as the body."""
    lines = (doc or "").strip().replace("\\", "\\\\").replace('"""', "'''").splitlines()
    if not lines:
        return f"{indent}{head}: ..."
    body = f"\n{indent}    ".join(lines)
    return f'{indent}{head}:\n{indent}    """{body}"""'.replace(" \n", "\n")


def function(module, name, value):
    parameters, result = typed(module, name)
    result = RESULTS.get(name, result)
    return documented(f"def {name}{signature(value, parameters, result)}", value.__doc__)


def method(owner, name, value):
    """A method: of an array, with the types of the function of this name."""
    if name in SPECIAL and owner == "array":
        if name in ("__eq__", "__ne__"):
            return f"    def {name}{SPECIAL[name]}: ...  # type: ignore[override]"
        return f"    def {name}{SPECIAL[name]}: ..."
    if name == "__call__":
        return f"    def {name}{CALLABLE}: ..."
    parameters, result = typed("mlx.core", name) if owner == "array" else ({}, None)
    result = RESULTS.get(name, result)
    if owner == "ArrayAt":
        result = "array"
    try:
        head = f"def {name}{signature(value, parameters, result)}"
    except (TypeError, ValueError):
        return None
    # Python's own docs of special methods say nothing.
    return documented(head, None if name.startswith("__") else value.__doc__, "    ")


#: Special methods that say something about a class; the others are those of every object.
SHOWN = set(SPECIAL) | {"__call__", "__enter__", "__exit__", "__mlx_array__"}


def class_stub(name, value):
    lines = [f"class {name}:"]
    if value.__doc__:
        text = "\n    ".join(value.__doc__.strip().splitlines())
        lines.append(f'    """{text}"""'.replace(" \n", "\n"))
    if name in CLASSES:
        lines.append(f"    def __init__{CLASSES[name]}: ...")
    attributes = ATTRIBUTES.get(name, {})
    other = "array" if name == "array" else "Any"
    for member in sorted(vars(value)):
        if member.startswith("_") and member not in SHOWN:
            continue
        found = vars(value)[member]
        if isinstance(found, value):
            lines.append(f"    {member}: {name}")
        elif isinstance(found, types.GetSetDescriptorType):
            head = f"def {member}(self) -> {attributes.get(member, other)}"
            lines += ["    @property", documented(head, found.__doc__, "    ")]
        elif member == "__hash__" and name != "array":
            continue
        elif callable(found) and not isinstance(found, type):
            text = method(name, member, found)
            if text:
                lines.append(text)
    return "\n".join(lines if len(lines) > 1 else [lines[0] + " ..."])


def module_stub(module, found):
    """The names of a module: classes, then constants, then functions."""
    classes, constants, functions = [], [], []
    names = [n for n in dir(found) if not n.startswith("__") or n == "__array_namespace_info__"]
    for name in names:
        value = getattr(found, name)
        if isinstance(value, types.ModuleType):
            constants.append(f"from . import {name} as {name}")
        elif isinstance(value, type):
            classes.append(class_stub(name, value))
        elif callable(value):
            functions.append(function(module, name, value))
        elif value is None:
            constants.append(f"{name}: None")
        else:
            constants.append(f"{name}: {type(value).__name__}")
    return classes, constants, functions


def stubs():
    """The stub files by name."""
    classes, constants, functions = module_stub("mlx.core", mx)
    constants.append("__version__: str")
    parts = [HEAD, *classes, "\n".join([ALIASES, *constants]), *functions]
    files = {"__init__.pyi": "\n\n".join(parts) + "\n"}
    for name, found in vars(mx).items():
        if isinstance(found, types.ModuleType):
            classes, constants, functions = module_stub(f"mlx.core.{name}", found)
            head = HEAD_OF_MODULE.format(name=name)
            parts = [head, *classes, *(["\n".join(constants)] if constants else []), *functions]
            files[f"{name}.pyi"] = "\n\n".join(parts) + "\n"
    return files


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in stubs().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
