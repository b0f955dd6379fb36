"""What deploys the templates: samconfig.toml, the workflow, the registry, and the runbook."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from bench.costs import LOADS, Load, cost_table, efs, on_demand, price_table, snapstart
from handler.cli.commands import app
from tests.cloudformation import TOOLS, Stack, declared, translations
from tests.processes import ROOT

RUNBOOK = (ROOT / "infra" / "README.md").read_text()
with_tools = pytest.mark.skipif(not TOOLS.exists(), reason="no .venv-tools: run make setup")


@with_tools
@pytest.mark.parametrize("section", ["default", "prod"])
def test_a_section_of_samconfig_deploys_what_the_template_takes(section: str) -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())[section]["deploy"]["parameters"]
    assert set(config["capabilities"]) == {"CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"}
    pairs = (pair.split("=", 1) for pair in config.get("parameter_overrides", []))
    given = dict(pairs)
    template = {**declared(), "Resources": {}, "Outputs": {}}
    assert Stack(template, given, {}).refusals() == []
    assert config["confirm_changeset"] is (section == "default")


def workflow() -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())


def test_only_a_tag_deploys_and_without_a_key_of_its_own() -> None:
    found = workflow()
    assert found[True]["push"]["tags"] == ["v*"]  # YAML 1.1 reads "on" as a boolean
    assert found["permissions"] == {"contents": "read"}
    deploy = found["jobs"]["deploy"]
    assert deploy["if"] == "github.ref_type == 'tag'" and deploy["needs"] == "check"
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    text = json.dumps(found)
    assert "secrets." not in text and "AWS_ACCESS_KEY" not in text
    credentials = [s for s in deploy["steps"] if "configure-aws" in s.get("uses", "")]
    assert credentials[0]["with"].keys() == {"role-to-assume", "aws-region"}


def test_every_action_is_pinned_to_a_commit() -> None:
    steps = [step for job in workflow()["jobs"].values() for step in job["steps"]]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in uses)


def test_the_pipeline_checks_deploys_warms_and_asks_the_doctor() -> None:
    jobs = workflow()["jobs"]
    checks, steps = ([s.get("run", "") for s in jobs[j]["steps"]] for j in ("check", "deploy"))
    assert any("make check" in run for run in checks)
    assert any("make test" in run for run in checks)
    order = ["make image", "sam deploy --config-env prod", "lambda warm", "lambda doctor"]
    places = [next(i for i, run in enumerate(steps) if part in run) for part in order]
    assert places == sorted(places)
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    assert {"warm", "set-model", "doctor", "node-config"} <= commands


@with_tools
def test_the_registry_removes_old_images() -> None:
    stack = Stack(translations({})["nested"]["infra/registry.yaml"], {}, {})
    ((_, repository),) = stack.of("AWS::ECR::Repository").items()
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    counts = {rule["selection"]["countType"]: rule["selection"]["countNumber"] for rule in rules}
    assert counts == {"sinceImagePushed": 1, "imageCountMoreThan": 5}
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    (statement,) = repository["RepositoryPolicyText"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert set(statement["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}


@with_tools
def test_the_runbook_explains_every_alarm_and_profile() -> None:
    nested = translations({})["nested"]["infra/observability.yaml"]["Resources"]
    alarms = [name for name, r in nested.items() if r["Type"] == "AWS::CloudWatch::Alarm"]
    for name in alarms:
        assert f"\n| `{name}` | " in RUNBOOK
    for parameter in ("StorageProfile", "StartProfile"):
        for profile in declared()["Parameters"][parameter]["AllowedValues"]:
            assert f"`{profile}`" in RUNBOOK


def test_the_runbook_s_tables_are_those_that_are_printed() -> None:
    assert price_table() in RUNBOOK and cost_table(LOADS) in RUNBOOK


def test_the_formulas_by_hand() -> None:
    load = Load(
        requests=1e6, seconds=0.1, cold_starts=1000, init_seconds=2, memory_gb=2, model_gb=10
    )
    assert on_demand(load) == pytest.approx(0.2 + 2 * (1e5 + 2e3) * 0.0000166667)
    snapshot = 2 * 2_628_000 * 0.0000015046 + 1000 * 2 * 0.0001397998
    assert snapstart(load) == pytest.approx(0.2 + 2 * 1e5 * 0.0000166667 + snapshot)
    storage = 10 * (0.30 + 1000 * 0.03 + 0.06)
    assert efs(load) == pytest.approx(on_demand(load) + storage + 2 * 730 * 0.01)
    nat = 730 * 0.05 + 10 * 0.045
    assert efs(load, nat=True) == pytest.approx(on_demand(load) + storage + nat)
