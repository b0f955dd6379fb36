"""One request, the same answer through every door."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from handler.testing import free_port, function_url_event, wait_for_port
from tests.integration.conftest import START
from tests.processes import ROOT, running
from tests.test_app import ABI_ROW, ON_CHAIN, ROW, VECTOR_OUT

pytestmark = pytest.mark.integration

IDENTITY = """
import torch
torch.save(torch.nn.Identity(), {path!r})
"""
BODIES: list[dict[str, Any]] = [
    {"source": 1, "data": ROW},
    {"source": 1, "destination": 0, "data": ROW},
    {"source": 0, "data": ON_CHAIN},
    {"source": 0, "destination": 2, "data": ON_CHAIN},
    {"source": 1, "destination": 1, "data": {"input": VECTOR_OUT}},
    {"source": 1, "data": {"dtype": "double", "values": [0.1, 1e300, -0.0, "NaN", 5e-324]}},
    {"source": 1, "data": {"dtype": "cfloat", "values": [[{"re": 1.5, "im": "Infinity"}]]}},
    {"source": 1, "data": {"dtype": "long", "values": [2**63 - 1]}},
    {"source": 1, "data": {"dtype": "ünknown", "values": []}},
    {"source": 0, "data": "zz"},
    {"source": 0, "data": ""},
    {},
]


@pytest.fixture
def identity(tmp_path: Path) -> dict[str, str]:
    """The environment of a service whose model answers its input."""
    path = tmp_path / "identity.torch"
    subprocess.run([sys.executable, "-c", IDENTITY.format(path=str(path))], check=True, timeout=60)
    return {"CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(path)})}


def test_every_door_gives_the_same_bytes(
    emulated: START, identity: dict[str, str], log: Path
) -> None:
    bodies = [json.dumps(body, ensure_ascii=False).encode() for body in BODIES]
    http_api = json.loads((ROOT / "tests" / "events" / "http-api.json").read_text())
    with emulated(**identity) as service:
        lambda_answers = [
            [
                service.invoke(event)
                for event in (
                    function_url_event(body=body),
                    {**http_api, "body": body.decode(), "isBase64Encoded": False},
                )
            ]
            for body in bodies
        ]
    port = free_port()
    command = [sys.executable, "-m", "handler.cli", "serve", "--bind", f"127.0.0.1:{port}"]
    with running(command, log, identity):
        wait_for_port(port)
        url = f"http://127.0.0.1:{port}/service_output"
        served = [httpx.post(url, content=body, timeout=60) for body in bodies]
    for body, (function_url, api), server in zip(BODIES, lambda_answers, served, strict=True):
        assert function_url["body"] == api["body"] == server.text, body
        assert function_url["statusCode"] == api["statusCode"] == server.status_code
        for headers in (function_url["headers"], api["headers"], server.headers):
            assert headers["content-type"] == "application/json"
    assert {response.status_code for response in served} == {200, 422}
    on_chain = [response.json()["raw_output"] for response in served[1:3]]
    assert on_chain == [ABI_ROW.hex()] * 2
