import asyncio
import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import handler
from handler import formats, onchain, tensors, workflows
from handler.adapter import Adapter
from handler.app import create_app
from handler.errors import ConfigurationError, InvalidInput
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings
from handler.testing import function_url_event

Read = Callable[..., Settings]
Serve = Callable[..., TestClient]
OPEN_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "INFERNET_AUTH": "none"}


class Answering:
    """A workflow whose inference is the given function."""

    def __init__(self, inference: Any) -> None:
        self.inference = inference

    def setup(self) -> None: ...


def failing(error: Exception) -> Any:
    def inference(_: Any) -> Any:
        raise error

    return inference


@pytest.fixture(params=["server", "lambda"])
def serve(request: pytest.FixtureRequest, settings_of: Read) -> Serve:
    """A client of the application, in both of its modes."""
    mode = {"server": {}, "lambda": OPEN_LAMBDA}[request.param]

    def client(inference: Any = lambda data: data, **environment: str) -> TestClient:
        provider = WorkflowProvider(lambda: Answering(inference), 5)
        return TestClient(create_app(settings_of(**mode, **environment), provider))

    return client


def ask(client: TestClient, data: Any = None, **fields: Any) -> Any:
    return client.post("/service_output", json={"source": 1, "data": data or {}, **fields})


def assert_error(response: Any, status: int, description: str) -> None:
    """Every error has the one shape, with its status as a string, which nodes compare."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    error = response.json()
    assert error.keys() == {"code", "name", "description"}
    assert error["code"] == str(status)
    assert description in error["description"]
    assert "Traceback" not in response.text


def test_a_request_is_answered(serve: Serve) -> None:
    response = ask(serve(), {"hello": [1, 2.5, None]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"hello": [1, 2.5, None]}


def test_an_asynchronous_workflow_is_awaited(serve: Serve) -> None:
    async def inference(data: Any) -> Any:
        await asyncio.sleep(0)
        return [data]

    assert ask(serve(inference), {"a": 1}).json() == {"output": [{"a": 1}]}


def test_the_index_and_health(serve: Serve) -> None:
    client = serve()
    details: dict[str, str | None] = {"class": None, "model": None, "digest": None}
    name = {"name": "infernet-lambda", "version": handler.__version__}
    assert client.get("/").json() == {**name, **details}
    assert client.get("/health").json() == {"status": "ok", "workflow": "unloaded", **details}
    ask(client)
    details["class"] = f"{__name__}.Answering"
    assert client.get("/").json() == {**name, **details}
    assert client.get("/health").json() == {"status": "ok", "workflow": "ready", **details}


def test_repeated_slashes_are_one(serve: Serve) -> None:
    client = serve()
    body = {"source": 1, "data": {"a": 1}}
    for path in ("//service_output", "///service_output"):
        assert client.post(f"http://testserver{path}", json=body).json() == {"a": 1}
    assert client.get("http://testserver//health").status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/service_output/", "/service_output/more", "/%2e"])
def test_unknown_paths_are_404(serve: Serve, path: str) -> None:
    assert_error(serve().get(path, follow_redirects=False), 404, "/service_output")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_405(serve: Serve, method: str) -> None:
    response = serve().request(method, "/service_output")
    assert_error(response, 405, method)
    assert "POST" in response.headers["allow"]


def test_what_is_not_json_is_400(serve: Serve) -> None:
    assert_error(serve().post("/service_output", content=b"{"), 400, "not JSON")
    assert_error(serve().post("/service_output"), 400, "not JSON")


def test_too_large_is_413(serve: Serve) -> None:
    client = serve(INFERNET_MAX_BODY_BYTES="100")
    assert_error(client.post("/service_output", content=b"x" * 101), 413, "100 bytes")
    assert_error(client.post("/service_output", content=b"x" * 100), 400, "not JSON")

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 50

    assert_error(client.post("/service_output", content=chunks()), 413, "INFERNET_MAX_BODY_BYTES")


def test_what_does_not_fit_is_422(serve: Serve) -> None:
    assert_error(serve().post("/service_output", json={"source": 1}), 422, "data: missing")
    assert_error(ask(serve(), requires_proof=True), 422, "requires_proof")
    assert_error(ask(serve(failing(InvalidInput("data.x: why")))), 422, "data.x: why")


def test_a_workflow_that_is_not_loaded_is_503_after_the_request_was_read(
    serve: Serve, settings_of: Read
) -> None:
    def load() -> Any:
        raise ConfigurationError("CLASSIC_INF_WORKFLOW_CLASS: why")

    client = TestClient(create_app(settings_of(), WorkflowProvider(load, 5)))
    assert_error(ask(client), 503, "CLASSIC_INF_WORKFLOW_CLASS: why")
    assert_error(client.post("/service_output", content=b"{"), 400, "not JSON")
    assert client.get("/health").json()["workflow"] == "failed"


ROW = {"dtype": "double", "values": [[1.5, 2.5]]}
ROW_OUT = {"dtype": "double", "shape": [1, 2], "values": [[1.5, 2.5]]}
VECTOR_OUT = {"dtype": 2, "shape": [1, 2], "values": [1.5, 2.5]}
ABI_ROW = onchain.encode_vector(onchain.vector_of(np.array([[1.5, 2.5]])))
ON_CHAIN = onchain.encode_request(ABI_ROW).hex()


def echo(data: Any) -> Any:
    return tensors.parse(data).array


@pytest.mark.parametrize(
    ("source", "destination", "data", "answer"),
    [
        (0, 0, ON_CHAIN, "five keys"),
        (0, 1, ON_CHAIN, VECTOR_OUT),
        (0, 2, ON_CHAIN, VECTOR_OUT),
        (0, None, ON_CHAIN, "five keys"),
        (1, 0, ROW, "five keys"),
        (1, 1, ROW, ROW_OUT),
        (1, 2, ROW, ROW_OUT),
        (1, None, ROW, ROW_OUT),
        (2, 0, ROW, "five keys"),
        (2, 1, ROW, ROW_OUT),
        (2, 2, ROW, ROW_OUT),
        (2, None, ROW, ROW_OUT),
    ],
)
def test_every_source_and_destination(
    serve: Serve, source: int, destination: int | None, data: Any, answer: Any
) -> None:
    body = {"source": source, "data": data}
    if destination != 2:
        body["requires_proof"] = False  # a node leaves it out of a stream's request
    if destination is not None:
        body["destination"] = destination
    response = serve(echo).post("/service_output", json=body)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    if answer == "five keys":
        answer = {**dict.fromkeys(formats.FIVE_KEYS, ""), "raw_output": ABI_ROW.hex()}
    assert response.json() == answer


def test_an_answer_is_the_next_service_s_input_in_a_chain(serve: Serve) -> None:
    client = serve(echo)
    for first in ({"source": 1, "data": ROW}, {"source": 0, "data": ON_CHAIN}):
        output = client.post("/service_output", json={**first, "destination": 1}).json()
        last = {"source": 1, "destination": 0, "data": output}
        assert client.post("/service_output", json=last).json()["raw_output"] == ABI_ROW.hex()


def test_an_error_of_a_stream_has_its_status_and_one_chunk(serve: Serve) -> None:
    response = ask(serve(failing(InvalidInput("data.x: why"))), destination=2)
    assert_error(response, 422, "data.x: why")
    assert int(response.headers["content-length"]) == len(response.content)


def test_on_chain_errors_have_the_shape_that_keeps_them_off_the_chain(serve: Serve) -> None:
    for data in ("", "0", "zz", "00" * 40):
        response = serve(echo).post("/service_output", json={"source": 0, "data": data})
        assert_error(response, 422, "data: ")
    response = ask(serve(lambda _: [1, 2]), destination=0)
    assert_error(response, 422, "do_postprocessing")


def test_a_model_that_is_not_served_is_a_422(serve: Serve) -> None:
    data = {"input": VECTOR_OUT, "model_id": "huggingface/o/n"}
    assert_error(ask(serve(echo), data), 422, "model_id: not served here")


def test_the_service_s_resources(serve: Serve) -> None:
    def inference(data: Any) -> Any: ...

    client = serve(inference, CLASSIC_INF_ALLOWED_MODELS='["hf://o/n@v1/a.onnx", "hf://o/n/b.pt"]')
    found = client.get("/service-resources").json()
    assert (found["version"], found["service_id"]) == ("0.1.0", "infernet-lambda")
    (hardware,) = found["hardware_capabilities"]
    assert hardware.keys() == {"capability_id", "os_info", "cpu_info", "disk_info"}
    assert hardware["capability_id"] == "base"
    assert hardware["cpu_info"]["num_cores"] == len(hardware["cpu_info"]["cores"]) > 0
    assert hardware["disk_info"][0]["available"] > 0
    common: dict[str, Any] = {
        "id": "ml",
        "task": [],
        "cached_models": [],
        "inference_engine": None,
        "inference_engine_version": None,
    }
    one = {"type": "model", "manifest": {}}
    assert found["compute_capability"] == [
        {**common, "type": "onnx", "models": [{**one, "repo_id": "huggingface/o/n/v1"}]},
        {**common, "type": "torch", "models": [{**one, "repo_id": "huggingface/o/n"}]},
    ]
    for model_id, supported in [
        ("huggingface/o/n/v1:a.onnx", True),
        ("huggingface/o/n", True),
        ("huggingface/o/other", False),
        ("nonsense", False),
    ]:
        response = client.get("/service-resources", params={"model_id": model_id})
        assert response.json() == {"supported": supported}


def test_resources_of_a_workflow_that_cannot_be_loaded_are_a_503(settings_of: Read) -> None:
    def load() -> Any:
        raise ConfigurationError("CLASSIC_INF_WORKFLOW_CLASS: why")

    client = TestClient(create_app(settings_of(), WorkflowProvider(load, 5)))
    for query in ("", "?model_id=local/a/b"):
        assert_error(client.get(f"/service-resources{query}"), 503, "WORKFLOW_CLASS: why")


@pytest.mark.parametrize("error", [ValueError("payload 42"), KeyError("payload 42"), MemoryError()])
def test_what_the_model_raises_is_500_without_payload_or_traceback(
    serve: Serve, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(serve(failing(error)))
    assert_error(response, 500, type(error).__name__)
    assert "payload" not in response.text and "payload" not in caplog.text
    assert "test_app.py" in caplog.text, "the log says where"


def test_an_asynchronous_failure_is_the_same_500(serve: Serve) -> None:
    async def inference(_: Any) -> Any:
        raise ValueError("payload 42")

    assert_error(ask(serve(inference)), 500, "ValueError")


def test_an_answer_that_json_cannot_express_is_500(serve: Serve) -> None:
    assert_error(ask(serve(lambda _: {"x": object()})), 500, "TypeError")


def test_a_failure_of_the_service_itself_has_the_same_shape(
    settings_of: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_: bytes) -> Any:
        raise RuntimeError("payload 42")

    monkeypatch.setattr("handler.protocol.parse", defect)
    app = create_app(settings_of(), WorkflowProvider(lambda: Answering(None), 5))
    response = ask(TestClient(app, raise_server_exceptions=False))
    assert_error(response, 500, "its log says where")
    assert "payload" not in response.text


def test_a_server_stays_responsive_during_a_prediction(settings_of: Read) -> None:
    started, may_end = threading.Event(), threading.Event()

    def slow(data: Any) -> Any:
        started.set()
        assert may_end.wait(10)
        return data

    app = create_app(settings_of(), WorkflowProvider(lambda: Answering(slow), 5))
    with TestClient(app) as client:
        answers: list[Any] = []
        caller = threading.Thread(target=lambda: answers.append(ask(client, {"a": 1})))
        caller.start()
        assert started.wait(10)
        assert client.get("/health").status_code == 200 and not answers
        may_end.set()
        caller.join(10)
    assert answers[0].json() == {"a": 1}


def test_lambda_spends_no_thread_on_a_request(settings_of: Read) -> None:
    threads = []
    provider = WorkflowProvider(
        lambda: Answering(lambda _: threads.append(threading.current_thread())), 5
    )
    app = create_app(settings_of(**OPEN_LAMBDA), provider)

    async def call() -> None:
        async def receive() -> Any:
            body = json.dumps({"source": 1, "data": {}}).encode()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None: ...

        scope = {"type": "http", "method": "POST", "path": "/service_output", "headers": []}
        await app({**scope, "query_string": b""}, receive, send)

    asyncio.run(call())
    assert threads == [threading.current_thread()]
    assert logging.getLogger("handler").level == logging.NOTSET


class Deadline:
    """A Lambda context with a second and a half left."""

    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return 1_200


@pytest.mark.parametrize("on_lambda", [False, True])
def test_a_request_does_not_wait_for_a_load_beyond_its_time(
    event_loop: None, settings_of: Read, monkeypatch: pytest.MonkeyPatch, on_lambda: bool
) -> None:
    """It is told so, and the load goes on for the next one."""
    go_on = threading.Event()

    def load() -> Any:
        assert go_on.wait(30)
        return Answering(lambda data: data)

    provider = WorkflowProvider(load, 5)
    body = json.dumps({"source": 1, "data": {"a": 1}})
    if on_lambda:
        main = importlib.import_module("handler.main")
        app = create_app(settings_of(**OPEN_LAMBDA), provider)
        monkeypatch.setattr(main, "adapter", Adapter(app))

        def asked() -> tuple[int, Any]:
            answer = main.handler(function_url_event(body=body), Deadline())
            return answer["statusCode"], json.loads(answer["body"])
    else:
        client = TestClient(create_app(settings_of(INFERNET_DEADLINE_SECONDS="0.2"), provider))

        def asked() -> tuple[int, Any]:
            response = client.post("/service_output", content=body)
            return response.status_code, response.json()

    started = time.monotonic()
    status, answer = asked()
    assert (status, answer["code"]) == (504, "504") and "still being loaded" in answer[
        "description"
    ]
    assert 0.1 < time.monotonic() - started < 5 and provider.state == "loading"
    go_on.set()
    provider.start().result(30)
    assert asked() == (200, {"a": 1})


class Large(Answering):
    """Answers the type of the values that it is given, and their sum."""

    def __init__(self) -> None:
        super().__init__(lambda data: {"type": type(data["values"]).__name__, "sum": total(data)})


def total(data: Any) -> float:
    return float(np.asarray(data["values"], dtype=np.float64).sum())


@pytest.mark.parametrize("mode", [{}, OPEN_LAMBDA])
@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("form", ["classic", "vector"])
def test_only_workflows_of_ours_get_large_values_as_an_array(
    settings_of: Read, monkeypatch: pytest.MonkeyPatch, mode: Any, ours: bool, form: str
) -> None:
    if ours:
        name = f"{Large.__module__}.{Large.__qualname__}"
        monkeypatch.setitem(workflows.WORKFLOWS, "large", name)
    workflows.takes_arrays.cache_clear()
    provider = WorkflowProvider(Large, 5)
    client = TestClient(create_app(settings_of(**mode), provider))
    provider.get()
    values = list(range(3000))
    data: Any = {"dtype": "double", "values": [values]}
    if form == "vector":
        data = {"dtype": 8, "shape": [1, 3000], "values": values}
    answers = [ask(client, data).json() for _ in range(2)]
    workflows.takes_arrays.cache_clear()
    kind = "ndarray" if ours else "list"
    assert answers == [{"type": kind, "sum": float(sum(values))}] * 2
