"""What a model reference says."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from handler.errors import ConfigurationError

FORMS = "hf://owner/name[@revision]/path, file:///path or a plain path"


@dataclass(frozen=True)
class HubReference:
    """A file in a repository of the Hugging Face hub."""

    repo: str
    path: str
    revision: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repo}{revision}/{self.path}"


@dataclass(frozen=True)
class FileReference:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return self.path.absolute().as_uri()


Reference = HubReference | FileReference


def parse_reference(text: str) -> Reference:
    """The reference that a text spells.

    Raises:
        ConfigurationError: the text has none of the known forms.
    """
    scheme, separator, rest = text.partition("://")
    if not text or not separator:
        return FileReference(Path(_not_blank(text)))
    if scheme == "file":
        return FileReference(Path(unquote(urlsplit(text).path)))
    if scheme == "hf":
        owner, _, rest = rest.partition("/")
        name, _, path = rest.partition("/")
        name, _, revision = name.partition("@")
        return hub_reference(f"{owner}/{name}", path, revision or None)
    raise ConfigurationError(f"model reference {text!r}: unknown scheme; known forms are {FORMS}")


def hub_reference(repo: str, path: str, revision: str | None = None) -> HubReference:
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
    return HubReference(repo, str(PurePosixPath(path)), revision)


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
            return FileReference(Path(argument("model_path")))
        case "HUGGINGFACE_HUB":
            return hub_reference(argument("repo_id"), argument("filename"), args.get("revision"))
        case _:
            raise ConfigurationError(
                f"model_source {source!r}: known are LOCAL and HUGGINGFACE_HUB"
            )


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ConfigurationError(f"the model reference is blank; known forms are {FORMS}")
    return text
