"""Writes ``docs/reference`` from the code: ``python docs/generate.py``; a test compares."""

import sys
from pathlib import Path
from typing import Any

import click
import typer

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from settings import SETTINGS  # noqa: E402

from handler.cli.commands import app  # noqa: E402
from handler.errors import HandlerError  # noqa: E402
from handler.formats import FORMATS  # noqa: E402
from handler.openapi import TEXT, document  # noqa: E402
from handler.resources import EXAMPLE  # noqa: E402
from handler.settings import variables  # noqa: E402
from handler.tensors import DTYPES  # noqa: E402
from handler.vectors import KINDS  # noqa: E402

NOTE = "<!-- made by docs/generate.py -->\n\n"


def table(head: str, rows: list[tuple[Any, ...]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def settings() -> str:
    known = {name for names in variables().values() for name in names}
    assert known == SETTINGS.keys(), known ^ SETTINGS.keys()
    rows = [(f"`{name}`", default, meaning) for name, (default, meaning) in SETTINGS.items()]
    return (
        "# Settings\n\nAll come from the environment. A blank value counts as unset, and one pair of "
        "quotes around a value is taken off, because docker's `--env-file` keeps them. A wrong one is "
        "answered as a 503 that names the variable.\n\n"
        + table("variable | default | meaning", rows)
        + "\n`HF_ENDPOINT` and the other variables of huggingface_hub work as they do there.\n"
    )


def cli() -> str:
    group: Any = typer.main.get_command(app)
    parts = [
        "# Command line\n\n`infernet-lambda COMMAND`, with these exit statuses: 0 done, 1 failed "
        "(one line says why, and what to change), 2 wrong usage. `doctor` exits with the number of "
        "failures. `--install-completion` sets up completion for your shell.\n"
    ]
    for name, command in group.commands.items():
        context = click.Context(command, info_name=f"infernet-lambda {name}")
        context.max_content_width = context.terminal_width = 90
        parts.append(f"\n## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "".join(parts)


def http() -> str:
    found = document(EXAMPLE, resources_need_token=True)
    parts = [
        "# HTTP\n\nAs `/openapi.json` of a running service says. Every "
        'error is `{"code": "<status>", "name": ..., "description": ...}`.\n'
    ]
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            token = "a token" if operation.get("security") else "nobody's permission"
            rows = [(s, r["description"]) for s, r in operation["responses"].items()]
            parts.append(
                f"\n## {method.upper()} {path}\n\n{operation['summary']} Needs {token}.\n\n"
                + table("status | meaning", rows)
            )
    rows = [
        ("x-request-id", "as in the log"),
        ("x-cold-start", "1 for a process's first answer"),
        ("x-model-digest", "sha256 and size of the model's file"),
        ("server-timing", "ms of each step"),
    ]
    return "".join(parts) + "\n## Headers of every answer\n\n" + table("header | meaning", rows)


def errors() -> str:
    classes: dict[int, list[str]] = {}
    waiting = [HandlerError]
    while waiting:
        kind = waiting.pop()
        classes.setdefault(kind.status, []).append(kind.__name__)
        waiting += kind.__subclasses__()
    rows = [
        (code, text, ", ".join(f"`{c}`" for c in sorted(classes.get(code, []))))
        for code, text in TEXT.items()
    ]
    return (
        "# Error codes\n\nA node recognises an error by the string in `code`, never by the status.\n\n"
        + table("code | meaning | in Python, `handler.errors`", rows)
    )


def formats() -> str:
    names = [
        (f"`{form.name}`", "a chain" if form.name.startswith("abi") else "anywhere else")
        for form in FORMATS
    ]
    classic = [(f"`{name}`", f"`{kind}`") for name, kind in DTYPES.items()]
    numbers = [
        (number, f"`{kind.name}`", f"`{kind.solidity}[]`") for number, kind in enumerate(KINDS)
    ]
    return (
        "# Wire formats\n\nThe first that recognises a request's `data` reads it, and its answer is in "
        "kind.\n\n"
        + table("format | comes from", names)
        + "\n## Classic: dtypes by name\n\n"
        + table("dtype | numpy", classic)
        + "\n## Vectors: dtypes by number\n\n"
        + table("number | dtype | in the ABI", numbers)
    )


PAGES = {f.__name__: f for f in (settings, cli, http, errors, formats)}


def pages() -> dict[Path, str]:
    """Each page of the reference, and what it has to be."""
    return {DOCS / "reference" / f"{name}.md": NOTE + make() for name, make in PAGES.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
