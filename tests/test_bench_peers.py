"""The comparison with other servers runs; no other is installed for a test."""

import subprocess
import sys

import pytest

from tests import processes

pytestmark = pytest.mark.integration


def test_ours_answers_rightly_under_load() -> None:
    process = subprocess.run(
        [
            *(sys.executable, "-m", "bench.peers", "--rounds", "1", "--seconds", "0.5"),
            *("--only", "no peer"),
        ],
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    rows = [line.strip("| ").split(" | ") for line in process.stdout.splitlines()[4:]]
    assert [row[0] for row in rows] == ["ours", "ours, compiled"]
    # A row without figures would have the reason instead.
    assert all(row[3].endswith(" ms") and "lost" not in row[2] for row in rows), process.stdout
