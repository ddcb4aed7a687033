"""`Module`, the base of every layer and model.

A module is a dict. Arrays and containers that are set as attributes become entries of that dict,
so a model is a tree that `lazulite.utils` and the transforms understand; every other attribute
is an ordinary Python attribute and is no part of the tree.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Callable, List, Optional, Tuple, Union

import lazulite.core as mx
from lazulite._entry import Entry
from lazulite.utils import tree_flatten, tree_unflatten

#: What a class has where it has no attribute of a name.
_UNKNOWN = object()


class Module(dict):
    """The base class of layers and models.

    Shapes: those of the parameters, which loaded and updated ones must have.
    Dtypes: any.
    A missing attribute raises AttributeError.

    Attributes that are arrays, modules, dicts, lists or tuples are entries of the module and can
    hold parameters; a name with a leading underscore keeps an array out of the parameters. A
    subclass calls ``super().__init__()`` before it sets attributes, and defines ``__call__``.

    ``module.__call__ = f`` on an instance replaces what calling that instance does, so
    ``layer.__call__ = mx.compile(layer.__call__)`` compiles one layer of a model; deleting the
    attribute restores the class's own call.

    Example:
        >>> import lazulite.core as mx
        >>> import lazulite.nn as nn
        >>> class MLP(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layers = [nn.Linear(4, 8), nn.Linear(8, 2)]
        ...     def __call__(self, x):
        ...         return self.layers[1](nn.relu(self.layers[0](x)))
        >>> MLP()(mx.zeros((3, 4))).shape
        (3, 2)
    """

    __call__: Callable

    def __init__(self):
        self._no_grad = set()
        self._training = True

    # -- attributes ------------------------------------------------------------------------

    def __getattr__(self, key: str):
        try:
            return self[key]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {key!r}"
            ) from None

    def __setattr__(self, key: str, val: Any):
        is_entry = isinstance(val, (mx.array, dict, list, tuple))
        cls = type(self)
        if is_entry and not isinstance(known := getattr(cls, key, _UNKNOWN), property):
            self.__dict__.pop(key, None)
            self[key] = val
            if known is _UNKNOWN:
                # Reading it is then one look into the dict.
                setattr(cls, key, Entry(key))
        else:
            super().__setattr__(key, val)
            if key in self:
                del self[key]
        if key == "__call__":
            _honour_instance_call(self)

    def __delattr__(self, name):
        if name in self:
            del self[name]
        else:
            super().__delattr__(name)

    # -- printing --------------------------------------------------------------------------

    def _extra_repr(self) -> str:
        """The text between the parentheses of this module's own line in its `repr`."""
        return ""

    def __repr__(self):
        lines = []
        for name, child in tree_flatten(self.children(), is_leaf=self.is_module):
            lines.append(f"\n({name}): {child!r}".replace("\n", "\n  "))
        body = self._extra_repr() + "".join(lines)
        return f"{type(self).__name__}({body}" + ("\n)" if lines else ")")

    # -- traversal -------------------------------------------------------------------------

    @property
    def state(self):
        """The module itself, as the dict that `mx.compile` takes for ``inputs`` and ``outputs``.

        Unlike :meth:`parameters` it refers to the module's own entries, so a compiled function
        can replace them.
        """
        return self

    def filter_and_map(
        self,
        filter_fn: Callable[[Module, str, Any], bool],
        map_fn: Optional[Callable] = None,
        is_leaf_fn: Optional[Callable[[Module, str, Any], bool]] = None,
    ):
        """Select from the tree of this module and map what was selected.

        Args:
            filter_fn: Called with a module, a name in it and the value there; true keeps the
                value. Inside a dict or list the name is the path from the module, such as
                ``"layers.0"``, and what is refused leaves an empty dict.
            map_fn: Applied to every leaf that is kept; the identity by default.
            is_leaf_fn: True for values that go to ``map_fn`` whole. By default all but modules,
                dicts and lists.

        Returns:
            A dict of dicts, lists and mapped leaves.

        Raises:
            RuntimeError: If a value that can't be entered is not a leaf by ``is_leaf_fn``.
        """
        return {
            k: _filter_and_map(self, k, v, filter_fn, map_fn, is_leaf_fn)
            for k, v in list(self.items())
            if filter_fn(self, k, v)
        }

    @staticmethod
    def is_module(value):
        """True iff ``value`` is a module."""
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module, key, value):
        """True for what can hold modules: dicts (thus modules) and lists."""
        return isinstance(value, (dict, list))

    @staticmethod
    def valid_parameter_filter(module, key, value):
        """True for what is or can hold parameters: arrays, dicts and lists whose name has no
        leading underscore."""
        return isinstance(value, (dict, list, mx.array)) and not key.startswith("_")

    @staticmethod
    def trainable_parameter_filter(module, key, value):
        """True for what :meth:`valid_parameter_filter` admits and nobody froze."""
        return Module.valid_parameter_filter(module, key, value) and key not in module._no_grad

    def parameters(self):
        """The tree of all parameters, frozen or not."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self):
        """The tree of the parameters that are not frozen."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def children(self):
        """The tree of the modules that are direct children of this one."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda m, k, v: isinstance(v, Module)
        )

    def leaf_modules(self):
        """The tree of the modules that have no children."""

        def is_leaf_module(m, k, v):
            return isinstance(v, Module) and not tree_flatten(v.children())

        return self.filter_and_map(self.valid_child_filter, is_leaf_fn=is_leaf_module)

    def named_modules(self):
        """A list of ``(path, module)`` for this module, whose path is empty, and all below it.

        A module stands before its children, and later children before earlier ones. A module
        that is reached by two paths is listed twice.
        """
        found = []
        stack = [("", self)]
        while stack:
            path, module = stack.pop()
            found.append((path, module))
            prefix = f".{path}" if path else ""
            stack.extend(tree_flatten(module.children(), prefix=prefix, is_leaf=self.is_module))
        return found

    def modules(self):
        """The modules of :meth:`named_modules` without their paths."""
        return [module for _, module in self.named_modules()]

    def apply_to_modules(self, apply_fn: Callable[[str, Module], Any]) -> Module:
        """Call ``apply_fn(path, module)`` for each of :meth:`named_modules`; returns ``self``."""
        for path, module in self.named_modules():
            apply_fn(path, module)
        return self

    # -- changing parameters and modules ---------------------------------------------------

    def update(self, parameters: dict, strict: bool = True) -> Module:
        """Replace parameters by those of a tree like :meth:`parameters`.

        Args:
            parameters: A tree that may lack any part of the module's.
            strict: If true, a path that the module lacks, or a value that is not an array, is
                an error; if false, what doesn't fit is passed over.

        Returns:
            ``self``.

        Raises:
            ValueError: If ``strict`` and something doesn't fit.

        Example:
            >>> import lazulite.core as mx
            >>> import lazulite.nn as nn
            >>> layer = nn.Linear(2, 2).update({"bias": mx.ones((2,))})
            >>> layer.bias.tolist()
            [1.0, 1.0]
        """
        _update_parameters(self, parameters, strict)
        return self

    def apply(
        self,
        map_fn: Callable[[mx.array], mx.array],
        filter_fn: Optional[Callable[[Module, str, Any], bool]] = None,
    ) -> Module:
        """Replace every parameter ``p`` that ``filter_fn`` keeps by ``map_fn(p)``.

        ``filter_fn`` is :meth:`valid_parameter_filter` by default. Returns ``self``.
        """
        filter_fn = filter_fn or self.valid_parameter_filter
        self.update(self.filter_and_map(filter_fn, map_fn))
        return self

    def update_modules(self, modules: dict, strict: bool = True) -> Module:
        """Replace modules by those of a tree like :meth:`children` or :meth:`leaf_modules`.

        Args:
            modules: A tree that may lack any part of the module's.
            strict: If true, a path that the module lacks, or a value that is not a module, is an
                error; if false, what doesn't fit is passed over.

        Returns:
            ``self``.

        Raises:
            ValueError: If ``strict`` and something doesn't fit.
        """
        _update_modules(self, modules, strict)
        return self

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Optional[Callable[[mx.Dtype], bool]] = lambda x: mx.issubdtype(x, mx.floating),
    ):
        """Convert the parameters whose dtype fulfils ``predicate`` to ``dtype``.

        By default the floating-point ones; with None all of them.
        """
        if predicate is None:
            self.apply(lambda p: p.astype(dtype))
        else:
            self.apply(lambda p: p.astype(dtype) if predicate(p.dtype) else p)

    # -- files -----------------------------------------------------------------------------

    def load_weights(
        self,
        file_or_weights: Union[str, List[Tuple[str, mx.array]]],
        strict: bool = True,
    ) -> Module:
        """Replace parameters by those of a file or of a list.

        Args:
            file_or_weights: The name of a ``.npz`` or ``.safetensors`` file, or a list of pairs
                of path and array, or a dict of these.
            strict: If true, the paths must be exactly those of :meth:`parameters` and the shapes
                must agree; if false, what the model lacks is passed over.

        Returns:
            ``self``.

        Raises:
            ValueError: If ``strict`` and paths, types or shapes don't agree.

        Example:
            >>> import lazulite.core as mx
            >>> import lazulite.nn as nn
            >>> layer = nn.Linear(2, 1, bias=False).load_weights([("weight", mx.ones((1, 2)))])
            >>> layer.weight.tolist()
            [[1.0, 1.0]]
        """
        weights = file_or_weights
        if isinstance(weights, (str, os.PathLike)):
            weights = mx.load(os.fspath(weights))
        weights = dict(weights)

        if strict:
            current = tree_flatten(self.parameters(), destination={})
            if extra := [name for name in weights if name not in current]:
                raise ValueError(
                    f"load_weights: received {len(extra)} parameters not in the model: \n"
                    + ",\n".join(sorted(extra))
                )
            if missing := [name for name in current if name not in weights]:
                raise ValueError(
                    f"load_weights: missing {len(missing)} parameters: \n"
                    + ",\n".join(sorted(missing))
                )
            for name, old in current.items():
                new = weights[name]
                if not isinstance(new, mx.array):
                    raise ValueError(
                        f"load_weights: expected an array for parameter {name}, got {type(new)}"
                    )
                if new.shape != old.shape:
                    raise ValueError(
                        f"load_weights: expected shape {old.shape} for parameter {name}, "
                        f"got {new.shape}"
                    )
        if weights:
            self.update(tree_unflatten(weights), strict=False)
        return self

    def save_weights(self, file: str):
        """Write :meth:`parameters` to a ``.npz`` or ``.safetensors`` file.

        Raises:
            ValueError: If the name has another ending.
        """
        file = os.fspath(file)
        weights = tree_flatten(self.parameters(), destination={})
        if file.endswith(".npz"):
            mx.savez(file, **weights)
        elif file.endswith(".safetensors"):
            mx.save_safetensors(file, weights)
        else:
            raise ValueError(
                f"save_weights: unsupported file name {file!r}; it must end in .npz or .safetensors"
            )

    # -- freezing --------------------------------------------------------------------------

    def _validate_keys(self, keys, strict):
        """Return ``keys`` as a list, checked against this module's own entries if ``strict``."""
        keys = [keys] if isinstance(keys, str) else list(keys)
        if strict:
            for key in keys:
                if key not in self:
                    raise KeyError(f"Module doesn't contain member {key}.")
        return keys

    def _validate_keys_recursive(self, keys):
        """Check that each of ``keys`` is a parameter of this module or of one below it."""
        keys = [keys] if isinstance(keys, str) else list(keys)
        known = {
            name
            for module in self.modules()
            for name, value in list(module.items())
            if Module.valid_parameter_filter(module, name, value)
        }
        for key in keys:
            if key not in known:
                raise KeyError(f"Module doesn't contain member {key}.")

    def freeze(
        self,
        *,
        recurse: bool = True,
        keys: Optional[Union[str, List[str]]] = None,
        strict: bool = False,
    ) -> Module:
        """Take parameters out of :meth:`trainable_parameters`; freezing twice does no harm.

        Args:
            recurse: If true, freeze in the modules below as well.
            keys: The names to freeze in each module, by default all parameters.
            strict: If true, names that are not there are an error.

        Returns:
            ``self``.

        Raises:
            KeyError: If ``strict`` and a name is not there.

        Example:
            >>> import lazulite.nn as nn
            >>> layer = nn.Linear(2, 2).freeze(keys="bias")
            >>> list(layer.trainable_parameters())
            ['weight']
        """
        if strict and recurse and keys is not None:
            self._validate_keys_recursive(keys)

        def freeze_one(_, module):
            if keys is None:
                own = module.filter_and_map(
                    lambda m, k, v: not isinstance(v, Module) and m.valid_parameter_filter(m, k, v)
                )
                module._no_grad.update(name for name, _ in tree_flatten(own))
            else:
                module._no_grad.update(module._validate_keys(keys, strict and not recurse))

        if recurse:
            self.apply_to_modules(freeze_one)
        else:
            freeze_one("", self)
        return self

    def unfreeze(
        self,
        *,
        recurse: bool = True,
        keys: Optional[Union[str, List[str]]] = None,
        strict: bool = False,
    ) -> Module:
        """Undo :meth:`freeze`, with arguments of the same meaning; returns ``self``."""
        if strict and recurse and keys is not None:
            self._validate_keys_recursive(keys)

        def unfreeze_one(_, module):
            if keys is None:
                module._no_grad.clear()
            else:
                module._no_grad.difference_update(
                    module._validate_keys(keys, strict and not recurse)
                )

        if recurse:
            self.apply_to_modules(unfreeze_one)
        else:
            unfreeze_one("", self)
        return self

    # -- training mode ---------------------------------------------------------------------

    @property
    def training(self):
        """True iff the module is in training mode, in which for example dropout is active."""
        return self._training

    def _set_training_mode(self, mode: bool) -> None:
        self._training = mode

    def train(self, mode: bool = True) -> Module:
        """Set this module and all below it to training or, with False, evaluation mode."""
        for module in self.modules():
            module._set_training_mode(mode)
        return self

    def eval(self) -> Module:
        """Set this module and all below it to evaluation mode."""
        return self.train(False)


def _is_plain_leaf(module, key, value):
    return not isinstance(value, (dict, list))


def _filter_and_map(module, key, value, filter_fn, map_fn, is_leaf_fn):
    """`Module.filter_and_map` for one value that the filter already kept."""
    is_leaf = is_leaf_fn or _is_plain_leaf
    if is_leaf(module, key, value):
        return value if map_fn is None else map_fn(value)
    if isinstance(value, Module):
        return value.filter_and_map(filter_fn, map_fn, is_leaf_fn)

    def below(name, child):
        if filter_fn(module, name, child):
            return _filter_and_map(module, name, child, filter_fn, map_fn, is_leaf_fn)
        return {}

    if isinstance(value, dict):
        return {k: below(f"{key}.{k}", v) for k, v in list(value.items())}
    if isinstance(value, list):
        return [below(f"{key}.{i}", v) for i, v in enumerate(value)]
    raise RuntimeError(f"filter_and_map: {key} of type {type(value)} is neither tree nor leaf")


def _entries(destination, source, strict, kind):
    """Pair up what two trees hold: yields ``(key, old, new)`` for the keys they share.

    Raises ValueError, if ``strict``, for keys that only ``source`` has and for trees of
    different kinds.
    """
    if isinstance(source, dict):
        for key, new in list(source.items()):
            if isinstance(destination, dict) and key in destination:
                yield key, destination[key], new
            elif strict:
                raise ValueError(f'Module does not have {kind} named "{key}".')
    elif isinstance(source, list):
        for i, new in enumerate(source):
            if isinstance(destination, (list, tuple)) and i < len(destination):
                yield i, destination[i], new
            elif strict:
                size = len(destination)
                raise ValueError(
                    f"List index {i} is out of bounds for destination of length {size}."
                )
    elif strict:
        raise ValueError(f"Received invalid type: {type(source).__name__}.")


def _update_parameters(destination, source, strict):
    for key, old, new in _entries(destination, source, strict, "parameter"):
        if isinstance(old, mx.array):
            if strict and not isinstance(new, mx.array):
                raise ValueError(f"Received invalid type: {type(new).__name__}.")
            destination[key] = new
        else:
            _update_parameters(old, new, strict)


def _update_modules(destination, source, strict):
    for key, old, new in _entries(destination, source, strict, "sub-module"):
        if isinstance(old, Module) and isinstance(new, Module):
            destination[key] = new
        elif isinstance(old, (dict, list)):
            _update_modules(old, new, strict)


# -- instance calls ------------------------------------------------------------------------

_CALL_CLASSES = weakref.WeakKeyDictionary()
_HONOURS_CALL = "_honours_instance_call"


def _honour_instance_call(module: Module) -> None:
    """Make calling ``module`` use its own ``__call__`` attribute.

    Python looks ``__call__`` up on the type only. The instance is therefore given a subclass of
    its type that looks on the instance first; all other instances keep their direct calls.
    """
    cls = type(module)
    if _HONOURS_CALL in cls.__dict__:
        return
    derived = _CALL_CLASSES.get(cls)
    if derived is None:

        def __call__(self, *args, **kwargs):
            call = self.__dict__.get("__call__")
            if call is None:
                call = self.get("__call__")
            if call is None:
                return super(derived, self).__call__(*args, **kwargs)
            return call(*args, **kwargs)

        names = {
            "__call__": __call__,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            _HONOURS_CALL: True,
        }
        derived = type(cls)(cls.__name__, (cls,), names)
        _CALL_CLASSES[cls] = derived
    module.__class__ = derived
