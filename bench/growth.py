"""How latency grows, as tables and plots: ``python -m bench.growth PATH_OF_AWS_LAMBDA_RIE``.

With the size of the input, with that of the model, and with the number of environments that start
at once. Each prints a table for README.md and writes a plot into ``plots``.
"""

import argparse
import importlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from bench.environments import environments
from bench.figures import PLOTS, figure, plot, summary, table
from bench.large import Large
from bench.rows import BEARER, TOKEN, quiet
from bench.sides import image_environment
from handler.models.file import digest_of
from handler.testing import LambdaEmulator, function_url_event

ROOT = Path(__file__).parent.parent
INPUTS = (1, 10, 100, 1000, 10_000, 100_000, 300_000)
INPUT_RUNS, BLOCK_SECONDS, BLOCK_CALLS = 9, 0.1, 3
# Bodies take turns: a CPU learns to predict the digits of one that is parsed again and again, which
# makes a third of the parser's time of as many as 5,000 doubles, and of more nothing.
OTHER_DOUBLES, MOST_BODIES = 40_000, 40
# MB of the model -> layers, their width, and runs.
MODELS = {
    1: (1, 500, 5),
    4: (1, 1000, 5),
    16: (4, 1000, 5),
    64: (16, 1000, 5),
    256: (64, 1000, 3),
    1024: (256, 1000, 3),
}
HOT_REQUESTS = 5
BLOCK_BYTES = 1024 * 1024


def event_of(values: Any, dtype: str) -> dict[str, Any]:
    request = {"source": 1, "data": {"dtype": dtype, "values": values}}
    # Without blanks: 300,000 doubles with them are close to the limit of 6 MiB.
    return function_url_event(body=json.dumps(request, separators=(",", ":")), headers=BEARER)


def input_size(emulator: Path) -> None:
    """A warm request, in process as on Lambda, to a model that gives the mean of its row."""
    rows = np.random.default_rng(0).normal(size=max(INPUTS))
    events = {
        size: [
            event_of([row.tolist()], "double") for row in np.split(rows[: size * others], others)
        ]
        for size in INPUTS
        for others in [max(1, min(MOST_BODIES, OTHER_DOUBLES // size))]
    }
    handler = service_of(nn.Sequential(nn.AdaptiveAvgPool1d(1)))
    for size in INPUTS:
        with quiet():
            answer = json.loads(handler(events[size][0], None)["body"])
        assert math.isclose(answer["values"][0][0], rows[:size].mean(), rel_tol=1e-9)
    samples = defaultdict(list)
    for _ in range(INPUT_RUNS):
        for size in INPUTS:
            samples[size].append(block(handler, events[size]))
    table(
        ["doubles", "bytes of the body", "warm request, ms", "us a double"],
        [
            [
                f"{size:,}",
                f"{len(events[size][0]['body']):,}",
                summary(runs),
                figure(statistics.median(runs) * 1e3 / size),
            ]
            for size, runs in samples.items()
        ],
    )
    plot(PLOTS / "input-size.png", "doubles in the input", {"warm request": samples})


def service_of(model: nn.Module) -> Any:
    """The Lambda function in this process, which has loaded the model."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder, "model.torch")
        torch.save(model, path)
        os.environ["CLASSIC_INF_WORKFLOW_KW_ARGS"] = json.dumps({"model": str(path)})
        os.environ["INFERNET_BEARER_TOKENS"] = TOKEN
        # Any address: that there is one tells the service that it is on Lambda.
        os.environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:1"
        return importlib.import_module("handler.main").handler


def block(handler: Any, events: list[Any]) -> float:
    """Mean ms of a call, of as many as fit in a block, after one that is not counted."""
    with quiet():
        handler(events[0], None)
        calls, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < BLOCK_SECONDS or calls < BLOCK_CALLS:
            handler(events[calls % len(events)], None)
            calls += 1
    return elapsed / calls * 1e3


def model_size(emulator: Path) -> None:
    """From the start of the emulator to the first answer, beside what its file costs alone."""
    samples: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        paths = {size: Path(folder, f"{size}.safetensors") for size in MODELS}
        for size, (layers, width, _) in MODELS.items():
            save_file(Large(layers, width).state_dict(), paths[size])
            first_answer(emulator, paths[size], size)  # fills the page cache: not counted
        for run in range(max(runs for _, _, runs in MODELS.values())):
            for size in (size for size, (_, _, runs) in MODELS.items() if run < runs):
                path = paths[size]
                took = first_answer(emulator, path, size)
                took["read once"] = timed(partial(read_once, path))
                took["sha256"] = timed(partial(digest_of, path))
                for name, ms in took.items():
                    samples[name][size].append(ms)
    names = ["cold start", "read once", "sha256", "hot request"]
    rows = [[f"{size:,}", *(summary(samples[name][size]) for name in names)] for size in MODELS]
    table(["MB of the model", *(f"{name}, ms" for name in names)], rows)
    plot(PLOTS / "model-size.png", "MB of the model", {name: samples[name] for name in names})


def first_answer(emulator: Path, path: Path, size: int) -> dict[str, float]:
    """Ms of the first answer of a process that is started for it, and of one after that."""
    layers, width, _ = MODELS[size]
    kwargs = {
        # Pinned: the digest decides whether the file is served, as that of a fetched one does.
        "model": f"{path.as_uri()}#sha256={digest_of(path)}",
        "model_class": "bench.large.Large",
        "model_class_kwargs": {"layers": layers, "width": width},
    }
    environment = image_environment() | {
        "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps(kwargs),
        "PYTHONPATH": str(ROOT),
        "INFERNET_BEARER_TOKENS": TOKEN,
    }
    event = event_of(np.ones((1, width)).tolist(), "float")
    started = time.perf_counter()
    with LambdaEmulator(emulator, environment) as service:
        response = service.invoke(event)
        cold = (time.perf_counter() - started) * 1e3
        assert response["statusCode"] == 200, response
        hot = [timed(partial(service.invoke, event)) for _ in range(HOT_REQUESTS)]
    return {"cold start": cold, "hot request": statistics.median(hot)}


def read_once(path: Path) -> None:
    """Into memory that is used again: to take a GB from the system costs more than to read one."""
    buffer = bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


MEASUREMENTS: dict[str, Callable[[Path], None]] = {
    "input": input_size,
    "model": model_size,
    "environments": environments,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one of the measurements")
    arguments = parser.parse_args()
    for name, measure in MEASUREMENTS.items():
        if arguments.only in (None, name):
            measure(arguments.emulator.resolve())


if __name__ == "__main__":
    # The C library reads its settings when a process starts.
    if not image_environment().items() <= os.environ.items():
        command = [sys.executable, "-m", "bench.growth", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | image_environment())
    main()
