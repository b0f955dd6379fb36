"""A model file on this machine, and whether its content is what is meant."""

import hashlib
import mmap
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from handler.errors import ModelError
from handler.models.reference import Reference

# Digests computed by this process, by what changes when the content does.
_known: dict[tuple[int, ...], "Future[str]"] = {}


class Corrupt(ModelError):
    """The content of a file is not what its reference says."""


class ModelFile:
    """A file and the reference that it answers.

    Its digest is computed on a thread of its own from the start, while the caller does other things
    with the file: whoever has to trust the content, as for a pickle, calls ``verify`` before.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """

    def __init__(
        self, path: Path, reference: Reference, *, pinned: bool = False, digest: str | None = None
    ) -> None:
        self.path = path
        self.pinned = pinned
        """Whether the operator named the content: in the reference or in the lock."""
        self._reference = reference
        stat = path.stat()
        self.size = stat.st_size
        """In bytes."""
        identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if identity not in _known:
            _known[identity] = _on_a_thread(path) if digest is None else _done(digest)
        self._digest = _known[identity]

    @property
    def name(self) -> str:
        """As its source calls it: the path's own name may be a digest."""
        return self._reference.name

    @property
    def sha256(self) -> str:
        """The digest of the content, in hex.

        Raises:
            OSError: the file cannot be read.
        """
        return self._digest.result()

    @property
    def reference(self) -> Reference:
        """Resolved: with the commit or version id, where there is one, and the sha256."""
        return replace(self._reference, sha256=self.sha256)

    @property
    def description(self) -> str:
        """The content in one line: sha256, size in bytes, and commit or version id, if any."""
        version = f"; version={self._reference.version}" if self._reference.version else ""
        return f"sha256={self.sha256}; size={self.size}{version}"

    @property
    def intact(self) -> bool:
        """Whether the content can be read and is what the reference says, if it says so."""
        try:
            return self._reference.sha256 in (None, self.sha256)
        except OSError:
            return False

    def verify(self) -> None:
        """Returns when the content is known to be what is meant.

        Raises:
            Corrupt: it is not.
        """
        if not self.intact:
            raise Corrupt(f"model {self._reference}: the file has another sha256")


def digest_of(path: Path, begun: Callable[[], None] = lambda: None) -> str:
    """The sha256 of a file's content, in hex; ``begun`` is called when all that is left is that."""
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            return hashlib.sha256().hexdigest()  # of an empty file, which cannot be mapped
        with content:
            content.madvise(mmap.MADV_SEQUENTIAL)
            begun()
            # In one call, so that it lets go of Python's lock once and for all.
            return hashlib.sha256(content).hexdigest()


def _done(digest: str) -> "Future[str]":
    future: Future[str] = Future()
    future.set_result(digest)
    return future


def _on_a_thread(path: Path) -> "Future[str]":
    """The digest to be, which is being computed when this returns.

    It has to be: torch.jit.load, which may come next, does not let go of Python's lock.
    """
    begun = threading.Event()
    pool = ThreadPoolExecutor(1, "digest")
    try:
        digest = pool.submit(digest_of, path, begun.set)
        digest.add_done_callback(lambda _: begun.set())
        begun.wait()
        return digest
    finally:
        pool.shutdown(wait=False)
