"""An AWS account in which the template is deployed: moto's services, and the real Lambda runtime.

moto's CloudFormation makes the resources that it knows. The others are made from their resolved
properties through the APIs of moto's services. An invocation runs this checkout, under AWS's
runtime emulator, with the environment of the version that the alias leads to.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.awslambda.models import LambdaFunction
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.parsing import get_model_map

from handler.testing import LambdaEmulator
from tests.cloudformation import Stack, translations

# What moto's CloudFormation knows, but not as this template needs it: outputs of nested stacks, and
# versions and permissions of an alias.
BY_HAND = {"AWS::CloudFormation::Stack", "AWS::Lambda::Version", "AWS::Lambda::Permission"}

ARN = "arn:aws:elasticfilesystem:${AWS::Region}:${AWS::AccountId}"


def _key(reference: Mapping[str, Any]) -> str:
    return json.dumps(reference)


# Attributes that moto's CloudFormation lacks, by how templates refer to them.
ATTRIBUTES = {
    _key({"Fn::GetAtt": ["AccessPoint", "Arn"]}): {"Fn::Sub": ARN + ":access-point/${AccessPoint}"},
    _key({"Fn::GetAtt": ["FileSystem", "Arn"]}): {"Fn::Sub": ARN + ":file-system/${FileSystem}"},
}


class Cloud:
    """The account.

    Args:
        emulator: the program that invocations run under.
        environment: where the service finds AWS, beside the variables of its template.
        log: the file that the service writes to.
        patch: undoes what is changed in moto.
    """

    def __init__(
        self,
        emulator: Path,
        environment: Mapping[str, str],
        log: Path,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.emulator = emulator
        self.environment = environment
        self.log = log
        self.stacks: dict[str, Stack] = {}
        self.published: dict[str, str] = {}
        cloud, update_stack = self, CloudFormationBackend.update_stack

        def invoke(function: Any, body: Any, _: Any, response_headers: Any) -> bytes:
            answer = cloud.run(function.environment_vars, json.loads(body))
            if "errorType" in answer:
                response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps(answer).encode()

        def update(backend: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            updated = update_stack(backend, name, *args, **kwargs)
            cloud.apply(name)
            cloud.publish(name)
            return updated

        patch.setattr(LambdaFunction, "invoke", invoke)
        patch.setattr(CloudFormationBackend, "update_stack", update)

    def run(self, variables: Mapping[str, str], event: Any) -> Any:
        """What the service answers to an event, in a fresh environment."""
        # moto keeps the numbers of a template, which are strings in an environment.
        given = {name: str(value) for name, value in variables.items()}
        environment = {**given, **self.environment}
        with (
            tempfile.TemporaryDirectory() as disk,
            self.log.open("ab") as output,
            LambdaEmulator(
                self.emulator, {**environment, "MODEL_CACHE_DIR": disk}, log=output
            ) as service,
        ):
            return service.invoke(event)

    def deploy(self, name: str, **parameters: str) -> Stack:
        """Makes a stack of the template; the function's name is ``iris``, as in the resolver."""
        found = translations(parameters)
        template = found["translated"][0]
        stack = self.stacks[name] = Stack(template, parameters, found["nested"])
        made = self._secret(stack) | self._nested(name, stack)
        given = _parameters(stack.parameters)
        client = boto3.client("cloudformation")
        supported = _supported(template, made)
        first = {key: value for key, value in supported.items() if key != "Outputs"}
        client.create_stack(StackName=name, TemplateBody=json.dumps(first), Parameters=given)
        self.publish(name)
        outputs = {**supported["Outputs"], "ServiceUrl": {"Value": self._door(stack)}}
        body = json.dumps({**supported, "Outputs": outputs})
        client.update_stack(StackName=name, TemplateBody=body, Parameters=given)
        return stack

    def _secret(self, stack: Stack) -> dict[str, str]:
        """Makes the secret, if the stack has one; its ARN, by how templates refer to it."""
        client = boto3.client("secretsmanager")
        made = {}
        for logical_id, secret in stack.of("AWS::SecretsManager::Secret").items():
            token = client.get_random_password(**secret["GenerateSecretString"])["RandomPassword"]
            described = {key: secret[key] for key in ("Description", "Tags")}
            found = client.create_secret(Name=logical_id, SecretString=token, **described)
            made[_key({"Ref": logical_id})] = found["ARN"]
        return made

    def _nested(self, name: str, stack: Stack) -> dict[str, str]:
        """Makes the nested stacks; their outputs, by how the template refers to them."""
        client = boto3.client("cloudformation")
        made = {}
        for logical_id in stack.of("AWS::CloudFormation::Stack"):
            child, child_name = stack.child(logical_id), f"{name}-{logical_id}"
            body = json.dumps(_supported(child.template, ATTRIBUTES))
            given = _parameters(child.parameters)
            client.create_stack(StackName=child_name, TemplateBody=body, Parameters=given)
            (found,) = client.describe_stacks(StackName=child_name)["Stacks"]
            for output in found["Outputs"]:
                key = {"Fn::GetAtt": [logical_id, f"Outputs.{output['OutputKey']}"]}
                made[_key(key)] = output["OutputValue"]
            for alarm_id, alarm in child.of("AWS::CloudWatch::Alarm").items():
                boto3.client("cloudwatch").put_metric_alarm(AlarmName=alarm_id, **alarm)
        return made

    def apply(self, name: str) -> None:
        """Gives the resources what changed parameters make of them, which moto does not."""
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        given = {p["ParameterKey"]: p["ParameterValue"] for p in found["Parameters"]}
        before = self.stacks[name]
        after = self.stacks[name] = Stack(before.template, given, before.nested)
        settings = [stack.of("AWS::EC2::LaunchTemplate") for stack in (before, after)]
        if settings[0] != settings[1]:
            (template,) = boto3.client("ec2").describe_launch_templates()["LaunchTemplates"]
            boto3.client("ec2").create_launch_template_version(
                LaunchTemplateId=template["LaunchTemplateId"],
                LaunchTemplateData=settings[1]["Settings"]["LaunchTemplateData"],
            )
        (function,) = after.of("AWS::Lambda::Function").values()
        client = boto3.client("lambda")
        current = client.get_function_configuration(FunctionName="iris")["Environment"]["Variables"]
        told = function["Environment"]["Variables"].items()
        variables = {key: current[key] if value.startswith("<") else value for key, value in told}
        client.update_function_configuration(
            FunctionName="iris", Environment={"Variables": variables}
        )

    def publish(self, name: str) -> None:
        """Publishes a version and moves the alias, if the version's description says something new.

        As CloudFormation does: a version with another description replaces the one before.
        """
        (settings,) = boto3.client("ec2").describe_launch_templates()["LaunchTemplates"]
        (version,) = self.stacks[name].of("AWS::Lambda::Version").values()
        description = version["Description"].replace(
            "<Settings.LatestVersionNumber>", str(settings["LatestVersionNumber"])
        )
        if description == self.published.get(name):
            return
        client = boto3.client("lambda")
        number = client.publish_version(FunctionName="iris", Description=description)["Version"]
        change = client.update_alias if name in self.published else client.create_alias
        (alias,) = self.stacks[name].of("AWS::Lambda::Alias").values()
        change(FunctionName="iris", Name=alias["Name"], FunctionVersion=number)
        self.published[name] = description

    def _door(self, stack: Stack) -> str:
        """Makes the URL and its permissions; gives the URL as the template's output has it."""
        client = boto3.client("lambda")
        (url,) = stack.of("AWS::Lambda::Url").values()
        made = client.create_function_url_config(
            FunctionName="iris",
            Qualifier="live",
            AuthType=url["AuthType"],
            InvokeMode=url["InvokeMode"],
        )
        for statement, permission in stack.of("AWS::Lambda::Permission").items():
            client.add_permission(
                FunctionName="iris",
                Qualifier="live",
                StatementId=statement,
                **{key: permission[key] for key in ("Action", "Principal")},
            )
        return str(made["FunctionUrl"]).rstrip("/")


def _parameters(given: Mapping[str, str | list[str]]) -> list[dict[str, str]]:
    texts = {name: ",".join(v) if isinstance(v, list) else v for name, v in given.items()}
    return [{"ParameterKey": name, "ParameterValue": text} for name, text in texts.items()]


def _supported(template: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """What moto's CloudFormation knows of a template, with what was made before in its place."""
    known = set(get_model_map()) - BY_HAND
    resources = template["Resources"].items()
    kept = {key: value for key, value in template.items() if key not in ("Rules", "Transform")}
    kept["Resources"] = {name: r for name, r in resources if r["Type"] in known}

    def replaced(node: Any) -> Any:
        if isinstance(node, list):
            return [replaced(item) for item in node]
        if not isinstance(node, dict):
            return node
        if (key := _key(node)) in made:
            return made[key]
        return {name: replaced(item) for name, item in node.items()}

    found: dict[str, Any] = replaced(kept)
    return found
