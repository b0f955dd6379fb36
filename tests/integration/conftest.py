"""The service in processes of its own: through the Lambda emulator, and under hypercorn."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from handler.testing import LambdaEmulator
from tests import processes

START = Callable[..., AbstractContextManager[LambdaEmulator]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the service under test writes."""
    return tmp_path / "log"


@pytest.fixture
def emulated(log: Path) -> START:
    """Starts the service, with the given environment, under the Lambda emulator."""
    program = processes.emulator()
    if program is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")

    @contextmanager
    def start(**environment: str) -> Iterator[LambdaEmulator]:
        with log.open("ab") as output, LambdaEmulator(program, environment, log=output) as service:
            yield service

    return start


@pytest.fixture(scope="session")
def demo() -> Any:
    """The demo's request."""
    return json.loads((processes.ROOT / "handler" / "demo" / "request.json").read_text())
