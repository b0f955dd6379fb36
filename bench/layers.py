"""What each layer costs a warm request: ``python -m bench.layers``, in microseconds.

An event loop, Mangum and Starlette around an application that answers a constant; the same around
the model with orjson and nothing else; and the service, with its checks, token, line of the log.
First as they are, then with the event loop and the handler of events of this package.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import torch
from mangum import Mangum
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from torch import nn

from bench.rows import BEARER, TOKEN, quiet
from handler.adapter import Adapter, EventLoop
from handler.testing import function_url_event

RUNS, REQUESTS = 9, 500
BEGUN = {"type": "http.response.start", "status": 200, "headers": []}


class Constant:
    """An ASGI application without anything to do; Starlette takes a function for an endpoint."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(BEGUN)
        await send({"type": "http.response.body", "body": b"{}"})


class Asked:
    """The model behind an ASGI application, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.model: Any = torch.load(path, weights_only=False).eval()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        data = orjson.loads((await receive())["body"])["data"]
        with torch.inference_mode():
            output = self.model(torch.tensor(data["values"], dtype=torch.double))
        body = orjson.dumps({"values": output.numpy()}, option=orjson.OPT_SERIALIZE_NUMPY)
        await send(BEGUN)
        await send({"type": "http.response.body", "body": body})


def routed(app: Any) -> Any:
    return Starlette(routes=[Route("/service_output", app, methods=["POST"])])


def layers(path: Path) -> dict[str, Callable[[Any, Any], Any]]:
    """What handles an event, each with one layer more."""
    os.environ |= {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
        "BASELINE_MODEL": str(path),
        "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(path)}),
        "INFERNET_BEARER_TOKENS": TOKEN,
    }
    from bench import baseline
    from handler import main

    loops = {"asyncio": asyncio.new_event_loop(), "ours": EventLoop()}

    async def nothing() -> None: ...

    def in_loop(name: str, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def handle(event: Any, context: Any) -> Any:
            asyncio.set_event_loop(loops[name])
            return answer(event, context)

        return handle

    def run_nothing(event: Any, context: Any) -> None:
        loop = asyncio.get_event_loop()
        loop.run_until_complete(loop.create_task(nothing()))

    def stack(name: str, adapted: Callable[[Any], Any]) -> dict[str, Callable[[Any, Any], Any]]:
        """One layer more each time, in one of the loops."""
        rows = {
            "an event loop, running a coroutine": run_nothing,
            "and Mangum, around a constant answer": adapted(Constant()),
            "and Starlette, with its router": adapted(routed(Constant())),
            "and the model, with orjson": adapted(routed(Asked(path))),
        }
        return {f"{name}: {what}": in_loop(name, answer) for what, answer in rows.items()}

    return {
        **stack("asyncio", lambda app: Mangum(app, lifespan="off")),
        **stack("ours", Adapter),
        "the service": in_loop("ours", main.handler),
        "the ten-line handler": baseline.handler,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder, "model.torch")
        torch.manual_seed(0)
        torch.save(nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8)).double(), path)
        values = torch.randn(1, 69, dtype=torch.double).tolist()
        body = json.dumps({"source": 1, "data": {"dtype": "double", "values": values}})
        event = function_url_event(body=body, headers=BEARER)
        handlers = layers(path)
        times: dict[str, list[float]] = {name: [] for name in handlers}
        for run in range(RUNS + 1):
            for name, handler in handlers.items():
                taken = _microseconds(handler, event)
                times[name] += [taken] if run else []  # the first is not counted
    for name, found in times.items():
        print(f"{name:46} {statistics.median(found):6.0f} ({min(found):.0f}-{max(found):.0f})")


def _microseconds(handler: Callable[[Any, Any], Any], event: Any) -> float:
    started = time.perf_counter()
    for _ in range(REQUESTS):
        handler(event, None)
    return (time.perf_counter() - started) / REQUESTS * 1e6


if __name__ == "__main__":
    main()
