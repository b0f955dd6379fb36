"""Files on the Hugging Face hub, through its own client.

Importing this imports huggingface_hub, 160 ms that only a download has to pay.
"""

import email.utils
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from handler.errors import ModelError
from handler.models.reference import COMMIT, SHA256, Reference
from handler.models.remote import Checksum, Remote, Transient, read_seconds
from handler.secret import hub_token
from handler.settings import Settings

TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def resolve(reference: Reference, settings: Settings) -> Remote:
    """What the hub says of a file; a branch or tag becomes the commit that it is at the moment.

    Raises:
        Transient: the hub is busy or cannot be reached.
        ModelError: says which of token, gated repository, revision or file is wrong.
    """
    # False: never a token that happens to lie on this machine.
    token = hub_token(settings.hub_token, settings.hub_token_secret_arn) or False
    try:
        url = hf_hub_url(reference.container, reference.path, revision=reference.version)
        found = get_hf_file_metadata(url, token=token, timeout=read_seconds())
    except (httpx2.TransportError, OSError, ValueError) as error:
        raise _failure(error, reference, has_token=bool(token)) from error
    if found.size is None or found.commit_hash is None:
        raise ModelError(f"model {reference}: what answers at HF_ENDPOINT is not a hub")
    resolved = replace(reference, version=found.commit_hash)
    url = hf_hub_url(reference.container, reference.path, revision=found.commit_hash)
    headers = build_hf_headers(token=token)
    # Otherwise small files come compressed, and ranges of them are ranges of something else.
    headers["Accept-Encoding"] = "identity"

    def chunks(start: int) -> Iterator[bytes]:
        try:
            yield from _stream(url, headers, start)
        except (httpx2.TransportError, OSError, ValueError) as error:
            raise _failure(error, resolved, has_token=bool(token)) from error

    return Remote(resolved, found.size, _checksum(found.etag), chunks)


def _stream(url: str, headers: dict[str, Any], start: int) -> Iterator[bytes]:
    # Redirected to another host, the client leaves the Authorization header out.
    ranged = {**headers, "Range": f"bytes={start}-"} if start else headers
    with get_session().stream(
        "GET", url, headers=ranged, timeout=read_seconds(), follow_redirects=True
    ) as response:
        hf_raise_for_status(response)
        # A server may answer with the whole file all the same.
        skip = start if response.status_code == 200 else 0
        # As they come: collected into larger chunks, the last bytes before a cut would be lost.
        for chunk in response.iter_bytes():
            if len(chunk) > skip:
                yield chunk[skip:]
            skip = max(0, skip - len(chunk))


def _checksum(etag: str | None) -> Checksum | None:
    if etag and SHA256.fullmatch(etag):
        return Checksum("sha256", etag)
    if etag and COMMIT.fullmatch(etag):
        return Checksum("git", etag)
    return None


def _failure(error: Exception, reference: Reference, *, has_token: bool) -> Exception:
    """What went wrong: Transient, or a ModelError that says what to change."""
    if isinstance(error, httpx2.TransportError):
        reason = type(error).__name__
        return Transient(f"it is not in MODEL_CACHE_DIR, and the hub cannot be reached ({reason})")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in TRANSIENT_STATUSES:
            return Transient(f"the hub answered {status}", _retry_after(error.response))
    return ModelError(f"model {reference}: {_problem(error, has_token=has_token)}")


def _problem(error: Exception, *, has_token: bool) -> str:
    if has_token:
        access = "the token in HUGGING_FACE_HUB_TOKEN (or HF_TOKEN) must be allowed to read it"
    else:
        access = "a private one needs a token in HUGGING_FACE_HUB_TOKEN (or HF_TOKEN)"
    # From the special to the general: the first class that fits says it.
    problems: list[tuple[type[Exception], str]] = [
        (errors.GatedRepoError, f"the repository is gated: accept its terms, and {access}"),
        (errors.RepositoryNotFoundError, f"the hub shows no such repository; {access}"),
        (errors.RevisionNotFoundError, "the repository has no such revision"),
        (errors.EntryNotFoundError, "the repository has no such file"),
        (errors.HFValidationError, "this is not a name that the hub can have"),
        (errors.OfflineModeIsEnabled, "it is not in MODEL_CACHE_DIR, and HF_HUB_OFFLINE is set"),
    ]
    for kind, problem in problems:
        if isinstance(error, kind):
            return problem
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return (
            f"the hub refuses it; {access}"
            if status in (401, 403)
            else f"the hub answered {status}"
        )
    return f"the download failed with {type(error).__name__}"


def _retry_after(response: Any) -> float | None:
    """The pause, in s, of a Retry-After header, which may also be a date."""
    text = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
