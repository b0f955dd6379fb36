"""The commands of ``infernet-lambda``."""

from typing import Annotated

import typer

from handler import __version__
from handler.cli.compile import compile_
from handler.cli.doctor import doctor
from handler.cli.fetch import fetch
from handler.cli.lock import lock
from handler.cli.new import new
from handler.cli.node_config import node_config
from handler.cli.predict import predict
from handler.cli.publish import publish
from handler.cli.serve import serve
from handler.cli.set_model import set_model
from handler.cli.warm import warm

# Rich's boxes and tracebacks are for people; the output here is read by scripts as well.
app = typer.Typer(
    name="infernet-lambda",
    help="Serve classic machine-learning models to Infernet nodes and other callers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(serve)
app.command()(fetch)
app.command()(lock)
app.command("compile")(compile_)
app.command()(publish)
app.command()(doctor)
app.command()(predict)
app.command()(new)
app.command("node-config")(node_config)
app.command()(warm)
app.command("set-model")(set_model)
