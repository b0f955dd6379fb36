"""``model.lock``: which content each reference has to have, committed by the user.

With CLASSIC_INF_MODEL_LOCK nothing is loaded but what it lists.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handler.errors import ConfigurationError, ModelError
from handler.models.reference import Reference, parse_reference


class Proof(BaseModel):
    """How a compiled model is known to give the answers of the one that it was made of."""

    model_config = ConfigDict(frozen=True)

    source: str = ""
    """The reference of that one, resolved."""
    source_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    inputs: int
    """How many both were asked."""
    max_absolute_difference: float
    max_relative_difference: float
    """To the larger of two numbers."""
    tolerance: float


class LockedModel(BaseModel):
    """One model. Keys that are not known are ignored."""

    model_config = ConfigDict(frozen=True)

    reference: str
    """As the configuration names it."""
    resolved: str
    """With the commit or version id, where there is one."""
    size: int
    """In bytes."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    format: str
    globals: tuple[str, ...] | None = None
    """What a pickled file imports; None when it is no pickle, or cannot be told."""
    compiled: Proof | None = Field(None, exclude_if=lambda proof: proof is None)
    """Of what, when the file was compiled."""


class ModelLock(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    models: tuple[LockedModel, ...] = ()


@cache
def read_lock(path: Path) -> ModelLock:
    """The lock in a file.

    Raises:
        ConfigurationError: it cannot be read, or is no lock; says where.
    """
    try:
        return ModelLock.model_validate_json(path.read_bytes())
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValidationError as invalid:
        problems = invalid.errors(include_url=False, include_input=False)
        problem = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems)
    raise ConfigurationError(f"CLASSIC_INF_MODEL_LOCK: {path}: {problem}")


def locked(reference: Reference, path: Path) -> Reference:
    """The reference with the version and the content that a lock says.

    Raises:
        ModelError: the lock does not list it, or says otherwise.
        ConfigurationError: the lock cannot be read.
    """
    for model in read_lock(path).models:
        resolved = parse_reference(model.resolved)
        if reference.unpinned in (parse_reference(model.reference).unpinned, resolved.unpinned):
            if reference.sha256 not in (None, model.sha256):
                raise ModelError(f"model {reference}: {path} says sha256 {model.sha256}")
            return replace(resolved, sha256=model.sha256)
    raise ModelError(
        f"model {reference} is not in CLASSIC_INF_MODEL_LOCK ({path}), and nothing else may be "
        f"loaded; add it with infernet-lambda lock"
    )
