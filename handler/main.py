"""Composition root: settings -> provider -> application -> Mangum. The Lambda entry."""

import asyncio
import gc
import json
import logging
import sys
import time
from dataclasses import asdict
from typing import Any

# Imports make hundreds of thousands of objects that stay. Looking for garbage among them costs 8%
# of a cold start with torch; after the load, it is looked for in what came later.
gc.disable()

from handler import import_began, ledger, telemetry
from handler.adapter import Adapter, EventLoop
from handler.app import create_app
from handler.auth import Closed, Open, read_access
from handler.auth import begin as begin_access
from handler.catalog import allowed_references
from handler.deadline import bound_by
from handler.errors import ConfigurationError, HandlerError, error_object
from handler.lifecycle import WorkflowProvider, begin, load_workflow
from handler.resources import served
from handler.settings import Settings, get_runtime, get_settings
from handler.workflows import Workflow

logger = logging.getLogger(__name__)

# What it takes to answer that the time is up.
MARGIN_SECONDS = 1.0


def _settings() -> tuple[Settings, ConfigurationError | None]:
    """The settings, or the defaults and what is wrong: a bad setting is answered, not raised."""
    try:
        return get_settings(), None
    except ConfigurationError as error:
        return Settings(**asdict(get_runtime())), error


_imported = time.perf_counter()
settings, misconfiguration = _settings()
telemetry.configure(settings)
ledger.before |= {
    "imports_ms": round((_imported - import_began) * 1e3, 3),
    "settings_ms": round((time.perf_counter() - _imported) * 1e3, 3),
    "init_type": settings.initialization_type,
}


def _load() -> Workflow:
    if misconfiguration is not None:
        raise misconfiguration
    allowed_references(settings)  # a list that cannot be read is found here, not by a request
    return load_workflow(settings)


provider = WorkflowProvider(_load, settings.retry_seconds)
access = read_access()
if isinstance(access, Closed) and not settings.on_lambda:
    sys.exit(f"infernet-lambda: {access.problem}")
if isinstance(access, Open) and access.warning:
    logger.warning(access.warning)
app = create_app(settings, provider, access)
if settings.on_lambda:
    asyncio.set_event_loop(EventLoop())
adapter = Adapter(app)
begin_access(access, settings)
begin(provider, settings)
gc.freeze()
gc.enable()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """The Lambda entry point: HTTP events to the application, and warming pings.

    Args:
        event: from a function URL, an HTTP or REST API, a load balancer; an EventBridge schedule
            or ``{"warmer": true}``, answered without the model; ``{"warmer": true, "load": true}``,
            which loads it and reports.
        context: of the Lambda runtime.
    """
    if hasattr(context, "get_remaining_time_in_millis"):
        bound_by(lambda: context.get_remaining_time_in_millis() / 1e3 - MARGIN_SECONDS)
    if not isinstance(event, dict):
        return _not_answered()
    if "requestContext" in event:
        return _http(event, context)
    if event.get("warmer") is True or event.get("detail-type") == "Scheduled Event":
        return _warm(load=event.get("load") is True)
    return _not_answered()


def _http(event: dict[str, Any], context: Any) -> dict[str, Any]:
    try:
        return adapter(event, context)
    except Exception as error:
        # The application's own failures never come through Mangum: the event could not be read.
        logger.error("an HTTP event could not be read: %s", type(error).__name__)
        return {
            "statusCode": 400,
            "headers": {"content-type": "application/json"},
            "body": json.dumps(_not_answered()),
            "isBase64Encoded": False,
        }


def _not_answered() -> dict[str, str]:
    return error_object(
        400, 'this event is not answered: send an HTTP request event or {"warmer": true}'
    )


def _warm(*, load: bool) -> dict[str, Any]:
    if load:
        try:
            provider.get()
        except HandlerError as error:
            return error_object(error.status, error.description)
        found = {"warmer": True, "workflow": provider.state, **served(provider)}
        return {**found, "cold_start": provider.cold_start}
    return {"warmer": True, "workflow": provider.state}
