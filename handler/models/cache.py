"""Model files by content, in a folder that any number of processes and machines may share.

    sha256/<digest>         the files, complete and verified
    sha256/<digest>.corrupt what turned out not to be, kept for a day for whoever wants to know why
    sha256/<key>.*.part     downloads under way, or given up by a process that died
    sha256/<key>.lock       who is downloading: the others wait, to save bandwidth
    references/<key>.json   which content a reference denoted when it was resolved

Nothing is right because of a lock: a file appears under its digest by an atomic rename, after its
content was seen to have that digest. Parts lie beside it, so that the rename never crosses devices.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from handler.deadline import time_left
from handler.errors import HandlerError, ModelError
from handler.ledger import count, phase
from handler.models.file import ModelFile
from handler.models.reference import Reference, parse_reference
from handler.models.remote import HASHERS, Hasher, Remote, Transient, retried

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
DAY_SECONDS = 24 * 60 * 60
# A waiter takes over from a process on another machine that gave no sign for so long.
LEASE_SECONDS, HEARTBEAT_SECONDS, POLL_SECONDS = 10.0, 2.0, 0.05
FULL = {errno.ENOSPC, errno.EDQUOT}

# Called with the bytes that are there and the bytes that there will be.
Progress = Callable[[int, int], None]


class Cache:
    """A folder of model files; one that is baked into an image is only ever read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = folder / "sha256"
        self._references = folder / "references"

    def find(self, reference: Reference, *, pinned: bool = False) -> ModelFile | None:
        """The file that a reference denotes, its content still to be verified; None if not here."""
        resolved = self._resolved(reference)
        if reference.sha256 and (resolved is None or resolved.sha256 != reference.sha256):
            resolved = reference
        if resolved is None or resolved.sha256 is None:
            return None
        try:
            return ModelFile(self._files / resolved.sha256, resolved, pinned=pinned)
        except OSError:
            return None

    def quarantine(self, file: ModelFile) -> None:
        """Takes a corrupt file out of the way, unless it cannot be."""
        logger.error("model %s: the file in %s is corrupt", file.reference.unpinned, self.folder)
        with contextlib.suppress(OSError):
            file.path.rename(file.path.with_suffix(".corrupt"))

    def add(
        self, reference: Reference, remote: Remote, progress: Progress | None = None
    ) -> ModelFile:
        """The file that a reference denotes, downloaded unless another process has done so.

        Raises:
            ModelError: it cannot be had or kept, or its content is not what is meant.
        """
        try:
            self._files.mkdir(parents=True, exist_ok=True)
            self._references.mkdir(exist_ok=True)
            self._sweep()
            with self._lease(_key(remote.reference)) as alone:
                digest = self._digest_here(reference, remote)
                if digest is None:
                    with phase("download"):
                        digest = self._download(remote, progress or silent, resume=alone)
                    count("download_bytes", remote.size)
            if reference.sha256 not in (None, digest):
                raise ModelError(f"model {reference}: the source has another content, {digest}")
            resolved = replace(remote.reference, sha256=digest)
            self._remember(reference, resolved)
            pinned = reference.sha256 is not None
            return ModelFile(self._files / digest, resolved, pinned=pinned, digest=digest)
        except OSError as error:
            raise self._disk_problem(error, remote) from error

    def _resolved(self, reference: Reference) -> Reference | None:
        try:
            recorded = json.loads(self._record(reference).read_bytes())
            return parse_reference(recorded["resolved"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, HandlerError):
            return None

    def _record(self, reference: Reference) -> Path:
        return self._references / f"{_key(reference.unpinned)}.json"

    def _remember(self, reference: Reference, resolved: Reference) -> None:
        record = {"reference": str(reference.unpinned), "resolved": str(resolved)}
        for name in {reference.unpinned, resolved.unpinned}:
            part = self._record(name).with_suffix(f".{uuid.uuid4().hex}.part")
            part.write_text(json.dumps(record) + "\n")
            part.replace(self._record(name))

    def _digest_here(self, reference: Reference, remote: Remote) -> str | None:
        """The digest of the file that another process has downloaded meanwhile."""
        known = remote.sha256 or reference.sha256
        if known is None and (resolved := self._resolved(remote.reference)):
            known = resolved.sha256
        if known is None or not (self._files / known).is_file():
            return None
        file = self.find(replace(remote.reference, sha256=known))
        return known if file is not None and file.intact else None

    def _download(self, remote: Remote, progress: Progress, *, resume: bool) -> str:
        """The digest of the content, which is then in its place."""
        for last in (False, True):
            part = self._part(remote, resume=resume and not last)
            try:
                self._require_space(remote.size - part.stat().st_size)
                digest, matches = _fill(part, remote, progress)
                if matches:
                    part.replace(self._files / digest)
                    return digest
                part.unlink(missing_ok=True)
            except FileNotFoundError:
                # A process that waited for this one in vain has taken the part over.
                if last:
                    raise
            except OSError as error:
                if error.errno in FULL:
                    part.unlink(missing_ok=True)
                raise
        raise ModelError(
            f"model {remote.reference}: twice, the bytes that came are not those that the source "
            "says there are"
        )

    def _part(self, remote: Remote, *, resume: bool) -> Path:
        """A file of one's own to download into: what a dead process left of the same, or new."""
        key = _key(remote.reference)
        part = self._files / f"{key}.{uuid.uuid4().hex}.part"
        if resume:
            for left in self._files.glob(f"{key}.*.part"):
                with contextlib.suppress(OSError):
                    if part.exists():
                        left.unlink()
                    else:
                        left.rename(part)
        part.touch()
        return part

    def _require_space(self, needed: int) -> None:
        if needed > shutil.disk_usage(self._files).free:
            raise OSError(errno.ENOSPC, "not enough space before the download")

    def _disk_problem(self, error: OSError, remote: Remote) -> ModelError:
        what = f"model {remote.reference}"
        if error.errno not in FULL:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            return ModelError(f"{what}: MODEL_CACHE_DIR ({self.folder}) cannot be used: {reason}")
        free = shutil.disk_usage(self._files).free
        return ModelError(
            f"{what} has {remote.size:,} bytes, and MODEL_CACHE_DIR ({self.folder}) has {free:,} "
            "free: raise the function's EphemeralStorageSize, or name a folder with more space"
        )

    @contextlib.contextmanager
    def _lease(self, key: str) -> Iterator[bool]:
        """Waits while another process downloads the same; gives whether this one is alone now."""
        from filelock import SoftFileLease, Timeout

        lease = SoftFileLease(
            self._files / f"{key}.lock",
            lease_duration=LEASE_SECONDS,
            heartbeat_interval=HEARTBEAT_SECONDS,
            poll_interval=POLL_SECONDS,
            timeout=time_left() if time_left() < float("inf") else -1,
        )
        try:
            lease.acquire()
        except Timeout:
            alone = False
        else:
            alone = True
        try:
            yield alone
        finally:
            lease.release()

    def _sweep(self) -> None:
        """Removes what nobody can be working at any more."""
        temporary = itertools.chain(self._files.glob("*.*"), self._references.glob("*.part"))
        for path in temporary:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > DAY_SECONDS:
                    path.unlink()


def _key(reference: Reference) -> str:
    return hashlib.sha256(str(reference.unpinned).encode()).hexdigest()[:32]


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


class _TooLong(Exception):
    """The source sends more bytes than it said there are."""


def _fill(part: Path, remote: Remote, progress: Progress) -> tuple[str, bool]:
    """The sha256 of the whole content, once it is in ``part``, and whether it is what was meant."""
    checksum = remote.checksum
    content: Hasher = hashlib.sha256()
    hashers = [content]
    if checksum and checksum.algorithm != "sha256":
        hashers.append(HASHERS[checksum.algorithm](remote.size))
    done = 0

    def take(data: bytes) -> None:
        nonlocal done
        for hasher in hashers:
            hasher.update(data)
        done += len(data)
        progress(done, remote.size)

    with part.open("r+b", buffering=0) as file:
        while data := file.read(BLOCK_BYTES):
            take(data)

        def attempt() -> None:
            for data in remote.chunks(done):
                if done + len(data) > remote.size:
                    raise _TooLong
                file.write(data)
                take(data)
            if done < remote.size:
                raise Transient("the connection ended before the file did")

        try:
            if done < remote.size:
                retried(attempt, remote.reference, lambda: done)
        except _TooLong:
            return content.hexdigest(), False
        os.fsync(file.fileno())
    return content.hexdigest(), checksum is None or hashers[-1].hexdigest() == checksum.hexdigest
