"""What a reader is told exists does, and what exists is told: the reference is the code's."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from handler.cli.commands import app
from handler.settings import variables
from handler.testing import free_port
from tests.processes import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ = [*PAGES, ROOT / "README.md", ROOT / "examples" / "README.md"]
TESTED = re.compile(r"^```sh tested\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
COMMANDS: Any = typer.main.get_command(app)


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", [name for names in variables().values() for name in names])
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `{name}` |" in reference("settings")


@pytest.mark.parametrize("name", COMMANDS.commands)
def test_every_command_is_documented_with_an_example(name: str) -> None:
    text = reference("cli").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "Example:" in text and f"infernet-lambda {name}" in text


def test_every_status_of_an_error_is_documented() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "handler").glob("*.py"))
    statuses = set(re.findall(r"status = (\d{3})", sources)) | {"404", "405"}
    assert statuses == set(re.findall(r"^\| (\d{3}) \|", reference("errors"), re.MULTILINE))


def test_the_reference_is_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text() == text, f"run python docs/generate.py: {path.name} is another"


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_page_is_in_the_navigation_and_the_site_is_built(tmp_path: Path) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [p for p in PAGES if f" {p.relative_to(DOCS)}\n" not in navigation] == []
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "reference" / "settings" / "index.html").exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    "path", [path for path in PAGES if TESTED.search(path.read_text())], ids=lambda path: path.stem
)
def test_every_block_that_is_marked_as_tested_runs(path: Path, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(TESTED.findall(path.read_text()))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PORT": str(free_port()),
    }
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
