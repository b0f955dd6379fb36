"""``infernet-lambda lock``: writes ``model.lock``, the content that each reference has to have."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from handler.cli import report
from handler.models import sources
from handler.models.format import format_of
from handler.models.lock import LockedModel, ModelLock, Proof, read_lock
from handler.models.pickles import pickle_globals
from handler.models.reference import Reference
from handler.settings import Settings, get_settings

PICKLED = {"torch", "torch-legacy", "pickle"}
# What a format costs at each cold start, beside torch; measured with a model of two layers.
SLOW = {
    "torchscript": "a TorchScript program, of which the first inference takes 40 ms longer",
    "pt2": "an exported program, which takes 1.5 s to load",
}


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
    settings = replace(get_settings(), model_lock=None)
    with report.failures("lock"):
        proofs = proofs_in(output)
        found = tuple(locked_model(r, settings, proofs) for r in references)
        text = write_lock(output, ModelLock(models=found))
    if as_json:
        typer.echo(text, nl=False)
        return
    for model in found:
        typer.echo(f"{model.resolved}\n  {model.format}, {model.size:,} bytes, {model.sha256}")
        if model.globals:
            typer.echo(f"  a pickle, which imports {', '.join(model.globals)}")
        if model.format in SLOW:
            typer.echo(f"  {SLOW[model.format]}: infernet-lambda compile spares it")


def proofs_in(path: Path) -> dict[str, Proof]:
    """What a lock that is there says of compiled models, by their sha256."""
    if not path.exists():
        return {}
    models = read_lock(path).models
    return {model.sha256: model.compiled for model in models if model.compiled is not None}


def write_lock(path: Path, lock: ModelLock) -> str:
    """The text that was written to a file.

    Raises:
        Failed: it could not be.
    """
    text = lock.model_dump_json(indent=2) + "\n"
    try:
        path.write_text(text)
    except OSError as error:
        raise report.Failed(f"{path}: {error.strerror}") from None
    read_lock.cache_clear()
    return text


def locked_model(
    reference: Reference, settings: Settings, proofs: Mapping[str, Proof]
) -> LockedModel:
    """What a lock says of the model that a reference denotes now."""
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
        compiled=proofs.get(file.sha256),
    )
