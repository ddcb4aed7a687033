"""Trees: nested lists, tuples and dicts whose leaves are usually arrays.

Parameters, gradients and optimizer states are trees. Every function here is independent of
arrays: anything that is not a list, tuple or dict is a leaf. A leaf's path is the sequence of
keys and indices that reach it, written with dots: ``"layers.0.weight"``.
"""

from itertools import zip_longest
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

__all__ = [
    "tree_flatten",
    "tree_map",
    "tree_map_with_path",
    "tree_merge",
    "tree_reduce",
    "tree_unflatten",
]


def _rebuild(sequence, items: list):
    """Give ``items`` the type of ``sequence``: a list, a tuple or a named tuple."""
    if type(sequence) is list:
        return items
    if hasattr(sequence, "_fields"):
        return type(sequence)(*items)
    return type(sequence)(items)


def tree_map(fn: Callable, tree: Any, *rest: Any, is_leaf: Optional[Callable] = None) -> Any:
    """Apply ``fn`` to every leaf and return a tree of the results.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.

    Args:
        fn: Called with a leaf of ``tree`` and what stands at the same path in each of ``rest``.
        tree: The tree whose structure the result has.
        rest: Trees with at least the paths of ``tree``. What lies deeper in them is passed to
            ``fn`` whole.
        is_leaf: Optional predicate; a node for which it is true is passed to ``fn`` whole.

    Raises:
        KeyError, IndexError: If one of ``rest`` lacks a path of ``tree``.

    Example:
        >>> tree_map(lambda x, y: x + y, {"a": [1, 2]}, {"a": [10, 20]})
        {'a': [11, 22]}
    """
    if is_leaf is not None and is_leaf(tree):
        return fn(tree, *rest)
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            [
                tree_map(fn, child, *(r[i] for r in rest), is_leaf=is_leaf)
                for i, child in enumerate(tree)
            ],
        )
    if isinstance(tree, dict):
        return {
            k: tree_map(fn, child, *(r[k] for r in rest), is_leaf=is_leaf)
            for k, child in list(tree.items())
        }
    return fn(tree, *rest)


def tree_map_with_path(
    fn: Callable,
    tree: Any,
    *rest: Any,
    is_leaf: Optional[Callable] = None,
    path: Optional[Any] = None,
) -> Any:
    """Like :func:`tree_map`, with the leaf's path as the first argument of ``fn``.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.
    A `fn` that is not a function raises TypeError; trees that do not fit raise KeyError or
    IndexError.

    Args:
        fn: Called with the path, the leaf, and what stands there in each of ``rest``.
        tree: The tree whose structure the result has.
        rest: Trees with at least the paths of ``tree``.
        is_leaf: Optional predicate; a node for which it is true is passed to ``fn`` whole.
        path: A prefix for all paths. A ``tree`` that is itself a leaf has exactly this path,
            thus ``None`` by default.

    Example:
        >>> tree_map_with_path(lambda p, x: f"{p}={x}", {"a": [1, {"b": 2}]})
        {'a': ['a.0=1', {'b': 'a.1.b=2'}]}
    """
    if is_leaf is not None and is_leaf(tree):
        return fn(path, tree, *rest)
    prefix = "" if path is None or path == "" else f"{path}."
    if isinstance(tree, (list, tuple)):
        return _rebuild(
            tree,
            [
                tree_map_with_path(
                    fn, child, *(r[i] for r in rest), is_leaf=is_leaf, path=f"{prefix}{i}"
                )
                for i, child in enumerate(tree)
            ],
        )
    if isinstance(tree, dict):
        return {
            k: tree_map_with_path(
                fn, child, *(r[k] for r in rest), is_leaf=is_leaf, path=f"{prefix}{k}"
            )
            for k, child in list(tree.items())
        }
    return fn(path, tree, *rest)


def _collect_leaves(tree: Any, path: str, is_leaf: Optional[Callable], add: Callable) -> None:
    if is_leaf is None or not is_leaf(tree):
        if isinstance(tree, (list, tuple)):
            for i, child in enumerate(tree):
                _collect_leaves(child, f"{path}.{i}", is_leaf, add)
            return
        if isinstance(tree, dict):
            for k, child in list(tree.items()):
                _collect_leaves(child, f"{path}.{k}", is_leaf, add)
            return
    # Every path was built with a leading dot.
    add(path[1:], tree)


def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: Optional[Callable] = None,
    destination: Optional[Union[List[Tuple[str, Any]], Dict[str, Any]]] = None,
) -> Union[List[Tuple[str, Any]], Dict[str, Any]]:
    """List the leaves of ``tree`` with their paths, depth first.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.

    Args:
        tree: The tree to flatten. Empty containers leave no trace.
        prefix: What to put before every path; its first character is dropped, so it is written
            with a leading dot.
        is_leaf: Optional predicate; a node for which it is true is a leaf.
        destination: The list or dict to extend; a new list by default.

    Returns:
        ``destination``: a list of ``(path, leaf)`` pairs or a dict from path to leaf.

    Raises:
        ValueError: If ``destination`` is neither a list, a dict nor None.

    Example:
        >>> tree_flatten({"a": [1, 2], "b": 3})
        [('a.0', 1), ('a.1', 2), ('b', 3)]
    """
    if destination is None:
        destination = []
    if isinstance(destination, list):
        _collect_leaves(tree, prefix, is_leaf, lambda path, leaf: destination.append((path, leaf)))
    elif isinstance(destination, dict):
        _collect_leaves(tree, prefix, is_leaf, destination.__setitem__)
    else:
        raise ValueError(
            f"tree_flatten: destination must be a list, a dict or None, got {type(destination)}"
        )
    return destination


def tree_unflatten(tree: Union[List[Tuple[str, Any]], Dict[str, Any]]) -> Any:
    """Build the tree of which ``tree`` lists paths and leaves: the inverse of
    :func:`tree_flatten`.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.
    An argument that is not a list of pairs raises TypeError.

    A level whose keys are all whole numbers becomes a list, in which a missing index holds an
    empty dict; any other level becomes a dict. An empty listing gives an empty list.

    Example:
        >>> tree_unflatten([("a.0", 1), ("a.2", 2), ("b", 3)])
        {'a': [1, {}, 2], 'b': 3}
    """
    pairs = list(tree.items() if isinstance(tree, dict) else tree)
    if len(pairs) == 1 and pairs[0][0] == "":
        return pairs[0][1]

    levels: Dict[str, list] = {}
    leaves: Dict[str, Any] = {}
    for path, leaf in pairs:
        key, dot, rest = path.partition(".")
        if dot or key in levels:
            # A leaf that was met before becomes the child with the empty name.
            below = levels.setdefault(key, [("", leaves.pop(key))] if key in leaves else [])
            below.append((rest, leaf))
        else:
            leaves[key] = leaf

    children = {}
    for path, _ in pairs:
        key = path.partition(".")[0]
        if key not in children:
            children[key] = tree_unflatten(levels[key]) if key in levels else leaves[key]

    if all(key.isdecimal() for key in children):
        by_index = {int(key): child for key, child in children.items()}
        return [by_index.get(i, {}) for i in range(max(by_index, default=-1) + 1)]
    return children


def tree_reduce(fn, tree, initializer=None, is_leaf=None):
    """Fold the leaves of ``tree``, depth first, into one value.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.
    A `fn` that is not a function raises TypeError; trees that do not fit raise KeyError or
    IndexError.

    Args:
        fn: Called with the value so far and the next leaf.
        tree: The tree to fold.
        initializer: The first value; with None the first leaf is the first value.
        is_leaf: Optional predicate; a node for which it is true is a leaf.

    Returns:
        The last value; ``initializer`` for a tree without leaves.

    Example:
        >>> tree_reduce(lambda total, x: total + x, {"a": [1, 2], "b": 3})
        6
    """
    value = initializer
    for _, leaf in tree_flatten(tree, is_leaf=is_leaf):
        value = leaf if value is None else fn(value, leaf)
    return value


def _is_empty(tree: Any) -> bool:
    return tree is None or (isinstance(tree, (list, tuple, dict)) and len(tree) == 0)


def tree_merge(tree_a, tree_b, merge_fn=None):
    """Lay one tree over the other.

    Shapes: any; the arrays are not looked at.
    Dtypes: any.

    None and empty containers are holes, which the other tree fills. The shorter of two lists is
    taken to end in holes.

    Args:
        tree_a: The first tree.
        tree_b: The second tree.
        merge_fn: Called with both leaves where the two trees meet.

    Raises:
        ValueError: If two leaves meet and there is no ``merge_fn``.

    Example:
        >>> tree_merge({"a": 1, "c": [None, 3]}, {"b": 2, "c": [4]})
        {'a': 1, 'c': [4, 3], 'b': 2}
    """
    if _is_empty(tree_a):
        return tree_b
    if _is_empty(tree_b):
        return tree_a
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        return _rebuild(
            tree_a, [tree_merge(a, b, merge_fn) for a, b in zip_longest(tree_a, tree_b)]
        )
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        keys = list(tree_a) + [k for k in tree_b if k not in tree_a]
        return {k: tree_merge(tree_a.get(k), tree_b.get(k), merge_fn) for k in keys}
    if merge_fn is None:
        raise ValueError(
            "tree_merge: both trees have a value at the same place and no merge_fn was given"
        )
    return merge_fn(tree_a, tree_b)
