"""Which models a request may name, and how many of them are kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.catalog import Catalog, allowed_references
from handler.errors import ConfigurationError, InvalidInput, ModelError, Unavailable
from handler.lifecycle import WorkflowProvider, load_workflow
from handler.models.model_id import ModelId
from handler.settings import Settings

Read = Callable[..., Settings]
LOADS: list[str] = []


class Named:
    """A workflow that serves whatever it is told to, and keeps count of its loads."""

    def __init__(
        self, *args: Any, model: str = "/srv/me/configured/m.torch", mark: str = ""
    ) -> None:
        if args:
            raise TypeError("no argument by position")
        self.reference, self.mark = model, mark

    def setup(self) -> None:
        if "broken" in self.reference:
            raise ModelError("the file is missing")
        LOADS.append(self.reference)

    def inference(self, data: Any) -> Any: ...


CLASS = f"{__name__}.Named"


def allowed(count: int) -> list[str]:
    return [f"/srv/me/model{index}/m.torch" for index in range(count)]


@pytest.fixture
def catalog(settings_of: Read) -> Callable[..., Catalog]:
    LOADS.clear()

    def make(models: list[str], **environment: str) -> Catalog:
        settings = settings_of(
            CLASSIC_INF_WORKFLOW_CLASS=CLASS,
            CLASSIC_INF_ALLOWED_MODELS=json.dumps(models),
            **environment,
        )
        return Catalog(WorkflowProvider(lambda: load_workflow(settings), 5), settings)

    return make


def asked(catalog: Catalog, name: str) -> Any:
    return catalog.get(ModelId.parse(f"local/me/{name}"))


def test_the_configured_model_is_served_by_name_and_without(catalog: Any) -> None:
    found = catalog([])
    assert found.get() is asked(found, "configured")
    assert LOADS == ["/srv/me/configured/m.torch"]


@pytest.mark.parametrize("models", [[], allowed(1)])
def test_another_model_is_refused_and_the_served_one_is_named(catalog: Any, models: Any) -> None:
    with pytest.raises(InvalidInput, match=r"not served here; .* local/me/configured:m\.torch"):
        asked(catalog(models), "other")
    assert LOADS == ["/srv/me/configured/m.torch"], "nothing was loaded because of the request"


def test_allowed_models_are_loaded_on_demand_with_the_same_arguments(catalog: Any) -> None:
    arguments = {"mark": "same", "model": "/srv/me/configured/m.torch"}
    found = catalog(allowed(2), CLASSIC_INF_WORKFLOW_KW_ARGS=json.dumps(arguments))
    found.get()
    assert len(LOADS) == 1
    workflow = asked(found, "model1")
    assert (workflow.reference, workflow.mark) == ("/srv/me/model1/m.torch", "same")
    assert asked(found, "model1") is workflow and len(LOADS) == 2
    assert found.get() is not workflow


def test_arguments_by_position_and_older_names_of_the_model_make_room(settings_of: Read) -> None:
    LOADS.clear()
    settings = settings_of(
        CLASSIC_INF_WORKFLOW_CLASS=CLASS,
        CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS='["o/n"]',
        CLASSIC_INF_WORKFLOW_KW_ARGS='{"model_source": "LOCAL", "model_args": {}, "mark": "x"}',
    )
    workflow: Any = load_workflow(settings, "/srv/me/model0/m.torch")
    assert (workflow.reference, workflow.mark) == ("/srv/me/model0/m.torch", "x")


def test_the_longest_unused_model_makes_room(catalog: Any) -> None:
    found = catalog(allowed(3), CLASSIC_INF_MAX_MODELS="2")
    first = asked(found, "model0")
    second = asked(found, "model1")
    assert asked(found, "model0") is first
    asked(found, "model2")
    assert len(found._on_demand) == 2
    assert asked(found, "model0") is first, "it was used after model1"
    assert asked(found, "model1") is not second, "it had to go, and was loaded again"
    assert [text.split("/")[3] for text in LOADS if "model" in text] == [
        *("model0", "model1", "model2", "model1")
    ]
    assert found.get().reference.endswith("configured/m.torch"), "never in the count"


def test_an_allowed_model_does_not_need_the_configured_one(catalog: Any) -> None:
    arguments = json.dumps({"model": "/srv/me/broken/m.torch"})
    found = catalog(allowed(1), CLASSIC_INF_WORKFLOW_KW_ARGS=arguments)
    assert asked(found, "model0").reference == "/srv/me/model0/m.torch"
    with pytest.raises(Unavailable, match="missing"):
        asked(found, "broken")


def test_an_allowed_model_that_fails_is_that_model_s_failure(catalog: Any) -> None:
    found = catalog(["/srv/me/broken/m.torch"])
    with pytest.raises(ModelError, match="the file is missing"):
        asked(found, "broken")
    assert found.get().reference == "/srv/me/configured/m.torch"


def test_what_is_loaded_is_told(catalog: Any) -> None:
    found = catalog(allowed(2))
    asked(found, "model1")
    names = [(Path(reference.path).parent.name, loaded) for reference, loaded in found.models()]
    assert names == [("configured", True), ("model0", False), ("model1", True)]


def test_a_workflow_that_names_no_model_serves_no_named_one(settings_of: Read) -> None:
    class Anonymous:
        def setup(self) -> None: ...

        def inference(self, data: Any) -> Any: ...

    found = Catalog(WorkflowProvider(Anonymous, 5), settings_of())
    assert found.get() and found.models() == []
    with pytest.raises(InvalidInput, match="not served here; leave it out"):
        asked(found, "any")


@pytest.mark.parametrize("model", ["ftp://x", "hf://x", " "])
def test_a_list_that_cannot_be_read_is_the_operator_s_to_correct(
    settings_of: Read, model: str
) -> None:
    settings = settings_of(CLASSIC_INF_ALLOWED_MODELS=json.dumps([model]))
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_ALLOWED_MODELS: "):
        allowed_references(settings)


@pytest.mark.parametrize("value", ["x", '"x"', "[1]", "{}"])
def test_a_list_that_is_no_list_of_strings_names_the_variable(
    settings_of: Read, value: str
) -> None:
    with pytest.raises(ConfigurationError, match="CLASSIC_INF_ALLOWED_MODELS"):
        settings_of(CLASSIC_INF_ALLOWED_MODELS=value)
