"""``infernet-lambda warm``: has a deployed function load its model, and shows what that cost."""

import json
from typing import Annotated, Any

import typer

from handler.cli import report


def warm(
    stack: Annotated[str, typer.Option(help="The CloudFormation stack of the service.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Load the model of a deployed stack; print the cold-start ledger, or why it fails.

    Asks the function itself, not its URL: with AWS's permissions lambda:InvokeFunction and
    cloudformation:DescribeStacks instead of the token. An environment that was warm already shows
    the ledger of its own start.

    Example: infernet-lambda warm --stack iris
    """
    # boto3, which other commands need not pay for.
    from handler.cli import stack as stacks

    with report.failures("warm"), report.waiting(f"{stack}: loading its model"):
        loaded = stacks.load(stacks.find(stack))
    if as_json:
        typer.echo(json.dumps(loaded, indent=2))
        return
    for line in summary(loaded):
        typer.echo(line)


def summary(loaded: dict[str, Any]) -> list[str]:
    """What a function says of the model that it has loaded, a line a fact."""
    facts = {name: loaded.get(name) for name in ("class", "model", "digest")}
    return [f"{name:20} {value}" for name, value in {**facts, **loaded["cold_start"]}.items()]
