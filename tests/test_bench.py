"""The benchmarks run: what they measure is judged by ``make bench``, never by a test."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures import figure, plot
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


def test_a_plot_is_a_png_of_a_modest_size(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "growth.png"
    plot(path, "sizes", {"ours": {1: [0.2, 0.21], 300_000: [10.0, 11.0, 12.0]}})
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) < 60_000


def test_a_figure_has_three_digits() -> None:
    assert [*map(figure, (1234.5, 10.04, 0.19951))] == ["1,230", "10.0", "0.200"]
