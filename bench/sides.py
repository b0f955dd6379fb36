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


def measured(name: str) -> float:
    """Milliseconds of one call, of several in a row, by a process that has made one before."""
    command = [sys.executable, "-m", "bench.sides", name]
    environment = dict(os.environ) | (image_environment() if name.endswith("ours") else {})
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    printed = run.stdout
    return float(printed.splitlines()[-1])


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
    started = time.perf_counter()
    for _ in range(BLOCK):
        work()
    print((time.perf_counter() - started) / BLOCK * 1e3)


if __name__ == "__main__":
    main()
