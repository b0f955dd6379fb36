"""``infernet-lambda set-model``: changes the model of a live stack, or leaves it as it was."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from handler.cli import report
from handler.lifecycle import MODEL_ARGUMENTS
from handler.models.lock import locked
from handler.models.reference import Reference

if TYPE_CHECKING:
    from handler.cli.stack import Stack


def set_model(
    ref: Annotated[
        str, typer.Argument(help="hf://owner/name[@revision]/path, s3://..., or a file.")
    ],
    stack: Annotated[str, typer.Option(help="The CloudFormation stack of the service.")],
    lock: Annotated[
        Path | None, typer.Option(help="Pin the content that this model.lock says.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Change the model of a deployed stack, load it, and go back when it does not load.

    Everything else of the stack stays. With StartProfile on-demand, requests may meet the errors of
    a model that does not load until it is taken back; with snapstart and provisioned, AWS changes
    over only after it has loaded.

    Example: infernet-lambda set-model --stack iris s3://bucket/model.onnx --lock model.lock
    """
    reference = report.reference(ref)
    with report.failures("set-model"):
        if lock is not None:
            reference = locked(reference, lock)
        with report.waiting(f"{stack}: changing its model"):
            old, loaded = _changed(stack, reference)
    if as_json:
        typer.echo(json.dumps({"old_digest": old, **loaded}, indent=2))
        return
    typer.echo(f"old digest  {old or 'none: the model before does not load'}")
    typer.echo(f"new digest  {loaded['digest']}")
    typer.echo(
        "- name the model where you deploy from too, or a deployment takes it back", err=True
    )


def _changed(name: str, reference: Reference) -> tuple[str | None, dict[str, Any]]:
    """Changes the model of a stack; the digest before, and what the function says afterwards.

    Raises:
        Failed: the stack could not be changed, or the model does not load, and was taken back.
    """
    # boto3, which other commands need not pay for.
    from handler.cli import stack as stacks

    found = stacks.find(name)
    changes = with_model(found.parameters, str(reference))
    before = {parameter: found.parameters[parameter] for parameter in changes}
    try:
        old = stacks.load(found)["digest"]
    except report.Failed:
        old = None
    if changes != before:
        stacks.update(found, changes)
    try:
        loaded = stacks.load(found)
        # A workflow of the user's own need not say what it serves.
        if (served := loaded["model"]) is not None and report.reference(served) != reference:
            raise report.Failed(f"the function still serves {served}")
    except report.Failed as problem:
        if changes != before:
            _take_back(found, before, problem)
        raise
    return old, loaded


def _take_back(found: "Stack", before: dict[str, str], problem: report.Failed) -> NoReturn:
    from handler.cli import stack as stacks

    try:
        stacks.update(found, before)
    except report.Failed as another:
        raise report.Failed(f"{problem}; and taking it back failed: {another}") from None
    raise report.Failed(f"{problem}; rolled back to the model before") from None


def with_model(parameters: dict[str, str], model: str) -> dict[str, str]:
    """The parameters of the template that name the model, as they have to be for this one.

    Raises:
        Failed: the stack has no such parameters, or its WorkflowKwArgs is no JSON object.
    """
    names = ("Model", "WorkflowPositionalArgs", "WorkflowKwArgs")
    if not parameters.keys() >= set(names):
        raise report.Failed(f"the stack lacks the parameters {', '.join(names)}")
    try:
        kwargs: Any = json.loads(parameters["WorkflowKwArgs"] or "{}")
    except ValueError:
        kwargs = None
    if not isinstance(kwargs, dict):
        raise report.Failed("the stack's WorkflowKwArgs is no JSON object")
    kept = {name: value for name, value in kwargs.items() if name not in MODEL_ARGUMENTS}
    if not kept:
        return dict(zip(names, (model, "", ""), strict=True))
    return dict(zip(names, ("", "", json.dumps({**kept, "model": model})), strict=True))
