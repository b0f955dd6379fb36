"""Templates as CloudFormation sees them: SAM's own translator, and a small resolver of the rest."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

from tests.processes import ROOT

TOOLS = ROOT / ".venv-tools" / "bin" / "python"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/infernet-lambda:1"
NESTED = ("infra/efs.yaml", "infra/observability.yaml", "infra/registry.yaml")
PSEUDO = {
    "AWS::AccountId": "111122223333",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "iris",
    "AWS::URLSuffix": "amazonaws.com",
}
# As Lambda gives it, with a slash at the end.
URL = "https://abc.lambda-url.us-east-1.on.aws/"
NOTHING = object()
TRANSLATE = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

read = lambda path: yaml_parse(open(path))
task = json.load(sys.stdin)
translated = []
for given in task["parameters"]:
    template = read("template.yaml")
    template["Resources"]["ServiceFunction"]["Properties"]["ImageUri"] = task["image"]
    defaults = {name: str(p["Default"]) for name, p in template["Parameters"].items()}
    translated.append(transform(template, {**defaults, **given}, None))
nested = {path: read(path) for path in task["nested"]}
print(json.dumps({"translated": translated, "raw": read("template.yaml"), "nested": nested}))
"""


def translations(*parameters: Mapping[str, str]) -> Any:
    """``translated``, for each set of parameters; ``raw``, the template; ``nested``, by path."""
    return _translations(json.dumps(parameters))


@cache
def _translations(parameters: str) -> Any:
    task = {"parameters": json.loads(parameters), "image": IMAGE, "nested": NESTED}
    process = subprocess.run(
        [TOOLS, "-c", TRANSLATE],
        cwd=ROOT,
        input=json.dumps(task),
        env={**os.environ, "AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


class Stack:
    """A template with its parameters: what would be made, with placeholders for what AWS names.

    The Ref of a resource is ``<LogicalId>``, an attribute ``<LogicalId.Attribute>``; those of a
    nested stack have the name of the nested stack before them.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        given: Mapping[str, Any],
        nested: Mapping[str, Any],
        name: str = "",
    ) -> None:
        self.template = template
        self.nested = nested
        self.name = name
        self.parameters = self._parameters(given)
        self.children: dict[str, Stack] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        for logical_id, resource in template["Resources"].items():
            if "Condition" not in resource or self.condition(resource["Condition"]):
                self.resources[logical_id] = resource  # before its properties: they may name it
        for logical_id, resource in self.resources.items():
            properties = self.value(resource.get("Properties", {}))
            self.resources[logical_id] = {**resource, "Properties": properties}
        self.outputs = {
            key: self.value(output["Value"])
            for key, output in template.get("Outputs", {}).items()
            if "Condition" not in output or self.condition(output["Condition"])
        }

    def _parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, declared in self.template["Parameters"].items():
            value = str(given[name] if name in given else declared["Default"])
            allowed = declared.get("AllowedValues")
            assert allowed is None or value in map(str, allowed), f"{name}: {value}"
            assert re.fullmatch(declared.get("AllowedPattern", "(?s:.*)"), value), (
                f"{name}: {value}"
            )
            is_list = declared["Type"] == "CommaDelimitedList"
            found[name] = value.split(",") if is_list else value
        assert given.keys() <= found.keys()
        return found

    def refusals(self) -> list[str]:
        """What the Rules say against the parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self.template.get("Rules", {}).values()
            if self.value(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of the resources of a type, by logical id."""
        found = self.resources.items()
        return {name: r["Properties"] for name, r in found if r["Type"] == kind}

    def condition(self, name: str) -> bool:
        return bool(self.value(self.template["Conditions"][name]))

    def value(self, node: Any) -> Any:
        """A part of the template, with its functions evaluated."""
        if isinstance(node, list):
            return [found for item in node if (found := self.value(item)) is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function in ("Ref", "Condition") or function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), argument)
        values = {key: self.value(item) for key, item in node.items()}
        return {key: value for key, value in values.items() if value is not NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._reference(argument)
            case "GetAtt":
                parts = argument.split(".", 1) if isinstance(argument, str) else argument
                return self._attribute(parts[0], ".".join(parts[1:]))
            case "Condition":
                return self.condition(argument)
            case "If":
                return self.value(argument[1 if self.condition(argument[0]) else 2])
            case "Sub":
                return re.sub(r"\$\{([^}]+)\}", self._substitute, argument)
            case "GetAZs":
                return ["us-east-1a", "us-east-1b", "us-east-1c"]
        found = self.value(argument)
        match function:
            case "Equals":
                return str(found[0]) == str(found[1])
            case "Not":
                return not found[0]
            case "And":
                return all(found)
            case "Or":
                return any(found)
            case "Join":
                return found[0].join(found[1])
            case "Split":
                return found[1].split(found[0])
            case "Select":
                return found[1][int(found[0])]
            case "FindInMap":
                return self.template["Mappings"][found[0]][found[1]][found[2]]
            case "Base64":
                return base64.b64encode(found.encode()).decode()
        raise AssertionError(f"the resolver does not know {function}")

    def _substitute(self, found: "re.Match[str]") -> str:
        name, _, attribute = found[1].partition(".")
        return str(self._attribute(name, attribute) if attribute else self._reference(name))

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in self.parameters:
            return self.parameters[name]
        if name in PSEUDO:
            return PSEUDO[name]
        assert name in self.resources, f"{name} is not made under these conditions"
        return f"<{self.name}{name}>"

    def _attribute(self, name: str, attribute: str) -> Any:
        assert name in self.resources, f"{name} is not made under these conditions"
        if attribute.startswith("Outputs."):
            return self._child(name).outputs[attribute.removeprefix("Outputs.")]
        if attribute == "FunctionUrl":
            return URL
        return f"<{self.name}{name}.{attribute}>"

    def _child(self, name: str) -> "Stack":
        if name not in self.children:
            properties = self.value(self.template["Resources"][name]["Properties"])
            template = self.nested[properties["TemplateURL"]]
            given = properties.get("Parameters", {})
            self.children[name] = Stack(template, given, self.nested, f"{name}.")
        return self.children[name]

    def child(self, name: str) -> "Stack":
        """The nested stack of that name."""
        assert name in self.resources, f"{name} is not made under these conditions"
        return self._child(name)


def deployed(**parameters: str) -> Stack:
    """The stack that the template makes of these parameters, beside its defaults."""
    found = translations(parameters)
    return Stack(found["translated"][0], parameters, found["nested"])


def declared() -> Any:
    """The template as it is written."""
    return translations({})["raw"]
