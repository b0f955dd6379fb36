"""A regression of the cold start or of a warm request shows here whatever the machine's mood."""

import json
import subprocess
import sys

from tests.guard import KEPT
from tests.processes import ROOT


def test_nothing_more_is_imported_or_called_than_before() -> None:
    """After a change that is meant, the last line of ``python -m tests.guard`` is guard.json."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.guard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found, kept = json.loads(process.stdout.splitlines()[-1]), json.loads(KEPT.read_text())
    assert found.keys() == kept.keys()
    for what, count in found.items():
        assert count <= kept[what], what
        assert count > kept[what] * 0.9, f"{what}: keep the better count, lest it be lost again"
