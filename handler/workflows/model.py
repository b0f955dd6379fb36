"""What the backends have in common: a model that is one file, denoted by a reference."""

from pathlib import Path
from typing import Any, ClassVar

from handler.errors import ConfigurationError
from handler.models import sources
from handler.models.file import ModelFile
from handler.models.reference import argument_reference, file_reference
from handler.settings import get_settings
from handler.workflows.base import BaseClassicInferenceWorkflow


class ModelWorkflow(BaseClassicInferenceWorkflow):
    """A workflow whose model is one file. A backend defines ``load``, and runs what it gave.

    Args:
        model_source, model_args: the original's form, ``LOCAL`` with ``model_path`` or
            ``HUGGINGFACE_HUB`` with ``repo_id`` and ``filename``.
        model_name: ``owner/name`` on the hub; the file is TORCH_MODEL_FILE_NAME.
        model: a model reference.

    Raises:
        ConfigurationError: none or more than one of the forms is used, or one is incomplete.
    """

    default_model: ClassVar[Path | None] = None
    """What is served when no argument names a model."""
    verifies: ClassVar[bool] = False
    """Whether ``load`` calls the file's ``verify`` itself, before it trusts the content."""

    def __init__(
        self,
        model_source: str | None = None,
        model_args: dict[str, Any] | None = None,
        *,
        model_name: str | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__()
        self.settings = get_settings()
        file_name = self.settings.torch_model_file_name
        reference = argument_reference(model_source, model_args, model_name, model, file_name)
        if reference is None and self.default_model is not None:
            reference = file_reference(self.default_model)
        if reference is None:
            raise ConfigurationError(
                "CLASSIC_INF_WORKFLOW_KW_ARGS names no model: give model, a model reference"
            )
        self.reference = reference
        self.model: Any = None
        self.model_digest: str | None = None

    def do_setup(self) -> None:
        self.model = sources.load(self.reference, self.settings, self._load)

    def _load(self, file: ModelFile) -> Any:
        if not self.verifies:
            file.verify()
        model = self.load(file)
        self.model_digest = file.description
        return model

    def load(self, file: ModelFile) -> Any:
        """What ``do_run_model`` finds in ``self.model``.

        Raises:
            ModelError: the file holds no model of this backend, or one that is refused; says why.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define load")
