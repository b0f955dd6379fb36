"""How much time the caller that waits for the work under way still has."""

import time
from collections.abc import Callable
from contextvars import ContextVar

# Without a caller, on the command line, nothing but the number of tries bounds a download.
_time_left: ContextVar[Callable[[], float]] = ContextVar("time_left", default=lambda: float("inf"))


def time_left() -> float:
    """In seconds; infinite when nobody waits."""
    return _time_left.get()()


def bound_by(seconds_left: Callable[[], float]) -> None:
    """From now on, this context works for a caller who has that much time left."""
    _time_left.set(seconds_left)


def after(seconds: float) -> Callable[[], float]:
    """The time that is left until so many seconds from now."""
    until = time.monotonic() + seconds
    return lambda: until - time.monotonic()
