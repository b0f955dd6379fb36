"""Secrets of both kinds, from a double of AWS, and all that can be wrong with them."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from boto3.session import Session
from botocore.config import Config
from botocore.stub import Stubber
from moto import mock_aws

from handler import secret
from handler.auth import SecretTokens, create_access
from handler.errors import SecretError
from handler.secret import checked, hub_token, read, read_tokens, tokens_in
from handler.settings import Settings
from handler.testing import free_port

Read = Callable[..., Settings]
TOKEN, OTHER = "a-token-of-the-tests", "another-token-of-the-tests"
REGION = "eu-west-1"
ARNS = {
    "secretsmanager": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:bearer-AbCdEf",
    "ssm": f"arn:aws:ssm:{REGION}:123456789012:parameter/infernet/bearer",
}


def token_of(settings: Settings) -> str | None:
    return hub_token(settings.hub_token, settings.hub_token_secret_arn)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with mock_aws():
        yield


def store(service: str, text: str) -> str:
    """Puts a text where an operator would, in a region that only its ARN names."""
    client = boto3.client(service, region_name=REGION)
    if service == "secretsmanager":
        return str(client.create_secret(Name="bearer", SecretString=text)["ARN"])
    client.put_parameter(Name="/infernet/bearer", Value=text, Type="SecureString")
    found = client.get_parameter(Name="/infernet/bearer")
    return str(found["Parameter"]["ARN"])


FITTING = [
    (TOKEN, [TOKEN]),
    (f" {TOKEN}\n", [TOKEN]),
    (f"{TOKEN},{OTHER}", [TOKEN, OTHER]),
    (f"{TOKEN}, ,{OTHER},", [TOKEN, OTHER]),
    (json.dumps(TOKEN), [TOKEN]),
    (json.dumps([TOKEN, OTHER]), [TOKEN, OTHER]),
    (json.dumps({"tokens": [TOKEN, OTHER], "comment": "x"}), [TOKEN, OTHER]),
    (json.dumps({"tokens": TOKEN}), [TOKEN]),
    ("1234567890123456", ["1234567890123456"]),
]
MISFITTING = ["", " ", ",", "[]", "{}", "[1]", '[["x"]]', '{"tokens": []}', '{"token": "x"}']
REFUSED = [
    ("a-short-token", "fewer than 16"),
    (f"{TOKEN},short", "fewer than 16"),
    ("a token with some blanks", "a header does not carry"),
    ("a-tökén-with-other-letters", "a header does not carry"),
    ("a-token-with-a\x7f-character", "a header does not carry"),
]


@pytest.mark.parametrize(("text", "tokens"), FITTING)
def test_what_holds_tokens(text: str, tokens: list[str]) -> None:
    assert checked(tokens_in(text)) == tokens


@pytest.mark.parametrize("text", MISFITTING)
def test_what_holds_none(text: str) -> None:
    with pytest.raises(ValueError, match="there is no token in it"):
        tokens_in(text)


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_what_is_no_token(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        checked(tokens_in(text))
    assert not any(token in str(raised.value) for token in text.split(","))


@pytest.mark.parametrize("service", ARNS)
@pytest.mark.parametrize(("text", "tokens"), FITTING)
def test_both_kinds_are_read(aws: None, service: str, text: str, tokens: list[str]) -> None:
    assert read_tokens(store(service, text)) == tokens


@pytest.mark.parametrize("service", ARNS)
@pytest.mark.parametrize("text", [*MISFITTING[2:], *(text for text, _ in REFUSED)])
def test_a_malformed_secret_is_said(aws: None, service: str, text: str) -> None:
    with pytest.raises(SecretError, match="INFERNET_BEARER_SECRET_ARN: the secret does not fit"):
        read_tokens(store(service, text))


def test_a_binary_secret_is_malformed(aws: None) -> None:
    client = boto3.client("secretsmanager", region_name=REGION)
    arn = client.create_secret(Name="b", SecretBinary=b"\xff")["ARN"]
    with pytest.raises(SecretError, match="it is binary"):
        read_tokens(arn)


@pytest.mark.parametrize("service", ARNS)
def test_a_secret_that_is_not_there(aws: None, service: str) -> None:
    with pytest.raises(SecretError, match="no such secret in the region"):
        read_tokens(ARNS[service])


@pytest.mark.parametrize("service", ARNS)
@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("AccessDeniedException", "access denied: the function's role needs {permission}"),
        ("ThrottlingException", "AWS throttles"),
        ("TooManyRequestsException", "AWS throttles"),
        ("ResourceNotFoundException", "no such secret"),
        ("ParameterNotFound", "no such secret"),
        ("DecryptionFailure", "AWS answered DecryptionFailure"),
        ("ExpiredTokenException", "AWS answered ExpiredTokenException"),
    ],
)
def test_what_aws_refuses(
    monkeypatch: pytest.MonkeyPatch, service: str, code: str, problem: str
) -> None:
    client = Session().client(
        service, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x"
    )
    operation = {"ssm": "get_parameter", "secretsmanager": "get_secret_value"}[service]
    monkeypatch.setattr(Session, "client", lambda *_, **__: client)
    with Stubber(client) as stub:
        stub.add_client_error(operation, code, "the user of account 123456789012 may not")
        with pytest.raises(SecretError) as raised:
            read(ARNS[service], "VARIABLE")
    permission = secret.PERMISSIONS[service]
    assert problem.format(permission=permission) in raised.value.description
    assert raised.value.description.startswith("VARIABLE: ")
    assert "123456789012" not in raised.value.description


def test_who_has_no_credentials_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SecretError, match="no AWS credentials"):
        read(ARNS["ssm"], "VARIABLE")


def test_a_dead_endpoint_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SecretError, match="the interface endpoint of secretsmanager"):
        read(ARNS["secretsmanager"], "VARIABLE")


def test_a_request_is_not_held_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Config] = []

    def client(_: Any, service: str, *, region_name: str, config: Config) -> Any:
        configs.append(config)
        raise RuntimeError(region_name)

    monkeypatch.setattr(Session, "client", client)
    with pytest.raises(RuntimeError, match=REGION):
        read(ARNS["ssm"], "VARIABLE")
    (config,) = configs
    seconds = config.connect_timeout + config.read_timeout
    assert seconds * config.retries["total_max_attempts"] <= 10


@pytest.mark.parametrize("service", ARNS)
def test_a_secret_changes_in_the_middle_of_a_run(aws: None, service: str) -> None:
    arn, now = store(service, TOKEN), time.monotonic()
    access = SecretTokens(partial(read_tokens, arn), lambda: now)
    client = boto3.client(service, region_name=REGION)

    def admits(token: str) -> bool:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        return asyncio.run(access.admits({"headers": headers}))

    assert admits(TOKEN) and not admits(OTHER)
    if service == "ssm":
        name = {"Name": "/infernet/bearer", "Type": "SecureString", "Overwrite": True}
        client.put_parameter(**name, Value=f"{OTHER},{TOKEN}")
    else:
        client.put_secret_value(SecretId=arn, SecretString=json.dumps([OTHER, TOKEN]))
    assert not admits(OTHER), "not more often than every 10 s"
    now += 10
    assert admits(OTHER) and admits(TOKEN)
    if service == "ssm":
        client.delete_parameter(Name="/infernet/bearer")
    else:
        client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    now += 300
    assert admits(OTHER) and admits(TOKEN), "what is known is kept"


def test_the_settings_lead_to_the_secret(aws: None, settings_of: Read) -> None:
    arn = store("secretsmanager", TOKEN)
    access = create_access(settings_of(INFERNET_BEARER_SECRET_ARN=arn))
    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    assert asyncio.run(access.admits({"headers": headers}))


@pytest.mark.parametrize("service", ARNS)
@pytest.mark.parametrize("text", ["hf_abc", " hf_abc\n", '{"token": "hf_abc"}', '"hf_abc"'])
def test_the_hub_s_token_may_be_secret_too(
    aws: None, settings_of: Read, service: str, text: str
) -> None:
    arn = store(service, text)
    assert token_of(settings_of(HUGGING_FACE_HUB_TOKEN_SECRET_ARN=arn)) == "hf_abc"


@pytest.mark.parametrize("text", ["[]", "{}", '{"tokens": ["x"]}', '{"token": 1}', '{"token": ""}'])
def test_a_malformed_hub_token(aws: None, settings_of: Read, text: str) -> None:
    settings = settings_of(HUGGING_FACE_HUB_TOKEN_SECRET_ARN=store("secretsmanager", text))
    with pytest.raises(SecretError, match="HUGGING_FACE_HUB_TOKEN_SECRET_ARN: the secret does not"):
        token_of(settings)


def test_the_hub_s_token_from_the_environment(settings_of: Read) -> None:
    assert token_of(settings_of()) is None
    assert token_of(settings_of(HF_TOKEN="hf_abc")) == "hf_abc"
