"""Every kind of event, through AWS's Runtime Interface Emulator and awslambdaric."""

import json
from pathlib import Path
from typing import Any

import pytest

from handler.testing import function_url_event
from tests.integration.conftest import START
from tests.processes import ROOT

pytestmark = pytest.mark.integration

EVENTS = ROOT / "tests" / "events"
ALIAS = "infernet_ml.workflows.inference.torch_inference_workflow.TorchInferenceWorkflow"


def recorded(name: str, request: Any = None) -> Any:
    """A recorded event, with a request as its body."""
    event = json.loads((EVENTS / f"{name}.json").read_text())
    if request is not None:
        event["body"] = json.dumps(request)
    return event


def test_a_cold_request_and_two_hundred_warm_ones(emulated: START, demo: Any) -> None:
    event = function_url_event(body=json.dumps(demo))
    with emulated() as service:
        cold = service.invoke(event)
        assert cold["statusCode"] == 200
        assert cold["headers"]["content-type"] == "application/json"
        assert json.loads(cold["body"])["shape"] == [3, 3]
        warm = [service.invoke(event) for _ in range(200)]
        assert {answer["body"] for answer in warm} == {cold["body"]}
        assert {answer["headers"]["x-cold-start"] for answer in warm} == {"0"}
        assert cold["headers"]["x-cold-start"] == "1"


def test_every_kind_of_http_event(emulated: START, demo: Any) -> None:
    with emulated() as service:
        bodies = [
            service.invoke(recorded(name, demo))["body"]
            for name in ("function-url", "http-api", "rest-v1", "alb")
        ]
        encoded = function_url_event(body=json.dumps(demo), as_base64=True)
        bodies.append(service.invoke(encoded)["body"])
        slashes = function_url_event("//service_output", json.dumps(demo))
        bodies.append(service.invoke(slashes)["body"])
    assert len(set(bodies)) == 1 and json.loads(bodies[0])["shape"] == [3, 3]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (function_url_event("/nothing"), 404),
        (function_url_event(method="GET"), 405),
        (function_url_event(body="x" * 1001), 413),
        (function_url_event(body="{"), 400),
        (function_url_event(body='{"source": 1}'), 422),
    ],
)
def test_errors_have_their_object(emulated: START, event: Any, status: int) -> None:
    with emulated(INFERNET_LOAD="lazy", INFERNET_MAX_BODY_BYTES="1000") as service:
        response = service.invoke(event)
    assert response["statusCode"] == status
    assert json.loads(response["body"])["code"] == str(status)


def test_a_warming_ping_does_not_touch_the_model(emulated: START) -> None:
    health = function_url_event("/health", method="GET")
    with emulated(INFERNET_LOAD="lazy") as service:
        for name in ("warmer", "schedule"):
            assert service.invoke(recorded(name)) == {"warmer": True, "workflow": "unloaded"}
        assert json.loads(service.invoke(health)["body"])["workflow"] == "unloaded"
        loaded = service.invoke({"warmer": True, "load": True})
        assert loaded["warmer"] is True and loaded["workflow"] == "ready"
        assert loaded["model"].endswith("/demo/model.torch")
        assert loaded["digest"].startswith("sha256=") and loaded["cold_start"]["load_ms"] > 0
        assert service.invoke(recorded("sqs"))["code"] == "400"


def test_the_function_ends_with_its_emulator(emulated: START) -> None:
    """It is in a process group of its own, and torch takes half a second to shut down."""
    with emulated() as service:
        service.invoke({"warmer": True, "load": True})
        processes = service.processes()
        assert len(processes) == 2
    assert not service.processes()
    for process in processes:
        stat = Path(f"/proc/{process}/stat")
        assert not stat.exists() or ") Z " in stat.read_text(), "nobody may have waited for it yet"


def test_a_failure_is_reported_by_warming_and_by_requests(emulated: START, demo: Any) -> None:
    with emulated(CLASSIC_INF_WORKFLOW_CLASS="nowhere.Nothing") as service:
        warmed = service.invoke({"warmer": True, "load": True})
        response = service.invoke(function_url_event(body=json.dumps(demo)))
    for error in (warmed, json.loads(response["body"])):
        assert error["code"] == "503" and "CLASSIC_INF_WORKFLOW_CLASS" in error["description"]


def test_an_environment_of_the_original_is_served(
    emulated: START, demo: Any, tmp_path: Path
) -> None:
    model = ROOT / "handler" / "demo" / "model.torch"
    arguments = json.dumps({"model_source": "LOCAL", "model_args": {"model_path": str(model)}})
    with emulated(
        CLASSIC_INF_WORKFLOW_CLASS=f'"{ALIAS}"', CLASSIC_INF_WORKFLOW_KW_ARGS=f"'{arguments}'"
    ) as service:
        response = service.invoke(function_url_event(body=json.dumps(demo)))
    assert response["statusCode"] == 200, response


def test_a_slow_load_is_begun_at_init_and_finished_in_the_first_request(
    emulated: START, tmp_path: Path, log: Path
) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nclass Slow:\n    def setup(self):\n        print('loading once')\n"
        "        time.sleep(1)\n    def inference(self, data):\n        return data\n"
    )
    with emulated(
        PYTHONPATH=str(tmp_path),
        CLASSIC_INF_WORKFLOW_CLASS="slow.Slow",
        INFERNET_INIT_BUDGET_SECONDS="0.2",
    ) as service:
        response = service.invoke(function_url_event(body='{"source": 1, "data": {"a": 1}}'))
    assert json.loads(response["body"]) == {"a": 1}
    assert log.read_text().count("loading once") == 1
