"""``infernet-lambda node-config``: what a node's config.json needs, to use this service."""

import json
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from handler.cli.service import Bearer, StackName, Url, service

IMAGE = "infernet-lambda"


def node_config(
    url: Url = None,
    bearer: Bearer = None,
    name: Annotated[
        str | None,
        typer.Option("--id", help="What contracts and callers know the service by."),
    ] = None,
    stack: StackName = None,
) -> None:
    """Print the part of a node's config.json that makes it use this service.

    Example: infernet-lambda node-config --stack iris --id iris > part.json
    """
    url, bearer = service("node-config", url, bearer, stack)
    name = name or stack
    if not name:
        raise typer.BadParameter("give the name of the service", param_hint="--id")
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
