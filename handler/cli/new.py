"""``infernet-lambda new``: a project with a workflow, its test, its image and its settings."""

import json
from pathlib import Path
from typing import Annotated

import typer

from handler.cli import report

SCAFFOLD = Path(__file__).parent.parent / "scaffold"


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project to make.")],
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make a project for a workflow of your own; its test passes at once.

    Nothing that is there is overwritten.

    Example: infernet-lambda new my-workflow && cd my-workflow && pytest
    """
    with report.failures("new"):
        written = _written(folder)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "files": written}, indent=2))
        return
    typer.echo(f"{folder}: {', '.join(written)}")
    typer.echo(f"next: cd {folder} && pytest", err=True)


def _written(folder: Path) -> list[str]:
    templates = {path.stem: path for path in sorted(SCAFFOLD.glob("*.txt"))}
    if there := [name for name in templates if (folder / name).exists()]:
        raise report.Failed(f"{folder} has {', '.join(there)} already: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in templates.items():
            (folder / name).write_text(template.read_text())
    except OSError as error:
        raise report.Failed(f"{error.filename}: {error.strerror}") from None
    return list(templates)
