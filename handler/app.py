"""The application: routes, middleware and error handlers, the same on Lambda and under a server."""

import inspect
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from handler import __version__, formats, protocol, resources
from handler.catalog import Catalog
from handler.deadline import after, bound_by
from handler.errors import HandlerError, InferenceFailed, PayloadTooLarge, error_object
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings

logger = logging.getLogger(__name__)

SERVICE_PATH = "/service_output"


def create_app(settings: Settings, provider: WorkflowProvider) -> Starlette:
    """The ASGI application that answers with what ``provider``'s workflow says."""
    catalog = Catalog(provider, settings)

    async def index(_: Request) -> Response:
        return _json({"name": "infernet-lambda", "version": __version__})

    async def health(_: Request) -> Response:
        return _json({"status": "ok", "workflow": provider.state})

    # Not a coroutine function, so that Starlette runs it on a thread: it may wait for a load.
    def service_resources(request: Request) -> Response:
        model_id = request.query_params.get("model_id")
        if model_id:
            return _json({"supported": resources.supported(catalog, model_id)})
        return _json(resources.describe(catalog, settings))

    app = Starlette(
        routes=[
            Route(SERVICE_PATH, ServiceOutput(settings, catalog), methods=["POST"]),
            Route("/service-resources", service_resources),
            Route("/", index),
            Route("/health", health),
        ],
        middleware=[Middleware(SingleSlashes), *_deadline(settings)],
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(scope, receive, self.max_body_bytes)
        # A Lambda environment has one request at a time, and a thread would cost it 370 us; a
        # server must keep its event loop free for the others.
        if self.on_lambda:
            answer, digest = self.answer(body)
        else:
            answer, digest = await run_in_threadpool(self.answer, body)
        if not isinstance(answer, bytes):
            answer = await answer
        length = str(len(answer)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        if digest is not None:
            headers.append((b"x-model-digest", digest.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def answer(self, body: bytes) -> tuple[bytes | Awaitable[bytes], str | None]:
        """The answer to a body and the digest of the model that gives it, where it is known.

        Instead of the answer it is what gives it when the workflow's inference is asynchronous.
        """
        request = protocol.parse(body)
        form, call = formats.read(request)
        workflow = self.catalog.get(call.model_id)

        def write(output: Any) -> bytes:
            return formats.write(output, form, call, request.answers_to)

        try:
            output = workflow.inference(call.data)
            answer = _later(output, write) if inspect.isawaitable(output) else write(output)
        except Exception as error:
            raise _workflow_failure(error) from None
        return answer, getattr(workflow, "model_digest", None)


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


def _deadline(settings: Settings) -> list[Middleware]:
    return [] if settings.on_lambda else [Middleware(Deadline, settings.deadline_seconds)]


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


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, refused before more than ``limit`` bytes of it are kept."""
    declared = next((v for name, v in scope["headers"] if name == b"content-length"), b"")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit} bytes (INFERNET_MAX_BODY_BYTES)")


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(body, status, headers, "application/json")


async def _handler_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HandlerError)
    return _json(error_object(error.status, error.description), error.status)


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
