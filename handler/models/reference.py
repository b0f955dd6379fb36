"""What a model reference says: one file on the hub, in S3 or on this machine."""

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from handler.errors import ConfigurationError

FORMS = (
    "hf://owner/name[@revision]/path, s3://bucket/key[?versionId=V], file:///path or a plain path, "
    "each with #sha256=DIGEST behind it or without"
)
PIN = "#sha256="
VERSION_ID = "?versionId="
COMMIT = re.compile("[0-9a-f]{40}")
SHA256 = re.compile("[0-9a-f]{64}")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

Scheme = Literal["hf", "s3", "file"]


@dataclass(frozen=True)
class Reference:
    """Which file is meant. Its text, by ``str``, is a reference that parses to the same."""

    scheme: Scheme
    path: str
    """In its repository or bucket, or on this machine, absolute."""
    container: str = ""
    """``owner/name`` of a repository, or a bucket; blank for a file on this machine."""
    version: str | None = None
    """A revision of the repository, or a version id of the object."""
    sha256: str | None = None
    """The content that is meant, in hex; any when None."""

    def __str__(self) -> str:
        pin = f"{PIN}{self.sha256}" if self.sha256 else ""
        if self.scheme == "file":
            return f"{Path(self.path).as_uri()}{pin}"
        if self.scheme == "s3":
            version = f"{VERSION_ID}{self.version}" if self.version else ""
            return f"s3://{self.container}/{self.path}{version}{pin}"
        version = f"@{quote(self.version, safe='')}" if self.version else ""
        return f"hf://{self.container}{version}/{self.path}{pin}"

    @property
    def unpinned(self) -> "Reference":
        """The same without the content that is meant."""
        return replace(self, sha256=None)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name


def parse_reference(text: str) -> Reference:
    """The reference that a text spells.

    Raises:
        ConfigurationError: the text has none of the known forms.
    """
    bare, _, pin = text.partition(PIN)
    if PIN in text and not SHA256.fullmatch(pin):
        raise ConfigurationError(f"model reference {text!r}: a sha256 has 64 digits, 0-9 and a-f")
    return replace(_parse(bare), sha256=pin or None)


def _parse(text: str) -> Reference:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return file_reference(text)
    if scheme == "file":
        return file_reference(unquote(urlsplit(text).path))
    if scheme == "hf":
        owner, _, rest = rest.partition("/")
        name, _, path = rest.partition("/")
        name, _, revision = name.partition("@")
        return hub_reference(f"{owner}/{name}", path, unquote(revision) or None)
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        key, _, version = key.partition(VERSION_ID)
        return _s3_reference(bucket, key, version or None)
    raise ConfigurationError(f"model reference {text!r}: unknown scheme; known forms are {FORMS}")


def file_reference(path: str | Path) -> Reference:
    """A reference to a file on this machine.

    Raises:
        ConfigurationError: the path is blank.
    """
    if not str(path).strip():
        raise ConfigurationError(f"the model reference is blank; known forms are {FORMS}")
    return Reference("file", str(Path(path).absolute()))


def hub_reference(repo: str, path: str, revision: str | None = None) -> Reference:
    """A reference to the file ``path`` of the hub repository ``owner/name``.

    Raises:
        ConfigurationError: ``repo`` is not owner/name, or ``path`` is not inside it.
    """
    owner, _, name = repo.partition("/")
    parts = PurePosixPath(path).parts
    if not owner or not name or "/" in name:
        raise ConfigurationError(f"hub repository {repo!r}: expected owner/name")
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ConfigurationError(f"file {path!r} of hub repository {repo}: not a path inside it")
    return Reference("hf", str(PurePosixPath(path)), repo, revision)


def _s3_reference(bucket: str, key: str, version: str | None) -> Reference:
    if not BUCKET.fullmatch(bucket) or not key:
        raise ConfigurationError(
            f"object {key!r} of S3 bucket {bucket!r}: expected s3://bucket/key, with a bucket name "
            "of 3 to 63 small letters, digits, dots and hyphens"
        )
    return Reference("s3", key, bucket, version)


def argument_reference(
    model_source: str | None,
    model_args: dict[str, Any] | None,
    model_name: str | None,
    model: str | None,
    file_name: str,
) -> Reference | None:
    """The reference that a workflow's arguments mean, or None when they name no model.

    ``file_name`` is the file of a ``model_name``, which is a repository only.

    Raises:
        ConfigurationError: more than one of the forms is used, or one is incomplete.
    """
    if model_source is not None and "/" in model_source and model_args is None:
        # Before it took model_source, the original took model_name, as the first argument too.
        model_source, model_name = None, model_source
    forms = (model, model_name, model_source or model_args)
    if sum(form is not None for form in forms) > 1:
        raise ConfigurationError("give one of model, model_name, and model_source with model_args")
    if model is not None:
        return parse_reference(model)
    if model_name is not None:
        return hub_reference(model_name, file_name)
    if model_source is not None or model_args is not None:
        return historic_reference(model_source or "LOCAL", model_args or {})
    return None


def historic_reference(source: str, args: dict[str, Any]) -> Reference:
    """The reference that the original's ``model_source`` and ``model_args`` mean.

    Raises:
        ConfigurationError: the source is unknown, or an argument that it needs is missing.
    """

    def argument(name: str) -> str:
        value = args.get(name)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"model_args: {source} needs {name}, a string")
        return value

    match str(source).upper():
        case "LOCAL":
            return file_reference(argument("model_path"))
        case "HUGGINGFACE_HUB":
            return hub_reference(argument("repo_id"), argument("filename"), args.get("revision"))
        case _:
            raise ConfigurationError(
                f"model_source {source!r}: known are LOCAL and HUGGINGFACE_HUB"
            )
