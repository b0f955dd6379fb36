"""The service that a command asks: its options, and what they name."""

from typing import Annotated

import typer

from handler.cli.report import failures

Url = Annotated[str | None, typer.Option(help="Where the service is; /service_output is added.")]
Bearer = Annotated[
    str | None,
    typer.Option(help="The token that the service wants.", envvar="INFERNET_BEARER_TOKEN"),
]
StackName = Annotated[
    str | None, typer.Option(help="Read the URL and the token of this CloudFormation stack.")
]


def service(
    command: str, url: str | None, bearer: str | None, stack: str | None
) -> tuple[str, str | None]:
    """The URL and the token of the service that a command's options name, one way or the other.

    Exit status 2 when they name none or two, 1 when the stack does not say.
    """
    if url is not None and stack is None:
        return url, bearer
    if url is not None or stack is None:
        raise typer.BadParameter("give one of --url and --stack")
    # boto3, which other commands need not pay for.
    from handler.cli.stack import door

    with failures(command):
        found, token = door(stack)
    return found, bearer or token
