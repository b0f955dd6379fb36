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
TOKEN = "token-of-the-integration-tests"


class Authorized(LambdaEmulator):
    """Sends the token with every HTTP event, unless it has an Authorization of its own."""

    def invoke(self, event: Any, timeout: float = 60) -> Any:
        if isinstance(event, dict) and "requestContext" in event:
            headers = {"authorization": f"Bearer {TOKEN}", **(event.get("headers") or {})}
            event = {**event, "headers": headers}
        return super().invoke(event, timeout)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the service under test writes."""
    return tmp_path / "log"


@pytest.fixture
def emulated(log: Path) -> START:
    """Starts the service, with the given environment, under the Lambda emulator.

    Unless the environment says who may ask, the service has a token, and is sent it.
    """
    program = processes.emulator()
    if program is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")

    @contextmanager
    def start(**environment: str) -> Iterator[LambdaEmulator]:
        kind = LambdaEmulator
        if not any(name.startswith(("INFERNET_AUTH", "INFERNET_BEARER")) for name in environment):
            environment["INFERNET_BEARER_TOKENS"], kind = TOKEN, Authorized
        with log.open("ab") as output, kind(program, environment, log=output) as service:
            yield service

    return start


@pytest.fixture(scope="session")
def demo() -> Any:
    """The demo's request."""
    return json.loads((processes.ROOT / "handler" / "demo" / "request.json").read_text())
