"""The benchmarks run: what they measure is judged by ``make bench``, never by a test."""

import subprocess
import sys

import pytest

from tests import processes

pytestmark = pytest.mark.integration


def test_one_run_prints_every_row() -> None:
    emulator = processes.emulator()
    if emulator is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")
    process = subprocess.run(
        [sys.executable, "-m", "bench", str(emulator), "--runs", "1"],
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    header, *rows = process.stdout.splitlines()
    assert header.startswith("median (min-max) of 1 runs")
    assert [row.split("  ")[0].split(",")[0] for row in rows] == [
        "cold start",
        "cold start",
        "peak memory",
        "peak memory",
        "warm request of 69 doubles",
        "300",
        "300",
        "answer of hypercorn",
        "ABI vector of 1",
        "warm load of 100 MB",
        "warm load of 100 MB",
        "refusal while the workflow cannot be loaded",
        "wrong token beside one with the right prefix",
        "slowest answer of 1",
    ]
