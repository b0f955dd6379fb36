"""One build of the image serves every container test: the bare ``sam build`` that users run."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import torch

from handler.workflows.torch import DEMO_MODEL, TorchInferenceWorkflow
from tests.processes import ROOT, SAM, emulator

BUILT_BY_SAM = "servicefunction:latest"


def docker(*arguments: str, timeout: float = 120) -> str:
    process = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def sam(*arguments: str) -> str:
    """What ``sam`` prints in this checkout."""
    process = subprocess.run(
        [SAM, *arguments],
        cwd=ROOT,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout


def _missing() -> str | None:
    """What this machine lacks for the container tests."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no Docker engine answers"
    if not SAM.exists() or emulator() is None:
        return "there is no .venv-tools: run make setup"
    return None


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the image that a bare ``sam build`` makes of this checkout."""
    missing = _missing()
    if missing and os.environ.get("REQUIRE_CONTAINER"):
        pytest.fail(f"the container tests must not be skipped here, but {missing}")
    if missing:
        pytest.skip(f"container tests: {missing}")
    sam("build")
    return BUILT_BY_SAM


class Container:
    """A running container whose port, if it has one, is published on the loopback interface."""

    def __init__(self, identifier: str, port: int | None) -> None:
        self.id = identifier
        if port is not None:
            published = docker("port", identifier, str(port)).splitlines()[0]
            self.url = f"http://{published}"

    def post(self, path: str, body: Any, timeout: float = 60) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=timeout)

    def logs(self) -> str:
        process = subprocess.run(
            ["docker", "logs", self.id], capture_output=True, text=True, check=True
        )
        return process.stdout + process.stderr

    def state(self) -> dict[str, Any]:
        fields = ("Running", "ExitCode", "OOMKilled")
        state = json.loads(docker("inspect", self.id, "--format", "{{json .State}}"))
        return {field: state[field] for field in fields}


Run = Callable[..., Container]


@pytest.fixture
def run(image: str) -> Iterator[Run]:
    """Starts a container, as ``docker run`` does, and removes it after the test."""
    started: list[str] = []

    def start(
        options: list[str], arguments: list[str], *, name: str = image, port: int | None = 3000
    ) -> Container:
        published = [] if port is None else ["--publish", f"127.0.0.1:0:{port}"]
        command = ["run", "--detach", *published, *options, name, *arguments]
        started.append(docker(*command))
        return Container(started[-1], port)

    yield start
    for identifier in started:
        docker("rm", "--force", identifier)


@pytest.fixture(scope="session")
def slow_image(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that a user builds on ours, with a workflow of their own."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(
        "import time\n\n\nclass Slow:\n    def setup(self):\n        pass\n\n"
        "    def inference(self, data):\n        time.sleep(data['seconds'])\n"
        "        return {'slept': data['seconds']}\n"
    )
    (folder / "Dockerfile").write_text(
        f"FROM {image}\nCOPY slow.py /opt/workflow/\n"
        "ENV PYTHONPATH=/opt/workflow CLASSIC_INF_WORKFLOW_CLASS=slow.Slow\n"
    )
    name = "infernet-lambda-test-slow"
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("rmi", "--force", name)


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of a condition.

    Raises:
        AssertionError: it was never true.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true in time")


def answers(url: str, path: str = "/health") -> bool:
    try:
        return httpx.get(f"{url}{path}", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def demo() -> tuple[Any, Any]:
    """The demo's request and the answer that the bundled model gives to it."""
    request = json.loads((DEMO_MODEL.parent / "request.json").read_text())
    workflow = TorchInferenceWorkflow()
    workflow.setup()
    values: torch.Tensor = workflow.inference(request["data"])
    return request, values.tolist()
