"""Which parameters of a stack name its model."""

import json

import pytest

from handler.cli.report import Failed
from handler.cli.set_model import with_model

MODEL = "s3://weights/two.onnx"


def parameters(model: str = "", args: str = "", kwargs: str = "") -> dict[str, str]:
    return {
        "Model": model,
        "WorkflowPositionalArgs": args,
        "WorkflowKwArgs": kwargs,
        "MemorySize": "1769",
    }


@pytest.mark.parametrize(
    "before",
    [
        parameters(),
        parameters("hf://a/b/c"),
        parameters(kwargs='{"model": "hf://a/b/c"}'),
        parameters(kwargs='{"model_source": "LOCAL", "model_args": {}}', args="[]"),
        parameters(args='["owner/name"]'),
    ],
)
def test_the_model_alone_is_the_parameter_for_it(before: dict[str, str]) -> None:
    changed = with_model(before, MODEL)
    assert changed == {"Model": MODEL, "WorkflowPositionalArgs": "", "WorkflowKwArgs": ""}


def test_the_workflow_s_other_arguments_stay() -> None:
    kwargs = {"model_name": "owner/name", "method": "predict_proba"}
    changed = with_model(parameters(kwargs=json.dumps(kwargs)), MODEL)
    assert json.loads(changed["WorkflowKwArgs"]) == {"method": "predict_proba", "model": MODEL}
    assert changed["Model"] == "" and changed["WorkflowPositionalArgs"] == ""


@pytest.mark.parametrize("kwargs", ["{", "[]"])
def test_arguments_that_are_none_are_named(kwargs: str) -> None:
    with pytest.raises(Failed, match="WorkflowKwArgs"):
        with_model(parameters(kwargs=kwargs), MODEL)
