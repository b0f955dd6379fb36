"""The command line, one file a command. Never imported by the Lambda path."""

import sys


def main() -> None:
    """The console script ``infernet-lambda``."""
    try:
        from handler.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit(
            "infernet-lambda: the command line needs an extra: pip install infernet-lambda[cli]"
        )
    app()
