"""Serves a LightGBM model, from its native text."""

import logging
import re
from typing import Any

import lightgbm
import numpy as np

from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows.trees import (
    MAX_FEATURES,
    Booster,
    BoosterWorkflow,
    Kind,
    Malformed,
    check,
    check_children,
    whole,
)

logger = logging.getLogger(__name__)

# Behind the trees are importances and parameters, which no prediction needs.
END = "end of trees"

# What a score is, by the objective; a value where the objective is another.
KINDS: dict[str, Kind] = {
    "binary": "binary",
    "multiclass": "classes",
    "multiclassova": "classes",
}


class _Quiet:
    """LightGBM would print."""

    def info(self, message: str) -> None:
        logger.debug("%s", message)

    warning = info


lightgbm.register_logger(_Quiet())


class LightGBMInferenceWorkflow(BoosterWorkflow):
    __doc__ = BoosterWorkflow.__doc__

    def open(self, file: ModelFile) -> Booster:
        text, objective = checked(file.path.read_text(encoding="utf-8"))
        try:
            model = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise Malformed(str(error).partition(" at /")[0]) from error
        return Booster(model, model.num_feature(), KINDS.get(objective, "value"))

    def scores(self, rows: Array, *, raw: bool) -> Array:
        threads = self.settings.threads
        found: Array = self.model.model.predict(rows, raw_score=raw, num_threads=threads)
        return found


def checked(text: str) -> tuple[str, str]:
    """The model's text, as LightGBM is to read it, and its objective.

    It is written anew from what was understood, so that nothing is read another way, and without
    the sizes by which LightGBM would jump from tree to tree without looking.

    Raises:
        Malformed: LightGBM would not have written it.
    """
    text, ended, _ = text.partition(f"\n{END}")
    check(ended, "it ends too early")
    head, *trees = re.split(r"^Tree=\d+\r?\n", text, flags=re.MULTILINE)
    lines = [line for line in head.splitlines() if not line.startswith("tree_sizes=")]
    header = _pairs(lines)
    classes = whole(header["num_class"])
    check(
        classes == whole(header["num_tree_per_iteration"]) and 0 < classes <= max(1, len(trees)),
        "it has more classes than trees",
    )
    objective, *options = header.get("objective", "").split() or [""]
    if objective.startswith("multiclass"):
        named = [option for option in options if option.startswith("num_class")]
        check(named == [f"num_class:{classes}"], "its objective has other classes")
    features = whole(header["max_feature_idx"]) + 1
    check(0 < features <= MAX_FEATURES, "it has no features, or too many")
    blocks = [
        f"Tree={index}\n{_tree(block.splitlines(), features)}\n\n"
        for index, block in enumerate(trees)
    ]
    return "\n".join(["", *lines, "", *blocks, END, ""]).lstrip("\n"), objective


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs = [line.split("=", 1) for line in lines if "=" in line]
    found = dict(pairs)
    check(len(found) == len(pairs), "it says a thing twice")
    check([name.isidentifier() for name in found], "it is no text of LightGBM")
    return found


def _tree(lines: list[str], features: int) -> str:
    pairs = _pairs(lines)
    leaves = whole(pairs["num_leaves"])
    check(leaves > 0, "a tree has no leaves")
    check(pairs.get("is_linear", "0").strip() == "0", "linear trees are not served")

    def numbers(name: str, dtype: Any = np.int64) -> Array:
        values = np.array(pairs.get(name, "").split(), dtype=dtype)
        pairs[name] = " ".join(map(str, values.tolist()))
        return values

    children = np.concatenate([numbers("left_child"), numbers("right_child")])
    check(children.size == 2 * (leaves - 1), "a tree's lists have other lengths than it says")
    check_children(children[children >= 0], leaves - 1)
    check(-children[children < 0] <= leaves, "a tree's nodes lead to leaves that it has not")
    split = numbers("split_feature")
    check((split >= 0) & (split < features), "a tree asks for a feature that there is not")
    _check_categories(pairs, whole(pairs["num_cat"]), numbers)
    return "\n".join(f"{name}={value}" for name, value in pairs.items() if value)


def _check_categories(pairs: dict[str, str], count: int, numbers: Any) -> None:
    categorical = (numbers("decision_type") & 1).astype(bool)
    if count == 0:
        check(~categorical, "a tree asks for categories that it has not")
        return
    bounds, words = numbers("cat_boundaries"), numbers("cat_threshold")
    check(count > 0 and bounds.size == count + 1, "a tree's categories have other bounds")
    check(bounds[0] == 0 and bounds[-1] == words.size, "a tree's categories have other bounds")
    check(np.diff(bounds) >= 0, "a tree's categories have other bounds")
    # Where the feature is categorical, the threshold is the number of a set of categories.
    chosen = np.array(pairs["threshold"].split(), dtype=np.float64)[categorical]
    check((chosen >= 0) & (chosen < count), "a tree asks for categories that it has not")
