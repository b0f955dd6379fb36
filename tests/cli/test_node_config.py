"""The part of a node's configuration, from arguments or from a stack."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from handler.cli.commands import app

URL = "https://abc.lambda-url.us-east-1.on.aws"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["node-config", *arguments])


@pytest.mark.parametrize("suffix", ["", "/", "//", "/service_output", "/service_output/"])
def test_the_block_has_the_url_without_its_slash(suffix: str) -> None:
    result = run("--url", URL + suffix, "--bearer", "a-token", "--id", "iris")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "manage_containers": False,
        "containers": [
            {
                "id": "iris",
                "image": "infernet-lambda",
                "url": URL,
                "bearer": "a-token",
                "external": True,
            }
        ],
    }
    assert "manage_containers" in result.stderr and "chmod 600" in result.stderr
    assert "a-token" not in result.stderr


def test_the_token_need_not_be_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERNET_BEARER_TOKEN", "a-token")
    result = run("--url", URL, "--id", "iris")
    assert json.loads(result.stdout)["containers"][0]["bearer"] == "a-token"


def test_without_a_bearer_there_is_none() -> None:
    result = run("--url", URL, "--id", "iris")
    assert "bearer" not in json.loads(result.stdout)["containers"][0]
    assert "give --bearer" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--id", "iris"],
        ["--url", URL],
        ["--url", URL, "--stack", "s", "--id", "iris"],
        ["--url", "abc.on.aws", "--id", "iris"],
        ["--url", "ftp://abc", "--id", "iris"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and result.stderr


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def deploy(name: str, **outputs: str) -> None:
    template = {
        "Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    client = boto3.client("cloudformation")
    client.create_stack(StackName=name, TemplateBody=json.dumps(template))


@pytest.mark.parametrize(
    "secret", ["the-token", '["the-token", "older"]', '{"tokens": ["the-token"]}']
)
def test_a_stack_knows_its_url_and_its_token(aws: None, secret: str) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="s", SecretString=secret)["ARN"]
    deploy("iris", ServiceUrl=URL + "/", BearerSecretArn=arn)
    result = run("--stack", "iris")
    assert result.exit_code == 0, result.output
    (container,) = json.loads(result.stdout)["containers"]
    assert (container["id"], container["url"]) == ("iris", URL)
    assert container["bearer"] == "the-token"
    (container,) = json.loads(run("--stack", "iris", "--id", "other").stdout)["containers"]
    assert container["id"] == "other"


def test_a_stack_without_a_secret_has_no_bearer(aws: None) -> None:
    deploy("open", ServiceUrl=URL)
    assert "bearer" not in json.loads(run("--stack", "open").stdout)["containers"][0]


def test_what_a_stack_lacks_is_one_line(aws: None) -> None:
    deploy("other", Something="x")
    arn = boto3.client("secretsmanager").create_secret(Name="s", SecretString="{}")["ARN"]
    deploy("blank", ServiceUrl=URL, BearerSecretArn=arn)
    deploy("gone", ServiceUrl=URL, BearerSecretArn=arn + "x")
    for name, problem in [
        ("other", "no output ServiceUrl"),
        ("blank", "there is no token in it"),
        ("gone", "no such secret"),
        ("missing", "does not exist"),
    ]:
        result = run("--stack", name)
        assert result.exit_code == 1 and result.stdout == ""
        assert problem in result.stderr and len(result.stderr.splitlines()) == 1
