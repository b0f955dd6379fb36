"""``infernet-lambda new``: the project works as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from handler.cli.commands import app
from tests.processes import ROOT

FILES = {
    "Dockerfile",
    "README.md",
    "conftest.py",
    "service.env",
    "test_workflow.py",
    "workflow.py",
}


def test_the_project_s_own_test_passes_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "my-workflow"
    done = CliRunner().invoke(app, ["new", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["files"]) == FILES == {p.name for p in folder.iterdir()}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout
    assert "3 passed" in process.stdout


def test_its_code_is_typed_and_formatted_as_ours(tmp_path: Path) -> None:
    folder = tmp_path / "my-workflow"
    assert CliRunner().invoke(app, ["new", str(folder)]).exit_code == 0
    for check in (["ruff", "check", "--isolated"], ["ruff", "format", "--isolated", "--check"]):
        line = ["--line-length=100"] if check[1] == "format" else []
        command = [sys.executable, "-m", *check, *line, str(folder)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "workflow.py"]
    environment = {"PATH": os.environ["PATH"], "MYPYPATH": str(ROOT)}
    process = subprocess.run(
        [*mypy, "--follow-imports=silent"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "workflow.py").write_text("mine")
    done = CliRunner().invoke(app, ["new", str(tmp_path)])
    assert done.exit_code == 1 and "workflow.py already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["workflow.py"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["new", str(tmp_path / "file" / "x")])
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
