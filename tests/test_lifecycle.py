import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from handler.deadline import after, bound_by
from handler.errors import ConfigurationError, Unavailable
from handler.lifecycle import WorkflowProvider, begin, load_workflow
from handler.settings import Settings
from handler.workflows import Workflow
from handler.workflows.torch import TorchInferenceWorkflow

Read = Callable[..., Settings]


class Loader:
    """Loads when it is allowed to, counts how often it was asked, and fails on demand."""

    def __init__(self, error: BaseException | None = None, *, held: bool = False) -> None:
        self.error = error
        self.calls = 0
        self.may_load = threading.Event()
        if not held:
            self.may_load.set()

    def __call__(self) -> Workflow:
        self.calls += 1
        assert self.may_load.wait(10)
        if self.error is not None:
            raise self.error
        return self

    def setup(self) -> None: ...

    def inference(self, input_data: Any) -> Any:
        return input_data


def state_of(provider: WorkflowProvider) -> str:
    """Read anew: mypy takes a property for a constant."""
    return provider.state


def test_one_load_however_many_callers_wait() -> None:
    loader = Loader(held=True)
    provider = WorkflowProvider(loader, 5)
    assert state_of(provider) == "unloaded" and loader.calls == 0
    got: list[Any] = []
    callers = [threading.Thread(target=lambda: got.append(provider.get())) for _ in range(16)]
    for caller in callers:
        caller.start()
    assert state_of(provider) == "loading"
    loader.may_load.set()
    for caller in callers:
        caller.join(10)
    assert got == [loader] * 16 and loader.calls == 1
    assert provider.state == "ready"


def test_a_failure_is_remembered_and_retried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("handler.lifecycle.time.monotonic", lambda: now)
    loader = Loader(ConfigurationError("model: set this"))
    provider = WorkflowProvider(loader, retry_seconds=5)
    for _ in range(20):
        with pytest.raises(Unavailable, match="model: set this"):
            provider.get()
    assert loader.calls == 1 and state_of(provider) == "failed"
    loader.error = None
    now += 6
    assert provider.get() is loader
    assert loader.calls == 2 and provider.state == "ready"


@pytest.mark.parametrize("error", [ValueError("hf_secret"), SystemExit(1), MemoryError()])
def test_whatever_a_workflow_raises_is_a_reason_without_its_text(error: BaseException) -> None:
    with pytest.raises(Unavailable) as raised:
        WorkflowProvider(Loader(error), 5).get()
    assert type(error).__name__ in raised.value.description
    assert "hf_secret" not in raised.value.description


def test_the_settings_describe_the_workflow(settings_of: Read) -> None:
    workflow = load_workflow(settings_of())
    assert isinstance(workflow, TorchInferenceWorkflow) and workflow.is_setup


ON_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
AHEAD = ["provisioned-concurrency", "snap-start", "lambda-managed-instances"]


@pytest.mark.parametrize(
    "environment",
    [{}, ON_LAMBDA, *({**ON_LAMBDA, "AWS_LAMBDA_INITIALIZATION_TYPE": t} for t in AHEAD)],
)
def test_lazy_loads_nothing_ahead(settings_of: Read, environment: dict[str, str]) -> None:
    loader = Loader()
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of(**environment, INFERNET_LOAD="lazy"))
    assert loader.calls == 0 and provider.state == "unloaded"


def test_on_demand_waits_within_its_budget_and_goes_on(settings_of: Read) -> None:
    loader = Loader(held=True)
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of(**ON_LAMBDA, INFERNET_INIT_BUDGET_SECONDS="0.05"))
    assert provider.state == "loading", "the budget is over, the load is not"
    loader.may_load.set()
    assert provider.get() is loader and loader.calls == 1


@pytest.mark.parametrize("load", ["auto", "init"])
def test_on_demand_remembers_a_failure(settings_of: Read, load: str) -> None:
    provider = WorkflowProvider(Loader(ConfigurationError("why")), 5)
    begin(provider, settings_of(**ON_LAMBDA, INFERNET_LOAD=load))
    assert provider.state == "failed"


@pytest.mark.parametrize("initialization_type", AHEAD)
def test_environments_made_ahead_of_traffic_load_fully_or_fail(
    settings_of: Read, initialization_type: str
) -> None:
    settings = settings_of(**ON_LAMBDA, AWS_LAMBDA_INITIALIZATION_TYPE=initialization_type)
    provider = WorkflowProvider(Loader(), 5)
    begin(provider, settings)
    assert provider.state == "ready"
    with pytest.raises(ConfigurationError, match="why"):
        begin(WorkflowProvider(Loader(ConfigurationError("why")), 5), settings)


def test_a_server_loads_beside_its_start(settings_of: Read) -> None:
    loader = Loader(held=True)
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of())
    assert provider.state == "loading"
    loader.may_load.set()
    assert provider.get() is loader


def test_a_server_told_to_load_first_fails_to_start(settings_of: Read) -> None:
    with pytest.raises(ConfigurationError, match="why"):
        begin(
            WorkflowProvider(Loader(ConfigurationError("why")), 5),
            settings_of(INFERNET_LOAD="init"),
        )


class Warmed(Loader):
    """Notes what it is asked, the example once it may answer that."""

    def __init__(self, example: Any = "example", *, may_warm_up: bool = True) -> None:
        super().__init__()
        self.example = example
        self.may_warm_up = threading.Event()
        if may_warm_up:
            self.may_warm_up.set()
        self.asked: list[Any] = []

    def example_input(self) -> Any:
        if isinstance(self.example, Exception):
            raise self.example
        return self.example

    def inference(self, input_data: Any) -> Any:
        if input_data == "example":
            assert self.may_warm_up.wait(10)
        self.asked.append(input_data)
        return input_data


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency"])
def test_init_ends_with_one_inference_of_the_example(settings_of: Read, kind: str) -> None:
    loader = Warmed()
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of(AWS_LAMBDA_RUNTIME_API="x:1", AWS_LAMBDA_INITIALIZATION_TYPE=kind))
    assert loader.asked == ["example"] and "warm_up_ms" in provider.cold_start


@pytest.mark.parametrize("example", [None, ValueError("no")])
def test_a_workflow_without_an_example_is_ready_all_the_same(
    settings_of: Read, example: Any
) -> None:
    loader = Warmed(example)
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of(AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001"))
    assert provider.state == "ready" and loader.asked == []


def test_an_example_that_the_model_refuses_changes_nothing(settings_of: Read) -> None:
    loader = Warmed()
    loader.inference = lambda input_data: 1 / 0  # type: ignore[method-assign]
    provider = WorkflowProvider(loader, 5)
    begin(provider, settings_of(AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001"))
    assert provider.get() is loader


@pytest.mark.parametrize("seconds_left", [60, float("inf")])
def test_who_waits_for_the_load_is_not_kept_waiting_by_the_example(seconds_left: float) -> None:
    loader = Warmed()
    loader.may_load.clear()
    provider = WorkflowProvider(loader, 5)
    context = copy_context()
    context.run(bound_by, after(seconds_left))
    caller = threading.Thread(target=context.run, args=(provider.get,))
    caller.start()
    while provider._awaited_until is None:
        time.sleep(0.001)
    loader.may_load.set()
    caller.join(10)
    assert provider.warm.wait(10) and loader.asked == []


def test_the_example_is_waited_for_within_the_budget_only(settings_of: Read) -> None:
    loader = Warmed(may_warm_up=False)
    provider = WorkflowProvider(loader, 5)
    begin(
        provider,
        settings_of(AWS_LAMBDA_RUNTIME_API="x:1", INFERNET_INIT_BUDGET_SECONDS="0.5"),
    )
    assert provider.get() is loader and not provider.warm.is_set() and loader.asked == []
    loader.may_warm_up.set()
    assert provider.warm.wait(10) and loader.asked == ["example"]


ENDS_WHILE_LOADING = """
import time
from handler.lifecycle import WorkflowProvider

def load():
    time.sleep(0.5)
    print("loaded", flush=True)

WorkflowProvider(load, 5).start()
"""


def test_a_process_ends_when_its_load_has() -> None:
    """Else torch's C++, which may be at work in the thread that loads, aborts it."""
    process = subprocess.run(
        [sys.executable, "-c", ENDS_WHILE_LOADING],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "loaded\n")
