"""What an XGBoost file says, and whether XGBoost can be let at it."""

import json
from itertools import pairwise
from typing import Any

import numpy as np

from handler.workflows.trees import MAX_FEATURES, Malformed, check, check_children, whole

MAX_DEPTH = 32
MAX_CLASSES = 65_536

# UBJSON's marker of a number -> numpy's type.
_NUMBERS = {
    kind: np.dtype(name)
    for kind, name in zip(
        b"iUIlLdD", (">i1", ">u1", ">i2", ">i4", ">i8", ">f4", ">f8"), strict=True
    )
}
_CONSTANTS = {b"T"[0]: True, b"F"[0]: False, b"Z"[0]: None}


def parsed(content: bytes) -> Any:
    """What a model file says, in JSON or UBJSON.

    Raises:
        Malformed, ValueError, RecursionError: it is neither, or says a thing twice.
    """
    if content[1:2] in (b"L", b"$", b"#"):
        value, end = _Ubjson(content).value(0, 0)
        check(end == len(content), "something follows the model")
        return value
    return json.loads(content, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    check(len(found) == len(pairs), "it says a thing twice")
    return found


class _Ubjson:
    """The part of UBJSON that XGBoost writes. Lists of numbers become arrays, not copied."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def value(self, position: int, depth: int) -> tuple[Any, int]:
        """The value at a position, and the position behind it."""
        check(depth <= MAX_DEPTH, "it is nested too deep")
        check(position < len(self.content), "it ends too early")
        marker, position = self.content[position], position + 1
        if marker in _CONSTANTS:
            return _CONSTANTS[marker], position
        if marker in _NUMBERS:
            array, position = self.numbers(marker, 1, position)
            return array[0].item(), position
        if marker == b"S"[0]:
            return self.text(position)
        if marker == b"{"[0]:
            return self.members(position, depth)
        if marker == b"["[0]:
            return self.items(position, depth)
        raise Malformed("it is no UBJSON of XGBoost")

    def numbers(self, marker: int, count: int, position: int) -> tuple[Any, int]:
        check(marker in _NUMBERS, "it is no UBJSON of XGBoost")
        dtype = _NUMBERS[marker]
        end = position + count * dtype.itemsize
        check(count >= 0 and end <= len(self.content), "it ends too early")
        return np.frombuffer(self.content, dtype, count, position), end

    def length(self, position: int) -> tuple[int, int]:
        check(self.content[position : position + 1] == b"L", "it is no UBJSON of XGBoost")
        array, position = self.numbers(b"L"[0], 1, position + 1)
        return int(array[0]), position

    def text(self, position: int) -> tuple[str, int]:
        length, position = self.length(position)
        check(0 <= length <= len(self.content) - position, "it ends too early")
        return self.content[position : position + length].decode(), position + length

    def members(self, position: int, depth: int) -> tuple[dict[str, Any], int]:
        pairs = []
        while self.content[position : position + 1] != b"}":
            name, position = self.text(position)
            value, position = self.value(position, depth + 1)
            pairs.append((name, value))
        return _once(pairs), position + 1

    def items(self, position: int, depth: int) -> tuple[Any, int]:
        if self.content[position : position + 1] == b"$":
            check(self.content[position + 2 : position + 3] == b"#", "it is no UBJSON of XGBoost")
            count, start = self.length(position + 3)
            return self.numbers(self.content[position + 1], count, start)
        found: list[Any] = []
        count = -1
        if self.content[position : position + 1] == b"#":
            count, position = self.length(position + 1)
            check(0 <= count <= len(self.content), "it ends too early")
        while len(found) != count:
            if count < 0 and self.content[position : position + 1] == b"]":
                return found, position + 1
            value, position = self.value(position, depth + 1)
            found.append(value)
        return found, position


def check_model(model: Any) -> None:
    """Returns when every number that XGBoost uses as an index is one.

    Raises:
        Malformed, KeyError, TypeError, ValueError: some are not, or are missing.
    """
    learner = model["learner"]
    said = learner["learner_model_param"]
    features, classes = whole(said["num_feature"]), max(1, whole(said["num_class"]))
    targets = max(1, whole(said.get("num_target", "1")))
    check(0 < features <= MAX_FEATURES, "it has no features, or too many")
    check(max(classes, targets) <= MAX_CLASSES, "it has too many classes")
    groups = max(classes, targets)
    check(said["base_score"].count(",") + 1 in (1, groups), "its scores begin with others")
    booster = learner["gradient_booster"]
    if booster["name"] == "dart":
        trees = booster["gbtree"]["model"]
        check(len(booster["weight_drop"]) == len(trees["trees"]), "its trees have other weights")
    else:
        check(booster["name"] == "gbtree", f"booster {booster['name']!s:.20} is not served")
        trees = booster["model"]
    check(not trees.get("cats", {}).get("enc"), "names of categories are not served")
    _check_ensemble(trees, groups)
    for tree in trees["trees"]:
        _check_tree(tree, features)


def _check_ensemble(model: Any, groups: int) -> None:
    count = whole(model["gbtree_model_param"]["num_trees"])
    groups_of = _array(model["tree_info"])
    check(count == len(model["trees"]) == groups_of.size, "it has another number of trees")
    check((groups_of >= 0) & (groups_of < groups), "a tree is of a class that there is not")
    bounds = [0, *map(int, model.get("iteration_indptr", ())), count]
    check(all(low <= high for low, high in pairwise(bounds)), "its rounds are of other trees")


def _check_tree(tree: Any, features: int) -> None:
    said = tree["tree_param"]
    check(whole(said["size_leaf_vector"]) <= 1, "trees of several targets are not served")
    nodes = whole(said["num_nodes"])
    left, right = _array(tree["left_children"]), _array(tree["right_children"])
    for name in (
        "right_children",
        "parents",
        "split_indices",
        "split_conditions",
        "split_type",
        "default_left",
        "base_weights",
        "left_children",
    ):
        check(len(tree[name]) == nodes > 0, "a tree's lists have other lengths than it says")
    inner = left != -1
    check(inner == (right != -1), "a tree's node has one child")
    check_children(np.concatenate([left[inner], right[inner]]), nodes)
    split = _array(tree["split_indices"])[inner]
    check((split >= 0) & (split < features), "a tree asks for a feature that there is not")
    _check_categories(tree, nodes, inner & (_array(tree["split_type"]) != 0))


def _check_categories(tree: Any, nodes: int, categorical: Any) -> None:
    of, starts, sizes = (
        _array(tree[name])
        for name in ("categories_nodes", "categories_segments", "categories_sizes")
    )
    check(of.size == starts.size == sizes.size, "a tree's categories have other bounds")
    check((of >= 0) & (of < nodes), "a tree's categories are of a node that there is not")
    inside = (starts >= 0) & (sizes >= 0) & (starts + sizes <= len(tree["categories"]))
    check(inside, "a tree's categories have other bounds")
    check(np.isin(np.flatnonzero(categorical), of), "a tree asks for categories that it has not")
    categories = _array(tree["categories"])
    check((categories >= 0) & (categories < 2**24), "a tree has too large categories")


def _array(values: Any) -> Any:
    """Whole numbers, which JSON and UBJSON may both spell."""
    array = np.asarray(values)
    check(array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0), "its lists are others")
    return array.astype(np.int64)
