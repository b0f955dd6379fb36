"""Serves a scikit-learn model from a skops file; a pickle only when the operator says so twice."""

import re
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
import skops.io

from handler import tensors
from handler.errors import ConfigurationError, InvalidInput, ModelError
from handler.models.file import ModelFile
from handler.models.format import format_of
from handler.models.pickles import why_refused
from handler.tensors import Array
from handler.workflows.method import METHODS, MethodWorkflow

# skops stores without compression unless it is asked to.
UNPACKED_BYTES, UNPACKED_TIMES = 256 * 1024 * 1024, 4
SCHEMA_BYTES = 64 * 1024 * 1024


class SklearnInferenceWorkflow(MethodWorkflow):
    """Answers ``{"dtype": name, "values": rows}`` with what the model's ``method`` gives.

    Args:
        method: ``predict`` (the default), ``predict_proba`` or ``decision_function``.
        trusted_types: what a skops file may hold beside the types that skops trusts, as it names
            them.
    """

    def __init__(self, *args: Any, trusted_types: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(trusted_types, list | None):
            raise ConfigurationError("trusted_types: expected a list of strings")
        self.trusted_types = trusted_types or []

    def load(self, file: ModelFile) -> Any:
        name = file.name
        match format_of(file.path):
            case "skops":
                model = self._skops(file)
            case "pickle":
                model = self._pickle(file)
            case other:
                raise ModelError(f"model file {name} ({other}) is no skops file")
        if not callable(getattr(model, self.method, None)):
            has = [method for method in METHODS if callable(getattr(model, method, None))]
            raise ModelError(
                f"model file {name} holds a {type(model).__name__} without {self.method}; it has "
                f"{', '.join(has) or 'none of the methods'}"
            )
        return model

    def example_input(self) -> Any:
        """One row of zeros, where the model tells how many features it takes."""
        features = getattr(self.model, "n_features_in_", None)
        return features and {"dtype": "double", "values": np.zeros((1, int(features)))}

    def do_preprocessing(self, input_data: Any) -> Array:
        """The request's array; its shape is the model's business."""
        return tensors.parse(input_data).array

    def do_run_model(self, preprocessed_data: Array) -> Any:
        """What the model's method gives.

        Raises:
            InvalidInput: scikit-learn refuses the rows; in its own words.
        """
        try:
            return getattr(self.model, self.method)(preprocessed_data)
        except (ValueError, TypeError) as error:
            if not _raised_by_sklearn(error):
                raise
            raise InvalidInput(f"data: the model refuses it: {_message(error)}") from error

    def _skops(self, file: ModelFile) -> Any:
        name = file.name
        try:
            _refuse_bombs(file)
            untrusted = set(skops.io.get_untrusted_types(file=file.path)) - set(self.trusted_types)
            if not untrusted:
                return skops.io.load(file.path, trusted=self.trusted_types)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"model file {name} cannot be loaded: {type(error).__name__}"
            ) from error
        raise ModelError(
            f"model file {name} needs {', '.join(sorted(untrusted))}; if you trust them, name them "
            "in trusted_types"
        )

    def _pickle(self, file: ModelFile) -> Any:
        name = file.name
        if reason := why_refused(file, self.settings):
            raise ModelError(
                f"model file {name} is a pickle: save it with skops.io.dump instead; {reason}"
            )
        try:
            return joblib.load(file.path)
        except Exception as error:
            raise ModelError(
                f"model file {name} cannot be loaded: {type(error).__name__}"
            ) from error


def _refuse_bombs(file: ModelFile) -> None:
    """Refuses an archive that would fill the memory."""
    with zipfile.ZipFile(file.path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(UNPACKED_BYTES, UNPACKED_TIMES * file.size):
        raise ModelError(f"model file {file.name} is refused: it unpacks to {unpacked:,} bytes")
    if sum(m.file_size for m in members if m.filename == "schema.json") > SCHEMA_BYTES:
        raise ModelError(f"model file {file.name} is refused: its schema is larger than 64 MiB")


def _raised_by_sklearn(error: Exception) -> bool:
    """Whether scikit-learn refused the input, as opposed to a user's own code failing."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    package = Path(sklearn.__file__).parent
    return last is not None and Path(last.tb_frame.f_code.co_filename).is_relative_to(package)


def _message(error: Exception) -> str:
    """The first line, without the values in brackets that some messages quote."""
    return re.sub(r"\[.*?\]", "[...]", str(error).strip().partition("\n")[0])
