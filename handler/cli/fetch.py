"""``infernet-lambda fetch``: fills a cache of models ahead of time."""

import json
from pathlib import Path
from typing import Annotated

import typer

from handler.cli import report
from handler.models import sources
from handler.settings import get_settings


def fetch(
    ref: Annotated[str, typer.Argument(help="hf://owner/name[@revision]/path or s3://bucket/key")],
    into: Annotated[
        Path | None, typer.Option(help="The cache to fill.  [default: MODEL_CACHE_DIR]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Fetch a model file into a cache, unless it is there; an interrupted download goes on.

    Example: infernet-lambda fetch hf://owner/name/model.torch --into models/
    """
    reference = report.reference(ref)
    if reference.scheme == "file":
        raise typer.BadParameter("a file on this machine is not cached: it is read where it is")
    with report.failures("fetch"), report.progress_bar(reference.name) as progress:
        file = sources.fetch(reference, get_settings(), progress, into)
    if as_json:
        found = {"reference": ref, "resolved": str(file.reference), "path": str(file.path)}
        typer.echo(json.dumps({**found, "size": file.size, "sha256": file.sha256}, indent=2))
    else:
        typer.echo(f"{file.reference}\n{file.size:,} bytes in {file.path}")
