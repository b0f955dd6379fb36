"""When a failure is tried again, and when no more."""

import time
from collections.abc import Callable

import pytest

from handler import deadline
from handler.errors import ModelError
from handler.models import remote
from handler.models.remote import TRIES, Transient, retried


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def failing(times: int, retry_after: float | None = None) -> Callable[[], int]:
    left = times

    def attempt() -> int:
        nonlocal left
        if left:
            left -= 1
            raise Transient("busy", retry_after)
        return 7

    return attempt


def test_a_transient_failure_is_tried_again_after_growing_pauses(pauses: list[float]) -> None:
    assert retried(failing(TRIES - 1), "m") == 7
    assert len(pauses) == TRIES - 1
    assert all(0 <= pause <= 0.5 * 2.0**tries for tries, pause in enumerate(pauses))
    assert len(set(pauses)) > 1, "drawn, so that environments do not retry together"


def test_it_ends(pauses: list[float]) -> None:
    with pytest.raises(ModelError, match=f"model m: busy; tried {TRIES} times"):
        retried(failing(TRIES), "m")


def test_the_pause_that_the_source_asks_for_is_kept(pauses: list[float]) -> None:
    assert retried(failing(2, 3.0), "m") == 7
    assert pauses == [3.0, 3.0]


def test_no_pause_is_longer_than_the_caller_waits(pauses: list[float]) -> None:
    deadline.bound_by(lambda: 2.5)
    try:
        with pytest.raises(ModelError, match="tried 1 times"):
            retried(failing(1, 3.0), "m")
        assert pauses == []
        assert 0 < remote.read_seconds() <= 2.5
    finally:
        deadline.bound_by(lambda: float("inf"))


def test_progress_begins_the_count_anew(pauses: list[float]) -> None:
    reached = 0

    def attempt() -> str:
        nonlocal reached
        reached += 1
        if reached <= 3 * TRIES:
            raise Transient("cut")
        return "done"

    assert retried(attempt, "m", lambda: reached) == "done"
