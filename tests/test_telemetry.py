"""The lines of the log, and the headers that say the same; never a value of a payload."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from handler import ledger, telemetry
from handler.adapter import Adapter
from handler.app import create_app
from handler.errors import ModelError
from handler.ledger import Ledger, count, keep, phase
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings
from handler.testing import function_url_event

Read = Callable[..., Settings]
TOKEN = "a-token-that-is-long-enough"
LAMBDA = {
    "AWS_LAMBDA_RUNTIME_API": "x",
    "AWS_LAMBDA_FUNCTION_NAME": "iris",
    "INFERNET_BEARER_TOKENS": TOKEN,
}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
DATA = {"dtype": "double", "values": [[81.625, 2.0], [3.0, 4.0], [5.0, 6.0]]}


class Doubling:
    model_digest = "sha256=abc; size=7"

    def setup(self) -> None: ...

    def inference(self, data: Any) -> Any:
        if data.get("boom"):
            raise RuntimeError(f"a value of the payload: {data}")
        return {"doubled": True}


class Context:
    aws_request_id = "the-request-id"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def app_of(settings: Settings, load: Any = Doubling) -> Any:
    return create_app(settings, WorkflowProvider(load, 5))


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_a_request_on_lambda_is_one_line_with_metrics(
    event_loop: None, settings_of: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    handler: Any = Adapter(app_of(settings_of(**LAMBDA)))
    body = json.dumps({"source": 1, "destination": 0, "data": DATA})
    trace = {"X-Amzn-Trace-Id": "Root=1-abc"}
    answers = [
        handler(function_url_event(body=body, headers={**BEARER, **trace}), Context())
        for _ in range(2)
    ]
    cold_start, first, second = lines(capfd)
    assert cold_start["message"] == "cold start" and cold_start["request_id"] == "the-request-id"
    assert cold_start["first_inference_ms"] >= 0 and cold_start["peak_memory_bytes"] > 10_000_000
    assert cold_start["total_ms"] >= 0 and cold_start["model_digest"] == Doubling.model_digest
    assert first.keys() == {
        *("timestamp", "level", "message", "request_id", "route", "cold", "trace_id", "bytes_in"),
        *("source", "destination", "format", "dtype", "shape", "model_digest"),
        *("parse_ms", "load_ms", "inference_ms", "total_ms", "status", "bytes_out"),
        *("_aws", "function", "Requests", "Errors", "Unauthorized", "ColdStarts", "Duration"),
    }
    expected = {
        "level": "WARNING",
        "message": "request",
        "request_id": "the-request-id",
        "route": "/service_output",
        "trace_id": "Root=1-abc",
        "source": 1,
        "destination": 0,
        "format": "classic",
        "dtype": "double",
        "shape": [3, 2],
        "bytes_in": len(body),
        "bytes_out": len(answers[0]["body"]),
        "status": 422,
        "function": "iris",
        "Requests": 1,
        "Errors": 0,
        "Unauthorized": 0,
    }
    assert expected.items() <= first.items() and expected.items() <= second.items()
    assert (first["cold"], second["cold"]) == (True, False)
    assert (first["ColdStarts"], second["ColdStarts"]) == (1, 0)
    assert first["Duration"] == first["total_ms"]
    (directive,) = first["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "InfernetLambda" and directive["Dimensions"] == [["function"]]
    assert {metric["Name"] for metric in directive["Metrics"]} < first.keys()
    assert 0 <= first["_aws"]["Timestamp"] / 1e3 - 1.7e9 < 1e9


def test_the_headers_say_the_same(settings_of: Read, capfd: pytest.CaptureFixture[str]) -> None:
    client = TestClient(app_of(settings_of()))
    for cold in ("1", "0"):
        headers = client.post("/service_output", json={"source": 1, "data": DATA}).headers
        assert headers["x-cold-start"] == cold
        assert headers["x-model-digest"] == Doubling.model_digest
        timings = dict(part.split(";dur=") for part in headers["server-timing"].split(", "))
        assert timings.keys() == {"parse", "load", "inference", "encode", "total"}
        assert all(float(value) >= 0 for value in timings.values())
        assert headers["x-request-id"] in [
            line["request_id"] for line in lines(capfd) if "request_id" in line
        ]


@pytest.mark.parametrize(
    ("method", "path", "status", "level", "route"),
    [
        ("GET", "/", 200, "INFO", "/"),
        ("GET", "/some-81.625-thing", 404, "WARNING", "unknown"),
        ("PUT", "/service_output", 405, "WARNING", "/service_output"),
        ("POST", "//service_output", 400, "WARNING", "/service_output"),
    ],
)
def test_every_request_has_its_line(
    settings_of: Read,
    capfd: pytest.CaptureFixture[str],
    method: str,
    path: str,
    status: int,
    level: str,
    route: str,
) -> None:
    client = TestClient(app_of(settings_of()))
    assert client.request(method, f"http://testserver{path}").status_code == status
    (line,) = lines(capfd)
    assert (line["status"], line["level"], line["route"]) == (status, level, route)
    assert "_aws" not in line, "CloudWatch is where Lambda is"


def test_no_value_is_ever_written(settings_of: Read, capfd: pytest.CaptureFixture[str]) -> None:
    settings = settings_of()
    telemetry.configure(settings)
    try:
        client = TestClient(app_of(settings))
        odd = {"dtype": "81.625", "values": "81.625", "81.625": 81.625}
        for data in (DATA, {"boom": 81.625}, odd, {"dtype": 2, "shape": [1], "values": [81.625]}):
            client.post("/service_output", json={"source": 1, "data": data})
        client.post(
            "/service_output?x=81.625", content=b'{"81.625": 81.625', headers={"x": "81.625"}
        )
    finally:
        logging.getLogger("handler").handlers.clear()
        logging.getLogger("handler").propagate = True
        logging.getLogger("handler").setLevel(logging.NOTSET)
    output = capfd.readouterr().out
    assert "81.625" not in output
    written = [json.loads(line) for line in output.splitlines()]
    assert "the workflow raised RuntimeError" in str([line["message"] for line in written])
    assert {line["level"] for line in written} == {"INFO", "WARNING", "ERROR"}


@pytest.mark.parametrize(("lowest", "levels"), [("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_the_lowest_level_counts(
    settings_of: Read, capfd: pytest.CaptureFixture[str], lowest: str, levels: int
) -> None:
    client = TestClient(app_of(settings_of(INFERNET_LOG_LEVEL=lowest)))
    client.get("/")
    client.get("/nothing")
    assert len(lines(capfd)) == levels


def test_a_load_that_fails_is_a_line_and_ready_tells(
    settings_of: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    def load() -> Any:
        with phase("resolve"):
            raise ModelError("model m: there is no such file")

    client = TestClient(app_of(settings_of(INFERNET_BEARER_TOKENS=TOKEN), load))
    assert client.get("/ready").status_code == 401
    waiting = client.get("/ready", headers=BEARER)
    assert (waiting.status_code, waiting.json()["workflow"]) == (503, "unloaded")
    assert (
        client.post("/service_output", json={"source": 1, "data": {}}, headers=BEARER).status_code
        == 503
    )
    (line,) = [line for line in lines(capfd) if line["message"] == "cold start"]
    assert line["level"] == "ERROR" and line["error"] == "model m: there is no such file"
    assert line["resolve_ms"] >= 0
    failed = client.get("/ready", headers=BEARER)
    assert (failed.status_code, failed.json()["code"]) == (503, "503")
    assert failed.json()["cold_start"]["resolve_ms"] >= 0


def test_ready_tells_what_the_cold_start_cost(settings_of: Read) -> None:
    ledger.before["imports_ms"] = 12.5
    client = TestClient(app_of(settings_of()))
    client.post("/service_output", json={"source": 1, "data": {}})
    found = client.get("/ready")
    assert found.status_code == 200 and found.json()["workflow"] == "ready"
    entries = found.json()["cold_start"]
    assert entries["imports_ms"] == 12.5 and "first_inference_ms" in entries


def test_a_ledger_adds_up_and_only_where_it_is_kept() -> None:
    count("download_bytes", 5)
    kept = Ledger()
    keep(kept)
    for _ in range(2):
        with phase("verify"):
            count("download_bytes", 7)
    assert kept.entries["download_bytes"] == 14 and kept.entries["verify_ms"] >= 0
