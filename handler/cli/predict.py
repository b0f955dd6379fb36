"""``infernet-lambda predict``: asks a service once, for people without curl."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handler.cli import report
from handler.cli.node import Node, Problem, take_result
from handler.cli.service import Bearer, StackName, Url, service


def predict(
    data: Annotated[
        str,
        typer.Option(metavar="FILE|-", help="JSON: a request, or its data; - is standard input."),
    ],
    url: Url = None,
    bearer: Bearer = None,
    stack: StackName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The whole answer in one line, for scripts.")
    ] = False,
) -> None:
    """Ask a service for a prediction, and print its answer.

    Example: echo '{"dtype": "double", "values": [[5.1, 3.5, 1.4, 0.2]]}' |
    infernet-lambda predict --url http://127.0.0.1:3000 --data -
    """
    request = _request(data)
    url, bearer = service("predict", url, bearer, stack)
    with report.failures("predict"), Node(url, bearer) as node:
        try:
            answer = take_result(node.send(request))
        except Problem as problem:
            raise report.Failed(f"{problem.found}; {problem.remedy}") from None
    typer.echo(json.dumps(answer, indent=None if as_json else 2))


def _request(name: str) -> dict[str, Any]:
    try:
        value = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}", param_hint="--data") from None
    except ValueError as error:
        raise typer.BadParameter(f"{name}: no JSON: {error}", param_hint="--data") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{name}: expected a JSON object", param_hint="--data")
    return value if value.keys() >= {"source", "data"} else {"source": 1, "data": value}
