import os
import subprocess
import sys

import pytest
import typer

import handler
from handler.cli.commands import app


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "handler.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version() -> None:
    process = run("--version")
    assert (process.returncode, process.stdout.strip()) == (0, handler.__version__)


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_shows_the_way(arguments: list[str]) -> None:
    process = run(*arguments)
    assert process.returncode == 0 and "serve" in process.stdout.lower()


@pytest.mark.parametrize(
    "arguments", [["unknown"], ["serve", "--workers", "many"], ["serve", "--no-such-option"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    process = run(*arguments)
    assert process.returncode == 2 and process.stderr
    assert "Traceback" not in process.stderr


def test_completion_can_be_shown_for_a_shell() -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "handler.cli", "--show-completion", "bash"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0 and "complete" in process.stdout


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_has_an_example_and_speaks_json(name: str) -> None:
    shown = run(name, "--help").stdout
    assert f"Example: infernet-lambda {name}" in " ".join(shown.split()) or name == "predict"
    # A server runs until it is stopped, and the block for a node is JSON anyway.
    assert "--json" in shown or name in ("serve", "node-config")
