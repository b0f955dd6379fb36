"""``sam local start-api`` without flags, after ``sam build`` without flags."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from handler.cli.commands import app
from handler.testing import free_port, wait_for_port
from tests.container.conftest import answers, eventually
from tests.container.test_image import check
from tests.processes import SAM, running

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def url(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("sam") / "log"
    port = free_port()
    command = [str(SAM), "local", "start-api", "--port", str(port)]
    with running(command, log, {"SAM_CLI_TELEMETRY": "0"}):
        wait_for_port(port, 60)
        address = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(address), 120)
        yield address


@pytest.mark.parametrize("path", ["/service_output", "//service_output"])
def test_the_demo_is_answered(url: str, demo: tuple[Any, Any], path: str) -> None:
    response = httpx.post(f"{url}{path}", json=demo[0], timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    check(response.json(), demo[1])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/service_output", 405), ("POST", "/service_output", 400)],
)
def test_errors_have_their_object(url: str, method: str, path: str, status: int) -> None:
    response = httpx.request(method, f"{url}{path}", timeout=60)
    assert response.status_code == status
    assert response.json()["code"] == str(status)


def test_the_index(url: str) -> None:
    assert httpx.get(url, timeout=60).json()["name"] == "infernet-lambda"


def test_the_doctor_finds_nothing_that_a_node_would_meet(url: str) -> None:
    result = CliRunner().invoke(app, ["doctor", "--url", url, "--json"])
    report = json.loads(result.stdout)
    failed = {row["check"]: row for row in report["checks"] if row["ok"] is False}
    # The emulator cuts an event of more than 6 MB in two, where Lambda refuses it.
    assert failed.keys() <= {"oversize"}, failed
    assert len(report["checks"]) == 13
