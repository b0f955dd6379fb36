"""Mangum and its event loop, for Lambda: one request at a time, which hardly ever has to wait."""

import asyncio
import logging
import types
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote

from mangum import Mangum
from mangum.handlers import HTTPGateway
from mangum.protocols.http import HTTPCycle, HTTPCycleState
from starlette.types import ASGIApp, Message

LOGGER = logging.getLogger("mangum.http")


class Adapter(Mangum):
    """Answers HTTP events with an application, in the event loop that is set."""

    def __init__(self, app: ASGIApp) -> None:
        # Mangum would run lifespan's start-up and shut-down on every invocation.
        super().__init__(app, lifespan="off")  # type: ignore[arg-type]

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        if event.get("version") != "2.0":
            return super().__call__(event, context)
        handler = FunctionUrl(event, context, self.config)
        return handler(Cycle(handler.scope, handler.body)(self.app))


class FunctionUrl(HTTPGateway):
    """Events of function URLs and HTTP APIs, without what this application has no use for.

    Its answers are text, no header of them comes twice, and it neither takes cookies nor asks which
    host it is.
    """

    @property
    def scope(self) -> Any:
        http = self.event["requestContext"]["http"]
        path = http["path"]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "http_version": "1.1",
            "method": http["method"],
            "scheme": "https",
            "path": unquote(path) if "%" in path else path or "/",
            "raw_path": None,
            "root_path": "",
            "query_string": self.event.get("rawQueryString", "").encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in self.event.get("headers", {}).items()
            ],
            "server": None,
            "client": (http["sourceIp"], 0),
            "aws.event": self.event,
            "aws.context": self.context,
        }

    def __call__(self, response: Any) -> dict[str, Any]:
        return {
            "statusCode": response["status"],
            "headers": {name.decode(): value.decode() for name, value in response["headers"]},
            "body": response["body"].decode(),
            "isBase64Encoded": False,
        }


class Cycle(HTTPCycle):
    """Mangum's way of a request through an application, with a queue that is made for two messages.

    The one that it makes, and asking for its logger, take as long as Starlette's routing.
    """

    def __init__(self, scope: Any, body: bytes) -> None:
        self.scope = scope
        self.buffer = BytesIO()
        self.state = HTTPCycleState.REQUEST
        self.logger = LOGGER
        self.app_queue: Any = Messages({"type": "http.request", "body": body, "more_body": False})


class Messages:
    """What an application receives: its request, and once it has answered, that the client left."""

    def __init__(self, first: Message) -> None:
        self._messages = [first]
        self._more: asyncio.Future[None] | None = None

    async def get(self) -> Message:
        """The next message, for one at a time who asks."""
        while not self._messages:
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        return self._messages.pop(0)

    async def put(self, message: Message) -> None:
        self._messages.append(message)
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


class Known(NamedTuple):
    """The result of a coroutine that did not have to wait."""

    result: Any


class EventLoop(asyncio.SelectorEventLoop):
    """Makes a task of what it is given only when that has to wait for something.

    Most requests never do, as their body is there; a task, and turning the loop for it, would make
    them a fifth slower. What needs a task, as a thread or a timeout does, is given one by
    ``asyncio.sleep(0)``: before that, ``asyncio.current_task()`` is None.
    """

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> Any:
        """A task, or ``Known`` what would become of it; both are for ``run_until_complete``."""
        if asyncio._get_running_loop() is not None:
            return super().create_task(coro, name=name, context=context)
        context = context or copy_context()
        asyncio._set_running_loop(self)
        try:
            waits_for = context.run(coro.send, None)
        except StopIteration as end:
            return Known(end.value)
        finally:
            asyncio._set_running_loop(None)
        return super().create_task(_rest(coro, waits_for), name=name, context=context)

    def run_until_complete(self, future: Any) -> Any:
        return future.result if type(future) is Known else super().run_until_complete(future)


@types.coroutine
def _rest(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that has begun and waits for something."""
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(value)
    except StopIteration as end:
        return end.value
