"""scikit-learn, XGBoost and LightGBM, each held against its own prediction."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from handler import formats
from handler.errors import ConfigurationError, InvalidInput, ModelError
from handler.protocol import InfernetInput
from handler.settings import Settings
from handler.workflows.lightgbm import LightGBMInferenceWorkflow
from handler.workflows.sklearn import SklearnInferenceWorkflow
from handler.workflows.xgboost import XGBoostInferenceWorkflow

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(120, 4))
SOME = {"dtype": "double", "values": ROWS[:7].tolist()}
TARGETS = {
    "binary": (ROWS[:, 0] > 0).astype(int),
    "multiclass": np.digitize(ROWS[:, 0], [-0.5, 0.5]),
    "regression": ROWS[:, 0] * 2 + ROWS[:, 1],
}
WORKFLOWS: dict[str, Any] = {
    "xgboost": XGBoostInferenceWorkflow,
    "lightgbm": LightGBMInferenceWorkflow,
    "sklearn": SklearnInferenceWorkflow,
}


def fitted(library: str, target: str) -> Any:
    kinds: dict[str, tuple[Any, Any]] = {
        "xgboost": (
            lambda: xgboost.XGBClassifier(n_estimators=5),
            lambda: xgboost.XGBRegressor(n_estimators=5),
        ),
        "lightgbm": (
            lambda: lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
            lambda: lightgbm.LGBMRegressor(n_estimators=5, verbose=-1),
        ),
        "sklearn": (
            lambda: make_pipeline(StandardScaler(), LogisticRegression()),
            LinearRegression,
        ),
    }
    classifier, regressor = kinds[library]
    model = regressor() if target == "regression" else classifier()
    return model.fit(ROWS, TARGETS[target])


def save(model: Any, path: Path) -> Path:
    if isinstance(model, xgboost.XGBModel):
        model.save_model(path)
    elif isinstance(model, lightgbm.LGBMModel):
        model.booster_.save_model(path)
    else:
        skops.io.dump(model, path)
    return path


SUFFIXES = {"xgboost": ".json", "lightgbm": ".txt", "sklearn": ".skops"}


def served(library: str, path: Path | str, **kwargs: Any) -> Any:
    workflow = WORKFLOWS[library](model=str(path), **kwargs)
    workflow.setup()
    return workflow


@pytest.mark.parametrize("library", WORKFLOWS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_method_answers_as_the_library_itself(
    tmp_path: Path, library: str, target: str
) -> None:
    model = fitted(library, target)
    path = save(model, tmp_path / f"m{SUFFIXES[library]}")
    workflow = served(library, path)
    assert len(workflow.inference(workflow.example_input())) == 1
    found = workflow.inference(SOME)
    np.testing.assert_allclose(found, model.predict(ROWS[:7]), rtol=1e-6)
    if target == "regression":
        with pytest.raises(ModelError, match="predict_proba"):
            served(library, path, method="predict_proba")
        return
    probabilities = served(library, path, method="predict_proba").inference(SOME)
    np.testing.assert_allclose(probabilities, model.predict_proba(ROWS[:7]), rtol=1e-6)
    scores = served(library, path, method="decision_function").inference(SOME)
    expected = {
        "sklearn": lambda: model.decision_function(ROWS[:7]),
        "xgboost": lambda: model.predict(ROWS[:7], output_margin=True),
        "lightgbm": lambda: model.predict(ROWS[:7], raw_score=True),
    }[library]()
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_ubj_rankers_and_early_stopping(tmp_path: Path) -> None:
    ranker = xgboost.XGBRanker(n_estimators=4)
    ranker.fit(ROWS, TARGETS["multiclass"], qid=np.repeat(range(12), 10))
    ranker.save_model(tmp_path / "ranker.ubj")
    found = served("xgboost", tmp_path / "ranker.ubj").inference(SOME)
    np.testing.assert_allclose(found, ranker.predict(ROWS[:7]), rtol=1e-6)
    stopped = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=2)
    noise = RNG.integers(0, 2, 60)
    stopped.fit(ROWS[:60], noise, eval_set=[(ROWS[60:], noise)], verbose=False)
    stopped.save_model(tmp_path / "stopped.json")
    found = served("xgboost", tmp_path / "stopped.json", method="predict_proba").inference(SOME)
    np.testing.assert_allclose(found, stopped.predict_proba(ROWS[:7]), rtol=1e-6)
    lgb = lightgbm.LGBMRanker(n_estimators=4, verbose=-1, min_child_samples=2)
    lgb.fit(ROWS, TARGETS["multiclass"], group=[10] * 12)
    lgb.booster_.save_model(tmp_path / "ranker.txt")
    found = served("lightgbm", tmp_path / "ranker.txt").inference(SOME)
    np.testing.assert_allclose(found, lgb.predict(ROWS[:7]), rtol=1e-6)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_missing_value_is_nan_and_whole_numbers_are_numbers(tmp_path: Path, library: str) -> None:
    model = fitted(library, "binary")
    workflow = served(library, save(model, tmp_path / f"m{SUFFIXES[library]}"))
    rows = {"dtype": "float", "values": [["NaN", 1, 2, 3]]}
    assert workflow.inference(rows) == model.predict([[np.nan, 1, 2, 3]])
    assert workflow.inference({"dtype": "long", "values": [[1, 2, 3, 4]]}).shape == (1,)


@pytest.mark.parametrize("library", WORKFLOWS)
@pytest.mark.parametrize(
    "data",
    [
        {"dtype": "double", "values": [1.0, 2.0, 3.0, 4.0]},
        {"dtype": "double", "values": [[1.0, 2.0, 3.0]]},
        {"dtype": "double", "values": [[[1.0, 2.0, 3.0, 4.0]]]},
        {"dtype": "cdouble", "values": [[1.0, 2.0, 3.0, 4.0]]},
        {"dtype": "double", "values": 1.0},
        {"dtype": "double"},
        {},
    ],
)
def test_rows_that_do_not_fit_are_the_caller_s_error(
    tmp_path: Path, library: str, data: Any
) -> None:
    path = save(fitted(library, "binary"), tmp_path / f"m{SUFFIXES[library]}")
    with pytest.raises(InvalidInput):
        served(library, path).inference(data)


@pytest.mark.parametrize("library", WORKFLOWS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        b"{",
        b"{}",
        b'{"learner": {}}',
        b"tree\n",
        b"tree\nnum_class=1\n\n",
        b"PK\x03\x04",
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, library: str, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ModelError, match="model file m") as raised:
        served(library, tmp_path / "m")
    assert str(tmp_path) not in raised.value.description


@pytest.mark.parametrize("library", WORKFLOWS)
def test_a_truncated_file_is_refused(tmp_path: Path, library: str) -> None:
    path = save(fitted(library, "binary"), tmp_path / f"m{SUFFIXES[library]}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError):
        served(library, path)


def test_a_method_that_nobody_has_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"method .*known are predict"):
        SklearnInferenceWorkflow(model="m", method="__init__")


def test_a_method_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    path = save(LinearSVC().fit(ROWS, TARGETS["binary"]), tmp_path / "m.skops")
    with pytest.raises(
        ModelError, match=r"without predict_proba; it has predict, decision_function"
    ):
        served("sklearn", path, method="predict_proba")


def test_labels_in_words_are_answered_as_words(tmp_path: Path) -> None:
    words = np.array(["no", "yes"])[TARGETS["binary"]]
    workflow = served("sklearn", save(LogisticRegression().fit(ROWS, words), tmp_path / "m.skops"))
    form, call = formats.read(InfernetInput(source=1, data=SOME))
    body = json.loads(formats.write(workflow.inference(call.data), form, call, 1))
    assert body == {"output": words[:7].tolist()}


def doubled(rows: Any) -> Any:
    return rows * 2


def test_types_that_skops_does_not_trust_are_listed_until_they_are_named(tmp_path: Path) -> None:
    pipeline = make_pipeline(FunctionTransformer(doubled), LogisticRegression())
    path = save(pipeline.fit(ROWS, TARGETS["binary"]), tmp_path / "m.skops")
    name = f"{__name__}.doubled"
    with pytest.raises(ModelError, match=f"needs {name}; .*trusted_types"):
        served("sklearn", path)
    found = served("sklearn", path, trusted_types=[name]).inference(SOME)
    np.testing.assert_array_equal(found, pipeline.predict(ROWS[:7]))
    with pytest.raises(ConfigurationError, match="trusted_types"):
        served("sklearn", path, trusted_types="everything")


@pytest.mark.parametrize("compress", [0, 3])
def test_a_pickle_is_loaded_only_when_allowed_and_pinned(
    tmp_path: Path, settings_of: Callable[..., Settings], compress: int
) -> None:
    model, path = fitted("sklearn", "binary"), tmp_path / "m.joblib"
    joblib.dump(model, path, compress=compress)
    pin = f"{path}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    with pytest.raises(ModelError, match=r"skops\.io\.dump instead; .*TORCH_ALLOW_PICKLE=true"):
        served("sklearn", pin)
    settings_of(TORCH_ALLOW_PICKLE="true")
    with pytest.raises(ModelError, match="#sha256="):
        served("sklearn", path)
    np.testing.assert_array_equal(served("sklearn", pin).inference(SOME), model.predict(ROWS[:7]))
