"""The benchmarks. To add one, write a function of ``runs`` that gives Samples, and list its row."""

import importlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.table import Row, Samples, in_turns
from handler.testing import LambdaEmulator, function_url_event

OURS, BASELINE = "handler.main", "bench.baseline"
FEATURES = 69
CALLS = 300

VALUES = [[(7 * column % FEATURES) / FEATURES for column in range(FEATURES)]]
EVENT = function_url_event(
    body=json.dumps({"source": 1, "data": {"dtype": "double", "values": VALUES}})
)


def all_rows(emulator: Path, environment: Mapping[str, str]) -> list[Row]:
    return [
        Row("cold start to first answer", "ms", 1.25, partial(cold, emulator, environment)),
        Row("warm request in process", "us", 2.5, warm),
    ]


def cold(emulator: Path, environment: Mapping[str, str], runs: int) -> Samples:
    """From the start of the emulator to the first whole answer, in milliseconds."""
    answers = []

    def start(module: str) -> float:
        started = time.perf_counter()
        with LambdaEmulator(emulator, environment, handler=f"{module}.handler") as service:
            answers.append(service.invoke(EVENT))
            return (time.perf_counter() - started) * 1e3

    samples = in_turns(partial(start, OURS), partial(start, BASELINE), runs)
    refuse_differences(answers)
    return samples


def warm(runs: int) -> Samples:
    """A call of the handler function in this process, in microseconds, from blocks of ``CALLS``."""
    ours, baseline = (importlib.import_module(module).handler for module in (OURS, BASELINE))
    refuse_differences([ours(EVENT, None), baseline(EVENT, None)])

    def block(handler: Callable[[Any, Any], Any]) -> float:
        started = time.perf_counter()
        for _ in range(CALLS):
            handler(EVENT, None)
        return (time.perf_counter() - started) / CALLS * 1e6

    return in_turns(partial(block, ours), partial(block, baseline), runs)


def refuse_differences(responses: list[Any]) -> None:
    """A comparison of handlers that fail, or answer differently, would mean nothing."""
    first, *others = [
        (response["statusCode"], json.loads(response["body"])) for response in responses
    ]
    if first[0] != 200 or any(other != first for other in others):
        raise RuntimeError(f"the answers fail or differ: {first}, {others}")
