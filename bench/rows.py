"""What is measured: one method a figure, which measures ours and its baseline once."""

import asyncio
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from eth_abi.abi import decode, encode
from safetensors.torch import save_file
from torch import nn

from bench.large import Large
from bench.load import SERVE, serving, throughput
from bench.sides import image_environment, measured
from handler import onchain
from handler.adapter import Adapter
from handler.app import create_app
from handler.auth import Tokens
from handler.compiler.proof import compile_model
from handler.lifecycle import WorkflowProvider, load_workflow
from handler.models import file
from handler.models.cache import Cache
from handler.models.reference import Reference, parse_reference
from handler.models.remote import Remote
from handler.settings import get_settings
from handler.testing import LambdaEmulator, function_url_event
from handler.workflows.torch import TorchInferenceWorkflow
from tests.fuzz import cases

WARM_REQUESTS = 300
ABI_ROUNDS = 20
FUZZ_CASES = 1000
TOKEN_ROUNDS = 20_000
FAILING_MS = 5.0
TOKEN = "a-token-for-the-benchmark"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Row(NamedTuple):
    """One figure: what is measured, in which unit, at most how many times the baseline."""

    what: str
    unit: str
    bar: float | None
    # One measurement of ours, then one of the baseline if it has one.
    measure: Callable[[], tuple[float, float | None]]


class First(NamedTuple):
    """What a first answer took, of a process that was started for it."""

    ms: float
    megabytes: float


class Bench:
    """The model that all rows serve, and the environment that names it to both sides."""

    def __init__(self, emulator: Path, folder: Path, seconds: float = 3.0) -> None:
        self.emulator = emulator
        self.seconds = seconds
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8)).double()
        path = folder / "model.torch"
        torch.save(model, path)
        self.environment = {
            "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(path)}),
            "BASELINE_MODEL": str(path),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "INFERNET_BEARER_TOKENS": TOKEN,
        }
        compiled = folder / "model.onnx"
        workflow = TorchInferenceWorkflow(model=str(path))
        workflow.setup()
        inputs = np.random.default_rng(0).normal(size=(1000, 69))
        compile_model(workflow, "double", inputs, 1e-9, compiled)
        self.compiled = self.environment | {
            "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(compiled)}),
            "BASELINE_ONNX": str(compiled),
        }
        self.cache = Cache(folder / "cache")
        self.settings = replace(get_settings(), model_cache_dir=self.cache.folder)
        get_settings.cache_clear()  # the service in this process gets others
        values = torch.randn(1, 69, dtype=torch.double).tolist()
        request = {"source": 1, "data": {"dtype": "double", "values": values}}
        self.event = function_url_event(body=json.dumps(request), headers=BEARER)

    def rows(self) -> list[Row]:
        return [
            Row("cold start, torch, to the first answer", "ms", 1.08, self.cold),
            Row("cold start, compiled, beside torch", "ms", 0.20, self.cold_compiled),
            Row("peak memory, torch", "MB", 1.08, self.memory),
            Row("peak memory, compiled", "MB", 1.4, self.memory_compiled),
            Row("warm request of 69 doubles, token, log line", "us", 2.0, self.warm),
            Row("300,000 doubles in", "ms", 0.10, self.numbers("in")),
            Row("300,000 doubles out", "ms", 0.05, self.numbers("out")),
            Row("answer of hypercorn, 1 worker, 16 connections", "us", 1 / 0.85, self.server),
            Row("ABI vector of 1,000 float64, in and out", "us", 1.2, self.abi),
            Row("warm load of 100 MB, safetensors", "ms", 1.5, self.load("large.safetensors")),
            Row("warm load of 100 MB, TorchScript", "ms", 1.5, self.load("large.torchscript")),
            Row("refusal while the workflow cannot be loaded", "ms", None, self.failing),
            Row("wrong token beside one with the right prefix", "us", 1.1, self.tokens),
            Row(f"slowest answer of {FUZZ_CASES:,} fuzz cases", "ms", None, self.fuzz),
        ]

    def cold(self) -> tuple[float, float]:
        return self._service(self.environment).ms, self._baseline("bench.baseline").ms

    def cold_compiled(self) -> tuple[float, float]:
        return self._service(self.compiled).ms, self._baseline("bench.baseline").ms

    def memory(self) -> tuple[float, float]:
        return self._service(self.environment).megabytes, self._baseline("bench.baseline").megabytes

    def memory_compiled(self) -> tuple[float, float]:
        baseline = self._baseline("bench.baseline_onnx")
        return self._service(self.compiled).megabytes, baseline.megabytes

    def _service(self, environment: dict[str, str]) -> "First":
        return self._first_answer("handler.main.handler", environment | image_environment())

    def _baseline(self, module: str) -> "First":
        return self._first_answer(f"{module}.handler", self.compiled)

    def _first_answer(self, handler: str, environment: dict[str, str]) -> "First":
        started = time.perf_counter()
        with LambdaEmulator(self.emulator, environment, handler=handler) as service:
            response = service.invoke(self.event)
            elapsed = time.perf_counter() - started
            peak = peak_memory(service.processes())
        assert response["statusCode"] == 200, response
        return First(elapsed * 1e3, peak / 1e6)

    def warm(self) -> tuple[float, float]:
        """Mean of a block of requests on each side, in this process."""
        # Any address: that there is one tells the service that it is on Lambda.
        os.environ.update(self.environment, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")
        with quiet():
            ours = importlib.import_module("handler.main").handler
            baseline = importlib.import_module("bench.baseline").handler
            answers = [json.loads(side(self.event, None)["body"]) for side in (ours, baseline)]
        assert answers[0]["values"] == answers[1]["values"]
        return self._block(ours), self._block(baseline)

    def numbers(self, way: str) -> Callable[[], tuple[float, float]]:
        return lambda: measured(way)

    def server(self) -> tuple[float, float]:
        """Microseconds an answer, beside a bare route of Starlette."""
        request = (self.event["body"].encode(), TOKEN, 200)
        hypercorn = ["-m", "hypercorn", "bench.bare:app", "--bind=127.0.0.1:{port}"]
        commands = [[*SERVE, "--workers=1"], [sys.executable, *hypercorn, "--workers=1"]]
        found = []
        for command in commands:
            with serving(command, {**self.environment, "INFERNET_LOAD": "init"}) as (port, _):
                found.append(1e6 / asyncio.run(throughput(port, request, 16, self.seconds)))
        return found[0], found[1]

    def abi(self) -> tuple[float, float]:
        """Decode and encode, beside eth_abi doing the same with the bits of the doubles."""
        types = ["uint8", "uint8", "uint8", "uint16[]", "int64[]"]
        array = np.random.default_rng(0).normal(size=(1, 1000))
        encoded = onchain.encode_vector(onchain.vector_of(array))
        started = time.perf_counter()
        for _ in range(ABI_ROUNDS):
            assert onchain.encode_vector(onchain.decode_vector(encoded)) == encoded
        between = time.perf_counter()
        for _ in range(ABI_ROUNDS):
            assert encode(types, decode(types, encoded)) == encoded
        ended = time.perf_counter()
        return (between - started) / ABI_ROUNDS * 1e6, (ended - between) / ABI_ROUNDS * 1e6

    def load(self, name: str) -> Callable[[], tuple[float, float]]:
        """From the cache to a model that is verified, beside reading its file once."""
        reference, path = self.large(name)

        def measure() -> tuple[float, float]:
            file._known.clear()  # the digests that this process has computed
            workflow = TorchInferenceWorkflow(model=str(reference), model_class="bench.large.Large")
            workflow.settings = self.settings
            started = time.perf_counter()
            with quiet():
                workflow.setup()
            between = time.perf_counter()
            content = path.read_bytes()
            ended = time.perf_counter()
            assert len(content) > 100_000_000
            return (between - started) * 1e3, (ended - between) * 1e3

        return measure

    def large(self, name: str) -> tuple[Reference, Path]:
        """A large model in the cache, as if it had been fetched from the hub."""
        path = self.cache.folder.with_name(name)
        if name.endswith("safetensors"):
            save_file(Large().state_dict(), path)
        else:
            script: Any = torch.jit.script(Large())
            script.save(str(path))
        reference = parse_reference(f"hf://bench/large@{'0' * 40}/{name}")
        content = path.read_bytes()
        remote = Remote(reference, len(content), None, lambda _: iter([content]))
        return reference, self.cache.add(reference, remote).path

    def failing(self) -> tuple[float, None]:
        """Mean of a block of requests to a service that is misconfigured: nodes ask on and on."""
        settings = replace(get_settings(), workflow_class="nowhere.Nothing")
        provider = WorkflowProvider(lambda: load_workflow(settings), 60)
        handler: Any = Adapter(create_app(settings, provider))
        with quiet():
            assert handler(self.event, None)["statusCode"] == 503
            elapsed = self._block(handler) / 1e3
        assert elapsed <= FAILING_MS, f"{elapsed} ms are too many"
        return elapsed, None

    def tokens(self) -> tuple[float, float]:
        """Whether the time tells how much of a guess is right."""
        known = Tokens([TOKEN])
        wrong, close = b"x" * len(TOKEN), TOKEN[:-1].encode() + b"x"
        spent = {wrong: 0.0, close: 0.0}
        for _ in range(TOKEN_ROUNDS):
            for guess in spent:
                started = time.perf_counter()
                assert not known.know(guess)
                spent[guess] += time.perf_counter() - started
        return spent[wrong] / TOKEN_ROUNDS * 1e6, spent[close] / TOKEN_ROUNDS * 1e6

    def fuzz(self) -> tuple[float, None]:
        handler = importlib.import_module("handler.main").handler
        slowest = 0.0
        for body in cases(0, FUZZ_CASES):
            event = function_url_event(body=body, headers=BEARER, as_base64=True)
            started = time.perf_counter()
            with quiet():
                handler(event, None)
            slowest = max(slowest, time.perf_counter() - started)
        return slowest * 1e3, None

    def _block(self, handler: Callable[[Any, Any], Any]) -> float:
        started = time.perf_counter()
        with quiet():
            for _ in range(WARM_REQUESTS):
                handler(self.event, None)
        return (time.perf_counter() - started) / WARM_REQUESTS * 1e6


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The log is written, which takes its time, but not among the figures."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def peak_memory(processes: Iterable[int]) -> int:
    """In bytes, of the largest process: the function, beside the emulator."""
    peaks = [0]
    for process in processes:
        status = Path(f"/proc/{process}/status").read_text()
        peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line]
    return max(peaks)
