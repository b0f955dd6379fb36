"""``POST /service_output``: from the body of a request to the body of its answer."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from handler import formats, limits, protocol
from handler.catalog import Catalog
from handler.errors import HandlerError, InferenceFailed, RequestTimeout
from handler.ledger import unanswered
from handler.settings import Settings
from handler.telemetry import answered_once, describe, record

logger = logging.getLogger(__name__)

# How long a client of a server may take to send its request.
BODY_SECONDS = 60
# In bytes. Below that, reading values as an array takes as long as in lists.
LARGE_BODY = 4096
# A hop to a thread and back takes a third of that.
QUICK_SECONDS = 0.001


class Pace:
    """Whether answers have been so quick of late that a thread for each costs more than it frees.

    An event loop that answers by itself keeps its other connections waiting meanwhile. Only
    workflows of ours are trusted with it, as a user's may wait for something.
    """

    def __init__(self) -> None:
        self._seconds = float(QUICK_SECONDS * 10)

    @property
    def is_quick(self) -> bool:
        return self._seconds < QUICK_SECONDS

    def note(self, seconds: float) -> None:
        """Enters what an answer took: a slow one counts for some dozens that follow."""
        self._seconds = max(seconds, self._seconds * 0.9)


class ServiceOutput:
    """``POST /service_output``.

    A plain ASGI application: for a small model, Starlette's request and response objects would cost
    as much as the prediction.
    """

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.max_body_bytes = settings.max_body_bytes
        self.on_lambda = settings.on_lambda
        self.catalog = catalog
        self.elements = limits.Elements(settings.max_elements)
        self.slots = limits.Slots(settings.max_concurrency)
        self.pace = Pace()
        self.threads = anyio.CapacityLimiter(settings.max_concurrency)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits.check_headers(scope, self.max_body_bytes)
        # A Lambda environment has one request at a time, and a thread would cost it 370 us; a
        # server must keep its event loop free for the others.
        try:
            if self.on_lambda:
                answer = self.answer(await limits.read_body(receive, self.max_body_bytes))
                answer = answer if isinstance(answer, bytes) else await answer
            else:
                answer = await self._serve(receive)
        except ClientDisconnect:
            return
        length = str(len(answer)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _serve(self, receive: Receive) -> bytes:
        self.slots.check()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await limits.read_body(receive, self.max_body_bytes)
        except TimeoutError:
            raise RequestTimeout(f"the body did not arrive within {BODY_SECONDS} s") from None
        # From here on, for who sends slowly must not take a slot from the others.
        with self.slots.taken():
            if self.pace.is_quick and len(body) < LARGE_BODY and self.catalog.takes_arrays:
                answer = self._timed(body)
            else:
                answer = await anyio.to_thread.run_sync(self._timed, body, limiter=self.threads)
            return answer if isinstance(answer, bytes) else await answer

    def _timed(self, body: bytes) -> bytes | Awaitable[bytes]:
        # The time of the processor: a thread also waits for those beside it.
        started = time.thread_time()
        try:
            return self.answer(body)
        finally:
            self.pace.note(time.thread_time() - started)

    def answer(self, body: bytes) -> bytes | Awaitable[bytes]:
        """The answer to a body, or what gives it when the workflow's inference is asynchronous."""
        line, moment = record(), time.perf_counter_ns()
        line["bytes_in"] = len(body)
        request, form, call = self._read(body)
        destination = request.answers_to
        line |= {
            "source": request.source,
            "destination": destination,
            "format": form.name,
            **describe(call.data),
        }
        moment = line.lap("parse_ms", moment)
        workflow = self.catalog.get(call.model_id)
        line["model_digest"] = getattr(workflow, "model_digest", None)
        moment = line.lap("load_ms", moment)

        def write(output: Any) -> bytes:
            between = line.lap("inference_ms", moment)
            if unanswered:
                answered_once(workflow, line)
            if self.on_lambda:
                limits.check_output(output)
            answer = formats.write(output, form, call, destination)
            line.lap("encode_ms", between)
            return limits.check_answer(answer) if self.on_lambda else answer

        try:
            output = workflow.inference(call.data)
            return _later(output, write) if hasattr(output, "__await__") else write(output)
        except Exception as error:
            raise _workflow_failure(error) from None

    def _read(self, body: bytes) -> tuple[protocol.InfernetInput, formats.Format, formats.Call]:
        """The request in a body, its format, and what it asks for, all of it within the limits."""
        arrays = len(body) >= LARGE_BODY and self.catalog.takes_arrays
        request, must_count = _typed(body, self.elements) if arrays else None, False
        if request is None:
            must_count = len(body) >= self.elements.limit and self.elements.check_body(body)
            request = protocol.parse(body)
        if isinstance(request.data, str):
            must_count = self.elements.check_hex(request.data)
        form, call = formats.read(request, arrays=arrays and not must_count)
        if must_count:
            self.elements.check(call.data)
        return request, form, call


def _typed(body: bytes, elements: limits.Elements) -> protocol.InfernetInput | None:
    # Most services never see a body that is large enough.
    from handler import typed_buffers

    return typed_buffers.parse(body, elements)


async def _later(output: Awaitable[Any], write: Callable[[Any], bytes]) -> bytes:
    await asyncio.sleep(0)  # a user's coroutine may need a task
    try:
        return write(await output)
    except Exception as error:
        raise _workflow_failure(error) from None


def _workflow_failure(error: Exception) -> HandlerError:
    """Whatever a workflow raises that is not meant for the caller is a 500 of one shape."""
    if isinstance(error, HandlerError):
        return error
    # Where, but not what: the text of an exception from a model often quotes its input.
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("the workflow raised %s\n%s", type(error).__name__, where)
    return InferenceFailed(f"the workflow raised {type(error).__name__}")
