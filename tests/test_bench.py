"""The benchmarks run, compare equal answers, and keep to their bars."""

import subprocess
import sys
from typing import Any

import pytest

from bench.rows import refuse_differences
from bench.table import Row, Samples, report
from tests import processes


def answer(body: str, status: int = 200) -> dict[str, Any]:
    return {"statusCode": status, "body": body}


@pytest.mark.integration
def test_one_run_prints_every_row(capfd: pytest.CaptureFixture[str]) -> None:
    emulator = processes.emulator()
    if emulator is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")
    # One run is too few for a bar to count. A difference between the two answers is a failure.
    command = [sys.executable, "-m", "bench", str(emulator), "--runs", "1"]
    subprocess.run(command, cwd=processes.ROOT, check=True)
    table = capfd.readouterr().out.splitlines()[2:]
    assert [line.split(",")[0] for line in table] == [
        "cold start to first answer",
        "warm request in process",
    ]


@pytest.mark.parametrize("others", [[], [answer('{"a":1}')]])
def test_equal_answers_compare(others: list[Any]) -> None:
    refuse_differences([answer('{"a": 1}'), *others])


@pytest.mark.parametrize(
    "responses",
    [
        [answer("[1]"), answer("[2]")],
        [answer("[1]"), answer("[1]", 503)],
        [answer("[1]", 503), answer("[1]", 503)],
    ],
)
def test_failures_and_differences_are_refused(responses: list[Any]) -> None:
    with pytest.raises(RuntimeError, match="differ"):
        refuse_differences(responses)


@pytest.mark.parametrize(("bar", "kept"), [(2.0, True), (1.9, False)])
def test_a_row_keeps_its_bar_by_the_ratio_of_the_medians(
    bar: float, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = Samples([1.0, 4.0, 9.0], [2.0, 2.0, 3.0])
    assert report([Row("a", "ms", bar, lambda runs: samples)], 3) is kept
    assert ("OVER" in capsys.readouterr().out) is not kept
