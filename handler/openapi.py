"""``GET /openapi.json``: the routes, in OpenAPI 3.1, from the models that describe what they carry.

Imported, with pydantic, by the first request that asks for it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from handler import __version__
from handler.envelope import Envelope
from handler.formats import FIVE_KEYS
from handler.tensors import DTYPES

OPEN = ConfigDict(extra="allow")
State = Literal["unloaded", "loading", "ready", "failed"]


class Error(BaseModel):
    """What went wrong, and what to change."""

    code: str = Field(pattern="^[45][0-9]{2}$", description="The HTTP status.")
    name: str
    description: str


class Tensor(BaseModel):
    """A tensor in the classic format."""

    model_config = OPEN

    dtype: Literal[tuple(DTYPES)]  # type: ignore[valid-type]
    shape: list[int] = Field(default_factory=list)
    values: Any = Field(
        description='Numbers in nested lists; "NaN", "Infinity", "-Infinity" and {"re", "im"} too.'
    )


class Vector(BaseModel):
    """A vector of the Infernet contract: values flat in C order, dtype by number."""

    model_config = OPEN

    dtype: int = Field(ge=0, le=15)
    shape: list[int]
    values: list[Any]


class OnChain(BaseModel):
    """An answer that a node delivers on-chain: hex without 0x, empty, or null."""

    model_config = ConfigDict(extra="forbid")
    __annotations__ = dict.fromkeys(FIVE_KEYS, str | None)


class Outputs(BaseModel):
    """Several tensors, or what else a workflow answers."""

    model_config = OPEN


class Served(BaseModel):
    """What serves, for those who have a token; null until it is loaded."""

    model_config = ConfigDict(populate_by_name=True, extra="allow")

    workflow_class: str | None = Field(None, alias="class")
    model: str | None = None
    digest: str | None = None


class Index(Served):
    name: str
    version: str


class Health(Served):
    status: Literal["ok"]
    workflow: State


class Ready(BaseModel):
    model_config = OPEN

    workflow: State
    cold_start: dict[str, Any] = Field(description="What the cold start cost: ms, bytes.")


class Resources(BaseModel):
    """The machine and its models, or whether one is supported."""

    model_config = OPEN


MODELS = (Envelope, Error, Tensor, Vector, OnChain, Outputs, Index, Health, Ready, Resources)
TEXT = {
    400: "The body is not JSON in UTF-8.",
    401: "There is no valid bearer token.",
    404: "There is no such path.",
    405: "The method is not allowed here.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many elements.",
    415: "The body is compressed.",
    422: "The request does not fit the contract, or the model.",
    500: "The workflow raised an exception.",
    503: "The workflow cannot serve at the moment.",
    504: "The workflow is still being loaded.",
}
HEADERS = {
    "x-request-id": "As in the log.",
    "x-cold-start": "1 for the first answer of a process.",
    "server-timing": "Milliseconds of parse, load, inference, encode and total.",
}


def document(example: Any, *, resources_need_token: bool) -> dict[str, Any]:
    """The OpenAPI document.

    Args:
        example: the ``data`` of a request that the model takes.
        resources_need_token: whether ``/service-resources`` does, as on Lambda.
    """
    _, definitions = models_json_schema(
        [(model, "serialization" if model is not Envelope else "validation") for model in MODELS],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "infernet-lambda",
            "version": __version__,
            "description": "Serves a classic machine-learning model to Infernet nodes and others.",
        },
        "paths": {
            "/service_output": {"post": _service_output(example)},
            "/service-resources": {"get": _service_resources(resources_need_token)},
            "/": {"get": _get("index", "What this is.", "Index")},
            "/health": {"get": _get("health", "Whether the process answers.", "Health")},
            "/ready": {"get": _ready()},
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _service_output(example: Any) -> dict[str, Any]:
    answers = ["Tensor", "Vector", "OnChain", "Outputs"]
    examples = {
        "off-chain": {"summary": "What the model takes.", "value": {"source": 1, "data": example}}
    }
    content = {"schema": _ref("Envelope"), "examples": examples}
    return {
        "operationId": "service_output",
        "summary": "Ask the model.",
        "security": [{"bearer": []}],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": _response("The answer.", {"anyOf": [_ref(name) for name in answers]}),
            **_errors(400, 401, 405, 408, 413, 415, 422, 500, 503, 504),
        },
    }


def _service_resources(needs_token: bool) -> dict[str, Any]:
    query = {"name": "model_id", "in": "query", "schema": {"type": "string"}}
    found = _get("service_resources", "The machine and its models.", "Resources", 401, 503)
    return {**found, "parameters": [query], "security": [{"bearer": []}] if needs_token else []}


def _ready() -> dict[str, Any]:
    found = _get("ready", "Whether a request would wait.", "Ready", 401, 503)
    return {**found, "security": [{"bearer": []}]}


def _get(operation: str, summary: str, model: str, *errors: int) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _response(summary, _ref(model)), **_errors(405, 500, *errors)},
    }


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _response(TEXT[status], _ref("Error")) for status in sorted(statuses)}


def _response(description: str, schema: Any) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }
    content = {"application/json": {"schema": schema}}
    return {"description": description, "headers": headers, "content": content}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model}"}
