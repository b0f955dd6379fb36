import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError, ModelError
from handler.settings import Settings
from handler.workflows import (
    ALIASES,
    EXTRAS,
    TORCH,
    configured_model,
    create_workflow,
    workflow_of_model,
)
from handler.workflows.onnx import OnnxInferenceWorkflow
from handler.workflows.torch import TorchInferenceWorkflow


def served_by_ours(settings: Settings, args: list[Any], kwargs: dict[str, Any]) -> str:
    return workflow_of_model(configured_model(args, kwargs, settings), settings)


class Duck:
    """No base class of ours, as a workflow written for another service."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made_with = (args, kwargs)

    def setup(self) -> None: ...

    def inference(self, input_data: Any) -> Any:
        return input_data


class NoWorkflow:
    def setup(self) -> None: ...


HERE = __name__


def test_any_class_with_the_two_methods_gets_the_arguments() -> None:
    workflow = create_workflow(f"{HERE}.Duck", ["a"], {"b": 1})
    assert isinstance(workflow, Duck) and workflow.made_with == (("a",), {"b": 1})


@pytest.mark.parametrize("path", ALIASES)
def test_the_paths_of_the_original_denote_ours(path: str) -> None:
    workflow = create_workflow(path, [], {"model": "m"})
    ours = OnnxInferenceWorkflow if "onnx" in path else TorchInferenceWorkflow
    assert type(workflow) is ours


EXTRA_OF = {
    "torch.TorchInferenceWorkflow": "torch",
    "onnx.OnnxInferenceWorkflow": "onnxruntime",
    "sklearn.SklearnInferenceWorkflow": "skops",
    "xgboost.XGBoostInferenceWorkflow": "xgboost",
    "lightgbm.LightGBMInferenceWorkflow": "lightgbm",
}


@pytest.mark.parametrize(("name", "library"), EXTRA_OF.items())
def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    path = f"handler.workflows.{name}"
    monkeypatch.delitem(sys.modules, path.rpartition(".")[0], raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    extra = EXTRAS[library]
    with pytest.raises(ConfigurationError, match=rf"infernet-lambda\[{extra}\].*EXTRAS={extra}"):
        create_workflow(path, [], {})


@pytest.mark.parametrize(
    ("file", "served_by"),
    [
        ("model.torch", "torch"),
        ("model.PTH", "torch"),
        ("model.onnx", "onnx"),
        ("model.skops", "sklearn"),
        ("model.ubj", "xgboost"),
        ("model.json", "xgboost"),
        ("model.txt", "lightgbm"),
    ],
)
def test_the_end_of_a_name_tells_who_serves_it(
    settings_of: Callable[..., Settings], file: str, served_by: str
) -> None:
    for args, kwargs in (
        ([], {"model": f"hf://owner/name/{file}"}),
        (["LOCAL", {"model_path": f"/opt/{file}"}], {}),
        (
            [],
            {"model_source": "HUGGINGFACE_HUB", "model_args": {"repo_id": "o/n", "filename": file}},
        ),
    ):
        path = served_by_ours(settings_of(), args, kwargs)
        assert path.startswith(f"handler.workflows.{served_by}."), path
    assert served_by_ours(settings_of(), [], {}) == TORCH


@pytest.mark.parametrize(
    ("content", "served_by"),
    [(b"tree\nversion=v4", "lightgbm"), (b'{"learner": {}}', "xgboost"), (b"\x08\x0a\x12", "onnx")],
)
def test_otherwise_the_content_does(
    settings_of: Callable[..., Settings], tmp_path: Path, content: bytes, served_by: str
) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    path = served_by_ours(settings_of(), [], {"model": str(tmp_path / "model.bin")})
    assert path.startswith(f"handler.workflows.{served_by}.")


def test_a_format_that_nobody_knows_is_said(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="CLASSIC_INF_WORKFLOW_CLASS"):
        served_by_ours(settings_of(), [], {"model": str(tmp_path / "model.bin")})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Unqualified", "not a fully qualified class"),
        ("nowhere.Nothing", "No module named 'nowhere'"),
        ("handler.workflows.torch.Nothing", "has no attribute 'Nothing'"),
        (f"{HERE}.NoWorkflow", "has no method inference"),
    ],
)
def test_a_class_that_cannot_be_had_is_named(path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_WORKFLOW_CLASS") as raised:
        create_workflow(path, [], {})
    assert path in raised.value.description and reason in raised.value.description


def test_arguments_that_do_not_fit_name_their_variables() -> None:
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_WORKFLOW_KW_ARGS"):
        create_workflow("handler.workflows.torch.TorchInferenceWorkflow", [], {"modle": "x"})
