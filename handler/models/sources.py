"""From a reference to a file on this machine: baked in, cached, or fetched from where it is."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from handler.errors import ModelError
from handler.ledger import phase
from handler.models.cache import Cache, Progress
from handler.models.file import Corrupt, ModelFile
from handler.models.reference import Reference
from handler.models.remote import Remote, retried
from handler.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Where an image keeps the models that were copied into it.
BAKED = Path("/opt/models")


def fetch(
    reference: Reference,
    settings: Settings,
    progress: Progress | None = None,
    into: Path | None = None,
) -> ModelFile:
    """The file that a reference denotes, verified; in the folder ``into`` if one is given.

    Raises:
        ModelError: it cannot be had; says which of token, permission, name, space or content is
            wrong, and what to change.
        ConfigurationError: CLASSIC_INF_MODEL_LOCK cannot be read.
    """

    def verified(file: ModelFile) -> ModelFile:
        file.verify()
        return file

    return _load(reference, settings, verified, progress, into)[0]


def load(reference: Reference, settings: Settings, loader: Callable[[ModelFile], T]) -> T:
    """What ``loader`` makes of the file that a reference denotes.

    The file's digest is computed at the same time; what was made of a file that turns out to be
    corrupt is thrown away. A loader calls the file's ``verify`` before it trusts the content.

    Raises:
        ModelError, ConfigurationError: as for ``fetch``; and whatever ``loader`` raises.
    """
    result, file = _load(reference, settings, loader)
    logger.info("model %s: %d bytes", file.reference, file.size)
    return result


def _load(
    reference: Reference,
    settings: Settings,
    loader: Callable[[ModelFile], T],
    progress: Progress | None = None,
    into: Path | None = None,
) -> tuple[T, ModelFile]:
    wanted = reference
    if settings.model_lock is not None:
        from handler.models.lock import locked

        wanted = locked(reference, settings.model_lock)
    if wanted.scheme == "file":
        return _finished(loader, _local(wanted))
    folders = [BAKED, settings.model_cache_dir] if into is None else [into]
    corrupt = ""
    for cache in map(Cache, folders):
        file = cache.find(wanted, pinned=wanted.sha256 is not None)
        if file is None:
            continue
        try:
            return _finished(loader, file)
        except Corrupt:
            cache.quarantine(file)
        corrupt = f"; the copy in {cache.folder} is corrupt"
    try:
        file = cache.add(wanted, _remote(wanted, settings), progress)
    except ModelError as error:
        raise ModelError(f"{error}{corrupt}") from error
    return _finished(loader, file)


def _finished(loader: Callable[[ModelFile], T], file: ModelFile) -> tuple[T, ModelFile]:
    try:
        with phase("load"):
            result = loader(file)
    finally:
        # What is wrong with another content than the one that is meant does not matter.
        with phase("verify"):
            file.verify()
    return result, file


def _local(reference: Reference) -> ModelFile:
    path = Path(reference.path)
    try:
        if not path.is_file():
            raise ModelError(f"model {reference}: there is no such file")
        return ModelFile(path, reference, pinned=reference.sha256 is not None)
    except OSError as error:
        raise ModelError(f"model {reference}: {error.strerror}") from error


def _remote(reference: Reference, settings: Settings) -> Remote:
    """What the source says of the file, the first time that it can be asked.

    Raises:
        ModelError: the source refuses, cannot be reached in time, or has another content.
    """

    def resolve() -> Remote:
        # Each imports a client that only a download has to pay for.
        if reference.scheme == "hf":
            from handler.models import hub

            return hub.resolve(reference, settings)
        from handler.models import s3

        return s3.resolve(reference)

    with phase("resolve"):
        remote = retried(resolve, reference)
    if reference.sha256 and remote.sha256 not in (None, reference.sha256):
        raise ModelError(f"model {reference}: the source has another content, {remote.sha256}")
    return remote
