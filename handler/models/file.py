"""A model file on this machine, whose content is known."""

from pathlib import Path
from typing import NamedTuple

from handler.models.reference import Reference


class ModelFile(NamedTuple):
    """A file that holds what its reference denotes."""

    path: Path
    reference: Reference
    """Resolved: with the commit or version id, where there is one, and the sha256."""
    size: int
    """In bytes."""

    @property
    def sha256(self) -> str:
        """The digest of the content, in hex."""
        assert self.reference.sha256 is not None
        return self.reference.sha256
