"""``infernet-lambda publish``: a model file into a bucket, which a free endpoint reaches."""

import json
from typing import Annotated

import typer

from handler.cli import report
from handler.models import sources
from handler.settings import get_settings


def publish(
    ref: Annotated[str, typer.Argument(help="The model to publish.")],
    target: Annotated[str, typer.Argument(help="s3://bucket/key, or s3://bucket/folder/")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Copy a model to S3 with its sha256; an interrupted upload goes on, a finished one is kept.

    Example: infernet-lambda publish hf://owner/name/model.torch s3://bucket/models/
    """
    source = report.reference(ref)
    goal = report.reference(target + source.name if target.endswith("/") else target)
    if goal.scheme != "s3" or goal.version or goal.sha256:
        raise typer.BadParameter("expected s3://bucket/key", param_hint="TARGET")
    with report.failures("publish"):
        from handler.models.upload import upload

        with report.progress_bar(f"fetch {source.name}") as progress:
            file = sources.fetch(source, get_settings(), progress)
        with report.progress_bar(f"publish {goal.name}") as progress:
            published, sent = upload(file, goal, progress)
    if as_json:
        found = {"source": str(file.reference), "published": str(published), "sent": sent}
        typer.echo(json.dumps({**found, "size": file.size, "sha256": file.sha256}, indent=2))
    else:
        typer.echo(f"{published}\n{sent:,} of {file.size:,} bytes sent")
