from typing import Any

import pytest

from handler import errors


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        (errors.MalformedBody, 400, "Bad Request"),
        (errors.Unauthorized, 401, "Unauthorized"),
        (errors.RequestTimeout, 408, "Request Timeout"),
        (errors.PayloadTooLarge, 413, "Request Entity Too Large"),
        (errors.UnsupportedEncoding, 415, "Unsupported Media Type"),
        (errors.InvalidInput, 422, "Unprocessable Entity"),
        (errors.Unavailable, 503, "Service Unavailable"),
        (errors.ConfigurationError, 503, "Service Unavailable"),
        (errors.ModelError, 503, "Service Unavailable"),
        (errors.SecretError, 503, "Service Unavailable"),
        (errors.Overloaded, 503, "Service Unavailable"),
        (errors.InferenceFailed, 500, "Internal Server Error"),
    ],
)
def test_each_class_has_its_error_object(
    kind: type[errors.HandlerError], status: int, name: str
) -> None:
    error = kind("what to change")
    assert errors.error_object(error.status, error.description) == {
        "code": str(status),
        "name": name,
        "description": "what to change",
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "a boolean"),
        (7, "a whole number"),
        (7.0, "a whole number"),
        (7.5, "a fraction"),
        ("secret", "a string"),
        ([1], "a list"),
        ({"secret": 1}, "an object"),
    ],
)
def test_a_value_is_described_without_being_quoted(value: Any, kind: str) -> None:
    assert errors.kind_of(value) == kind
