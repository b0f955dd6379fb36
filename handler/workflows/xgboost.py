"""Serves an XGBoost model, from its native JSON or UBJSON."""

import json
from typing import Any

import numpy as np
import xgboost

from handler.errors import InvalidInput
from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows import xgboost_files
from handler.workflows.trees import Booster, BoosterWorkflow, Kind, Malformed, check, whole

# What a score is, by the objective; a value where the objective is another.
KINDS: dict[str, Kind] = {
    "binary:logistic": "binary",
    "binary:logitraw": "binary",
    "binary:hinge": "binary",
    "multi:softprob": "classes",
    "multi:softmax": "classes",
}


class XGBoostInferenceWorkflow(BoosterWorkflow):
    __doc__ = BoosterWorkflow.__doc__

    def open(self, file: ModelFile) -> Booster:
        content = file.path.read_bytes()
        xgboost_files.check_model(xgboost_files.parsed(content))
        model = xgboost.Booster({"nthread": self.settings.threads, "verbosity": 0})
        try:
            model.load_model(bytearray(content))
            learner = json.loads(model.save_config())["learner"]
        except xgboost.core.XGBoostError as error:
            raise Malformed(_message(error)) from error
        self.objective = learner["objective"]["name"]
        if self.objective == "multi:softmax":
            # The same scores, and the probabilities that the class is chosen by.
            model.set_param({"objective": "multi:softprob"})
        # What training stopped early at is used alone, as XGBoost's own classes do.
        best = model.attr("best_iteration")
        self.rounds = whole(best) + 1 if best is not None else 0
        check(self.rounds <= model.num_boosted_rounds(), "its best round is none of its rounds")
        kind = KINDS.get(self.objective, "value")
        return Booster(model, model.num_features(), kind, self.objective != "binary:hinge")

    def scores(self, rows: Array, *, raw: bool) -> Array:
        booster: Any = self.model.model
        try:
            # XGBoost takes infinity for a mistake in the data.
            matrix = xgboost.DMatrix(rows, nthread=self.settings.threads)
        except xgboost.core.XGBoostError as error:
            raise InvalidInput(f"data: the model refuses it: {_message(error)}") from error
        found: Array = booster.predict(
            matrix,
            output_margin=raw,
            validate_features=False,
            iteration_range=(0, self.rounds),
        )
        if self.objective == "binary:logitraw" and not raw:
            found = 1 / (1 + np.exp(-found))
        return found


def _message(error: Exception) -> str:
    """The line that says what is wrong, without the place in XGBoost's source."""
    return str(error).partition("\n")[0].rpartition(".cc:")[2].partition(": ")[2] or "XGBoostError"
