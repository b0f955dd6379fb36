"""From a reference to a file on this machine."""

import errno
from pathlib import Path

from handler.errors import ModelError
from handler.models.file import ModelFile
from handler.models.reference import Reference
from handler.settings import Settings


def fetch(reference: Reference, settings: Settings) -> ModelFile:
    """The file that a reference denotes, downloaded unless it is in the cache.

    Raises:
        ModelError: the file cannot be had; says which of token, repository, revision or file is
            wrong, and what to change.
    """
    local = reference.scheme == "file"
    path = Path(reference.path) if local else _from_hub(reference, settings)
    if not path.is_file():
        raise ModelError(f"model {reference}: there is no such file")
    return ModelFile(path, reference, path.stat().st_size)


def _from_hub(reference: Reference, settings: Settings) -> Path:
    # 160 ms of imports that only a model from the hub has to pay.
    from huggingface_hub import hf_hub_download

    token = settings.hub_token.get_secret_value() if settings.hub_token else None
    try:
        path = hf_hub_download(
            reference.container,
            reference.path,
            revision=reference.version,
            token=token or False,  # False: never a token that happens to lie on this machine
            cache_dir=settings.model_cache_dir,
        )
    except (OSError, ValueError) as error:
        problem = _hub_problem(error, has_token=token is not None)
        raise ModelError(f"model {reference}: {problem}") from error
    return Path(path)


def _hub_problem(error: Exception, *, has_token: bool) -> str:
    """What went wrong at the hub, and what to change."""
    from huggingface_hub import errors as hub

    if has_token:
        access = "the token in HUGGING_FACE_HUB_TOKEN (or HF_TOKEN) must be allowed to read it"
    else:
        access = "a private one needs a token in HUGGING_FACE_HUB_TOKEN (or HF_TOKEN)"
    # From the special to the general: the first class that fits says it.
    problems: list[tuple[type[Exception], str]] = [
        (hub.GatedRepoError, f"the repository is gated: accept its terms, and {access}"),
        (hub.RepositoryNotFoundError, f"the hub shows no such repository; {access}"),
        (hub.RevisionNotFoundError, "the repository has no such revision"),
        (
            hub.LocalEntryNotFoundError,
            "the hub cannot be reached and the file is not in MODEL_CACHE_DIR",
        ),
        (hub.EntryNotFoundError, "the repository has no such file"),
        (hub.HFValidationError, "this is not a name that the hub can have"),
    ]
    for kind, problem in problems:
        if isinstance(error, kind):
            return problem
    if isinstance(error, hub.HfHubHTTPError):
        return f"the hub answered {error.response.status_code}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of MODEL_CACHE_DIR is full: give it more space or name another folder"
    return f"the download failed with {type(error).__name__}"
