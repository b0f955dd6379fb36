"""No process of the service writes or answers a secret that it was given, whatever goes wrong."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest

from handler.testing import free_port, function_url_event
from tests.integration.conftest import START
from tests.integration.test_connections import assert_answers, connections, head, open_files, pour
from tests.integration.test_server import Serve, later, serve
from tests.servers import aws_server, credentials

pytestmark = pytest.mark.integration
__all__ = ["serve"]

TOKEN, OTHER, WRONG = (f"{name}-token-that-must-not-be-seen" for name in ("a", "another", "wrong"))
HUB_TOKEN = "hf_a_token_that_must_not_be_seen"
KEY = "an-access-key-that-must-not-be-seen"
SECRETS = (TOKEN, OTHER, WRONG, HUB_TOKEN, KEY)
WORKFLOW = """
import os

class Leaky:
    def setup(self): ...
    def inference(self, data):
        raise RuntimeError(dict(os.environ))
"""
BODIES = [b"{", b"{}", b'{"source": 1, "data": {}}', b'{"source": 0, "data": "zz"}', b"x" * 2000]
AUTHORIZATIONS = [f"Bearer {TOKEN}", f"Bearer {OTHER}", f"Bearer {WRONG}", f"Basic {TOKEN}", ""]
PATHS = ["/", "/health", "/service-resources", "/nothing", "/service_output"]


@pytest.fixture
def aws() -> Iterator[dict[str, str]]:
    """The environment of who keeps both tokens in secrets."""
    with aws_server() as endpoint:
        variables = credentials(endpoint) | {"AWS_SECRET_ACCESS_KEY": KEY}
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": KEY}
        client = boto3.client(
            "secretsmanager", region_name="eu-west-1", endpoint_url=endpoint, **keys
        )
        texts = {
            "INFERNET_BEARER_SECRET_ARN": json.dumps({"tokens": [TOKEN, OTHER]}),
            "HUGGING_FACE_HUB_TOKEN_SECRET_ARN": HUB_TOKEN,
        }
        for variable, text in texts.items():
            name = f"{variable}-{uuid4()}"
            variables[variable] = client.create_secret(Name=name, SecretString=text)["ARN"]
        yield variables


DIRECT = {
    "INFERNET_BEARER_TOKENS": f"{TOKEN},{OTHER}",
    "HUGGING_FACE_HUB_TOKEN": HUB_TOKEN,
    "AWS_SECRET_ACCESS_KEY": KEY,
}
# What provokes errors, beside the bodies.
WORKFLOWS = [
    {"CLASSIC_INF_WORKFLOW_CLASS": "leaky.Leaky"},
    {"CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model": "hf://owner/name/file"}'},
    {"USE_JIT": "perhaps"},
    {"INFERNET_BEARER_TOKENS": "short," + TOKEN, "INFERNET_BEARER_SECRET_ARN": ""},
]


def assert_unseen(*texts: str) -> None:
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("source", ["direct", "aws"])
@pytest.mark.parametrize("broken", WORKFLOWS)
def test_a_function_shows_none(
    emulated: START, log: Path, tmp_path: Path, aws: Any, source: str, broken: dict[str, str]
) -> None:
    (tmp_path / "leaky.py").write_text(WORKFLOW)
    environment = {"PYTHONPATH": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:1"}
    environment |= {"direct": DIRECT, "aws": aws}[source] | {"INFERNET_MAX_BODY_BYTES": "1000"}
    with emulated(**{**environment, "INFERNET_RETRY_SECONDS": "60", **broken}) as service:
        answers = []
        for authorization in AUTHORIZATIONS:
            headers = {"Authorization": authorization}
            events = [function_url_event(path, method="GET", headers=headers) for path in PATHS]
            events += [function_url_event(body=body, headers=headers) for body in BODIES]
            answers += [service.invoke(event) for event in events]
        answers += [service.invoke(event) for event in ({"warmer": True, "load": True}, {}, TOKEN)]
    statuses = {answer.get("statusCode") for answer in answers}
    assert statuses >= ({503, 404, 405} if "INFERNET_BEARER_TOKENS" in broken else {401, 400})
    assert_unseen(json.dumps(answers), log.read_text())


@pytest.mark.parametrize("source", ["direct", "aws"])
def test_a_server_shows_none(
    serve: Serve, log: Path, tmp_path: Path, aws: Any, source: str
) -> None:
    (tmp_path / "leaky.py").write_text(WORKFLOW)
    environment = {"direct": DIRECT, "aws": aws}[source] | {
        "CLASSIC_INF_WORKFLOW_CLASS": "leaky.Leaky",
        "INFERNET_MAX_BODY_BYTES": "1000",
    }
    options = ("--access-logfile", "-", "--log-level", "debug")
    with serve(*options, workflow="", **environment) as server:
        answers = []
        for authorization in AUTHORIZATIONS:
            headers = {"Authorization": authorization} if authorization else {}
            with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
                answers += [client.get(path) for path in PATHS]
                answers += [client.post("/service_output", content=body) for body in BODIES]
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 405, 413, 400, 422, 500}
    assert "RuntimeError" in log.read_text(), "the failure is logged, without its text"
    assert_unseen(log.read_text(), *(f"{a.text}{a.headers}" for a in answers))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"INFERNET_BEARER_TOKENS": "short," + TOKEN}, "fewer than 16 characters"),
        ({"INFERNET_BEARER_TOKENS": f"{TOKEN} {OTHER}"}, "a header does not carry"),
        ({"INFERNET_AUTH": "bearer", "HF_TOKEN": HUB_TOKEN}, "INFERNET_BEARER_SECRET_ARN"),
        (
            {"INFERNET_BEARER_TOKENS": TOKEN, "INFERNET_BEARER_SECRET_ARN": "arn:aws:ssm:r:1:x"},
            "give one of",
        ),
    ],
)
def test_a_server_that_is_not_locked_as_told_does_not_start(
    environment: dict[str, str], reason: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "handler.cli", "serve", "--bind", f"127.0.0.1:{free_port()}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1 and reason in process.stderr
    assert len(process.stderr.splitlines()) == 1 and process.stdout == ""
    assert_unseen(process.stderr)


def test_an_open_server_says_so_once(serve: Serve, log: Path) -> None:
    with serve(workers=1) as server:
        assert_answers(server)
    assert log.read_text().count("anybody may call this service") == 1


def test_a_secret_is_read_once_for_all_and_rotated(serve: Serve, aws: dict[str, str]) -> None:
    with serve(workers=1, **aws) as server:
        body = {"source": 1, "data": {"seconds": 0}}
        for token, status in ((TOKEN, 200), (OTHER, 200), (WRONG, 401)):
            headers = {"Authorization": f"Bearer {token}"}
            response = httpx.post(
                f"{server.url}/service_output", json=body, headers=headers, timeout=30
            )
            assert response.status_code == status


def test_a_silent_aws_holds_up_nobody_else(serve: Serve, log: Path) -> None:
    """Who has a token waits a few seconds and is told; everybody else is answered meanwhile."""
    arn = "arn:aws:secretsmanager:eu-west-1:1:secret:x"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        variables = credentials(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with serve(workers=1, INFERNET_BEARER_SECRET_ARN=arn, **variables) as server:
            before = open_files(server)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            thread, answers = later(
                lambda: httpx.post(f"{server.url}/service_output", headers=headers, timeout=30)
            )
            started = time.monotonic()
            with connections(server, 4) as pouring:
                for connection in pouring:
                    connection.settimeout(1)
                    pour(connection, head(10**9, f"Authorization: Bearer {TOKEN}"), 20_000_000)
                assert server.health()["status"] == "ok"
                thread.join(30)
            assert answers[0].status_code == 503
            assert "interface endpoint" in answers[0].json()["description"]
            assert time.monotonic() - started < 15
            deadline = time.monotonic() + 15
            while open_files(server) > before + 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert open_files(server) <= before + 2, "their connections are closed"
    assert_unseen(log.read_text())
