import asyncio
import base64
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import anyio.to_thread
import pytest
from mangum.handlers import HTTPGateway
from mangum.protocols import HTTPCycle
from mangum.types import LambdaConfig
from starlette.types import Message, Receive, Scope, Send

from handler.adapter import Cycle, EventLoop, FunctionUrl
from handler.testing import LambdaClient, function_url_event
from handler.workflows.base import BaseClassicInferenceWorkflow

pytest_plugins = ["handler.testing.plugin"]

CONFIG: LambdaConfig = {
    "api_gateway_base_path": "/",
    "text_mime_types": ["application/json", "text/"],
    "exclude_headers": [],
}
CONTEXT: Any = None
USED = ("type", "http_version", "method", "path", "query_string", "client", "aws.event")


def event(path: str = "/service_output", **changes: Any) -> Any:
    return function_url_event(path, '{"a": 1}') | changes


@pytest.mark.parametrize(
    "found",
    [
        event(),
        event("/a%20b"),
        event("//service_output"),
        event(""),
        event("/docs", body=None),
        event(rawQueryString="model_id=a%2Fb&x=1"),
        event(
            headers={"Host": "127.0.0.1:3000", "Authorization": "Bearer é", "X-Forwarded-Port": "3"}
        ),
        event(headers={}),
        event(body=base64.b64encode(b"\xff\x00").decode(), isBase64Encoded=True),
    ],
)
def test_an_event_is_read_as_mangum_reads_it(found: Any) -> None:
    ours, theirs = FunctionUrl(found, CONTEXT, CONFIG), HTTPGateway(found, CONTEXT, CONFIG)
    for key in USED:
        assert ours.scope[key] == theirs.scope[key], key
    assert [list(header) for header in ours.scope["headers"]] == theirs.scope["headers"]
    assert ours.body == theirs.body


@pytest.mark.parametrize("body", ['{"a": "é"}', ""])
def test_a_response_is_written_as_mangum_writes_it(body: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"1")]
    response: Any = {"status": 201, "headers": headers, "body": body.encode()}
    ours, theirs = FunctionUrl(event(), CONTEXT, CONFIG), HTTPGateway(event(), CONTEXT, CONFIG)
    assert ours(response) == theirs(response)


async def echoes(receive: Receive, send: Send) -> None:
    request = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    for more in (True, False):
        await send({"type": "http.response.body", "body": request["body"], "more_body": more})
    await receive()


async def listens_meanwhile(receive: Receive, send: Send) -> None:
    """As Starlette does while it streams: the second message is waited for before it is there."""

    async def listen() -> None:
        await receive()

    await receive()
    second = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})
    await second


async def stops_listening(receive: Receive, send: Send) -> None:
    await receive()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def fails_at_once(receive: Receive, send: Send) -> None:
    raise RuntimeError


async def fails_in_the_middle(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError


@pytest.mark.parametrize(
    ("work", "messages"),
    [
        (echoes, ["http.request", "http.disconnect"]),
        (listens_meanwhile, ["http.request", "http.disconnect"]),
        (stops_listening, ["http.request"]),
        (fails_at_once, []),
        (fails_in_the_middle, ["http.request"]),
    ],
)
def test_an_application_is_run_as_mangum_runs_it(
    loop: EventLoop, work: Callable[[Receive, Send], Awaitable[None]], messages: list[str]
) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted() -> Message:
            seen.append(await receive())
            return seen[-1]

        await asyncio.sleep(0)  # for a task, which has its limits of time
        async with asyncio.timeout(10):
            await work(noted, send)

    scope: Any = {"type": "http", "method": "GET", "path": "/"}
    application: Any = app
    ours = Cycle(scope, b"body")(application), [*seen]
    seen.clear()
    theirs = HTTPCycle(scope, b"body")(application), [*seen]
    assert ours == theirs
    assert [message["type"] for message in seen] == messages


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


def test_what_does_not_wait_is_no_task(loop: EventLoop) -> None:
    async def quick() -> Any:
        VARIABLE.set("set")
        return asyncio.get_running_loop(), asyncio.current_task(), VARIABLE.get()

    assert loop.run_until_complete(loop.create_task(quick())) == (loop, None, "set")
    assert VARIABLE.get() == "unset", "as with tasks, each has a context of its own"
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_does_not_wait_may_fail(loop: EventLoop) -> None:
    async def failing() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        loop.run_until_complete(loop.create_task(failing()))
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_waits_is_a_task_from_then_on(loop: EventLoop) -> None:
    async def slow() -> Any:
        VARIABLE.set("set")
        await asyncio.sleep(0)
        assert asyncio.current_task() is not None and VARIABLE.get() == "set"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        other = asyncio.create_task(asyncio.sleep(0, "other"))
        assert isinstance(other, asyncio.Task)
        thread = await anyio.to_thread.run_sync(threading.get_ident)
        return await other, thread != threading.get_ident()

    assert loop.run_until_complete(loop.create_task(slow())) == ("other", True)


def test_a_task_may_be_made_before_anything_is_waited_for(loop: EventLoop) -> None:
    async def parent() -> Any:
        child = asyncio.create_task(asyncio.sleep(0, "child"))
        return isinstance(child, asyncio.Task), await child

    assert loop.run_until_complete(loop.create_task(parent())) == (True, "child")


@pytest.mark.parametrize("fails", [False, True])
def test_the_first_wait_may_be_for_a_thread(loop: EventLoop, fails: bool) -> None:
    work: Future[str] = Future()

    def finish() -> None:
        if fails:
            work.set_exception(OSError("broken"))
        else:
            work.set_result("done")

    async def waits() -> str:
        threading.Timer(0.05, finish).start()
        try:
            return await asyncio.wrap_future(work)
        except OSError as error:
            return str(error)

    assert loop.run_until_complete(loop.create_task(waits())) == ("broken" if fails else "done")


def test_a_task_that_waits_can_be_cancelled(loop: EventLoop) -> None:
    async def waits() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "cancelled"
        return "slept"

    task = loop.create_task(waits())
    loop.call_later(0.01, task.cancel)
    assert loop.run_until_complete(task) == "cancelled"


class Asynchronous(BaseClassicInferenceWorkflow):
    async def inference(self, input_data: Any) -> Any:
        async with asyncio.timeout(10):
            thread = await anyio.to_thread.run_sync(threading.get_ident)
        return {"another": thread != threading.get_ident(), "data": input_data}


def test_an_asynchronous_workflow_has_a_task(lambda_client: Any) -> None:
    client: LambdaClient = lambda_client(Asynchronous())
    for number in range(3):
        assert client.predict({"a": number}) == {"another": True, "data": {"a": number}}
