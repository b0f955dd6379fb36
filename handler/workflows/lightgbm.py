"""Serves a LightGBM model from its native text file."""

import os

import lightgbm
import numpy as np

from handler.errors import ModelError
from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows.tabular import BoosterWorkflow

CLASSIFIERS = {"binary", "multiclass", "multiclassova"}


class LightGBMInferenceWorkflow(BoosterWorkflow):
    """Answers ``{"dtype": name, "values": rows}`` with classes, probabilities, scores or values."""

    def load(self, file: ModelFile) -> lightgbm.Booster:
        name = file.reference.name
        # It writes to the standard output, also what is wrong with a file, unless this is set.
        lightgbm.register_logger(_Silent())
        try:
            text = file.path.read_text()
            header = _header(text)
            booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError, LookupError, MemoryError) as error:
            raise ModelError(
                f"model file {name} is no text file of LightGBM, or truncated"
            ) from error
        self.features = booster.num_feature()
        self.classifies = header.get("objective", "").partition(" ")[0] in CLASSIFIERS
        self.check_method(name)
        return booster

    def values(self, rows: Array) -> Array:
        return self._predict(rows, raw=False)

    def margins(self, rows: Array) -> Array:
        return self._predict(rows, raw=True)

    def _predict(self, rows: Array, *, raw: bool) -> Array:
        threads = len(os.sched_getaffinity(0))
        return np.asarray(self.model.predict(rows, raw_score=raw, num_threads=threads))


def _header(text: str) -> dict[str, str]:
    """What stands before the trees, which are all there: LightGBM crashes on a part of one.

    Raises:
        ValueError, LookupError: it is another text.
    """
    head, _, trees = text.partition("\n\n")
    header = dict(line.partition("=")[::2] for line in head.splitlines())
    end = sum(map(int, header["tree_sizes"].split()))
    if not text.startswith("tree\n") or not trees[end:].startswith("end of trees\n"):
        raise ValueError
    return header


class _Silent:
    def info(self, _: str) -> None: ...
    def warning(self, _: str) -> None: ...
