"""What XGBoost and LightGBM have in common.

Neither library looks at where a tree's nodes lead: a hostile or damaged file makes it read beyond
its arrays, or go round for ever. So both backends look before the library does.
"""

import re
from typing import Any, Literal, NamedTuple

import numpy as np

from handler import tensors
from handler.errors import InvalidInput, ModelError
from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows.method import MethodWorkflow

MAX_FEATURES = 10_000_000

Kind = Literal["value", "binary", "classes"]


class Malformed(ValueError):
    """A file is not what its library would have written."""


class Booster(NamedTuple):
    """A library's model, and what is to be known of it."""

    model: Any
    features: int
    kind: Kind
    """Two classes by one score, classes by a score each, or values."""
    probable: bool = True
    """Whether a classifier gives probabilities."""


class BoosterWorkflow(MethodWorkflow):
    """Answers ``{"dtype": name, "values": rows}`` with what boosted trees make of it.

    NaN is a missing value. ``predict`` gives the index of the class, or a value; ``predict_proba``
    a column for each class, also for two; ``decision_function`` the raw scores.
    """

    def open(self, file: ModelFile) -> Booster:
        """The library's model.

        Raises:
            Malformed: the file is damaged, or hostile.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define open")

    def scores(self, rows: Array, *, raw: bool) -> Array:
        """What the library predicts: raw scores, or what it makes of them."""
        raise NotImplementedError(f"{type(self).__name__} does not define scores")

    def load(self, file: ModelFile) -> Booster:
        try:
            booster = self.open(file)
        except Exception as error:
            # What is missing or of another type shows in as many ways as there are.
            problem = str(error) if isinstance(error, Malformed) else type(error).__name__
            raise ModelError(f"model file {file.name} cannot be loaded: {problem}") from error
        if self.method == "predict_proba" and (booster.kind == "value" or not booster.probable):
            raise ModelError(
                f"model file {file.name} gives no probabilities, so it has no method "
                "predict_proba; it has predict, decision_function"
            )
        return booster

    def example_input(self) -> Any:
        """One row of zeros."""
        return {"dtype": "double", "values": np.zeros((1, self.model.features))}

    def do_preprocessing(self, input_data: Any) -> Array:
        """The rows, of as many real numbers as the model has features.

        Raises:
            InvalidInput: they have another shape or dtype.
        """
        rows, features = tensors.parse(input_data).array, self.model.features
        if rows.ndim != 2 or rows.shape[1] != features:
            raise InvalidInput(
                f"data.values: found shape {list(rows.shape)}; the model takes rows of {features}"
            )
        if rows.dtype.kind == "c":
            raise InvalidInput("data.dtype: the model takes real numbers")
        return rows.astype(np.float64, copy=False)

    def do_run_model(self, preprocessed_data: Array) -> Array:
        """What the method gives."""
        kind = self.model.kind
        if self.method == "decision_function" or kind == "value":
            return self.scores(preprocessed_data, raw=self.method == "decision_function")
        scores = self.scores(preprocessed_data, raw=False)
        if self.method == "predict":
            found = scores > 0.5 if kind == "binary" else scores.argmax(axis=1)
            return found.astype(np.int64)
        # Of several targets with two classes each, the probability of the second is all.
        return (
            scores
            if kind == "classes" or scores.ndim > 1
            else np.stack([1 - scores, scores], axis=1)
        )


def check(fits: Any, problem: str) -> None:
    """Raises Malformed unless ``fits``, which may be an array of which all must."""
    if not np.all(fits):
        raise Malformed(problem)


def whole(text: Any) -> int:
    """The whole number that a text spells in the one way that no two readers differ on."""
    check(isinstance(text, str) and re.fullmatch("[0-9]{1,9}", text), "a number is spelled oddly")
    return int(text)


def check_children(children: Array, nodes: int) -> None:
    """Returns when the nodes are a tree: all but the first are led to from one place at most.

    Raises:
        Malformed: some are led to twice, or out of the tree.
    """
    check((children > 0) & (children < nodes), "a tree's nodes lead out of it")
    check(
        np.unique(children).size == children.size, "a tree's nodes lead to one another in circles"
    )
