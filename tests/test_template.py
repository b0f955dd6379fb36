"""The template as CloudFormation would see it, by SAM's own translator."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from handler.settings import Runtime, Settings

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / ".venv-tools" / "bin" / "python"
TRANSLATE = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(open(sys.argv[1]))
template["Resources"]["ServiceFunction"]["Properties"]["ImageUri"] = "1.dkr/image:1"
parameters = {name: str(p["Default"]) for name, p in template["Parameters"].items()}
raw = template["Parameters"]
print(json.dumps({"raw": raw, "translated": transform(template, parameters, None)}))
"""

pytestmark = pytest.mark.skipif(not TOOLS.exists(), reason="no .venv-tools: run make setup")


@cache
def template() -> Any:
    process = subprocess.run(
        [TOOLS, "-c", TRANSLATE, ROOT / "template.yaml"],
        env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def resources(kind: str) -> list[dict[str, Any]]:
    found = template()["translated"]["Resources"].values()
    return [resource for resource in found if resource["Type"] == kind]


def test_the_function_url_is_open_to_nodes_which_cannot_sign() -> None:
    (url,) = resources("AWS::Lambda::Url")
    assert url["Properties"]["AuthType"] == "NONE"
    assert url["Properties"]["InvokeMode"] == "BUFFERED"
    assert "Cors" not in url["Properties"] and "Condition" not in url
    public = [
        permission["Properties"]
        for permission in resources("AWS::Lambda::Permission")
        if permission["Properties"]["Principal"] == "*"
    ]
    assert {permission["Action"] for permission in public} == {
        "lambda:InvokeFunctionUrl",
        "lambda:InvokeFunction",
    }


def test_there_is_no_second_door_when_deployed() -> None:
    assert template()["translated"]["Conditions"]["OnSamLocal"] == {
        "Fn::Equals": [{"Ref": "AWS::AccountId"}, "123456789012"]
    }
    gateways = [
        resource
        for resource in template()["translated"]["Resources"].values()
        if resource["Type"].startswith(("AWS::ApiGateway", "AWS::ElasticLoadBalancing"))
    ]
    assert gateways and all(gateway["Condition"] == "OnSamLocal" for gateway in gateways)
    for permission in resources("AWS::Lambda::Permission"):
        assert permission["Properties"]["Principal"] == "*", "none for an API that is not there"


def test_the_function() -> None:
    (function,) = resources("AWS::Lambda::Function")
    properties = function["Properties"]
    assert properties["PackageType"] == "Image"
    parameters = template()["raw"]
    assert properties["Architectures"] == [{"Ref": "Architecture"}]
    assert properties["MemorySize"] == {"Ref": "MemorySize"}
    assert properties["Timeout"] == {"Ref": "Timeout"}
    assert parameters["Timeout"]["MaxValue"] == 170, "a node gives a job up after 180 s"
    assert parameters["Architecture"]["AllowedValues"] == ["x86_64", "arm64"]


def test_the_variables_are_those_that_the_settings_read() -> None:
    (function,) = resources("AWS::Lambda::Function")
    variables = set(function["Properties"]["Environment"]["Variables"])
    known = {
        name
        for field, info in Settings.model_fields.items()
        if field not in Runtime.model_fields
        for name in getattr(info.validation_alias, "choices", [])
    }
    assert variables <= known
    assert variables >= {
        "CLASSIC_INF_WORKFLOW_CLASS",
        "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS",
        "CLASSIC_INF_WORKFLOW_KW_ARGS",
        "HUGGING_FACE_HUB_TOKEN_SECRET_ARN",
        "INFERNET_BEARER_SECRET_ARN",
        "TORCH_MODEL_FILE_NAME",
        "USE_JIT",
    }


BEARER_ARN = {"Fn::If": ["MakesBearerSecret", {"Ref": "BearerSecret"}, {"Ref": "BearerSecretArn"}]}


def test_the_function_is_locked_by_a_secret_of_the_stack_or_of_the_operator() -> None:
    (secret,) = resources("AWS::SecretsManager::Secret")
    assert secret["Condition"] == "MakesBearerSecret"
    generated = secret["Properties"]["GenerateSecretString"]
    assert generated == {"PasswordLength": 48, "ExcludePunctuation": True}
    assert template()["translated"]["Conditions"]["MakesBearerSecret"] == {
        "Fn::Equals": [{"Ref": "BearerSecretArn"}, ""]
    }
    (function,) = resources("AWS::Lambda::Function")
    variables = function["Properties"]["Environment"]["Variables"]
    assert variables["INFERNET_BEARER_SECRET_ARN"] == BEARER_ARN
    assert template()["translated"]["Outputs"]["BearerSecretArn"]["Value"] == BEARER_ARN


def test_no_secret_is_a_parameter_or_a_variable() -> None:
    (function,) = resources("AWS::Lambda::Function")
    variables = set(function["Properties"]["Environment"]["Variables"])
    direct = {"HUGGING_FACE_HUB_TOKEN", "HF_TOKEN", "INFERNET_BEARER_TOKENS", "INFERNET_AUTH"}
    assert not variables & direct
    assert not any(parameter.get("NoEcho") for parameter in template()["raw"].values())


def test_the_role_may_read_these_secrets_and_nothing_else() -> None:
    (role,) = resources("AWS::IAM::Role")
    (policy,) = role["Properties"]["Policies"]
    bearer, hub = policy["PolicyDocument"]["Statement"]
    actions = ["secretsmanager:GetSecretValue", "ssm:GetParameter"]
    assert bearer == {"Effect": "Allow", "Action": actions, "Resource": BEARER_ARN}
    condition, allowed, otherwise = hub["Fn::If"]
    assert (condition, otherwise) == ("HasHubTokenSecret", {"Ref": "AWS::NoValue"})
    assert allowed["Resource"] == {"Ref": "HuggingFaceHubTokenSecretArn"}
    assert allowed["Action"] == actions


def test_the_printed_url_has_no_slash_at_its_end() -> None:
    output = template()["translated"]["Outputs"]["ServiceUrl"]["Value"]
    separator, (scheme, host) = output["Fn::Join"]
    index, split = host["Fn::Select"]
    slash, _ = split["Fn::Split"]
    url = "https://abc.lambda-url.us-east-1.on.aws/"
    assert separator.join([scheme, url.split(slash)[index]]) == url.rstrip("/")
