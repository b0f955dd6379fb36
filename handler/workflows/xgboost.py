"""Serves an XGBoost model from its native file, JSON or UBJSON."""

import json
import os

import numpy as np
import xgboost

from handler.errors import ModelError
from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows.tabular import BoosterWorkflow
from handler.workflows.ubjson import is_whole

# Of the objectives of classifiers, those whose value is a probability.
PROBABILITIES = {"binary:logistic", "multi:softprob"}


class XGBoostInferenceWorkflow(BoosterWorkflow):
    """Answers ``{"dtype": name, "values": rows}`` with classes, probabilities, scores or values."""

    def load(self, file: ModelFile) -> xgboost.Booster:
        name = file.reference.name
        content = file.path.read_bytes()
        booster = xgboost.Booster({"nthread": len(os.sched_getaffinity(0))})
        try:
            if not content[:2].rstrip().startswith(b'{"') and not is_whole(content):
                raise ValueError
            # From memory, since by a path it goes by the path's suffix, and files here have none.
            booster.load_model(bytearray(content))
            learner = json.loads(booster.save_config())["learner"]
        except (xgboost.core.XGBoostError, ValueError, LookupError) as error:
            raise ModelError(
                f"model file {name} is no model of XGBoost: expected its JSON or UBJSON"
            ) from error
        objective = learner["objective"]["name"]
        self.features = booster.num_features()
        self.classifies = objective.startswith(("binary:", "multi:"))
        self.check_method(name)
        if self.method == "predict_proba" and objective not in PROBABILITIES:
            raise ModelError(f"model file {name}: {objective} gives no probabilities")
        best = booster.attr("best_iteration")
        self.iterations = (0, int(best) + 1) if best else (0, 0)
        return booster

    def values(self, rows: Array) -> Array:
        return self._predict(rows, "value")

    def margins(self, rows: Array) -> Array:
        return self._predict(rows, "margin")

    def _predict(self, rows: Array, kind: str) -> Array:
        found: Array = self.model.inplace_predict(
            rows, iteration_range=self.iterations, predict_type=kind, validate_features=False
        )
        return np.asarray(found)
