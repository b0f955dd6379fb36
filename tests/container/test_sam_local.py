"""``sam local start-api`` without flags, after ``sam build`` without flags."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from handler.cli.commands import app
from handler.testing import free_port, function_url_event, wait_for_port
from tests.container.conftest import answers, docker, eventually, sam
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


def test_the_default_is_the_storage_profile_tmp(url: str) -> None:
    """The container that answers, which lives no longer, has the template's defaults."""

    def at_work() -> list[str]:
        rows = docker("ps", "--format", "{{.Image}} {{.ID}}").splitlines()
        return [row.split()[1] for row in rows if row.startswith("servicefunction")]

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.get, url, timeout=60)
        identifier = eventually(at_work)[0]
        (container,) = json.loads(docker("inspect", identifier))
        assert asked.result().status_code == 200
    variables = container["Config"]["Env"]
    assert "MODEL_CACHE_DIR=/tmp/models" in variables
    assert "CLASSIC_INF_MAX_MODELS=4" in variables


def test_an_event_of_a_function_url_is_answered(
    image: str, demo: tuple[Any, Any], tmp_path: Path
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(function_url_event(body=json.dumps(demo[0]))))
    printed = sam("local", "invoke", "ServiceFunction", "--event", str(event))
    answer = json.loads(printed.splitlines()[-1])
    assert answer["statusCode"] == 200
    check(json.loads(answer["body"]), demo[1])
