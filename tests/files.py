"""Model files as the sources give them to a workflow."""

from pathlib import Path

from handler.models.file import ModelFile
from handler.models.reference import file_reference


def model_file(path: Path, *, pinned: bool = False) -> ModelFile:
    """The file at a path; ``pinned`` as if the operator had named its content."""
    return ModelFile(path, file_reference(path), pinned=pinned)
