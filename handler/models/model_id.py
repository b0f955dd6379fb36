"""How a request names a model: ``storage/owner/name[/version][:file,...]``.

A model id is only ever compared with the references that the operator configured; nothing is
fetched or opened because of it.
"""

from pathlib import PurePosixPath
from typing import NamedTuple, Self

from handler.errors import InvalidInput
from handler.models.reference import Reference

STORAGES = ("local", "arweave", "huggingface")  # the index is the number in the ABI
# The folder that infernet-ml keeps the files of a repository without a version in.
UNVERSIONED = "default"


class ModelId(NamedTuple):
    """A model as a request names it; ``version`` may be blank, and ``files`` empty."""

    storage: str
    owner: str
    name: str
    version: str = ""
    files: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The model id that a text spells.

        Raises:
            InvalidInput: it has another form.
        """
        repository, _, files = text.partition(":")
        parts = repository.split("/")
        if len(parts) not in (3, 4) or not all(parts) or parts[0] not in STORAGES:
            raise InvalidInput(
                "model_id: expected storage/owner/name[/version][:files], with a storage of "
                + ", ".join(STORAGES)
            )
        storage, owner, name, version = [*parts, ""][:4]
        return cls(storage, owner, name, version, split_files(files))

    @classmethod
    def of(cls, reference: Reference) -> Self | None:
        """The id of a configured model; None for a file that no owner/name folders lead to."""
        if reference.scheme == "hf":
            owner, _, name = reference.container.partition("/")
            return cls("huggingface", owner, name, reference.version or "", (reference.path,))
        folders = _parts(reference)[:-1]
        if len(folders) < 2:
            return None
        return cls("local", folders[-2], folders[-1], "", (reference.name,))

    @property
    def repository(self) -> str:
        return "/".join(filter(None, self[:4]))

    def __str__(self) -> str:
        return f"{self.repository}:{','.join(self.files)}" if self.files else self.repository

    def names(self, reference: Reference) -> bool:
        """Whether this id means the model that a reference denotes.

        The storage is where the caller knows the model from, not where this service has it from, so
        it is not compared: a model of the hub or of arweave may well be served from a file.
        """
        if reference.scheme == "hf":
            return (
                reference.container == f"{self.owner}/{self.name}"
                and self.version in ("", reference.version or "main")
                and (not self.files or reference.path in self.files)
            )
        return any(self._leads_to(reference, version) for version in self._version_folders())

    def _version_folders(self) -> tuple[str, ...]:
        return (self.version,) if self.version else ("", UNVERSIONED)

    def _leads_to(self, reference: Reference, version: str) -> bool:
        folder = PurePosixPath(self.owner, self.name, version).parts
        path = _parts(reference)
        if not self.files:
            return path[-1 - len(folder) : -1] == folder
        tails = [folder + PurePosixPath(file).parts for file in self.files]
        return any(path[-len(tail) :] == tail for tail in tails)


def _parts(reference: Reference) -> tuple[str, ...]:
    """The folders and the name of a file on this machine, or of an object, from the bucket on."""
    return PurePosixPath(reference.container, reference.path.lstrip("/")).parts


def split_files(files: str) -> tuple[str, ...]:
    """The files of a comma-separated list, without blanks."""
    return tuple(filter(None, files.split(",")))
