"""Serves the imports of `mlx` from this package, for programs that were written for it.

Importing this module is enough: from then on `import mlx.core`, `mlx.nn`, `mlx.optimizers`,
`mlx.utils` and what lies below them give the modules of `lazulite`. The same is done for a whole
program by `python -m lazulite.mlx program.py` and `python -m lazulite.mlx -m module`.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types

_ROOT = "mlx"
_SERVED = "lazulite"


class _Loader(importlib.abc.Loader):
    """Gives a module that exists already under another name."""

    def __init__(self, target):
        self._target = target
        self._kept = {}

    def create_module(self, spec):
        if spec.name == _ROOT:
            return None
        module = importlib.import_module(self._target)
        # Importing under the second name must not change what the module says of itself.
        self._kept = {k: getattr(module, k, None) for k in ("__spec__", "__loader__")}
        return module

    def exec_module(self, module):
        if module.__name__ == _ROOT:
            module.__path__ = []
        for name, value in self._kept.items():
            setattr(module, name, value)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `mlx` and the modules below it in this package."""

    def find_spec(self, name, path=None, target=None):
        if name == _ROOT:
            return importlib.machinery.ModuleSpec(name, _Loader(None), is_package=True)
        if not name.startswith(_ROOT + "."):
            return None
        served = _SERVED + name[len(_ROOT) :]
        if served in sys.modules or _exists(served):
            return importlib.machinery.ModuleSpec(name, _Loader(served))
        return None


def _exists(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return False
        raise
    return True


def install():
    """Serves `mlx` from here on. Modules of another `mlx` that are loaded already are an error."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    loaded = sys.modules.get(_ROOT)
    if isinstance(loaded, types.ModuleType):
        raise ImportError("mlx is imported already; import lazulite.mlx before it")
    sys.meta_path.insert(0, _Finder())


install()
