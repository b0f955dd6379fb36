"""A file at its source: what is known of it before its first byte, and how its bytes are had."""

import hashlib
import itertools
import logging
import random
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from handler.deadline import time_left
from handler.errors import ModelError
from handler.models.reference import Reference

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Tries without progress: with the pauses between them, about eight seconds.
TRIES = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
READ_SECONDS = 10.0


class Hasher(Protocol):
    """What hashlib's objects have in common."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Checksum(NamedTuple):
    """What the source says of the content; ``algorithm`` is a key of ``HASHERS``."""

    algorithm: str
    hexdigest: str


class Remote(NamedTuple):
    """A file at its source."""

    reference: Reference
    """Resolved: with the commit or version id, where there is one."""
    size: int
    """In bytes."""
    checksum: Checksum | None
    chunks: Callable[[int], Iterator[bytes]]
    """The content from a position on. Raises Transient and ModelError."""

    @property
    def sha256(self) -> str | None:
        """What the source says is the content's, in hex."""
        known = self.checksum is not None and self.checksum.algorithm == "sha256"
        return self.checksum.hexdigest if self.checksum and known else None


class Transient(Exception):
    """A failure that may pass by itself; ``retry_after`` is the pause, in s, that was asked for."""

    def __init__(self, problem: str, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _git_blob(size: int) -> Any:
    """The hub names files that are kept in git itself by git's own digest."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


# By name, for a file of a size.
HASHERS: dict[str, Callable[[int], Hasher]] = {
    "sha256": lambda _: hashlib.sha256(),
    "sha1": lambda _: hashlib.sha1(usedforsecurity=False),
    "md5": lambda _: hashlib.md5(usedforsecurity=False),
    "crc32": lambda _: _Crc32(),
    "git": _git_blob,
}


def retried(attempt: Callable[[], T], what: object, progress: Callable[[], int] = int) -> T:
    """What ``attempt`` gives, tried again after a transient failure.

    Args:
        attempt: raises Transient for what may pass by itself.
        what: the text of the model, for the error.
        progress: a number that grows when an attempt got somewhere although it failed.

    Raises:
        ModelError: TRIES attempts in a row got nowhere, or the time that is left does not allow
            for another pause.
    """
    failures, reached = itertools.count(1), progress()
    while True:
        try:
            return attempt()
        except Transient as error:
            if progress() > reached:
                failures, reached = itertools.count(1), progress()
            tries = next(failures)
            pause = error.retry_after
            if pause is None:
                # The whole range is drawn from: environments that fail together must not retry so.
                pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1)))  # noqa: S311
            if tries == TRIES or pause >= time_left():
                raise ModelError(f"model {what}: {error}; tried {tries} times") from error
            logger.warning("model %s: %s; trying again in %.1f s", what, error, pause)
            time.sleep(pause)


def read_seconds() -> float:
    """How long to wait for the next bytes, in s: not longer than the caller has."""
    return max(0.1, min(READ_SECONDS, time_left()))
