"""The composition root, imported in fresh interpreters: what an import costs and survives."""

import json
import subprocess
import sys
from typing import Any

import pytest

from handler.testing import function_url_event

ON_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "INFERNET_AUTH": "none"}


def fresh(code: str, sent: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        input=sent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def handled(*events: Any, **environment: str) -> list[Any]:
    """What a fresh Lambda environment answers to each event."""
    code = (
        "import json, sys; from handler.main import handler\n"
        "for event in json.load(sys.stdin):\n"
        "    print('answer', json.dumps(handler(event, None)))"
    )
    process = fresh(code, json.dumps(events), **{**ON_LAMBDA, **environment})
    assert process.returncode == 0, process.stderr
    lines = [line.partition(" ") for line in process.stdout.splitlines()]
    return [json.loads(answer) for word, _, answer in lines if word == "answer"]


def test_a_lazy_import_pulls_in_nothing_that_only_a_model_needs() -> None:
    code = "import sys, handler.main; print(*sorted(sys.modules))"
    process = fresh(code, INFERNET_LOAD="lazy", **ON_LAMBDA)
    modules = {name.partition(".")[0] for name in process.stdout.split()}
    assert {"handler", "mangum", "starlette", "orjson"} <= modules, process.stderr
    heavy = {
        "torch",
        "pydantic",
        "huggingface_hub",
        "boto3",
        "botocore",
        "requests",
        "httpx",
        "eth_abi",
    }
    server = {"hypercorn", "typer", "click", "rich"}
    tests = {"moto", "pytest", "hypothesis", "sklearn"}
    assert not modules & (heavy | server | tests)
    loaded = {name for name in process.stdout.split() if name.startswith("handler.")}
    assert not any(name.startswith(("handler.cli", "handler.models")) for name in loaded)
    assert loaded.isdisjoint({"handler.testing", "handler.workflows.torch", "handler.demo"})


BROKEN = [
    ({"INFERNET_RETRY_SECONDS": "soon"}, "INFERNET_RETRY_SECONDS"),
    ({"CLASSIC_INF_WORKFLOW_KW_ARGS": "{"}, "CLASSIC_INF_WORKFLOW_KW_ARGS"),
    ({"CLASSIC_INF_WORKFLOW_KW_ARGS": '{"modle": "x"}'}, "CLASSIC_INF_WORKFLOW_KW_ARGS"),
    ({"CLASSIC_INF_WORKFLOW_CLASS": "nowhere.Nothing"}, "CLASSIC_INF_WORKFLOW_CLASS"),
    ({"CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model": "/nowhere/m"}'}, "/nowhere/m"),
    ({"CLASSIC_INF_ALLOWED_MODELS": '["ftp://x"]'}, "CLASSIC_INF_ALLOWED_MODELS"),
    ({"CLASSIC_INF_ALLOWED_MODELS": "x"}, "CLASSIC_INF_ALLOWED_MODELS"),
]


@pytest.mark.parametrize(("environment", "reason"), BROKEN)
def test_what_is_misconfigured_is_answered_not_raised(
    environment: dict[str, str], reason: str
) -> None:
    event = function_url_event(body='{"source": 1, "data": {}}')
    answer, health, bad, warm = handled(
        event,
        function_url_event("/health", method="GET"),
        function_url_event(body="{"),
        {"warmer": True, "load": True},
        **environment,
    )
    assert answer["statusCode"] == 503
    assert reason in json.loads(answer["body"])["description"]
    assert json.loads(health["body"])["workflow"] == "failed"
    assert bad["statusCode"] == 400, "the caller's own error comes first"
    assert warm["code"] == "503" and reason in warm["description"]


@pytest.mark.parametrize("kind", ["snap-start", "provisioned-concurrency"])
@pytest.mark.parametrize(("environment", "reason"), BROKEN)
def test_a_failure_ahead_of_traffic_is_raised(
    kind: str, environment: dict[str, str], reason: str
) -> None:
    process = fresh(
        "import handler.main", AWS_LAMBDA_INITIALIZATION_TYPE=kind, **ON_LAMBDA, **environment
    )
    assert process.returncode == 1 and reason in process.stderr


def test_other_events_are_answered_without_a_stack_trace() -> None:
    scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    *warm, nothing, text, records = handled(
        {"warmer": True}, scheduled, {}, "text", {"Records": []}, INFERNET_LOAD="lazy"
    )
    assert warm == [{"warmer": True, "workflow": "unloaded"}] * 2
    for answer in (nothing, text, records):
        assert answer["code"] == "400" and "an HTTP request event" in answer["description"]


def test_an_http_event_that_makes_no_sense_is_a_400() -> None:
    broken = {**function_url_event(body="x"), "body": "%%%", "isBase64Encoded": True}
    for answer in handled({"requestContext": {}}, broken, {"requestContext": None}):
        assert answer["statusCode"] == 400
        assert json.loads(answer["body"])["code"] == "400"


HEALTH, INDEX = (function_url_event(path, method="GET") for path in ("/health", "/"))
REQUEST = function_url_event(body="{}", headers={"Authorization": "Bearer some-token-or-other"})


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"INFERNET_AUTH": ""}, "INFERNET_BEARER_TOKENS or INFERNET_BEARER_SECRET_ARN"),
        ({"INFERNET_AUTH": "bearer"}, "INFERNET_BEARER_TOKENS or INFERNET_BEARER_SECRET_ARN"),
        ({"INFERNET_AUTH": "", "INFERNET_BEARER_TOKENS": "too-short"}, "INFERNET_BEARER_TOKENS"),
        ({"INFERNET_AUTH": "whatever"}, "INFERNET_AUTH"),
    ],
)
def test_without_a_token_a_function_says_so_to_everybody(
    environment: dict[str, str], reason: str
) -> None:
    wrong = function_url_event("/nothing"), function_url_event(method="GET")
    answers = handled(REQUEST, HEALTH, INDEX, *wrong, INFERNET_LOAD="lazy", **environment)
    for answer in answers[:3]:
        assert answer["statusCode"] == 503
        assert reason in json.loads(answer["body"])["description"]
        assert "too-short" not in answer["body"]
    assert [answer["statusCode"] for answer in answers[3:]] == [404, 405]


def test_a_mistake_elsewhere_opens_no_door() -> None:
    token = "a-token-of-the-tests"
    right = function_url_event(
        body='{"source": 1, "data": {}}', headers={"Authorization": f"Bearer {token}"}
    )
    environment = {"INFERNET_AUTH": "", "INFERNET_BEARER_TOKENS": token, "USE_JIT": "perhaps"}
    refused, answered = handled(REQUEST, right, **environment)
    assert refused["statusCode"] == 401
    assert answered["statusCode"] == 503 and "USE_JIT" in answered["body"]


def test_sam_local_is_open_and_warns_once() -> None:
    code = "from handler.main import handler"
    environment = {**ON_LAMBDA, "INFERNET_AUTH": "", "AWS_SAM_LOCAL": "true"}
    arn = {"INFERNET_BEARER_SECRET_ARN": "BearerSecret", "INFERNET_LOAD": "lazy"}
    process = fresh(code, **environment, **arn)
    assert process.returncode == 0 and process.stdout.count("anybody may call") == 1
    assert len(process.stdout.splitlines()) == 1


def test_a_server_ends_without_its_token() -> None:
    process = fresh("import handler.main", INFERNET_AUTH="bearer")
    assert process.returncode == 1 and len(process.stderr.splitlines()) == 1
    assert "INFERNET_BEARER_TOKENS or INFERNET_BEARER_SECRET_ARN" in process.stderr


def test_the_page_and_the_openapi_document_are_served_by_the_function_too() -> None:
    events = [function_url_event(path, method="GET") for path in ("/docs", "/docs/app.js")]
    events.append(function_url_event("/openapi.json", method="GET"))
    page, script, document = handled(*events, INFERNET_AUTH="none", INFERNET_LOAD="lazy")
    assert page["statusCode"] == script["statusCode"] == document["statusCode"] == 200
    assert page["headers"]["content-type"].startswith("text/html") and "<h1>" in page["body"]
    assert "default-src 'none'" in page["headers"]["content-security-policy"]
    assert script["headers"]["content-type"].startswith("text/javascript")
    assert not page["isBase64Encoded"] and "encodeRequest" in script["body"]
    paths = json.loads(document["body"])["paths"]
    assert paths["/service-resources"]["get"]["security"] == [{"bearer": []}]
