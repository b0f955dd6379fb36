"""The OpenAPI document says what the routes do, and they do what it says."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from handler.app import ROUTES, create_app
from handler.docs import PATHS
from handler.lifecycle import WorkflowProvider, load_workflow
from handler.settings import Settings, get_settings

Read = Callable[..., Settings]
TOKEN = "a-token-of-the-tests"
# Which data the model takes, JSON Schema cannot say: what fits the schema may well be a 422.
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
)


def service() -> Any:
    provider = WorkflowProvider(lambda: load_workflow(get_settings()), 60)
    provider.get()
    return create_app(get_settings(), provider)


@pytest.fixture
def api(settings_of: Read) -> Any:
    settings_of(INFERNET_BEARER_TOKENS=TOKEN, INFERNET_LOG_LEVEL="ERROR")
    return schemathesis.openapi.from_asgi("/openapi.json", service())


def test_the_document_is_valid_and_has_every_route(api: Any) -> None:
    validate(api.raw_schema)
    assert api.raw_schema["openapi"].startswith("3.1")
    assert set(api.raw_schema["paths"]) == ROUTES - PATHS - {"/openapi.json"}
    for path, operations in api.raw_schema["paths"].items():
        for operation in operations.values():
            errors = [status for status in operation["responses"] if status != "200"]
            assert errors, path
            for status in errors:
                content = operation["responses"][status]["content"]["application/json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize(
    "label",
    ["POST /service_output", "GET /service-resources", "GET /", "GET /health", "GET /ready"],
)
def test_every_route_does_what_the_document_says(api: Any, label: str) -> None:
    (operation,) = [o.ok() for o in api.get_all_operations() if o.ok().label == label]

    for mode in GenerationMode:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue  # there is nothing to get wrong

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            case.call_and_validate(headers=headers, checks=CHECKS)

        run()


def test_the_example_is_what_the_model_takes_for_those_who_may_ask(settings_of: Read) -> None:
    settings_of(INFERNET_BEARER_TOKENS=TOKEN)
    client = TestClient(service())
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def example(headers: dict[str, str]) -> Any:
        document = client.get("/openapi.json", headers=headers).json()
        body = document["paths"]["/service_output"]["post"]["requestBody"]
        return body["content"]["application/json"]["examples"]["off-chain"]["value"]

    assert example(headers)["data"] == {"dtype": "double", "values": [[0.0] * 4]}
    response = client.post("/service_output", json=example(headers), headers=headers)
    assert response.status_code == 200
    assert example({}) != example(headers), "what is served is nobody else's business"
