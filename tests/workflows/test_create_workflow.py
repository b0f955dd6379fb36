from typing import Any

import pytest

from handler.errors import ConfigurationError
from handler.workflows import ALIASES, create_workflow
from handler.workflows.torch import TorchInferenceWorkflow


class Duck:
    """No base class of ours, as a workflow written for another service."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.made_with = (args, kwargs)

    def setup(self) -> None: ...

    def inference(self, input_data: Any) -> Any:
        return input_data


class NoWorkflow:
    def setup(self) -> None: ...


HERE = __name__


def test_any_class_with_the_two_methods_gets_the_arguments() -> None:
    workflow = create_workflow(f"{HERE}.Duck", ["a"], {"b": 1})
    assert isinstance(workflow, Duck) and workflow.made_with == (("a",), {"b": 1})


@pytest.mark.parametrize("path", ALIASES)
def test_the_paths_of_the_original_denote_ours(path: str) -> None:
    assert isinstance(create_workflow(path, [], {}), TorchInferenceWorkflow)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Unqualified", "not a fully qualified class"),
        ("nowhere.Nothing", "No module named 'nowhere'"),
        ("handler.workflows.torch.Nothing", "has no attribute 'Nothing'"),
        (f"{HERE}.NoWorkflow", "has no method inference"),
    ],
)
def test_a_class_that_cannot_be_had_is_named(path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_WORKFLOW_CLASS") as raised:
        create_workflow(path, [], {})
    assert path in raised.value.description and reason in raised.value.description


def test_arguments_that_do_not_fit_name_their_variables() -> None:
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_WORKFLOW_KW_ARGS"):
        create_workflow("handler.workflows.torch.TorchInferenceWorkflow", [], {"modle": "x"})
