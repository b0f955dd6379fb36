import subprocess
import sys

import pytest

import handler


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
