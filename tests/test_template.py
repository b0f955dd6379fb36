"""The templates as data: every profile, translated by SAM and resolved as CloudFormation would."""

import base64
import itertools
import json
import re
from functools import cache
from typing import Any

import pytest

from handler.settings import variables
from handler.telemetry import METRICS, NAMESPACE
from tests.cloudformation import IMAGE, TOOLS, URL, Stack, declared, deployed, translations

pytestmark = pytest.mark.skipif(not TOOLS.exists(), reason="no .venv-tools: run make setup")

VPC = {"VpcId": "vpc-1a", "SubnetA": "subnet-1a"}
GIVEN = {**VPC, "SubnetB": "subnet-2b", "RouteTableIds": "rtb-1a,rtb-2b"}
STORAGE, START = ("image", "tmp", "efs"), ("on-demand", "snapstart", "provisioned")
PROFILES = {
    f"{storage}, {start}": {
        "StorageProfile": storage,
        "StartProfile": start,
        "ProvisionedConcurrency": "2" if start == "provisioned" else "0",
    }
    for storage, start in itertools.product(STORAGE, START)
    if (storage, start) != ("efs", "snapstart")
}
NETWORKS = {
    "efs with NAT": {"StorageProfile": "efs", "NatGateway": "yes"},
    "efs in a given VPC": {"StorageProfile": "efs", **GIVEN},
    "efs in one given subnet": {"StorageProfile": "efs", **VPC, "VpcEndpoints": "existing"},
}
HUB = "arn:aws:secretsmanager:us-east-1:111122223333:secret:hub"
BEARER = "arn:aws:ssm:us-east-1:111122223333:parameter/tokens"
OPTIONS = {
    "everything": {
        "Model": "s3://weights/iris.onnx",
        "ModelBucket": "weights",
        "ModelPrefix": "iris",
        "BearerSecretArn": BEARER,
        "HuggingFaceHubTokenSecretArn": HUB,
        "SecretsKmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1",
        "PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/boundary",
        "AlarmEmail": "operator@example.org",
        "LogLevel": "WARNING",
        "EphemeralStorage": "2048",
        "Architecture": "arm64",
        "ReservedConcurrency": "-1",
    },
    "arguments": {"WorkflowKwArgs": '{"model": "/opt/models/m.onnx", "method": "predict"}'},
    "stopped": {"ReservedConcurrency": "0"},
}
ALLOWED = {**PROFILES, **NETWORKS, **OPTIONS}
FORBIDDEN = [
    ({"StartProfile": "snapstart", "StorageProfile": "efs"}, "SnapStart excludes EFS"),
    ({"StartProfile": "snapstart", "EphemeralStorage": "1024"}, "ephemeral storage above 512"),
    ({"StartProfile": "snapstart", "ProvisionedConcurrency": "1"}, "excludes provisioned"),
    ({"StartProfile": "provisioned"}, "how many environments"),
    (
        {
            "StartProfile": "provisioned",
            "ProvisionedConcurrency": "1",
            "ReservedConcurrency": "0",
        },
        "stops the service",
    ),
    ({"ProvisionedConcurrency": "1"}, "needs StartProfile provisioned"),
    ({"Model": "/opt/models/m", "WorkflowKwArgs": "{}"}, "not both"),
    ({"Model": "/opt/models/m", "WorkflowPositionalArgs": "[]"}, "not both"),
    ({"StorageProfile": "image", "ModelBucket": "weights"}, "nothing is fetched"),
    ({"StorageProfile": "image", "HuggingFaceHubTokenSecretArn": HUB}, "nothing is fetched"),
    (GIVEN, "Only StorageProfile efs"),
    ({"StorageProfile": "image", "NatGateway": "yes"}, "Only StorageProfile efs"),
    ({"StorageProfile": "efs", "VpcId": "vpc-1a"}, "at least SubnetA"),
    ({"StorageProfile": "efs", **VPC}, "needs RouteTableIds"),
    ({"StorageProfile": "efs", **GIVEN, "NatGateway": "yes"}, "only made in a VPC"),
    ({"StorageProfile": "efs", "SubnetA": "subnet-1a"}, "for a VpcId of yours"),
    ({"StorageProfile": "efs", "VpcEndpoints": "existing"}, "for a VpcId of yours"),
]


@cache
def all_stacks() -> dict[str, Stack]:
    found = translations(*ALLOWED.values())
    pairs = zip(ALLOWED.items(), found["translated"], strict=True)
    return {name: Stack(made, given, found["nested"]) for (name, given), made in pairs}


@pytest.fixture(params=ALLOWED)
def stack(request: pytest.FixtureRequest) -> Stack:
    return all_stacks()[request.param]


def only(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (properties,) = found.values()
    return properties


def function_of(stack: Stack) -> dict[str, Any]:
    return only(stack.of("AWS::Lambda::Function"))


# The profiles.


def test_an_allowed_combination_is_accepted(stack: Stack) -> None:
    assert stack.refusals() == []


@pytest.mark.parametrize(("parameters", "reason"), FORBIDDEN)
def test_an_impossible_combination_is_refused(parameters: dict[str, str], reason: str) -> None:
    found = translations({})
    (refusal, *others) = Stack(
        {**found["raw"], "Resources": {}, "Outputs": {}}, parameters, {}
    ).refusals()
    assert reason in refusal or any(reason in other for other in others)


def test_every_assertion_of_a_rule_has_refused_something() -> None:
    template = {**declared(), "Resources": {}, "Outputs": {}}
    said = {text for given, _ in FORBIDDEN for text in Stack(template, given, {}).refusals()}
    rules = template["Rules"].values()
    assert said == {a["AssertDescription"] for rule in rules for a in rule["Assertions"]}


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_is(name: str) -> None:
    stack = all_stacks()[name]
    storage, start = stack.parameters["StorageProfile"], stack.parameters["StartProfile"]
    function = function_of(stack)
    assert function["SnapStart"]["ApplyOn"] == (
        "PublishedVersions" if start == "snapstart" else "None"
    )
    alias = only(stack.of("AWS::Lambda::Alias"))
    provisioned = alias.get("ProvisionedConcurrencyConfig")
    assert provisioned == (
        {"ProvisionedConcurrentExecutions": "2"} if start == "provisioned" else None
    )
    variables = function["Environment"]["Variables"]
    if storage == "efs":
        child = stack.child("Storage")
        assert function["FileSystemConfigs"] == [
            {"Arn": "<Storage.AccessPoint.Arn>", "LocalMountPath": "/mnt/efs"}
        ]
        assert function["VpcConfig"]["SecurityGroupIds"] == ["<Storage.FunctionGroup>"]
        targets = child.of("AWS::EFS::MountTarget").values()
        assert function["VpcConfig"]["SubnetIds"] == [target["SubnetId"] for target in targets]
        assert variables["MODEL_CACHE_DIR"] == "/mnt/efs/models"
    else:
        assert not function.keys() & {"FileSystemConfigs", "VpcConfig"}
        assert "Storage" not in stack.resources
        assert variables["MODEL_CACHE_DIR"] == "/tmp/models"


# The function, its versions and its URL.


def test_the_function(stack: Stack) -> None:
    function, parameters = function_of(stack), stack.parameters
    assert (function["PackageType"], function["Code"]) == ("Image", {"ImageUri": IMAGE})
    assert function["FunctionName"] == "iris"
    assert function["Architectures"] == [parameters["Architecture"]]
    assert function["MemorySize"] == parameters["MemorySize"]
    assert function["Timeout"] == parameters["Timeout"]
    assert function["EphemeralStorage"] == {"Size": parameters["EphemeralStorage"]}
    reserved = parameters["ReservedConcurrency"]
    assert function.get("ReservedConcurrentExecutions") == (None if reserved == "-1" else reserved)
    assert function["Role"] == "<ServiceRole.Arn>"
    level = {"WARNING": "WARN"}.get(parameters["LogLevel"], parameters["LogLevel"])
    assert function["LoggingConfig"] == {
        "LogFormat": "JSON",
        "LogGroup": "<Observability.LogGroup>",
        "ApplicationLogLevel": level,
        "SystemLogLevel": "INFO",
    }
    tags = {tag["Key"]: tag["Value"] for tag in function["Tags"]}
    assert tags.items() >= {"project": "infernet-lambda", "stage": "default"}.items()


def test_the_bounds_of_the_parameters() -> None:
    parameters = declared()["Parameters"]
    assert parameters["Timeout"]["MaxValue"] == 170, "a node gives a job up after 180 s"
    assert parameters["ReservedConcurrency"]["Default"] == 10, "a cap on what is spent"
    assert (parameters["MemorySize"]["MaxValue"], parameters["EphemeralStorage"]["MinValue"]) == (
        10240,
        512,
    )
    assert parameters["StorageProfile"]["Default"] == "tmp"
    for name in ("StorageProfile", "StartProfile", "VpcEndpoints", "NatGateway"):
        for value in parameters[name]["AllowedValues"]:
            assert f"{value}: " in parameters[name]["Description"], f"{name} explains {value}"
    groups = declared()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert [name for group in groups for name in group["Parameters"]] == list(parameters)
    assert not any(parameter.get("NoEcho") for parameter in parameters.values())


def test_the_url_leads_to_the_alias_and_is_open_to_nodes_which_cannot_sign(stack: Stack) -> None:
    (alias_id,) = stack.of("AWS::Lambda::Alias")
    alias = only(stack.of("AWS::Lambda::Alias"))
    (version_id,) = stack.of("AWS::Lambda::Version")
    assert alias["Name"] == "live" and alias["FunctionVersion"] == f"<{version_id}.Version>"
    assert stack.resources[version_id]["DeletionPolicy"] == "Delete"
    url = only(stack.of("AWS::Lambda::Url"))
    assert url == {
        "TargetFunctionArn": f"<{alias_id}>",
        "AuthType": "NONE",
        "InvokeMode": "BUFFERED",
    }
    permissions = list(stack.of("AWS::Lambda::Permission").values())
    assert {p["Action"] for p in permissions} == {
        "lambda:InvokeFunctionUrl",
        "lambda:InvokeFunction",
    }
    for permission in permissions:
        assert permission["Principal"] == "*"
        assert permission["FunctionName"] == f"<{alias_id}>"
    by_action = {p["Action"]: p for p in permissions}
    assert by_action["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "NONE"
    assert by_action["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True


def test_there_is_no_second_door_when_deployed(stack: Stack) -> None:
    doors = ("AWS::ApiGateway", "AWS::ElasticLoadBalancing", "AWS::Serverless")
    assert not [r for r in stack.resources.values() if r["Type"].startswith(doors)]
    assert stack.template["Conditions"]["OnSamLocal"] == {
        "Fn::Equals": [{"Ref": "AWS::AccountId"}, "123456789012"]
    }


def test_a_parameter_that_changes_the_function_publishes_a_version() -> None:
    """SAM's hash of all properties sees the reference to a parameter, not its value."""
    (before,), (after,) = (
        deployed(**given).of("AWS::Lambda::Version").items()
        for given in ({}, {"MemorySize": "3008"})
    )
    assert before == after, "if this fails, SAM publishes it itself, and Settings can go"
    assert before[1]["Description"] == "settings <Settings.LatestVersionNumber>"
    template = translations({})["translated"][0]
    counted = set(re.findall(r"\$\{(\w+)\}", json.dumps(template["Resources"]["Settings"])))
    used = parameters_in(template, template["Resources"]["ServiceFunction"])
    storage = parameters_in(template, template["Resources"]["Storage"])
    # These change the function itself, or what it is mounted in, but not what a version says.
    unversioned = {"ReservedConcurrency", "ProjectTag", "StageTag"}
    assert used - unversioned <= counted
    assert {"VpcId", "SubnetA", "SubnetB"} <= storage & counted
    data = deployed().of("AWS::EC2::LaunchTemplate")["Settings"]["LaunchTemplateData"]
    assert data.keys() == {"MetadataOptions", "UserData"}, "nothing that could be launched"
    assert "1769" in base64.b64decode(data["UserData"]).decode()


def parameters_in(template: dict[str, Any], node: Any) -> set[str]:
    """The parameters that a part of a template depends on, also through its conditions."""
    text = json.dumps(node)
    names = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)\}", text))
    for name in re.findall(r'"Fn::If": \["(\w+)"', text):
        names |= parameters_in(template, template["Conditions"][name])
    return names & set(template["Parameters"])


# What the function is told.


def test_each_variable_of_the_settings_is_set_or_deliberately_not() -> None:
    known = {name for names in variables().values() for name in names}
    given = set(function_of(deployed())["Environment"]["Variables"])
    unset = declared()["Metadata"]["UnsetVariables"]
    assert given.isdisjoint(unset) and all(unset.values())
    assert given | unset.keys() == known


def test_the_variables_are_what_the_settings_read(settings_of: Any) -> None:
    for name, given in ALLOWED.items():
        variables = function_of(all_stacks()[name])["Environment"]["Variables"]
        secrets = {key: value for key, value in variables.items() if key.endswith("SECRET_ARN")}
        settings = settings_of(**{key: variables[key] for key in variables.keys() - secrets.keys()})
        if "Model" in given:
            assert settings.workflow_kwargs == {"model": given["Model"]}
        elif "WorkflowKwArgs" in given:
            assert settings.workflow_kwargs == json.loads(given["WorkflowKwArgs"])
        else:
            assert settings.workflow_kwargs == {}
        assert settings.log_level == given.get("LogLevel", "INFO")
        assert secrets["INFERNET_BEARER_SECRET_ARN"] in ("<BearerSecret>", BEARER)
        assert secrets["HUGGING_FACE_HUB_TOKEN_SECRET_ARN"] in ("", HUB)


# Secrets and permissions.


def test_the_token_is_a_secret_of_the_stack_or_of_the_operator() -> None:
    made, given = all_stacks()["tmp, on-demand"], all_stacks()["everything"]
    secret = only(made.of("AWS::SecretsManager::Secret"))
    assert secret["GenerateSecretString"] == {"PasswordLength": 48, "ExcludePunctuation": True}
    assert "SecretString" not in secret and "KmsKeyId" not in secret
    assert made.outputs["BearerSecretArn"] == "<BearerSecret>"
    assert given.of("AWS::SecretsManager::Secret") == {}
    assert given.outputs["BearerSecretArn"] == BEARER
    key = "arn:aws:kms:us-east-1:111122223333:key/1"
    assert only(deployed(SecretsKmsKeyArn=key).of("AWS::SecretsManager::Secret"))["KmsKeyId"] == key


Row = tuple[str, str, str]
LOG: set[Row] = {
    ("Allow", "logs:CreateLogStream", "<Observability.LogGroup.Arn>"),
    ("Allow", "logs:PutLogEvents", "<Observability.LogGroup.Arn>"),
}
TOKEN: set[Row] = {("Allow", "secretsmanager:GetSecretValue", "<BearerSecret>")}
EC2 = "arn:aws:ec2:us-east-1:111122223333:*/*"
INTERFACES = (
    "CreateNetworkInterface",
    "DeleteNetworkInterface",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
)
DESCRIBES = ("DescribeNetworkInterfaces", "DescribeSubnets")
EFS: set[Row] = {
    ("Allow", "elasticfilesystem:ClientMount", "<Storage.FileSystem.Arn>"),
    ("Allow", "elasticfilesystem:ClientWrite", "<Storage.FileSystem.Arn>"),
    *(("Allow", f"ec2:{action}", EC2) for action in INTERFACES),
    *(("Allow", f"ec2:{action}", "*") for action in DESCRIBES),
    *(("Deny", f"ec2:{a}", "*") for a in (*INTERFACES, *DESCRIBES, "DetachNetworkInterface")),
}
EVERYTHING: set[Row] = {
    ("Allow", "ssm:GetParameter", BEARER),
    ("Allow", "secretsmanager:GetSecretValue", HUB),
    ("Allow", "kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/1"),
    ("Allow", "s3:GetObject", "arn:aws:s3:::weights/iris*"),
    ("Allow", "s3:GetObjectVersion", "arn:aws:s3:::weights/iris*"),
    ("Allow", "s3:ListBucket", "arn:aws:s3:::weights"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_role_may_do_exactly_this(name: str) -> None:
    stack = all_stacks()[name]
    role = only(stack.of("AWS::IAM::Role"))
    assert "ManagedPolicyArns" not in role
    assert role.get("PermissionsBoundary") == OPTIONS.get(name, {}).get("PermissionsBoundaryArn")
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    (policy,) = role["Policies"]
    rows = [
        (statement["Effect"], action, statement["Resource"])
        for statement in policy["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    ]
    expected = LOG | (EVERYTHING if name == "everything" else TOKEN)
    if stack.parameters["StorageProfile"] == "efs":
        expected |= EFS
    assert len(rows) == len(set(rows)) and set(rows) == expected


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# The network of the profile efs.


def test_only_the_function_reaches_the_file_system_and_by_one_way() -> None:
    child = all_stacks()["efs, on-demand"].child("Storage")
    groups = child.of("AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in groups["FunctionGroup"]
    (rule,) = groups["FileSystemGroup"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (2049, 2049, "tcp")
    assert rule["SourceSecurityGroupId"] == "<Storage.FunctionGroup>" and "CidrIp" not in rule
    (https,) = groups["EndpointGroup"]["SecurityGroupIngress"]
    assert (https["FromPort"], https["ToPort"]) == (443, 443)
    assert https["SourceSecurityGroupId"] == "<Storage.FunctionGroup>" and "CidrIp" not in https
    (out,) = groups["FunctionGroup"]["SecurityGroupEgress"]
    assert (out["FromPort"], out["ToPort"]) == (443, 443)
    for closed in ("FileSystemGroup", "EndpointGroup"):
        (nowhere,) = groups[closed]["SecurityGroupEgress"]
        assert nowhere["CidrIp"] == "127.0.0.1/32"
    egress = only(child.of("AWS::EC2::SecurityGroupEgress"))
    assert egress["DestinationSecurityGroupId"] == "<Storage.FileSystemGroup>"
    assert (egress["FromPort"], egress["ToPort"]) == (2049, 2049)


def test_the_file_system_is_encrypted_and_entered_at_its_access_point() -> None:
    child = all_stacks()["efs, on-demand"].child("Storage")
    system = only(child.of("AWS::EFS::FileSystem"))
    assert system["Encrypted"] is True
    (statement,) = system["FileSystemPolicy"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}
    point = only(child.of("AWS::EFS::AccessPoint"))
    assert point["PosixUser"] == {"Uid": "65532", "Gid": "65532"}
    assert point["RootDirectory"]["Path"] == "/infernet-lambda"
    assert point["RootDirectory"]["CreationInfo"]["Permissions"] == "0750"


@pytest.mark.parametrize(
    ("name", "subnets", "endpoints", "nat", "vpc"),
    [
        ("efs, on-demand", 2, {"s3", "secretsmanager"}, False, True),
        ("efs with NAT", 2, {"s3"}, True, True),
        ("efs in a given VPC", 2, {"s3", "secretsmanager"}, False, False),
        ("efs in one given subnet", 1, set(), False, False),
    ],
)
def test_the_network(name: str, subnets: int, endpoints: set[str], nat: bool, vpc: bool) -> None:
    child = all_stacks()[name].child("Storage")
    assert len(child.of("AWS::EFS::MountTarget")) == subnets
    assert len(child.outputs["SubnetIds"].split(",")) == subnets
    made = child.of("AWS::EC2::VPCEndpoint").values()
    assert {endpoint["ServiceName"].rpartition(".")[2] for endpoint in made} == endpoints
    assert bool(child.of("AWS::EC2::NatGateway")) == nat
    assert bool(child.of("AWS::EC2::InternetGateway")) == nat
    assert bool(child.of("AWS::EC2::VPC")) == vpc
    for endpoint in made:
        if endpoint["VpcEndpointType"] == "Gateway":
            tables = ["<Storage.PrivateRoutes>"] if vpc else ["rtb-1a", "rtb-2b"]
            assert endpoint["RouteTableIds"] == tables
        else:
            assert endpoint["PrivateDnsEnabled"] is True
            assert endpoint["SubnetIds"] == child.outputs["SubnetIds"].split(",")
    if nat:
        routes = child.of("AWS::EC2::Route")
        assert routes["PrivateToInternet"]["NatGatewayId"] == "<Storage.Nat>"
        assert routes["PublicToInternet"]["GatewayId"] == "<Storage.Gateway>"


# What an operator sees.


def test_the_log_is_kept_for_a_while(stack: Stack) -> None:
    group = only(stack.child("Observability").of("AWS::Logs::LogGroup"))
    assert group == {"LogGroupName": "/aws/lambda/iris", "RetentionInDays": "30"}


@pytest.mark.parametrize(
    ("alarm", "metrics", "threshold"),
    [
        ("Errors", {"InfernetLambda Errors", "AWS/Lambda Errors"}, 5),
        ("Throttles", {"AWS/Lambda Throttles"}, 1),
        ("Slow", {"AWS/Lambda Duration"}, 120_000),
        ("ColdStarts", {"InfernetLambda ColdStarts", "InfernetLambda Requests"}, 50),
        ("Unauthorized", {"InfernetLambda Unauthorized", "InfernetLambda Requests"}, 20),
    ],
)
def test_an_alarm(alarm: str, metrics: set[str], threshold: int) -> None:
    child = all_stacks()["everything"].child("Observability")
    properties = child.of("AWS::CloudWatch::Alarm")[alarm]
    queries = properties.get("Metrics", [])
    seen = [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query]
    seen = seen or [properties]
    assert {f"{metric['Namespace']} {metric['MetricName']}" for metric in seen} == metrics
    for metric in seen:
        name = "function" if metric["Namespace"] == NAMESPACE else "FunctionName"
        assert metric["Dimensions"] == [{"Name": name, "Value": "iris"}]
    returned = [query for query in queries if query.get("ReturnData", True)]
    assert not queries or (len(returned) == 1 and "Expression" in returned[0])
    ids = {query["Id"] for query in queries} - {query["Id"] for query in returned}
    named = set(re.findall(r"\b[a-z]\w*", returned[0]["Expression"])) if queries else set()
    assert named == ids
    assert properties["Threshold"] == threshold
    assert properties["TreatMissingData"] == "notBreaching"
    assert properties["AlarmActions"] == properties["OKActions"] == ["<Observability.Alarms>"]


def test_without_an_address_the_alarms_only_show() -> None:
    child = all_stacks()["tmp, on-demand"].child("Observability")
    assert child.of("AWS::SNS::Topic") == {}
    alarms = child.of("AWS::CloudWatch::Alarm")
    assert len(alarms) == 5
    assert not any(alarm.keys() & {"AlarmActions", "OKActions"} for alarm in alarms.values())
    told = all_stacks()["everything"].child("Observability")
    topic = only(told.of("AWS::SNS::Topic"))
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "operator@example.org"}]


def test_the_dashboard_shows_what_the_service_counts() -> None:
    child = all_stacks()["tmp, on-demand"].child("Observability")
    dashboard = only(child.of("AWS::CloudWatch::Dashboard"))
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    rows = [row for w in widgets if w["type"] == "metric" for row in w["properties"]["metrics"]]
    ours = {row[1] for row in rows if row[0] == NAMESPACE}
    assert ours == {metric["Name"] for metric in METRICS}
    assert all(row[2:4] == ["function", "iris"] for row in rows if row[0] == NAMESPACE)
    queries = [w["properties"]["query"] for w in widgets if w["type"] == "log"]
    assert queries and all("SOURCE '<Observability.LogGroup>'" in query for query in queries)
    places = {(w["x"], w["y"]): w["width"] for w in widgets}
    assert len(places) == len(widgets) and all(x + w <= 24 for (x, _), w in places.items())


# What a deployment prints.


def test_the_outputs(stack: Stack) -> None:
    assert stack.outputs == {
        "ServiceUrl": URL.rstrip("/"),
        "BearerSecretArn": stack.parameters["BearerSecretArn"] or "<BearerSecret>",
        "FunctionName": "<ServiceFunction>",
        "AliasName": "live",
        "LogGroupName": "<Observability.LogGroup>",
        "DashboardUrl": "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"
        "#dashboards:name=<Observability.Dashboard>",
        "WarmCommand": "infernet-lambda warm --stack iris",
        "NodeConfigCommand": "infernet-lambda node-config --stack iris",
    }
