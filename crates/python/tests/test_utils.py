"""Trees."""

from collections import namedtuple

import lazulite.core as mx
import pytest
from lazulite.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

LOOP = []
LOOP.append(LOOP)
Pair = namedtuple("Pair", "a b")
TREE = {"a": [1, (2, 3)], "b": {"c": 4}, "d": []}
FLAT = [("a.0", 1), ("a.1.0", 2), ("a.1.1", 3), ("b.c", 4)]


def is_tuple(x):
    return isinstance(x, tuple)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ((TREE,), FLAT),
        ((TREE, ".p"), [(f"p.{k}", v) for k, v in FLAT]),
        ((TREE, "", is_tuple), [("a.0", 1), ("a.1", (2, 3)), ("b.c", 4)]),
        ((TREE, "", None, {"x": 0}), {"x": 0, **dict(FLAT)}),
        ((TREE, "", None, [("x", 0)]), [("x", 0), *FLAT]),
        ((5,), [("", 5)]),
        ((None,), [("", None)]),
        (({},), []),
    ],
)
def test_flatten(arguments, expected):
    assert tree_flatten(*arguments) == expected


def test_flatten_refuses_other_destinations():
    with pytest.raises(ValueError):
        tree_flatten(TREE, destination=3)


@pytest.mark.parametrize(
    "flat, expected",
    [
        ([("", 5)], 5),
        ([], []),
        (FLAT, {"a": [1, [2, 3]], "b": {"c": 4}}),
        (dict(FLAT), {"a": [1, [2, 3]], "b": {"c": 4}}),
        ([("a.2", 1), ("a.0", 2)], {"a": [2, {}, 1]}),
        ([("0", 1), ("a", 2)], {"0": 1, "a": 2}),
        ([("10.w", 1), ("2.w", 2)], [{}, {}, {"w": 2}] + [{}] * 7 + [{"w": 1}]),
        ([("a", 1), ("a.b", 2)], {"a": {"": 1, "b": 2}}),
    ],
)
def test_unflatten(flat, expected):
    assert tree_unflatten(flat) == expected


def test_map_keeps_structure():
    assert tree_map(lambda x: x + 1, TREE) == {"a": [2, (3, 4)], "b": {"c": 5}, "d": []}
    assert tree_map(lambda x, y: (x, y), {"a": 1}, {"a": {"b": 2}, "c": 3}) == {"a": (1, {"b": 2})}
    assert tree_map(lambda x: -x, Pair(1, 2)) == Pair(-1, -2)
    with pytest.raises(KeyError):
        tree_map(lambda x, y: x, {"a": 1}, {"b": 1})
    with pytest.raises(IndexError):
        tree_map(lambda x, y: x, [1, 2], [1])


def test_map_with_path():
    paths = tree_map_with_path(lambda p, x: p, TREE)
    assert paths == {"a": ["a.0", ("a.1.0", "a.1.1")], "b": {"c": "b.c"}, "d": []}
    assert tree_map_with_path(lambda p, x: p, [1], path="root") == ["root.0"]
    assert tree_map_with_path(lambda p, x: p, 1) is None
    assert tree_map_with_path(lambda p, x, y: (p, x, y), [1], [2]) == [("0", 1, 2)]
    assert tree_map_with_path(lambda p, x: p, [(1, 2)], is_leaf=is_tuple) == ["0"]


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ([1, None], [None, 2, 3], [1, 2, 3]),
        ((1, None), (None, 2), (1, 2)),
        ({"a": [{}, {"x": 1}]}, {"a": [{"y": 2}, {}]}, {"a": [{"y": 2}, {"x": 1}]}),
        (None, [1], [1]),
        ({"a": 1}, None, {"a": 1}),
        ({"a": ()}, {"a": 1}, {"a": 1}),
    ],
)
def test_merge(a, b, expected):
    assert tree_merge(a, b) == expected


def test_merge_of_leaves_needs_a_function():
    for a, b in (({"a": 1}, {"a": 2}), ([1], {"a": 1})):
        with pytest.raises(ValueError):
            tree_merge(a, b)
    assert tree_merge({"a": 1}, {"a": 2}, lambda x, y: x + y) == {"a": 3}


def test_reduce():
    def add(x, y):
        return x + y

    assert tree_reduce(add, TREE) == 10
    assert tree_reduce(add, TREE, 5) == 15
    assert tree_reduce(add, []) is None
    assert tree_reduce(add, [], 5) == 5
    assert tree_reduce(add, [(1,), (2,)], (), is_leaf=is_tuple) == (1, 2)


@pytest.mark.parametrize(
    "walk",
    [
        mx.array,
        mx.eval,
        mx.compile(lambda tree: 1),
        lambda tree: mx.compile(lambda: 1, inputs=tree)(),
        mx.grad(lambda tree: mx.array(1.0)),
        mx.vmap(lambda tree: tree),
        lambda tree: mx.ones((2,))[tree],
    ],
)
def test_a_tree_that_holds_itself_has_too_many_levels(walk):
    deep = [mx.array(1.0)]
    for _ in range(100_000):
        deep = [deep]
    for tree in (LOOP, deep):
        with pytest.raises(RecursionError):
            walk(tree)
