"""What one request, and all of them together, may cost."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from awslambdaric.lambda_runtime_marshaller import to_json
from starlette.testclient import TestClient

from handler import drain, limits, onchain, service
from handler.app import create_app
from handler.errors import InvalidInput
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings
from tests.test_app import Answering, Serve, ask, assert_error, echo, serve

Read = Callable[..., Settings]
__all__ = ["serve"]
LAMBDA_BYTES = 6_291_456


@pytest.mark.parametrize(
    ("encoding", "status"),
    [
        ("identity", 200),
        (" Identity ", 200),
        ("", 200),
        ("gzip", 415),
        ("br", 415),
        ("deflate", 415),
        ("gzip, identity", 415),
        ("nonsense", 415),
    ],
)
def test_a_compressed_body_is_415(serve: Serve, encoding: str, status: int) -> None:
    headers = {"Content-Encoding": encoding}
    response = serve().post("/service_output", json={"source": 1, "data": {}}, headers=headers)
    assert response.status_code == status
    if status == 415:
        assert_error(response, 415, "compressed")


def test_compressed_comes_before_too_large(serve: Serve) -> None:
    headers = {"Content-Encoding": "gzip"}
    client = serve(INFERNET_MAX_BODY_BYTES="10")
    assert_error(client.post("/service_output", content=b"x" * 11, headers=headers), 415, "")


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A request that is nested so deeply, counted from its outermost braces."""
    inner = opening * (depth - 2) + "1" + closing * (depth - 2)
    return b'{"source": 1, "data": {"a": ' + inner.encode() + b"}}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (nested(100), 200),
        (nested(101), 422),
        (nested(100, '{"a":', "}"), 200),
        (nested(101, '{"a":', "}"), 422),
        (nested(1020), 422),
        (nested(3000), 400),
        (b"[" * LAMBDA_BYTES, 400),
        (b'{"a":' * (LAMBDA_BYTES // 5), 400),
        (b'{"source": 1, "data": {}, "x": ' + b"[" * 500 + b"]" * 500 + b"}", 422),
        (b'{"source": 1, "data": {"a": [' + b"[],".join([b""] * 1000) + b"[]]}}", 200),
        (b'{"source": 1, "data": {"a": "' + b"[" * 1000 + b'"}}', 200),
    ],
)
def test_nesting_is_bounded(serve: Serve, body: bytes, status: int) -> None:
    response = serve().post("/service_output", content=body)
    assert response.status_code == status, response.text[:200]
    if status == 422:
        assert_error(response, 422, "nested deeper than 100")


def classic(count: int, dtype: str = "double", value: Any = 1) -> dict[str, Any]:
    return {"dtype": dtype, "values": [value] * count}


def vector(count: int) -> dict[str, Any]:
    return {"dtype": 2, "shape": [count], "values": [1] * count}


def abi(count: int) -> str:
    encoded = onchain.encode_vector(onchain.vector_of(np.ones(count)))
    return onchain.encode_request(encoded).hex()


def legacy(count: int) -> str:
    return onchain.encode_legacy(np.ones(count)).hex()


SHAPES: list[tuple[str, Callable[[int], Any]]] = [
    ("flat", classic),
    ("rows", lambda count: {"dtype": "double", "values": [[1]] * count}),
    ("complex", lambda count: classic(count, "cdouble", {"re": 1, "im": 2})),
    ("vector", vector),
    ("infernet-ml", lambda count: {"input": vector(count), "model_id": None}),
    ("abi", abi),
    ("legacy", legacy),
]


@pytest.mark.parametrize(("name", "make"), SHAPES)
@pytest.mark.parametrize("limit", [1, 7, 2000])
@pytest.mark.parametrize("ours", [True, False])
def test_a_tensor_has_so_many_elements_and_no_more(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[int], Any],
    limit: int,
    ours: bool,
) -> None:
    """Whether its values become an array at once, as for a workflow of ours, or lists."""
    monkeypatch.setattr("handler.catalog.takes_arrays", lambda _: ours)
    client = serve(echo, INFERNET_MAX_ELEMENTS=str(limit))

    def status_of(count: int) -> Any:
        data = make(count)
        source = 0 if isinstance(data, str) else 1
        return client.post("/service_output", json={"source": source, "data": data})

    assert status_of(limit).status_code == 200
    assert_error(status_of(limit + 1), 413, "INFERNET_MAX_ELEMENTS")
    assert_error(status_of(2 * limit + 1000), 413, "INFERNET_MAX_ELEMENTS")


@pytest.mark.parametrize("end", [None, 90_000, 65_000])
@pytest.mark.parametrize("every", [2, 5, 700, 1000, 100_000, 200_000])
def test_bytes_are_counted_however_rare_they_are(every: int, end: int | None) -> None:
    text = bytes(0x2C if i % every == every - 1 else 0x20 for i in range(150_000))
    for start in (0, 1, 999, 70_000):
        assert limits.count(text, b",", start, end) == text[start:end].count(b",")


def test_elements_are_those_of_the_largest_tensor(serve: Serve) -> None:
    client = serve(INFERNET_MAX_ELEMENTS="4")
    outputs = {"outputs": [{**vector(4), "name": "a"}, {**vector(3), "name": "b"}]}
    assert ask(client, outputs).json() == outputs
    outputs["outputs"].append({**vector(5), "name": "c"})
    assert_error(ask(client, outputs), 413, "more than 4 elements")


def test_too_many_are_refused_before_they_are_decoded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(INFERNET_MAX_ELEMENTS="10")

    def decode(_: bytes) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr("handler.protocol.orjson.loads", decode)
    response = client.post("/service_output", content=b"1," * 2000)
    assert_error(response, 413, "more than 10 elements")


@pytest.mark.parametrize("shape", [[2**31, 2**31], [65535, 65535], [65535, 65535, 0], [10**9]])
def test_a_declared_shape_costs_nothing(serve: Serve, shape: list[int]) -> None:
    data = {"dtype": 2, "shape": shape, "values": []}
    assert_error(ask(serve(echo), data), 422, "data.shape")


@pytest.fixture
def on_lambda(settings_of: Read) -> Callable[..., TestClient]:
    def client(output: Any) -> TestClient:
        settings = settings_of(AWS_LAMBDA_RUNTIME_API="x", INFERNET_AUTH="none")
        provider = WorkflowProvider(lambda: Answering(lambda _: output), 5)
        return TestClient(create_app(settings, provider))

    return client


@pytest.mark.parametrize(
    "output",
    [
        {"text": "x" * LAMBDA_BYTES},
        {"text": '"' * (LAMBDA_BYTES // 3)},
        {"text": "\\" * (LAMBDA_BYTES // 3)},
        {"text": "é" * (LAMBDA_BYTES // 5)},
        {"text": "😀" * (LAMBDA_BYTES // 11)},
        {"text": "\n" * (LAMBDA_BYTES // 2)},
        np.full(1_600_000, 0.5),
        np.zeros(10_000_000),
    ],
    ids=["text", "quotes", "backslashes", "letters", "emoji", "controls", "tensor", "huge tensor"],
)
def test_an_answer_that_lambda_would_not_carry_is_422(on_lambda: Any, output: Any) -> None:
    assert_error(ask(on_lambda(output)), 422, "6 MB that Lambda carries")


def test_a_server_carries_it(settings_of: Read) -> None:
    provider = WorkflowProvider(lambda: Answering(lambda _: {"text": "x" * LAMBDA_BYTES}), 5)
    response = ask(TestClient(create_app(settings_of(), provider)))
    assert response.status_code == 200 and len(response.content) > LAMBDA_BYTES


def test_an_asynchronous_answer_is_bounded_too(on_lambda: Any, settings_of: Read) -> None:
    async def inference(_: Any) -> Any:
        return {"text": "x" * LAMBDA_BYTES}

    settings = settings_of(AWS_LAMBDA_RUNTIME_API="x", INFERNET_AUTH="none")
    provider = WorkflowProvider(lambda: Answering(inference), 5)
    assert_error(ask(TestClient(create_app(settings, provider))), 422, "Lambda carries")


@pytest.mark.parametrize("character", ["x", '"', "\\", "é", "😀", "\n", "\x00", "\u2028", "\x7f"])
def test_what_passes_is_carried_by_the_runtime(character: str) -> None:
    """Whatever is let through stays below the limit, as the Lambda runtime writes it."""
    low, high = 0, LAMBDA_BYTES
    while high - low > 1000:
        middle = (low + high) // 2
        body = json.dumps({"a": character * middle}, ensure_ascii=False).encode()
        try:
            limits.check_answer(body)
            low = middle
        except InvalidInput:
            high = middle
    body = json.dumps({"a": character * low}, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "x-model-digest": "sha256=" + "0" * 100}
    response = {"statusCode": 200, "headers": headers, "body": body.decode()}
    assert LAMBDA_BYTES - 30_000 < len(to_json(response)) <= LAMBDA_BYTES


def test_beyond_its_concurrency_a_server_refuses_at_once(settings_of: Read) -> None:
    may_end, started = threading.Event(), threading.Semaphore(0)

    def slow(data: Any) -> Any:
        started.release()
        assert may_end.wait(10)
        return data

    provider = WorkflowProvider(lambda: Answering(slow), 5)
    service = create_app(settings_of(INFERNET_MAX_CONCURRENCY="2"), provider)
    with TestClient(service) as client:
        answers: list[Any] = []
        callers = [
            threading.Thread(target=lambda: answers.append(ask(client, {"a": 1}))) for _ in range(2)
        ]
        for caller in callers:
            caller.start()
        assert all(started.acquire(timeout=10) for _ in callers)
        refused = ask(client)
        assert_error(refused, 503, "INFERNET_MAX_CONCURRENCY")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        may_end.set()
        for caller in callers:
            caller.join(10)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert ask(client).status_code == 200, "their slots are free again"


def test_a_failure_gives_its_slot_back(settings_of: Read) -> None:
    def fail(_: Any) -> Any:
        raise ValueError

    provider = WorkflowProvider(lambda: Answering(fail), 5)
    client = TestClient(create_app(settings_of(INFERNET_MAX_CONCURRENCY="1"), provider))
    for _ in range(3):
        assert ask(client).status_code == 500
        assert client.post("/service_output", content=b"{").status_code == 400


def test_a_slow_sender_takes_no_slot_and_is_given_up(
    settings_of: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BODY_SECONDS", 0.2)
    provider = WorkflowProvider(lambda: Answering(lambda data: data), 5)
    app = create_app(settings_of(INFERNET_MAX_CONCURRENCY="1"), provider)
    scope = {"type": "http", "method": "POST", "path": "/service_output", "headers": []}

    async def call(chunks: Iterator[bytes]) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            chunk = next(chunks, None)
            if chunk is None:
                await asyncio.sleep(10)
            return {"type": "http.request", "body": chunk, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "query_string": b""}, receive, send)
        return sent

    async def both() -> None:
        slow = asyncio.create_task(call(iter([])))
        await asyncio.sleep(0.05)
        quick = await call(iter([b'{"source": 1, "data": {}}']))
        assert quick[0]["status"] == 200
        assert (await slow)[0]["status"] == 408

    asyncio.run(both())


@pytest.mark.parametrize(
    ("chunks", "taken"),
    [([b""], 1), ([b"x" * 5, b"y" * 5], 2), ([b"x" * 60] * 9, 2), ([None, b"x"], 1)],
    ids=["none", "all", "up to the limit", "up to the time"],
)
def test_the_body_of_a_refused_request_is_taken_in_after_the_answer(
    settings_of: Read, monkeypatch: pytest.MonkeyPatch, chunks: list[Any], taken: int
) -> None:
    monkeypatch.setattr(drain, "DRAIN_SECONDS", 0.1)
    settings = settings_of(INFERNET_MAX_BODY_BYTES="100", INFERNET_BEARER_TOKENS="x" * 16)
    service = create_app(settings, WorkflowProvider(lambda: Answering(None), 5))
    scope = {"type": "http", "method": "POST", "path": "/service_output", "headers": []}
    sent: list[Any] = []
    received = 0

    async def receive() -> Any:
        nonlocal received
        assert sent[1]["body"], "the answer comes first"
        received += 1
        if chunks[received - 1] is None:
            await asyncio.sleep(10)
        more = received < len(chunks)
        return {"type": "http.request", "body": chunks[received - 1], "more_body": more}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(service({**scope, "query_string": b""}, receive, send))
    assert [message.get("more_body", False) for message in sent] == [False, True, False]
    assert sent[0]["status"] == 401 and received == taken


def test_a_client_that_leaves_is_no_failure_of_the_service(
    settings_of: Read, capfd: pytest.CaptureFixture[str]
) -> None:
    service = create_app(settings_of(), WorkflowProvider(lambda: Answering(None), 5))
    scope = {"type": "http", "method": "POST", "path": "/service_output", "headers": []}

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there")

    asyncio.run(service({**scope, "query_string": b""}, receive, send))
    (line,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert (line["status"], line["level"]) == (499, "WARNING")
