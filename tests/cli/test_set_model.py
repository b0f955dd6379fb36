"""Which parameters of a stack name its model, and what becomes of a change that fails."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from handler.cli import stack as stacks
from handler.cli.commands import app
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


def changed(monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> Any:
    """The command on a stack of which each load and update in turn gives, or raises, this."""
    left = list(outcomes)

    def outcome(*_: Any) -> Any:
        if isinstance(found := left.pop(0), Exception):
            raise found
        return found

    monkeypatch.setattr(stacks, "find", lambda name: stacks.Stack(name, parameters("/old"), {}))
    monkeypatch.setattr(stacks, "load", outcome)
    monkeypatch.setattr(stacks, "update", outcome)
    result = CliRunner().invoke(app, ["set-model", "--stack", "iris", MODEL])
    assert not left
    return result


def test_a_workflow_that_does_not_say_what_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"model": None, "digest": None}
    result = changed(monkeypatch, loaded, None, loaded)
    assert result.exit_code == 0, result.output


def test_the_model_before_need_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"model": MODEL, "digest": "sha256=1"}
    result = changed(monkeypatch, Failed("error 503"), None, loaded)
    assert result.exit_code == 0 and "does not load" in result.stdout


def test_a_stack_that_still_serves_the_model_before_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = {"model": "/old", "digest": "sha256=1"}
    result = changed(monkeypatch, loaded, None, loaded, None)
    assert result.exit_code == 1 and "still serves /old; rolled back" in result.stderr


def test_both_failures_are_told_when_going_back_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"model": "/old", "digest": "sha256=1"}
    result = changed(monkeypatch, loaded, None, Failed("no such object"), Failed("no quota"))
    assert result.exit_code == 1
    assert "no such object; and taking it back failed: no quota" in result.stderr


@pytest.mark.parametrize("command", [["warm"], ["set-model", MODEL]])
def test_a_function_of_before_there_were_ledgers_is_told(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(stacks, "find", lambda name: stacks.Stack(name, parameters(MODEL), {}))
    monkeypatch.setattr(stacks, "_invoke", lambda _: {"warmer": True, "workflow": "ready"})
    result = CliRunner().invoke(app, [*command, "--stack", "iris"])
    assert result.exit_code == 1 and "is iris of this version?" in result.stderr
