"""The application: routes, middleware and error handlers, the same on Lambda and under a server."""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from handler import __version__, docs, resources
from handler.auth import Access, BearerAuth, create_access
from handler.catalog import Catalog
from handler.deadline import after, bound_by
from handler.drain import Drain
from handler.errors import HandlerError, error_object
from handler.lifecycle import WorkflowProvider
from handler.service import ServiceOutput
from handler.settings import Settings
from handler.telemetry import Observe

logger = logging.getLogger(__name__)

SERVICE_PATH = "/service_output"
OPENAPI_PATH = "/openapi.json"
ROUTES = frozenset(
    {SERVICE_PATH, "/service-resources", "/", "/health", "/ready", OPENAPI_PATH, *docs.PATHS}
)


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

    async def service_resources(request: Request) -> Response:
        await asyncio.sleep(0)  # for a task, which a thread needs: it may wait for a load
        model_id = request.query_params.get("model_id")
        if model_id:
            supported = await run_in_threadpool(resources.supported, catalog, model_id)
            return _json({"supported": supported})
        return _json(await run_in_threadpool(resources.describe, catalog, settings))

    async def openapi(request: Request) -> Response:
        # pydantic, which nobody else needs.
        from handler.openapi import document

        known = request.scope["authorized"] and provider.state == "ready"
        example = resources.example(provider.get()) if known else resources.EXAMPLE
        return _json(document(example, resources_need_token=settings.on_lambda))

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
            Route(OPENAPI_PATH, openapi, middleware=public),
            *docs.routes(),
        ],
        middleware=[
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
    app.router.default = SingleSlashes(app.router)
    return app


class SingleSlashes:
    """Takes repeated slashes for one: a node appends to a URL that may end in a slash."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.not_found = router.default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        again = scope["type"] == "http" and "//" in scope["path"]
        if again:
            scope["path"] = re.sub("/{2,}", "/", scope["path"])
        await (self.router.app if again else self.not_found)(scope, receive, send)


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


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
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
