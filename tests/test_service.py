"""On which thread a server answers."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from handler import workflows
from handler.catalog import Catalog
from handler.lifecycle import WorkflowProvider
from handler.service import QUICK_SECONDS, Pace, ServiceOutput
from handler.settings import Settings

Read = Callable[..., Settings]
BODY = b'{"source": 1, "data": {}}'


class Noting:
    """A workflow that notes the thread of each answer, and takes as long as it is told."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.seconds = 0.0

    def setup(self) -> None: ...

    def inference(self, input_data: Any) -> Any:
        self.threads.append(threading.get_ident())
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass
        return {}


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Any:
    name = f"{Noting.__module__}.{Noting.__qualname__}"
    monkeypatch.setitem(workflows.WORKFLOWS, "noting", name)
    workflows.takes_arrays.cache_clear()
    yield
    workflows.takes_arrays.cache_clear()


def asked(settings: Settings, workflow: Noting, count: int, body: bytes = BODY) -> int:
    """Of so many answers, how many the event loop gave by itself."""
    provider = WorkflowProvider(lambda: workflow, 5)
    provider.get()
    service = ServiceOutput(settings, Catalog(provider, settings))
    service.pace.note(0.0)

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def serve() -> int:
        for _ in range(count):
            await service._serve(receive)
        return workflow.threads.count(threading.get_ident())

    return asyncio.run(serve())


@pytest.mark.usefixtures("ours")
def test_a_quick_answer_of_ours_needs_no_thread(settings_of: Read) -> None:
    inline = asked(settings_of(), Noting(), 100)
    assert 50 < inline < 100, "after the first, of which nobody knew how long they take"


@pytest.mark.usefixtures("ours")
def test_a_slow_one_leaves_the_event_loop_to_the_others(settings_of: Read) -> None:
    workflow = Noting()
    workflow.seconds = 3 * QUICK_SECONDS
    assert asked(settings_of(), workflow, 30) == 0


@pytest.mark.usefixtures("ours")
def test_a_large_body_goes_to_a_thread(settings_of: Read) -> None:
    body = BODY[:-1] + b', "more": "' + b"x" * 5000 + b'"}'
    assert asked(settings_of(), Noting(), 60, body) == 0


def test_a_user_s_workflow_always_has_a_thread(settings_of: Read) -> None:
    assert asked(settings_of(), Noting(), 60) == 0, "it may wait for something"


def test_one_slow_answer_counts_for_a_while() -> None:
    pace = Pace()
    assert not pace.is_quick
    for _ in range(100):
        pace.note(0.0001)
    assert pace.is_quick
    pace.note(0.05)
    for _ in range(30):
        pace.note(0.0001)
    assert not pace.is_quick
    for _ in range(10):
        pace.note(0.0001)
    assert pace.is_quick
