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
from functools import lru_cache
from operator import itemgetter
from random import getrandbits
from typing import Any

import numpy as np
import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.ledger import Ledger, unanswered
from handler.settings import Settings
from handler.tensors import DTYPES, MAX_DIMENSIONS

STDOUT = 1  # written to itself, as Python's file would take the line through two buffers
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
        line = head(record.levelname, int(record.created * 1e9))
        write({**line, "logger": record.name, "message": message})


def configure(settings: Settings) -> None:
    """Lets this package say what it has to say in lines of JSON on standard output."""
    package = logging.getLogger("handler")
    package.handlers = [JsonHandler()]
    package.setLevel(settings.log_level)
    package.propagate = False


def head(level: str, at: int | None = None) -> dict[str, Any]:
    """What every line begins with; ``at`` is in ns since the epoch, by default now."""
    seconds, rest = divmod(time.time_ns() if at is None else at, 1_000_000_000)
    return {"timestamp": f"{_second(seconds)}.{rest // 1000:06}Z", "level": level}


@lru_cache(1)
def _second(at: int) -> str:
    # Kept, as formatting it would cost a busy service a sixteenth of a request's time.
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def cold_start(ledger: Ledger, **fields: Any) -> None:
    """Writes the line of a cold start."""
    level = "ERROR" if "error" in fields else "INFO"
    write({**head(level), "message": "cold start", **ledger.close(), **fields})


def write(line: dict[str, Any]) -> None:
    """Writes a line at once, so that those of several processes do not mix."""
    sys.stdout.flush()  # what a workflow has printed comes before it, and is not cut in two
    text = orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)
    while text:  # almost always once
        text = text[os.write(STDOUT, text) :]


def answered_once(workflow: object, line: "Record") -> None:
    """Completes the ledger of a workflow with its first inference, and writes it."""
    if ledger := unanswered.pop(id(workflow), None):
        ledger.add("first_inference_ms", line["inference_ms"])
        cold_start(ledger, model_digest=line["model_digest"], request_id=line.get("request_id"))


class Record(dict[str, Any]):
    """What is known of one request; it becomes its line in the log."""

    def lap(self, name: str, started: int) -> int:
        """Enters the ms since ``started``, a moment in ns, and gives the moment that it is now."""
        now = time.perf_counter_ns()
        self[name] = (now - started) // 1000 / 1000
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
        started = time.perf_counter_ns()
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
            # Of another path than ours, not a word: there may be anything in it.
            line["route"] = scope["path"] if scope["path"] in self.routes else "unknown"
            self._write(line)

    def _begun(self, scope: Scope) -> Record:
        context = scope.get("aws.context")
        line = Record(
            timestamp=None,  # first in the line, but known last
            level=None,
            message="request",
            # Only to be told apart: without Lambda there is nobody to give one.
            request_id=getattr(context, "aws_request_id", None) or f"{getrandbits(128):032x}",
            route=None,
            cold=self.first,
        )
        self.first = False
        if trace := dict(scope["headers"]).get(b"x-amzn-trace-id"):
            line["trace_id"] = trace.decode("latin-1")[:256]
        return line

    def _write(self, line: Record) -> None:
        status = line.setdefault("status", 499)  # as when the caller has gone
        level = "ERROR" if status >= 500 else "WARNING" if status >= 400 else "INFO"
        if LEVELS[level] < self.lowest:
            return
        now = time.time_ns()
        line |= head(level, now)
        if self.on_lambda:
            line |= {
                "_aws": {"Timestamp": now // 1_000_000, "CloudWatchMetrics": WRITTEN_DIRECTIVES},
                "function": self.function,
                "Requests": 1,
                "Errors": 1 if status >= 500 else 0,
                "Unauthorized": 1 if status == 401 else 0,
                "ColdStarts": 1 if line["cold"] else 0,
                "Duration": line["total_ms"],
            }
        write(line)


def describe(data: Any) -> dict[str, Any]:
    """Of a request's data the dtype and the shape, but nothing that a caller could have chosen."""
    if not isinstance(data, dict):
        return {}
    found: dict[str, Any] = {}
    dtype, values = data.get("dtype"), data.get("values")
    if type(dtype) is str and dtype in DTYPES:
        found["dtype"] = dtype
    if type(values) is np.ndarray:
        found["shape"] = list(values.shape)
    elif type(values) is list:
        found["shape"] = shape = [len(values)]
        while values and type(values := values[0]) is list and len(shape) < MAX_DIMENSIONS:
            shape.append(len(values))
    return found


PHASES = ("parse", "load", "inference", "encode", "total")
TIMINGS = {f"{phase}_ms": f"{phase};dur=%.3f".encode() for phase in PHASES}
ALL_TIMINGS, all_of = b", ".join(TIMINGS.values()), itemgetter(*TIMINGS)


def _headers(line: Record) -> list[tuple[bytes, bytes]]:
    try:
        timings = ALL_TIMINGS % all_of(line)
    except KeyError:  # as with errors
        timings = b", ".join(form % line[key] for key, form in TIMINGS.items() if key in line)
    found = [
        (b"x-request-id", line["request_id"].encode()),
        (b"x-cold-start", b"1" if line["cold"] else b"0"),
        (b"server-timing", timings),
    ]
    if digest := line.get("model_digest"):
        found.append((b"x-model-digest", digest.encode()))
    return found
