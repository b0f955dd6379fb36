"""``infernet-lambda node-config``: what a node's config.json needs, to use this service."""

import json
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from handler.errors import SecretError
from handler.secret import read, tokens_in

IMAGE = "infernet-lambda"
URL_OUTPUT, SECRET_OUTPUT = "ServiceUrl", "BearerSecretArn"


def node_config(
    url: Annotated[str | None, typer.Option(help="Where the service is.")] = None,
    bearer: Annotated[str | None, typer.Option(help="The token that the service wants.")] = None,
    name: Annotated[
        str | None,
        typer.Option("--id", help="What contracts and callers know the service by."),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(help="Read the URL and the token of this CloudFormation stack.")
    ] = None,
) -> None:
    """Print the part of a node's config.json that makes it use this service.

    Example: infernet-lambda node-config --stack iris --id iris > part.json
    """
    if (url is None) == (stack is None):
        raise typer.BadParameter("give one of --url and --stack")
    if stack is not None:
        url, found = _from_stack(stack)
        bearer = bearer or found
    name = name or stack
    if not name:
        raise typer.BadParameter("give the name of the service", param_hint="--id")
    assert url is not None
    container: dict[str, Any] = {
        "id": name,
        "image": IMAGE,
        "url": _base(url),
        **({"bearer": bearer} if bearer else {}),
        "external": True,
    }
    typer.echo(json.dumps({"manage_containers": False, "containers": [container]}, indent=2))
    for note in _notes(bearer):
        typer.echo(f"- {note}", err=True)


def _base(url: str) -> str:
    """The URL that a node adds /service_output to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise typer.BadParameter("expected http://... or https://...", param_hint="--url")
    return url.rstrip("/").removesuffix("/service_output").rstrip("/")


def _notes(bearer: str | None) -> list[str]:
    return [
        "merge this into the node's config.json; url and bearer need infernet-node 1.4.0 or newer",
        "manage_containers counts for the whole node: it starts none of its containers any more, "
        "so start the others yourself; while it is true, which is its default, url is ignored",
        f"image must be there, but with a url nothing is started from it ({IMAGE} will do)",
        "the container allows everybody: limit it with allowed_ips, allowed_addresses and "
        "allowed_delegate_addresses",
        "the file now holds the service's token: keep it readable for the node only (chmod 600)"
        if bearer
        else "without a bearer the node asks as a stranger: give --bearer if the service wants one",
        "then check the service: infernet-lambda doctor --url URL --bearer TOKEN",
    ]


def _from_stack(stack: str) -> tuple[str, str | None]:
    """The URL and the token that a stack's outputs lead to."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        raise _failed("--stack needs boto3") from None
    try:
        found = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
        if URL_OUTPUT not in outputs:
            raise _failed(f"stack {stack} has no output {URL_OUTPUT}: is it one of this project?")
        if SECRET_OUTPUT not in outputs:
            return outputs[URL_OUTPUT], None
        return outputs[URL_OUTPUT], _first_token(outputs[SECRET_OUTPUT])
    except (BotoCoreError, ClientError) as error:
        raise _failed(f"stack {stack}: {error}") from None


def _first_token(arn: str) -> str:
    try:
        return tokens_in(read(arn, SECRET_OUTPUT))[0]
    except SecretError as error:
        raise _failed(error.description) from None
    except ValueError as error:
        raise _failed(f"{SECRET_OUTPUT}: the secret does not fit: {error}") from None


def _failed(problem: str) -> typer.Exit:
    typer.echo(f"infernet-lambda node-config: {problem}", err=True)
    return typer.Exit(1)
