"""What the commands have in common: failures in one line, references, progress bars."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from handler.errors import ConfigurationError, HandlerError
from handler.models.cache import Progress
from handler.models.reference import Reference, parse_reference


class Failed(Exception):
    """What a command could not do, and why, in one line."""


@contextmanager
def failures(command: str) -> Iterator[None]:
    """Turns an error of the service, or of a command, into one line and exit status 1."""
    try:
        yield
    except (HandlerError, Failed) as error:
        typer.echo(f"infernet-lambda {command}: {error}", err=True)
        raise typer.Exit(1) from None


def reference(text: str) -> Reference:
    """The reference in an argument; exit status 2 when there is none in it."""
    try:
        return parse_reference(text)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def progress_bar(what: str, *, of_bytes: bool = True) -> Iterator[Progress | None]:
    """A bar on a terminal's standard error, for bytes or steps; nothing where nobody sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    amounts = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    columns = (BarColumn(), *amounts, TimeRemainingColumn())
    with Bar("{task.description}", *columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows on a terminal's standard error that something goes on that tells nothing of how far."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
