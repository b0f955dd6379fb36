"""``infernet-lambda lock``: writes ``model.lock``, the content that each reference has to have."""

from pathlib import Path
from typing import Annotated

import typer

from handler.cli import report
from handler.models import sources
from handler.models.format import format_of
from handler.models.lock import LockedModel, ModelLock
from handler.models.pickles import pickle_globals
from handler.models.reference import Reference
from handler.settings import Settings, get_settings

PICKLED = {"torch", "torch-legacy", "pickle"}


def lock(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Model references.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write, to be committed.")
    ] = Path("model.lock"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the lock as well.")] = False,
) -> None:
    """Fetch models and write down commit or version, size, sha256, format, and what pickles import.

    Example: infernet-lambda lock hf://owner/name/model.torch -o model.lock
    """
    references = [report.reference(ref) for ref in refs]
    # What is to be written may differ from what the environment's own lock says.
    settings = get_settings().model_copy(update={"model_lock": None})
    with report.failures("lock"):
        written = ModelLock(models=tuple(_locked(r, settings) for r in references))
    text = written.model_dump_json(indent=2) + "\n"
    try:
        output.write_text(text)
    except OSError as error:
        typer.echo(f"infernet-lambda lock: {output}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(text, nl=False)
        return
    for model in written.models:
        typer.echo(f"{model.resolved}\n  {model.format}, {model.size:,} bytes, {model.sha256}")
        if model.globals:
            typer.echo(f"  a pickle, which imports {', '.join(model.globals)}")


def _locked(reference: Reference, settings: Settings) -> LockedModel:
    with report.progress_bar(reference.name) as progress:
        file = sources.fetch(reference, settings, progress)
    kind = format_of(file.path)
    names = pickle_globals(file.path) if kind in PICKLED else None
    return LockedModel(
        reference=str(reference.unpinned),
        resolved=str(file.reference.unpinned),
        size=file.size,
        sha256=file.sha256,
        format=kind,
        globals=None if names is None else tuple(names),
    )
