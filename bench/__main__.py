"""Every figure, as a ratio to its baseline: ``python -m bench PATH_OF_AWS_LAMBDA_RIE``."""

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from handler.testing import LambdaEmulator, function_url_event

MINIMUM_RUNS = 7
WARM_REQUESTS = 300


class Row(NamedTuple):
    """One figure: what is measured, in which unit, at most how many times the baseline."""

    what: str
    unit: str
    bar: float
    # Gives one measurement of ours and one of the baseline, taken one after the other.
    measure: Callable[[], tuple[float, float]]


class Bench:
    """The model that all rows serve, and the environment that names it to both sides."""

    def __init__(self, emulator: Path, folder: Path) -> None:
        self.emulator = emulator
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8)).double()
        path = folder / "model.torch"
        torch.save(model, path)
        self.environment = {
            "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(path)}),
            "BASELINE_MODEL": str(path),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        values = torch.randn(1, 69, dtype=torch.double).tolist()
        request = {"source": 1, "data": {"dtype": "double", "values": values}}
        self.event = function_url_event(body=json.dumps(request))

    def rows(self) -> list[Row]:
        return [
            Row("cold start, emulator start to first answer", "ms", 1.25, self.cold),
            Row("warm request of 69 doubles, in process", "us", 2.5, self.warm),
        ]

    def cold(self) -> tuple[float, float]:
        return self._first_answer("handler.main.handler"), self._first_answer(
            "bench.baseline.handler"
        )

    def _first_answer(self, handler: str) -> float:
        started = time.perf_counter()
        with LambdaEmulator(self.emulator, self.environment, handler=handler) as service:
            response = service.invoke(self.event)
            elapsed = time.perf_counter() - started
        assert response["statusCode"] == 200, response
        return elapsed * 1e3

    def warm(self) -> tuple[float, float]:
        """Mean of a block of requests on each side, in this process."""
        # Any address: that there is one tells the service that it is on Lambda.
        os.environ.update(self.environment, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")
        ours = importlib.import_module("handler.main").handler
        baseline = importlib.import_module("bench.baseline").handler
        answers = [json.loads(side(self.event, None)["body"]) for side in (ours, baseline)]
        assert answers[0]["values"] == answers[1]["values"]
        return self._block(ours), self._block(baseline)

    def _block(self, handler: Callable[[Any, Any], Any]) -> float:
        started = time.perf_counter()
        for _ in range(WARM_REQUESTS):
            handler(self.event, None)
        return (time.perf_counter() - started) / WARM_REQUESTS * 1e6


def summary(samples: list[float]) -> str:
    return f"{statistics.median(samples):7.0f} ({min(samples):.0f}-{max(samples):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    parser.add_argument("--runs", type=int, default=MINIMUM_RUNS + 2)
    arguments = parser.parse_args()
    missed = False
    print(
        f"{'median (min-max) of ' + str(arguments.runs) + ' runs':44} "
        f"{'ours':>20} {'baseline':>20}  ratio   bar"
    )
    with tempfile.TemporaryDirectory() as folder:
        for row in Bench(arguments.emulator, Path(folder)).rows():
            row.measure()  # fills the page cache and writes bytecode: not counted
            ours, baseline = zip(*(row.measure() for _ in range(arguments.runs)), strict=True)
            ratio = statistics.median(ours) / statistics.median(baseline)
            missed |= ratio > row.bar
            print(
                f"{row.what:44} {summary(list(ours)):>20} {summary(list(baseline)):>20} "
                f"{row.unit}  {ratio:4.2f}  {row.bar:4.2f} {'MISSED' if ratio > row.bar else ''}"
            )
    # With fewer runs than that, chance decides.
    sys.exit(missed and arguments.runs >= MINIMUM_RUNS)


if __name__ == "__main__":
    main()
