"""Who may ask: every case of the header, on every route, through every adapter."""

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from starlette.testclient import TestClient

from handler.app import create_app
from handler.auth import Closed, Open, SecretTokens, Tokens, bearer, create_access, read_access
from handler.errors import SecretError
from handler.lifecycle import WorkflowProvider
from handler.settings import AuthSettings, Settings
from tests.processes import ROOT
from tests.test_app import Answering, assert_error
from tests.test_main import handled

Read = Callable[..., Settings]

TOKEN, OTHER = "a-token-of-the-tests", "another-token-of-the-tests"
WRONG = "a-token-of-the-testz"
ADAPTERS = ("function-url", "http-api", "rest-v1", "alb")
# The Authorization header, and whether it is the right one.
CASES: list[tuple[str | None, bool]] = [
    (f"Bearer {TOKEN}", True),
    (f"bearer {TOKEN}", True),
    (f"BEARER  {TOKEN} ", True),
    (f"Bearer {OTHER}", True),
    (None, False),
    ("", False),
    ("Bearer", False),
    ("Bearer ", False),
    (f"Bearer {WRONG}", False),
    (f"Bearer {TOKEN[:-1]}", False),
    (f"Bearer {TOKEN}x", False),
    (f"Bearer {TOKEN.upper()}", False),
    (f"Bearer {TOKEN},{OTHER}", False),
    (f"Bearer {TOKEN}, Bearer {TOKEN}", False),
    (f"Basic {TOKEN}", False),
    (f"Token {TOKEN}", False),
    (TOKEN, False),
    (f"Bearer\t{TOKEN}", False),
    ("Bearer tökén-with-other-letters", False),
    ("Bearer " + "x" * 5000, False),
]
# Method, path, and the status with the right token and without it.
ROUTES = [
    ("POST", "/service_output", 422, 401),
    ("GET", "/service-resources", 503, 401),
    ("GET", "/", 200, 200),
    ("GET", "/health", 200, 200),
    ("GET", "/nothing", 404, 404),
    ("POST", "/nothing", 404, 404),
    ("GET", "/service_output", 405, 405),
    ("POST", "/health", 405, 405),
]
# What tells the routes apart without loading a model.
ENVIRONMENT = {"INFERNET_LOAD": "lazy", "CLASSIC_INF_WORKFLOW_CLASS": "nowhere.Nothing"}


def event_of(adapter: str, method: str, path: str, authorization: str | None) -> Any:
    """The event that an adapter of AWS makes of a request without a body."""
    event = json.loads((ROOT / "tests" / "events" / f"{adapter}.json").read_text())
    if "http" in event["requestContext"]:
        event["rawPath"] = event["requestContext"]["http"]["path"] = path
        event["requestContext"]["http"]["method"] = method
    else:
        event["path"], event["httpMethod"] = path, method
    event["headers"] = {n: v for n, v in event["headers"].items() if n != "authorization"}
    if authorization is not None:
        event["headers"]["authorization"] = authorization
        if "multiValueHeaders" in event:
            event["multiValueHeaders"]["Authorization"] = [authorization]
    return {**event, "body": "{}", "isBase64Encoded": False}


def test_every_case_on_every_route_through_every_adapter() -> None:
    table = list(product(ADAPTERS, ROUTES, CASES))
    events = [event_of(a, route[0], route[1], case[0]) for a, route, case in table]
    tokens = f"{OTHER}, {TOKEN}"
    answers = handled(*events, **ENVIRONMENT, INFERNET_AUTH="bearer", INFERNET_BEARER_TOKENS=tokens)
    refusals = set()
    for (adapter, route, (header, right)), answer in zip(table, answers, strict=True):
        method, path, with_token, without = route
        where = adapter, method, path, header
        assert answer["statusCode"] == (with_token if right else without), where
        body = json.loads(answer["body"])
        if path in ("/", "/health") and answer["statusCode"] == 200:
            assert ("class" in body and "model" in body) is right, where
        else:
            assert body["code"] == str(answer["statusCode"]), where
        if answer["statusCode"] == 401:
            assert answer["headers"]["www-authenticate"] == "Bearer"
            refusals.add(answer["body"])
    assert len(refusals) == 1, "who has no token learns nothing from having a wrong one"


def client_of(settings: Settings) -> TestClient:
    return TestClient(create_app(settings, WorkflowProvider(lambda: Answering(lambda d: d), 5)))


@pytest.mark.parametrize(("header", "right"), CASES)
def test_every_case_of_a_server(settings_of: Read, header: str | None, right: bool) -> None:
    client = client_of(settings_of(INFERNET_BEARER_TOKENS=f"{TOKEN},{OTHER}"))
    headers = [] if header is None else [(b"Authorization", header.encode())]
    body = {"source": 1, "data": {"a": 1}}
    response = client.post("/service_output", json=body, headers=headers)
    if right:
        assert response.status_code == 200 and response.json() == {"a": 1}
    else:
        assert_error(response, 401, "Authorization: Bearer")
        assert response.headers["www-authenticate"] == "Bearer"
    assert client.get("/service-resources", headers=headers).status_code == 200
    for path in ("/", "/health"):
        assert ("class" in client.get(path, headers=headers).json()) is right


def test_several_headers_are_none(settings_of: Read) -> None:
    client = client_of(settings_of(INFERNET_BEARER_TOKENS=TOKEN))
    headers = [("Authorization", f"Bearer {TOKEN}")] * 2
    assert client.post("/service_output", json={}, headers=headers).status_code == 401
    assert bearer({"type": "http", "headers": []}) is None


def test_a_stranger_s_body_is_not_read(settings_of: Read) -> None:
    app = create_app(
        settings_of(INFERNET_BEARER_TOKENS=TOKEN, INFERNET_MAX_BODY_BYTES="10"),
        WorkflowProvider(lambda: Answering(None), 5),
    )
    sent: list[Any] = []

    async def receive() -> Any:
        assert sent[1]["body"], "the body was asked for"
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/service_output", "query_string": b""}
    headers = [(b"content-length", b"1000"), (b"content-encoding", b"gzip")]
    asyncio.run(app({**scope, "headers": headers}, receive, send))
    assert sent[0]["status"] == 401, "before 415 and 413"


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, Open),
        ({"INFERNET_AUTH": "none"}, Open),
        ({"INFERNET_AUTH": "none", "AWS_LAMBDA_RUNTIME_API": "x"}, Open),
        ({"INFERNET_AUTH": "bearer"}, Closed),
        ({"INFERNET_AUTH": "bearer", "AWS_LAMBDA_RUNTIME_API": "x"}, Closed),
        ({"AWS_LAMBDA_RUNTIME_API": "x"}, Closed),
        ({"AWS_LAMBDA_RUNTIME_API": "x", "AWS_SAM_LOCAL": "false"}, Closed),
        ({"AWS_LAMBDA_RUNTIME_API": "x", "AWS_SAM_LOCAL": "true"}, Open),
        (
            {
                "AWS_LAMBDA_RUNTIME_API": "x",
                "AWS_SAM_LOCAL": "true",
                "INFERNET_BEARER_SECRET_ARN": "BearerSecret",
                "HUGGING_FACE_HUB_TOKEN_SECRET_ARN": "HubTokenSecret",
            },
            Open,
        ),
        ({"INFERNET_AUTH": "bearer", "AWS_SAM_LOCAL": "true"}, Closed),
        ({"INFERNET_BEARER_TOKENS": TOKEN, "AWS_SAM_LOCAL": "true"}, Tokens),
        ({"INFERNET_BEARER_TOKENS": TOKEN}, Tokens),
        ({"INFERNET_BEARER_TOKENS": TOKEN, "AWS_LAMBDA_RUNTIME_API": "x"}, Tokens),
        ({"INFERNET_BEARER_SECRET_ARN": "arn:aws:ssm:eu-west-1:1:parameter/p"}, SecretTokens),
        ({"INFERNET_BEARER_TOKENS": "short"}, Closed),
        ({"INFERNET_AUTH": "sometimes"}, Closed),
        ({"USE_JIT": "perhaps"}, Open),
        ({"USE_JIT": "perhaps", "INFERNET_BEARER_TOKENS": TOKEN}, Tokens),
    ],
)
def test_who_is_admitted(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kind: type
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(read_access()) is kind


def test_only_who_did_not_ask_to_be_open_is_warned(settings_of: Read) -> None:
    by_default, wanted = (
        create_access(AuthSettings()),
        create_access(settings_of(INFERNET_AUTH="none")),
    )
    assert isinstance(by_default, Open) and isinstance(wanted, Open)
    assert by_default.warning and not wanted.warning


class Secret:
    """A secret that changes, or fails, as a test says; and its clock."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.problem: str | None = None
        self.reads = 0
        self.now = 1000.0

    def read(self) -> list[str]:
        self.reads += 1
        if self.problem:
            raise SecretError(self.problem)
        return self.tokens

    def access(self) -> SecretTokens:
        return SecretTokens(self.read, lambda: self.now)


def admits(access: SecretTokens, token: str | None) -> bool:
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return asyncio.run(access.admits({"headers": headers}))


def test_a_token_is_rotated_in_and_out_without_a_restart() -> None:
    secret = Secret(TOKEN)
    access = secret.access()
    assert not admits(access, None) and secret.reads == 0, "nothing is read for who has no token"
    assert admits(access, TOKEN) and secret.reads == 1
    secret.tokens = [TOKEN, OTHER]
    secret.now += 10
    assert admits(access, TOKEN) and secret.reads == 1
    assert admits(access, OTHER) and secret.reads == 2, "an unknown token is looked up at once"
    secret.tokens = [OTHER]
    assert admits(access, TOKEN), "until the tokens are five minutes old"
    secret.now += 300
    assert not admits(access, TOKEN) and admits(access, OTHER) and secret.reads == 3


def test_guessing_does_not_hammer_aws() -> None:
    secret = Secret(TOKEN)
    access = secret.access()
    for _ in range(100):
        assert not admits(access, WRONG) and admits(access, TOKEN)
    assert secret.reads == 1
    secret.now += 9.9
    assert not admits(access, WRONG) and secret.reads == 1
    secret.now += 0.1
    for _ in range(100):
        assert not admits(access, WRONG)
    assert secret.reads == 2


def test_what_is_known_stays_when_aws_fails(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(TOKEN)
    access = secret.access()
    assert admits(access, TOKEN)
    secret.problem = "throttled"
    secret.now += 300
    for _ in range(10):
        assert admits(access, TOKEN)
    assert secret.reads == 2
    assert [record.message for record in caplog.records] == ["throttled; the known tokens are kept"]
    assert not admits(access, WRONG) and secret.reads == 2
    secret.problem, secret.tokens = None, [OTHER]
    secret.now += 60
    assert not admits(access, TOKEN) and admits(access, OTHER)


def test_a_first_reading_that_fails_is_said_and_cheap() -> None:
    secret = Secret(TOKEN)
    secret.problem = "access denied"
    access = secret.access()
    for _ in range(100):
        with pytest.raises(SecretError, match="access denied"):
            admits(access, TOKEN)
    assert secret.reads == 1
    secret.problem = None
    secret.now += 10
    assert admits(access, TOKEN)


def test_an_unforeseen_failure_is_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> list[str]:
        raise RuntimeError(TOKEN)

    with pytest.raises(SecretError, match="RuntimeError"):
        admits(SecretTokens(read), TOKEN)
    assert TOKEN not in caplog.text and caplog.records[0].levelno == logging.ERROR


def test_many_callers_share_one_reading() -> None:
    secret = Secret(TOKEN)
    access = secret.access()
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: admits(access, TOKEN), range(64)))
    assert secret.reads == 1


def test_a_caller_who_leaves_does_not_cancel_the_reading() -> None:
    secret = Secret(TOKEN)
    access = secret.access()

    async def leave() -> None:
        asking = asyncio.create_task(
            access.admits({"headers": [(b"authorization", f"Bearer {TOKEN}".encode())]})
        )
        await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(leave())
    assert admits(access, TOKEN)


def test_a_secret_that_cannot_be_read_closes_what_is_closed(settings_of: Read) -> None:
    secret = Secret()
    secret.problem = "INFERNET_BEARER_SECRET_ARN: access denied"
    provider = WorkflowProvider(lambda: Answering(lambda d: d), 5)
    client = TestClient(create_app(settings_of(), provider, secret.access()))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert_error(client.post("/service_output", headers=headers), 503, "access denied")
    assert_error(client.post("/service_output"), 401, "Bearer")
    for path in ("/", "/health"):
        response = client.get(path, headers=headers)
        assert response.status_code == 200 and "class" not in response.json()
