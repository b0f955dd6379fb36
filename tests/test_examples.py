"""The examples: each is trained and asked, as its README says."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.testing import LambdaClient
from tests.processes import ROOT

pytest_plugins = ["handler.testing.plugin"]
EXAMPLES = ROOT / "examples"
Client = Callable[..., LambdaClient]


def trained(name: str, folder: Path) -> Any:
    """Runs an example's training; its request."""
    path = EXAMPLES / name / "train.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.train(folder)
    return json.loads((EXAMPLES / name / "request.json").read_text())


def served(lambda_client: Client, **kwargs: Any) -> LambdaClient:
    return lambda_client(CLASSIC_INF_WORKFLOW_KW_ARGS=json.dumps(kwargs))


def test_each_has_what_the_table_says() -> None:
    table = (EXAMPLES / "README.md").read_text()
    names = {path.parent.name for path in EXAMPLES.glob("*/train.py")}
    assert names == {"sklearn_pipeline", "xgboost_ranker", "text_classifier", "chain"}
    for name in names:
        assert f"[{name}]({name})" in table and (EXAMPLES / name / "request.json").exists()


def test_a_pipeline_of_scikit_learn(lambda_client: Client, tmp_path: Path) -> None:
    request = trained("sklearn_pipeline", tmp_path)
    model = str(tmp_path / "model.skops")
    answer = served(lambda_client, model=model, method="predict_proba").post(request).body
    assert [max(range(3), key=row.__getitem__) for row in answer["values"]] == [0, 2]
    assert [sum(row) for row in answer["values"]] == pytest.approx([1, 1])


def test_a_ranker_of_xgboost(lambda_client: Client, tmp_path: Path) -> None:
    request = trained("xgboost_ranker", tmp_path)
    answer = served(lambda_client, model=str(tmp_path / "model.ubj")).post(request).body
    low, high, middle = answer["values"]
    assert low < middle < high


def test_a_classifier_of_texts_with_its_vocabulary(
    lambda_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = trained("text_classifier", tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES / "text_classifier")
    monkeypatch.delitem(sys.modules, "workflow", raising=False)
    kwargs = {name: str(tmp_path / file) for name, file in FILES.items()}
    client = lambda_client(
        CLASSIC_INF_WORKFLOW_CLASS="workflow.TextClassifier",
        CLASSIC_INF_WORKFLOW_KW_ARGS=json.dumps(kwargs),
    )
    answer = client.post(request).body
    assert answer["label"] == "food" and sum(answer["probabilities"].values()) == pytest.approx(1)
    assert client.predict({"text": "the team won"})["label"] == "sport"
    assert client.predict({"text": "Rain tonight"})["label"] == "weather"
    assert client.post({"source": 1, "data": {"text": ""}}).status == 422


FILES = {"model": "model.torch", "vocabulary": "vocabulary.json"}


def test_a_chain_of_two_services(lambda_client: Client, tmp_path: Path) -> None:
    request = trained("chain", tmp_path)
    first = served(lambda_client, model=str(tmp_path / "features.skops"))
    second = served(lambda_client, model=str(tmp_path / "classes.onnx"))
    # As a node does: the whole answer of the first is the data of the second.
    answer = second.post({"source": 1, "destination": 1, "data": first.post(request).body}).body
    assert answer["outputs"][0]["values"] == [0, 2]
