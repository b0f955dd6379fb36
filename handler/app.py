"""The application: routes, middleware and error handlers, the same on Lambda and under a server."""

import asyncio
import inspect
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from handler import __version__, formats, limits, protocol, resources
from handler.auth import Access, BearerAuth, create_access
from handler.catalog import Catalog
from handler.deadline import after, bound_by
from handler.drain import Drain
from handler.errors import HandlerError, InferenceFailed, RequestTimeout, error_object
from handler.ledger import unanswered
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings
from handler.telemetry import Observe, answered_once, describe, record

logger = logging.getLogger(__name__)

SERVICE_PATH = "/service_output"
ROUTES = frozenset({SERVICE_PATH, "/service-resources", "/", "/health", "/ready"})
# How long a client of a server may take to send its request.
BODY_SECONDS = 60


def create_app(
    settings: Settings, provider: WorkflowProvider, access: Access | None = None
) -> Starlette:
    """The ASGI application that answers with what ``provider``'s workflow says.

    Args:
        settings: of the process.
        provider: loads the workflow.
        access: decides who may ask; by default, as the settings say.
    """
    catalog = Catalog(provider, settings)
    access = access or create_access(settings)
    closed = [Middleware(BearerAuth, access)]
    public = [Middleware(BearerAuth, access, required=False)]

    def details(request: Request) -> dict[str, Any]:
        """What only those learn who may use the service."""
        return resources.served(provider) if request.scope["authorized"] else {}

    async def index(request: Request) -> Response:
        return _json({"name": "infernet-lambda", "version": __version__, **details(request)})

    async def health(request: Request) -> Response:
        return _json({"status": "ok", "workflow": provider.state, **details(request)})

    async def ready(_: Request) -> Response:
        """Whether a request would be answered without waiting, and what the cold start cost."""
        found = {"workflow": provider.state, "cold_start": provider.cold_start}
        if provider.state == "ready":
            return _json(found)
        return _json({**error_object(503, f"the workflow is {provider.state}"), **found}, 503)

    # Not a coroutine function, so that Starlette runs it on a thread: it may wait for a load.
    def service_resources(request: Request) -> Response:
        model_id = request.query_params.get("model_id")
        if model_id:
            return _json({"supported": resources.supported(catalog, model_id)})
        return _json(resources.describe(catalog, settings))

    app = Starlette(
        routes=[
            Route(
                SERVICE_PATH,
                ServiceOutput(settings, catalog),
                methods=["POST"],
                middleware=closed,
            ),
            # A node asks a server on its own machine, and without a bearer.
            Route(
                "/service-resources",
                service_resources,
                middleware=closed if settings.on_lambda else [],
            ),
            Route("/", index, middleware=public),
            Route("/health", health, middleware=public),
            Route("/ready", ready, middleware=closed),
        ],
        middleware=[
            Middleware(SingleSlashes),
            Middleware(Observe, settings, ROUTES),
            *_of_a_server(settings),
        ],
        exception_handlers={
            HandlerError: _handler_error,
            HTTPException: _http_exception,
            Exception: _unexpected,
        },
    )
    # A redirect loses the body or the bearer of a node's request: a wrong path is a 404.
    app.router.redirect_slashes = False
    return app


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
            answer = await anyio.to_thread.run_sync(self.answer, body, limiter=self.threads)
            return answer if isinstance(answer, bytes) else await answer

    def answer(self, body: bytes) -> bytes | Awaitable[bytes]:
        """The answer to a body, or what gives it when the workflow's inference is asynchronous."""
        line, moment = record(), time.perf_counter()
        line["bytes_in"] = len(body)
        request, form, call = self._read(body)
        line |= {"source": request.source, "destination": request.answers_to, "format": form.name}
        line |= describe(call.data)
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
            answer = formats.write(output, form, call, request.answers_to)
            line.lap("encode_ms", between)
            return limits.check_answer(answer) if self.on_lambda else answer

        try:
            output = workflow.inference(call.data)
            return _later(output, write) if inspect.isawaitable(output) else write(output)
        except Exception as error:
            raise _workflow_failure(error) from None

    def _read(self, body: bytes) -> tuple[protocol.InfernetInput, formats.Format, formats.Call]:
        """The request in a body, its format, and what it asks for, all of it within the limits."""
        must_count = self.elements.check_body(body)
        request = protocol.parse(body)
        if isinstance(request.data, str):
            must_count = self.elements.check_hex(request.data)
        form, call = formats.read(request)
        if must_count:
            self.elements.check(call.data)
        return request, form, call


class SingleSlashes:
    """Makes repeated slashes in a path one: a node appends to a URL that may end in a slash."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "//" in scope["path"]:
            scope = {**scope, "path": re.sub("/{2,}", "/", scope["path"])}
        await self.app(scope, receive, send)


class Deadline:
    """Gives each request its time; on Lambda, the invocation does."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bound_by(after(self.seconds))
        await self.app(scope, receive, send)


def _of_a_server(settings: Settings) -> list[Middleware]:
    if settings.on_lambda:
        return []
    return [
        Middleware(Deadline, settings.deadline_seconds),
        Middleware(Drain, settings.max_body_bytes),
    ]


async def _later(output: Awaitable[Any], write: Callable[[Any], bytes]) -> bytes:
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


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status, headers, "application/json")


async def _handler_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HandlerError)
    content = error_object(error.status, error.description)
    return _json(content, error.status, error.headers)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    descriptions = {
        404: f"there is no such path; POST {SERVICE_PATH} is the service",
        405: f"{request.method} is not allowed here",
    }
    description = descriptions.get(error.status_code, error.detail)
    return _json(error_object(error.status_code, description), error.status_code, error.headers)


async def _unexpected(_: Request, error: Exception) -> Response:
    return _json(error_object(500, "the service failed unexpectedly; its log says where"), 500)
