"""Every error a caller can be answered, each class with its HTTP status.

    HandlerError
    ├── MalformedBody       400  the body is not JSON
    ├── Unauthorized        401  no valid bearer token
    ├── RequestTimeout      408  the body does not arrive
    ├── PayloadTooLarge     413  the body is larger than the limit, or holds more elements
    ├── UnsupportedEncoding 415  the body is compressed
    ├── InvalidInput        422  well-formed JSON that does not fit the contract or the model
    ├── Unavailable         503  the workflow cannot serve at the moment
    │   ├── ConfigurationError   a setting is wrong: nothing changes until a redeployment
    │   ├── ModelError           the model file cannot be had, or is refused
    │   ├── SecretError          a secret cannot be read
    │   └── Overloaded           as many requests as may be are under way
    ├── DeadlineExceeded    504  the workflow is still being loaded
    └── InferenceFailed     500  the model raised

A description names what to change. It never holds a payload, a secret or a traceback.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar


class HandlerError(Exception):
    """An error with an HTTP status; its text is the description that the caller reads."""

    status: ClassVar[int] = 500
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


class MalformedBody(HandlerError):
    status = 400


class Unauthorized(HandlerError):
    status = 401
    headers: ClassVar = {"WWW-Authenticate": "Bearer"}


class RequestTimeout(HandlerError):
    status = 408


class PayloadTooLarge(HandlerError):
    status = 413


class UnsupportedEncoding(HandlerError):
    status = 415


class InvalidInput(HandlerError):
    status = 422


class Unavailable(HandlerError):
    status = 503


class ConfigurationError(Unavailable):
    pass


class ModelError(Unavailable):
    pass


class SecretError(Unavailable):
    pass


class Overloaded(Unavailable):
    headers: ClassVar = {"Retry-After": "1"}


class DeadlineExceeded(HandlerError):
    status = 504


class InferenceFailed(HandlerError):
    status = 500


def error_object(status: int, description: str) -> dict[str, str]:
    """The error object of the Infernet contract.

    ``code`` is a string on purpose: a node takes an integer for a failure even when it is 200,
    and a body without ``code`` for a result.
    """
    return {"code": str(status), "name": HTTPStatus(status).phrase, "description": description}


def kind_of(value: Any) -> str:
    """What a JSON value is, in words that do not quote it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "a whole number"
        case float():
            return "a whole number" if value.is_integer() else "a fraction"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
