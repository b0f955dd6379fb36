"""What an operator sees: one JSON line a request and one a cold start, with CloudWatch's metrics.

Never a value of a payload, never a secret. The lines have the fields of Lambda's own JSON format,
so that ApplicationLogLevel filters them. A request's carries an ``_aws`` block, the embedded metric
format: CloudWatch makes metrics of it, without a call and without another dependency.
"""

import logging
import os
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.ledger import Ledger, unanswered
from handler.settings import Settings
from handler.tensors import DTYPES, MAX_DIMENSIONS

NAMESPACE = "InfernetLambda"
METRICS = [
    {"Name": "Requests", "Unit": "Count"},
    {"Name": "Errors", "Unit": "Count"},
    {"Name": "Unauthorized", "Unit": "Count"},
    {"Name": "ColdStarts", "Unit": "Count"},
    {"Name": "Duration", "Unit": "Milliseconds"},
]
DIRECTIVES = [{"Namespace": NAMESPACE, "Dimensions": [["function"]], "Metrics": METRICS}]
WRITTEN_DIRECTIVES = orjson.Fragment(orjson.dumps(DIRECTIVES))
LEVELS = logging.getLevelNamesMapping()


class JsonHandler(logging.Handler):
    """A line of the log as JSON, as the lines of requests are."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            # Where and what it was, not what it said, which may quote anything.
            message += f": {record.exc_info[0].__name__}\n"
            message += "".join(traceback.format_tb(record.exc_info[2]))
        line = head(record.levelname, record.created)
        write({**line, "logger": record.name, "message": message})


def configure(settings: Settings) -> None:
    """Lets this package say what it has to say in lines of JSON on standard output."""
    package = logging.getLogger("handler")
    package.handlers = [JsonHandler()]
    package.setLevel(settings.log_level)
    package.propagate = False


def head(level: str, at: float | None = None) -> dict[str, Any]:
    """What every line begins with; ``at`` is in s since the epoch."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return {"timestamp": moment, "level": level}


def dump(line: dict[str, Any]) -> str:
    return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()


def cold_start(ledger: Ledger, **fields: Any) -> None:
    """Writes the line of a cold start."""
    level = "ERROR" if "error" in fields else "INFO"
    write({**head(level), "message": "cold start", **ledger.close(), **fields})


def write(line: dict[str, Any]) -> None:
    """Writes a line at once, so that those of several processes do not mix."""
    sys.stdout.write(dump(line) + "\n")
    sys.stdout.flush()


def answered_once(workflow: object, line: "Record") -> None:
    """Completes the ledger of a workflow with its first inference, and writes it."""
    if ledger := unanswered.pop(id(workflow), None):
        ledger.add("first_inference_ms", line["inference_ms"])
        cold_start(ledger, model_digest=line["model_digest"], request_id=line.get("request_id"))


class Record(dict[str, Any]):
    """What is known of one request; it becomes its line in the log."""

    def lap(self, name: str, started: float) -> float:
        """Enters the ms since ``started``, and gives the moment that it is now."""
        now = time.perf_counter()
        self[name] = round((now - started) * 1e3, 3)
        return now


_record: ContextVar[Record] = ContextVar("record")


def record() -> Record:
    """The record of the request that this context answers."""
    return _record.get(None) or Record()


class Observe:
    """Writes the line of each request, and the response headers that say the same to its caller."""

    def __init__(self, app: ASGIApp, settings: Settings, routes: frozenset[str]) -> None:
        self.app = app
        self.routes = routes
        self.on_lambda = settings.on_lambda
        self.function = settings.function_name or "infernet-lambda"
        self.lowest = LEVELS[settings.log_level]
        self.first = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        line = self._begun(scope)
        _record.set(line)

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
                line.lap("total_ms", started)
                message["headers"] = [*message["headers"], *_headers(line)]
            else:
                line["bytes_out"] = line.get("bytes_out", 0) + len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except Exception:
            line["status"] = 500  # as Starlette answers, outside of all this
            raise
        finally:
            if "total_ms" not in line:
                line.lap("total_ms", started)
            self._write(line)

    def _begun(self, scope: Scope) -> Record:
        context, path = scope.get("aws.context"), scope["path"]
        line = Record(
            request_id=getattr(context, "aws_request_id", None) or os.urandom(16).hex(),
            # Of another path than ours, not a word: there may be anything in it.
            route=path if path in self.routes else "unknown",
            cold=self.first,
        )
        self.first = False
        for name, value in scope["headers"]:
            if name == b"x-amzn-trace-id":
                line["trace_id"] = value.decode("latin-1")[:256]
        return line

    def _write(self, line: Record) -> None:
        status = line.setdefault("status", 499)  # as when the caller has gone
        level = "ERROR" if status >= 500 else "WARNING" if status >= 400 else "INFO"
        if LEVELS[level] < self.lowest:
            return
        now = time.time()
        written = {
            "timestamp": datetime.fromtimestamp(now, UTC),
            "level": level,
            "message": "request",
            **line,
        }
        if self.on_lambda:
            written["_aws"] = {
                "Timestamp": int(now * 1e3),
                "CloudWatchMetrics": WRITTEN_DIRECTIVES,
            }
            written["function"] = self.function
            written["Requests"] = 1
            written["Errors"] = int(status >= 500)
            written["Unauthorized"] = int(status == 401)
            written["ColdStarts"] = int(line["cold"])
            written["Duration"] = line["total_ms"]
        write(written)


def describe(data: Any) -> dict[str, Any]:
    """Of a request's data the dtype and the shape, but nothing that a caller could have chosen."""
    if not isinstance(data, dict):
        return {}
    found: dict[str, Any] = {}
    dtype, values = data.get("dtype"), data.get("values")
    shape: list[int] = []
    if isinstance(dtype, str) and dtype in DTYPES:
        found["dtype"] = dtype
    if isinstance(values, np.ndarray):
        return {**found, "shape": list(values.shape)}
    while isinstance(values, list) and len(shape) < MAX_DIMENSIONS:
        shape.append(len(values))
        values = values[0] if values else None
    return {**found, "shape": shape} if shape else found


TIMINGS = [(f"{name}_ms", name) for name in ("parse", "load", "inference", "encode", "total")]


def _headers(line: Record) -> list[tuple[bytes, bytes]]:
    timings = ", ".join([f"{name};dur={line[key]}" for key, name in TIMINGS if key in line])
    found = [
        (b"x-request-id", line["request_id"].encode()),
        (b"x-cold-start", b"1" if line["cold"] else b"0"),
        (b"server-timing", timings.encode()),
    ]
    if digest := line.get("model_digest"):
        found.append((b"x-model-digest", digest.encode()))
    return found
