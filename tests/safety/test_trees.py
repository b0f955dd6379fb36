"""XGBoost and LightGBM trust their files: a damaged one would crash the process, so is refused."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_iris

from handler.errors import ModelError
from handler.workflows.lightgbm import LightGBMInferenceWorkflow
from handler.workflows.xgboost import XGBoostInferenceWorkflow

ROWS, SPECIES = load_iris(return_X_y=True)
MATRIX = xgboost.DMatrix(ROWS, SPECIES)
XGB = xgboost.train({"objective": "multi:softprob", "num_class": 3}, MATRIX, 2)
LGB = lightgbm.train(
    {"objective": "multiclass", "num_class": 3, "verbose": -1},
    lightgbm.Dataset(ROWS, SPECIES),
    2,
)
TEXT = LGB.model_to_string()


def refused(workflow: Any, path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"model file {path.name}") as raised:
        workflow(model=str(path)).setup()
    assert raised.value.status == 503 and str(path.parent) not in raised.value.description
    return raised.value.description


def first(**changes: Any) -> Callable[[Any], None]:
    """A change to the lists of the first tree, each in its first element."""

    def change(model: Any) -> None:
        tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
        for name, value in changes.items():
            tree[name][0] = value

    return change


def said(place: str, **changes: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        found = model["learner"]
        for key in filter(None, place.split("/")):
            found = found[int(key) if key.isdigit() else key]
        found.update(changes)

    return change


MODEL, TREE = "gradient_booster/model", "gradient_booster/model/trees/0"
XGB_CHANGES: dict[str, Callable[[Any], None]] = {
    "a child beyond the tree": first(left_children=10**6),
    "a negative child": first(left_children=-2),
    "a child that is itself": first(left_children=0),
    "a child of two": first(left_children=2, right_children=2),
    "one child": first(left_children=-1),
    "a child that is no whole number": first(left_children=1.5),
    "a child that is no number": first(left_children="1"),
    "a feature beyond the model's": first(split_indices=10**6),
    "more nodes than it has": said(f"{TREE}/tree_param", num_nodes="1000000"),
    "no nodes": said(f"{TREE}/tree_param", num_nodes="0"),
    "a number that two readers differ on": said(f"{TREE}/tree_param", num_nodes="1_0"),
    "lists cut short": said(TREE, split_conditions=[]),
    "a leaf of several targets": said(f"{TREE}/tree_param", size_leaf_vector="3"),
    "categories beyond their list": said(
        TREE, categories=[], categories_nodes=[0], categories_segments=[0], categories_sizes=[9]
    ),
    "categories of no node": said(
        TREE, categories=[1], categories_nodes=[999], categories_segments=[0], categories_sizes=[1]
    ),
    "categories that it has not": first(split_type=1),
    "a class that there is not": said(MODEL, tree_info=[0, 1, 2, 0, 1, 99]),
    "a negative class": said(MODEL, tree_info=[0, 1, 2, 0, 1, -1]),
    "rounds of other trees": said(MODEL, iteration_indptr=[0, 3, 600]),
    "more trees than it has": said(f"{MODEL}/gbtree_model_param", num_trees="7"),
    "more classes than fit": said("learner_model_param", num_class="999999999"),
    "more features than fit": said("learner_model_param", num_feature="999999999"),
    "an objective that there is not": said("objective", name="nothing"),
    "a best round that there is not": said("attributes", best_iteration="9"),
    "a best round that is no number": said("attributes", best_iteration="x"),
}


@pytest.mark.parametrize("kind", XGB_CHANGES)
def test_a_damaged_xgboost_model_is_refused(tmp_path: Path, kind: str) -> None:
    model = json.loads(XGB.save_raw("json"))
    XGB_CHANGES[kind](model)
    refused(XGBoostInferenceWorkflow, tmp_path / "m", json.dumps(model).encode())


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_truncated_xgboost_model_is_refused(tmp_path: Path, form: str) -> None:
    content = bytes(XGB.save_raw(form))
    for size in (0, 1, 2, 50, len(content) // 2, len(content) - 1):
        refused(XGBoostInferenceWorkflow, tmp_path / "m", content[:size])


LEARNER = b"{L" + struct.pack(">q", 7) + b"learner"
XGB_BY_HAND = {
    "nested json": b'{"learner":' + b"[" * 1_000_000,
    "nested ubj": LEARNER + b"[" * 1_000_000,
    "nested counted ubj": LEARNER + (b"[#L" + struct.pack(">q", 1)) * 100_000,
    "a list of more than there is": LEARNER + b"[$d#L" + struct.pack(">q", 2**32),
    "a list of a negative length": LEARNER + b"[$d#L" + struct.pack(">q", -1),
    "a list of constants without end": LEARNER + b"[#L" + struct.pack(">q", 2**40),
    "a text of more than there is": LEARNER + b"SL" + struct.pack(">q", 2**62),
    "a text of a negative length": LEARNER + b"SL" + struct.pack(">q", -1),
    "a key twice": b'{"learner": 1, "learner": 2}',
    "nothing": b"{}",
    "no model": b'{"learner": []}',
    "junk": b"\x00\xff" * 50,
}


@pytest.mark.parametrize("kind", XGB_BY_HAND)
def test_an_xgboost_model_made_by_hand_is_refused(tmp_path: Path, kind: str) -> None:
    refused(XGBoostInferenceWorkflow, tmp_path / "m", XGB_BY_HAND[kind])


def line(name: str, value: str) -> Callable[[str], str]:
    """The first line of a name, with another value."""
    return lambda text: re.sub(f"^{name}=.*$", f"{name}={value}", text, count=1, flags=re.M)


def element(name: str, value: str) -> Callable[[str], str]:
    """The first element of the first list of a name, with another value."""
    return lambda text: re.sub(rf"^{name}=\S+", f"{name}={value}", text, count=1, flags=re.M)


LGB_CHANGES: dict[str, Callable[[str], str]] = {
    "a child beyond the tree": element("left_child", "1000000"),
    "a leaf beyond the tree": element("left_child", "-1000000"),
    "a child that is itself": element("left_child", "0"),
    "a child of two": lambda text: element("left_child", "1")(element("right_child", "1")(text)),
    "a child that is no number": element("left_child", "x"),
    "a feature beyond the model's": element("split_feature", "1000000"),
    "a negative feature": element("split_feature", "-1"),
    "more leaves than it has": line("num_leaves", "1000000"),
    "negative leaves": line("num_leaves", "-3"),
    "categories that it has not": element("decision_type", "3"),
    "a number of categories alone": line("num_cat", "100000"),
    "more classes than trees": line("num_class", "1000000000"),
    "other classes than trees": line("num_tree_per_iteration", "2"),
    "no classes": lambda text: line("num_class", "0")(line("num_tree_per_iteration", "0")(text)),
    "an objective of other classes": line("objective", "multiclass num_class:99"),
    "an objective of two numbers of classes": line(
        "objective", "multiclass num_class:3 num_class:99"
    ),
    "more features than it names": line("max_feature_idx", "1000"),
    "a number that two readers differ on": line("max_feature_idx", "1_0"),
    "a line twice": lambda text: text.replace("num_class=3", "num_class=3\nnum_class=3", 1),
    "a leaf without a value": line("leaf_value", ""),
    "fewer values than leaves": line("leaf_value", "1.0"),
    "no text": lambda _: "tree\n",
    "junk": lambda _: "junk" * 100,
}


@pytest.mark.parametrize("kind", LGB_CHANGES)
def test_a_damaged_lightgbm_model_is_refused(tmp_path: Path, kind: str) -> None:
    changed = LGB_CHANGES[kind](TEXT)
    assert changed != TEXT
    refused(LightGBMInferenceWorkflow, tmp_path / "m", changed.encode())


def test_a_truncated_lightgbm_model_is_refused(tmp_path: Path) -> None:
    for size in (0, 3, 100, 500, 1500, TEXT.index("end of trees") - 900):
        refused(LightGBMInferenceWorkflow, tmp_path / "m", TEXT[:size].encode())
    refused(LightGBMInferenceWorkflow, tmp_path / "m", b"\xff\xfe" * 100)


def test_what_lightgbm_would_jump_by_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text(line("tree_sizes", "1000000000 10 10 10 10 10")(TEXT))
    workflow = LightGBMInferenceWorkflow(model=str(path), method="predict_proba")
    workflow.setup()
    answer = workflow.inference({"dtype": "double", "values": ROWS.tolist()})
    assert np.array_equal(answer, LGB.predict(ROWS))
