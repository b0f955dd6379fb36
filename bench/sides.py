"""One side of a comparison in a process of its own, as it is deployed: ``python -m bench.sides``.

What one side leaves in memory would otherwise speed up or slow down the other.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCKERFILE = Path(__file__).parent.parent / "Dockerfile.lambda"
BLOCK = 5
MANY = 300_000


def in_ours() -> Callable[[], Any]:
    """From the bytes of a body, with all its checks, to torch's tensor."""
    from handler.catalog import Catalog
    from handler.lifecycle import WorkflowProvider, load_workflow
    from handler.service import ServiceOutput
    from handler.settings import get_settings

    settings, body = get_settings(), _body()
    provider = WorkflowProvider(lambda: load_workflow(settings), 60)
    workflow: Any = provider.get()
    service = ServiceOutput(settings, Catalog(provider, settings))
    return lambda: workflow.do_preprocessing(service._read(body)[2].data)


def in_baseline() -> Callable[[], Any]:
    import torch

    body = _body()

    def work() -> Any:
        data = json.loads(body)["data"]
        return torch.tensor(data["values"], dtype=getattr(torch, data["dtype"]))

    return work


def out_ours() -> Callable[[], Any]:
    """From torch's tensor to the bytes of an answer, seen to be one that Lambda carries."""
    from handler import formats, limits
    from handler.protocol import OFFCHAIN

    output, form, call = _output(), formats.FORMATS[-1], formats.Call(None)

    def work() -> bytes:
        limits.check_output(output)
        return limits.check_answer(formats.write(output, form, call, OFFCHAIN))

    return work


def out_baseline() -> Callable[[], Any]:
    output = _output()
    return lambda: json.dumps({"values": output.tolist()})


SIDES = {f.__name__: f for f in (in_ours, in_baseline, out_ours, out_baseline)}


def measured(way: str) -> tuple[float, float]:
    """Milliseconds of one call, of several in a row, on our side and on the baseline's.

    Each side is ready, and has made one call, before the first is asked: they meet the machine in
    the same mood.
    """
    with _side(f"{way}_ours") as ours, _side(f"{way}_baseline") as baseline:
        assert (_read(ours), _read(baseline)) == ("ready", "ready")
        return float(_asked(ours)), float(_asked(baseline))


def _side(name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench.sides", name]
    environment = dict(os.environ) | (image_environment() if name.endswith("ours") else {})
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)


def _asked(process: "subprocess.Popen[str]") -> str:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    return _read(process)


def _read(process: "subprocess.Popen[str]") -> str:
    """The next line that is not of the log."""
    assert process.stdout
    return next(line.strip() for line in process.stdout if not line.startswith("{"))


def image_environment() -> dict[str, str]:
    """How the image sets the C library's allocation of memory."""
    return dict(re.findall(r"(MALLOC_\w+)=(\d+)", DOCKERFILE.read_text()))


def _output() -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.random.default_rng(0).normal(size=(1, MANY)))


def _body() -> bytes:
    data = {"dtype": "double", "values": _output().tolist()}
    return json.dumps({"source": 1, "data": data}).encode()


def main() -> None:
    work = SIDES[sys.argv[1]]()
    work()
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    for _ in range(BLOCK):
        work()
    print((time.perf_counter() - started) / BLOCK * 1e3)


if __name__ == "__main__":
    main()
