"""``infernet-lambda serve``, as an operator runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from handler.testing import free_port, wait_for_port
from tests.processes import running

pytestmark = pytest.mark.integration

WORKFLOWS = """
import asyncio, time

class Sleeper:
    def setup(self): ...
    def inference(self, data):
        time.sleep(data["seconds"])
        return data

class AsyncSleeper(Sleeper):
    async def inference(self, data):
        await asyncio.sleep(data["seconds"])
        return data

class SlowSetup(Sleeper):
    def setup(self):
        time.sleep(3)
"""


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    port: int

    def ask(self, data: Any, timeout: float = 30) -> httpx.Response:
        body = {"source": 1, "data": data}
        return httpx.post(f"{self.url}/service_output", json=body, timeout=timeout)

    def health(self) -> Any:
        return httpx.get(f"{self.url}/health", timeout=30).json()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [
            int(child)
            for child in children.split()
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
        ]


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(log: Path, tmp_path: Path) -> Serve:
    (tmp_path / "sleepers.py").write_text(WORKFLOWS)

    @contextmanager
    def start(
        *options: str, workers: int = 2, workflow: str = "Sleeper", **environment: str
    ) -> Iterator[Server]:
        port = free_port()
        command = [sys.executable, "-m", "handler.cli", "serve", "--bind", f"127.0.0.1:{port}"]
        variables = {"PYTHONPATH": str(tmp_path), **environment}
        if workflow:
            variables["CLASSIC_INF_WORKFLOW_CLASS"] = f"sleepers.{workflow}"
        with running([*command, "--workers", str(workers), *options], log, variables) as process:
            wait_for_port(port)
            server = Server(process, f"http://127.0.0.1:{port}", port)
            server.health()
            yield server

    return start


def later(call: Callable[[], httpx.Response]) -> tuple[threading.Thread, list[httpx.Response]]:
    """A request in flight, and where its answer will be."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    time.sleep(0.5)
    return thread, answers


def test_the_demo_is_answered(serve: Serve, demo: Any, log: Path) -> None:
    with serve("--access-logfile", "-", workflow="") as server:
        answer = server.ask(demo["data"])
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    assert answer.status_code == 200 and answer.json()["shape"] == [3, 3]
    assert "POST /service_output" in log.read_text(), "hypercorn's own option passed through"


def test_the_doctor_finds_nothing(serve: Serve) -> None:
    with serve(workflow="") as server:
        process = subprocess.run(
            [sys.executable, "-m", "handler.cli", "doctor", "--url", f"{server.url}/"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == "13 passed, 0 failed, 0 skipped"


def test_it_is_healthy_while_it_loads(serve: Serve) -> None:
    with serve(workers=1, workflow="SlowSetup") as server:
        assert server.health()["workflow"] == "loading"
        assert server.ask({"seconds": 0}).json() == {"seconds": 0}
        assert server.health()["workflow"] == "ready"


@pytest.mark.parametrize("workflow", ["Sleeper", "AsyncSleeper"])
def test_a_prediction_does_not_hold_up_the_others(serve: Serve, workflow: str) -> None:
    with serve(workers=1, workflow=workflow) as server:
        thread, answers = later(lambda: server.ask({"seconds": 2}))
        assert server.health()["status"] == "ok"
        assert server.ask({"seconds": 0}).json() == {"seconds": 0}
        assert not answers, "the slow one is still in flight"
        thread.join(30)
        assert answers[0].json() == {"seconds": 2}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_sigterm_answers_what_is_in_flight(serve: Serve, workers: int) -> None:
    with serve(workers=workers) as server:
        thread, answers = later(lambda: server.ask({"seconds": 2}))
        server.process.send_signal(signal.SIGTERM)
        thread.join(30)
        assert answers and answers[0].json() == {"seconds": 2}
        assert server.process.wait(30) == 0


def test_an_idle_connection_does_not_delay_the_end(serve: Serve) -> None:
    with serve() as server, httpx.Client() as client:
        assert client.get(f"{server.url}/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_ends_the_server_with_a_failure(serve: Serve, workers: int) -> None:
    with serve(workers=workers) as server:
        deadline = time.monotonic() + 20
        while len(server.workers()) < workers and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.process.wait(30) != 0


def test_told_to_load_first_it_does_not_start_without_a_workflow() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "handler.cli", "serve", "--bind", f"127.0.0.1:{free_port()}"],
        env={**os.environ, "CLASSIC_INF_WORKFLOW_CLASS": "no.Such", "INFERNET_LOAD": "init"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode != 0 and "CLASSIC_INF_WORKFLOW_CLASS: no.Such" in process.stderr


def test_a_body_in_chunks_is_limited_too(serve: Serve) -> None:
    with serve(workers=1, INFERNET_MAX_BODY_BYTES="1000") as server:

        def chunks() -> Iterator[bytes]:
            for _ in range(4):
                yield b"x" * 500

        response = httpx.post(f"{server.url}/service_output", content=chunks(), timeout=30)
        assert response.status_code == 413 and response.json()["code"] == "413"
        declared = httpx.post(f"{server.url}/service_output", content=b"x" * 1001, timeout=30)
        assert declared.status_code == 413


def test_a_target_with_two_slashes(serve: Serve) -> None:
    body = json.dumps({"source": 1, "data": {"seconds": 0}}).encode()
    head = f"POST //service_output HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with serve(workers=1) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        raw.settimeout(30)
        received = b""
        while chunk := raw.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200") and received.endswith(b'{"seconds":0}')
