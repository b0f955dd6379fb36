"""A deployment without AWS: the template in an account of moto's, and the commands for it."""

import ast
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.cloudformation.models import CloudFormationBackend
from onnx import TensorProto, helper
from typer.testing import CliRunner

from handler.cli.commands import app
from handler.models.lock import LockedModel, ModelLock
from handler.testing import function_url_event
from tests import processes
from tests.integration.cloud import Cloud
from tests.servers import aws_server, credentials

pytestmark = [pytest.mark.integration]

Models = Callable[[str, str], str]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def cloud(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    program = processes.emulator()
    if program is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")
    # The commands meet moto in this process; the service, in another, a server of the same moto.
    with mock_aws(), aws_server() as endpoint:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield Cloud(program, credentials(endpoint), log, monkeypatch)


@pytest.fixture
def upload(cloud: Cloud) -> Models:
    """Puts a model that applies an operator to its input into the bucket; gives its digest."""
    boto3.client("s3").create_bucket(Bucket="weights")

    def upload(key: str, operator: str) -> str:
        x, y = (helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["n", 2]) for n in "xy")
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [x], [y])
        opset = [helper.make_opsetid("", 17)]
        content = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
        boto3.client("s3").put_object(Bucket="weights", Key=key, Body=content)
        return sha256(content).hexdigest()

    return upload


@pytest.fixture
def stack(cloud: Cloud, upload: Models) -> str:
    """A stack that serves weights/one.onnx."""
    upload("one.onnx", "Neg")
    cloud.deploy("iris", Model="s3://weights/one.onnx", ModelBucket="weights")
    return "iris"


def parameters_of(name: str) -> dict[str, str]:
    (found,) = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return {p["ParameterKey"]: p["ParameterValue"] for p in found["Parameters"]}


def version() -> str:
    """The version that the alias leads to."""
    found = boto3.client("lambda").get_alias(FunctionName="iris", Name="live")
    return str(found["FunctionVersion"])


def predicted(cloud: Cloud, token: str) -> Any:
    """What the service behind the alias answers to two numbers."""
    variables = boto3.client("lambda").get_function_configuration(
        FunctionName="iris", Qualifier="live"
    )["Environment"]["Variables"]
    body = json.dumps({"source": 1, "data": {"dtype": "double", "values": [[1, 2]]}})
    event = function_url_event(body=body, headers={"Authorization": f"Bearer {token}"})
    answer = cloud.run(variables, event)
    return json.loads(answer["body"]).get("values", answer["statusCode"])


def test_warm_shows_the_ledger_or_why_there_is_none(cloud: Cloud, stack: str) -> None:
    shown = run("warm", "--stack", stack)
    assert shown.exit_code == 0, shown.output
    facts = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert facts["model"] == "s3://weights/one.onnx" and facts["digest"].startswith("sha256=")
    assert float(facts["load_ms"]) >= 0 and float(facts["download_bytes"]) > 0
    script = json.loads(run("warm", "--stack", stack, "--json").stdout)
    assert script["workflow"] == "ready" and script["cold_start"]["total_ms"] > 0

    boto3.client("s3").delete_object(Bucket="weights", Key="one.onnx")
    failed = run("warm", "--stack", stack)
    assert failed.exit_code == 1 and failed.stdout == ""
    assert "error 503" in failed.stderr and "no such object" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_model_that_does_not_load_ahead_of_traffic_fails_the_function(
    cloud: Cloud, stack: str
) -> None:
    boto3.client("s3").delete_object(Bucket="weights", Key="one.onnx")
    cloud.environment = {**cloud.environment, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    failed = run("warm", "--stack", stack)
    assert failed.exit_code == 1 and "the function failed" in failed.stderr
    assert "/aws/lambda/iris" in failed.stderr


def test_a_new_model_takes_the_place_of_the_old(
    cloud: Cloud, stack: str, upload: Models, tmp_path: Path
) -> None:
    digest, before = upload("two.onnx", "Identity"), version()
    reference = "s3://weights/two.onnx"
    entry = LockedModel(
        reference=reference, resolved=reference, size=1, sha256=digest, format="onnx"
    )
    lock = tmp_path / "model.lock"
    lock.write_text(ModelLock(models=(entry,)).model_dump_json())
    result = run("set-model", "--stack", stack, reference, "--lock", str(lock))
    assert result.exit_code == 0, result.output
    old, new = (line.split("sha256=")[1] for line in result.stdout.splitlines())
    assert new.startswith(digest) and not old.startswith(digest)
    assert "a deployment takes it back" in result.stderr
    assert parameters_of(stack)["Model"] == f"{reference}#sha256={digest}"
    assert version() != before, "the alias has left the version of the old model"

    again = run("set-model", "--stack", stack, f"{reference}#sha256={digest}", "--json")
    assert again.exit_code == 0, "what is there already is not updated, only loaded"
    assert json.loads(again.stdout)["digest"].startswith(f"sha256={digest}")


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("s3://weights/none.onnx", "no such object"),
        (f"s3://weights/one.onnx#sha256={'0' * 64}", "sha256"),
        ("/opt/models/none.onnx", "no such file"),
    ],
)
def test_a_model_that_does_not_load_is_taken_back(
    cloud: Cloud, stack: str, model: str, problem: str
) -> None:
    before = parameters_of(stack)
    result = run("set-model", "--stack", stack, model)
    assert result.exit_code == 1 and result.stdout == ""
    assert problem in result.stderr and "rolled back" in result.stderr
    assert parameters_of(stack) == before
    assert json.loads(run("warm", "--stack", stack, "--json").stdout)["workflow"] == "ready"


def test_other_arguments_of_the_workflow_stay(cloud: Cloud, upload: Models) -> None:
    upload("one.onnx", "Neg"), upload("two.onnx", "Identity")
    kwargs = json.dumps({"model": "s3://weights/one.onnx", "unknown": 1})
    cloud.deploy("iris", WorkflowKwArgs=kwargs, ModelBucket="weights")
    result = run("set-model", "--stack", "iris", "s3://weights/two.onnx")
    assert result.exit_code == 1, "an argument that the workflow refuses is not dropped"
    assert "unknown" in result.stderr and "rolled back" in result.stderr
    assert parameters_of("iris")["WorkflowKwArgs"] == kwargs


def test_what_set_model_cannot_do_is_one_line(cloud: Cloud, stack: str, tmp_path: Path) -> None:
    boto3.client("cloudformation").create_stack(
        StackName="other",
        TemplateBody=json.dumps({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}),
    )
    empty = tmp_path / "model.lock"
    empty.write_text(ModelLock().model_dump_json())
    for arguments, problem in [
        (["--stack", "missing", "/m.onnx"], "does not exist"),
        (["--stack", "other", "/m.onnx"], "lacks the parameters"),
        (["--stack", stack, "/m.onnx", "--lock", str(empty)], "not in CLASSIC_INF_MODEL_LOCK"),
    ]:
        result = run("set-model", *arguments)
        assert result.exit_code == 1 and result.stdout == ""
        assert problem in result.stderr and len(result.stderr.splitlines()) == 1
    assert run("set-model", "--stack", stack, "ftp://m").exit_code == 2


def test_what_cloudformation_takes_back_is_explained(
    cloud: Cloud, stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "Resource handler returned: no quota"

    def fail(backend: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        found = backend.get_stack(name)
        found._add_stack_event("UPDATE_IN_PROGRESS", resource_status_reason="User Initiated")
        for what, why in [("ServiceFunction", reason), ("Settings", "Resource update cancelled")]:
            found._add_stack_event("UPDATE_FAILED", why)
            found.events[-1].logical_resource_id = what
        found.status = "UPDATE_ROLLBACK_COMPLETE"
        found._add_stack_event("UPDATE_ROLLBACK_COMPLETE")
        return found

    monkeypatch.setattr(CloudFormationBackend, "update_stack", fail)
    result = run("set-model", "--stack", stack, "s3://weights/two.onnx")
    assert result.exit_code == 1 and f"ServiceFunction: {reason}" in result.stderr


def test_a_node_is_configured_and_its_token_opens_the_door(cloud: Cloud, stack: str) -> None:
    (container,) = json.loads(run("node-config", "--stack", stack).stdout)["containers"]
    url = boto3.client("lambda").get_function_url_config(FunctionName="iris", Qualifier="live")
    assert container["url"] == url["FunctionUrl"].rstrip("/") and url["AuthType"] == "NONE"
    assert container["id"] == "iris" and len(container["bearer"]) == 48
    assert predicted(cloud, container["bearer"]) == [[-1, -2]]
    assert predicted(cloud, "another-token-of-nobody") == 401
    assert container["bearer"] not in cloud.log.read_text()


def test_what_the_stacks_make(cloud: Cloud) -> None:
    """The types that moto's CloudFormation implements, made by it from our templates."""
    cloud.deploy("iris", StorageProfile="efs", ReservedConcurrency="-1")
    (system,) = boto3.client("efs").describe_file_systems()["FileSystems"]
    assert system["Encrypted"] and system["ThroughputMode"] == "elastic"
    (point,) = boto3.client("efs").describe_access_points()["AccessPoints"]
    assert point["PosixUser"] == {"Uid": 65532, "Gid": 65532}
    targets = boto3.client("efs").describe_mount_targets(FileSystemId=system["FileSystemId"])
    assert len(targets["MountTargets"]) == 2
    endpoints = boto3.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    assert {endpoint["VpcEndpointType"] for endpoint in endpoints} == {"Interface", "Gateway"}
    made = boto3.client("lambda").get_function_configuration(FunctionName="iris")
    assert set(made["VpcConfig"]["SubnetIds"]) == {t["SubnetId"] for t in targets["MountTargets"]}
    assert made["Environment"]["Variables"]["MODEL_CACHE_DIR"] == "/mnt/efs/models"
    (group,) = boto3.client("logs").describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("/aws/lambda/iris", 30)
    dashboards = boto3.client("cloudwatch").list_dashboards()["DashboardEntries"]
    assert [dashboard["DashboardName"] for dashboard in dashboards] == ["iris"]
    alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert len(alarms) == 5
    (role,) = boto3.client("iam").list_roles()["Roles"]
    assert made["Role"] == role["Arn"]
    assert {resource_of(role["RoleName"], "elasticfilesystem:ClientMount")} == {
        system["FileSystemArn"]
    }


def resource_of(role: str, action: str) -> str:
    """What a role may do something with."""
    policy = boto3.client("iam").get_role_policy(RoleName=role, PolicyName="service")
    (found,) = (
        statement["Resource"]
        for statement in ast.literal_eval(str(policy["PolicyDocument"]))["Statement"]
        if statement and action in statement["Action"]
    )
    return str(found)
