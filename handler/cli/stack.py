"""A deployed stack, through CloudFormation, and the function in it, through Lambda."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from handler.cli.report import Failed
from handler.secret import read, tokens_in

# More than the 170 s that the template lets an invocation take.
INVOCATION_SECONDS = 180
# A load that outlives an invocation goes on in the next one.
LOADS = 5
# A role of the stack, and SAM's transform of a template with nested ones.
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


class Stack(NamedTuple):
    """A stack of this project's template."""

    name: str
    parameters: dict[str, str]
    outputs: dict[str, str]

    def output(self, name: str) -> str:
        """The value of an output.

        Raises:
            Failed: the stack has none of that name.
        """
        if name not in self.outputs:
            raise Failed(
                f"stack {self.name} has no output {name}: is it one of this project, deployed to "
                "its end?"
            )
        return self.outputs[name]


def find(name: str) -> Stack:
    """The stack of that name in the account and region that the AWS credentials lead to.

    Raises:
        Failed: there is none, or it cannot be read.
    """
    with _failures(name):
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return Stack(
        name,
        {p["ParameterKey"]: p["ParameterValue"] for p in found.get("Parameters", [])},
        {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])},
    )


def door(name: str) -> tuple[str, str | None]:
    """The URL of a stack's service and the first of its tokens, if it has any.

    Raises:
        Failed: the stack, its output or its secret cannot be read.
        SecretError: the secret cannot be read; says what to change.
    """
    stack = find(name)
    url, secret = stack.output("ServiceUrl"), stack.outputs.get("BearerSecretArn")
    if secret is None:
        return url, None
    try:
        return url, tokens_in(read(secret, "BearerSecretArn"))[0]
    except ValueError as error:
        raise Failed(f"BearerSecretArn: the secret does not fit: {error}") from None


def update(stack: Stack, changes: dict[str, str]) -> None:
    """Changes parameters of a stack, and returns when CloudFormation is done.

    Raises:
        Failed: it refused, or took the change back; says why.
    """
    parameters = [
        {"ParameterKey": name, "ParameterValue": changes[name]}
        if name in changes
        else {"ParameterKey": name, "UsePreviousValue": True}
        for name in stack.parameters
    ]
    with _failures(stack.name):
        client = boto3.client("cloudformation")
        client.update_stack(
            StackName=stack.name,
            UsePreviousTemplate=True,
            Parameters=parameters,
            Capabilities=CAPABILITIES,
        )
        try:
            client.get_waiter("stack_update_complete").wait(
                StackName=stack.name, WaiterConfig={"Delay": 5, "MaxAttempts": 360}
            )
        except WaiterError as error:
            raise Failed(f"stack {stack.name}: {_reason(client, stack) or error}") from None


def load(stack: Stack) -> dict[str, Any]:
    """Has a stack's function load its model, by a direct invocation of the alias that it serves.

    Returns:
        ``class``, ``model``, ``digest`` and ``cold_start``, the ledger of the load.

    Raises:
        Failed: it does not load, or the function cannot be invoked; says why.
    """
    for _ in range(LOADS):
        answer = _invoke(stack)
        if answer.get("code") != "504":
            break
    if "code" in answer:
        raise Failed(f"error {answer['code']}: {answer.get('description', '')}")
    if not answer.keys() >= {"model", "digest", "cold_start"}:
        raise Failed(f"the function answered nothing of a model: is {stack.name} of this version?")
    return answer


def _invoke(stack: Stack) -> dict[str, Any]:
    config = Config(read_timeout=INVOCATION_SECONDS, retries={"total_max_attempts": 1})
    with _failures(stack.name):
        answer = boto3.client("lambda", config=config).invoke(
            FunctionName=stack.output("FunctionName"),
            Qualifier=stack.output("AliasName"),
            Payload=json.dumps({"warmer": True, "load": True}).encode(),
        )
        payload = json.loads(answer["Payload"].read())
    if not isinstance(payload, dict):
        raise Failed("the function answered no object")
    if "FunctionError" in answer:
        problem = payload.get("errorMessage") or payload.get("errorType")
        raise Failed(f"the function failed: {problem}; see {stack.outputs.get('LogGroupName')}")
    return payload


def _reason(client: Any, stack: Stack) -> str | None:
    """Why CloudFormation took the latest update back: what failed first, not what followed."""
    failures = []
    for event in client.describe_stack_events(StackName=stack.name)["StackEvents"]:
        if event["ResourceStatus"].endswith("_FAILED"):
            why = event.get("ResourceStatusReason", "")
            failures.append(f"{event['LogicalResourceId']}: {why}")
        elif (event["ResourceStatus"], event.get("LogicalResourceId")) == (
            "UPDATE_IN_PROGRESS",
            stack.name,
        ):
            break
    return failures[-1] if failures else None


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Turns an error of AWS's client into one that a command reports."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Failed(f"stack {name}: {error}") from None
