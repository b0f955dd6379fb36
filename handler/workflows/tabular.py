"""What the models of rows and columns have in common: one array in, and a method to ask."""

from typing import Any

import numpy as np

from handler import tensors
from handler.errors import ConfigurationError, InvalidInput, ModelError
from handler.tensors import Array
from handler.workflows.model import ModelWorkflow

METHODS = ("predict", "predict_proba", "decision_function")


class TabularWorkflow(ModelWorkflow):
    """Answers ``{"dtype": name, "values": rows}`` with what the model's ``method`` gives.

    Args:
        method: ``predict`` (the default), ``predict_proba`` or ``decision_function``.
    """

    def __init__(self, *args: Any, method: str = "predict", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if method not in METHODS:
            raise ConfigurationError(f"method: known are {', '.join(METHODS)}")
        self.method = method

    def do_preprocessing(self, input_data: Any) -> Array:
        """The request's array."""
        return tensors.parse(input_data).array


class BoosterWorkflow(TabularWorkflow):
    """Trees that give raw scores; of a classifier also classes and probabilities.

    A backend sets ``features`` and, when the model is a classifier, ``classifies`` in ``load``, and
    defines ``values`` and ``margins``. Like the wrappers for scikit-learn, ``predict`` answers the
    number of the class, and ``predict_proba`` of two classes has two columns.
    """

    features = 0
    classifies = False

    def check_method(self, name: str) -> None:
        """Refuses a method that the model in a file does not have.

        Raises:
            ModelError: only a classifier has ``predict_proba`` and ``decision_function``.
        """
        if self.method != "predict" and not self.classifies:
            raise ModelError(f"model file {name} is no classifier: it has no {self.method}")

    def do_preprocessing(self, input_data: Any) -> Array:
        """The request's rows; NaN is a missing value.

        Raises:
            InvalidInput: they are no rows of as many numbers as the model has features.
        """
        array = super().do_preprocessing(input_data)
        if array.ndim != 2 or array.shape[1] != self.features:
            raise InvalidInput(
                f"data.values: the model takes rows of {self.features} numbers; found the shape "
                f"{list(array.shape)}"
            )
        if array.dtype.kind == "c":
            raise InvalidInput("data.dtype: the model takes no complex numbers")
        return array if array.dtype.kind == "f" else array.astype(np.float64)

    def do_run_model(self, preprocessed_data: Array) -> Array:
        """Shape [n] or, of one column a class or tree, [n, columns]."""
        if not self.classifies:
            return self.values(preprocessed_data)
        if self.method == "predict_proba":
            found = self.values(preprocessed_data)
            return np.stack([1 - found, found], axis=1) if found.ndim == 1 else found
        margins = self.margins(preprocessed_data)
        if self.method == "decision_function":
            return margins
        return np.asarray(margins > 0 if margins.ndim == 1 else margins.argmax(axis=1)).astype(
            np.int64
        )

    def values(self, rows: Array) -> Array:
        """What the model predicts: of a classifier, probabilities."""
        raise NotImplementedError(f"{type(self).__name__} does not define values")

    def margins(self, rows: Array) -> Array:
        """Raw scores."""
        raise NotImplementedError(f"{type(self).__name__} does not define margins")
