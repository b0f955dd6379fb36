"""What a test of a workflow needs: Lambda events, and the Lambda path, in process or emulated.

Beside this, ``hub.py`` is a Hugging Face hub on the loopback interface, ``vectors.py`` makes
requests as contracts do, and ``plugin.py`` has fixtures for pytest.
"""

import base64
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from handler.workflows import Workflow

INVOCATION_PATH = "/2015-03-31/functions/function/invocations"


def function_url_event(
    path: str = "/service_output",
    body: bytes | str | None = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    as_base64: bool = False,
) -> dict[str, Any]:
    """The event that a function URL, or an HTTP API, makes of a request (payload format 2.0)."""
    if isinstance(body, bytes) and not as_base64:
        body = body.decode()
    if as_base64:
        raw = body.encode() if isinstance(body, str) else body or b""
        body = base64.b64encode(raw).decode()
    lowered = {"host": "abc.lambda-url.us-east-1.on.aws", "content-type": "application/json"}
    lowered |= {name.lower(): value for name, value in (headers or {}).items()}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": lowered,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": lowered["host"],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "00000000-0000-0000-0000-000000000000",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 0,
        },
        "body": body,
        "isBase64Encoded": as_base64,
    }


class Answer(NamedTuple):
    """What the function answers to a request."""

    status: int
    headers: dict[str, str]
    body: Any
    """The JSON."""


class LambdaClient:
    """The whole Lambda path in this process: function URL event, Mangum, application, workflow.

    Needs an event loop that is set, as the fixture ``lambda_client`` of ``plugin.py`` does.

    Args:
        workflow: not yet set up; by default, what the settings say.
    """

    def __init__(self, workflow: "Workflow | None" = None) -> None:
        from handler.adapter import Adapter
        from handler.app import create_app
        from handler.lifecycle import WorkflowProvider, load_workflow
        from handler.settings import get_settings

        settings = get_settings()

        def load() -> "Workflow":
            if workflow is None:
                return load_workflow(settings)
            workflow.setup()
            return workflow

        provider = WorkflowProvider(load, settings.retry_seconds)
        self._adapter = Adapter(create_app(settings, provider))

    def post(
        self, body: Any, path: str = "/service_output", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a body, which is bytes or becomes JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        event = function_url_event(path, content, headers=headers, as_base64=True)
        found: Any = self._adapter(event, None)
        return Answer(found["statusCode"], found["headers"], json.loads(found["body"]))

    def predict(self, data: Any) -> Any:
        """What the workflow answers to ``data``, off-chain.

        Raises:
            AssertionError: it is an error; says which.
        """
        answer = self.post({"source": 1, "data": data})
        assert answer.status == 200, answer.body
        return answer.body


class LambdaEmulator:
    """The service under AWS's Runtime Interface Emulator and awslambdaric, without Docker.

    A context manager; the service is started, as on Lambda, by the first invocation.

    Args:
        emulator: the ``aws-lambda-rie`` program.
        environment: the service's whole environment, apart from PATH and HOME.
        handler: the function that the runtime loads.
        log: where the emulator and the service write; discarded by default.
    """

    def __init__(
        self,
        emulator: Path,
        environment: Mapping[str, str] | None = None,
        *,
        handler: str = "handler.main.handler",
        log: IO[bytes] | None = None,
    ) -> None:
        self._port = free_port()
        addresses = (
            f"--runtime-interface-emulator-address=127.0.0.1:{self._port}",
            f"--runtime-api-address=127.0.0.1:{free_port()}",
        )
        self._command = [str(emulator), *addresses, sys.executable, "-m", "awslambdaric", handler]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._environment = inherited | dict(environment or {})
        self._log = log or subprocess.DEVNULL

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        wait_for_port(self._port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The emulator does not end the runtime that it started, which would go on for half a second
        # to end by itself.
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        while self.processes():
            time.sleep(0.001)

    def processes(self) -> list[int]:
        """The ids of the emulator's process and the function's, of those that have not ended."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # After the name, in parentheses: state, parent, group, session.
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self._process.pid and state not in "ZX":
                    found.append(int(stat.parent.name))
        return found

    def invoke(self, event: Any, timeout: float = 60) -> Any:
        """What the function answers to an event, after at most ``timeout`` seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        try:
            connection.request("POST", INVOCATION_PATH, json.dumps(event))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens at.

    It is below those that systems give to connections, or one made before the caller listens could
    take it.
    """
    while True:
        port = random.randrange(20_000, 32_768)  # noqa: S311
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, seconds: float = 30) -> None:
    """Returns as soon as somebody listens at a port of the loopback interface.

    Raises:
        TimeoutError: nobody does.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise TimeoutError(f"nobody listens at port {port} after {seconds} s")
