"""Two models of which the second takes what the first gives: principal components, then a class."""

import sys
from pathlib import Path

import numpy as np
import skops.io
from skl2onnx import to_onnx
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def train(folder: Path) -> None:
    """Writes ``features.skops`` and ``classes.onnx`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, kinds = load_iris(return_X_y=True)
    features = PLSRegression(n_components=2).fit(rows, np.eye(3)[kinds])
    skops.io.dump(features, folder / "features.skops")
    found = features.predict(rows)
    classifier = LogisticRegression(max_iter=500).fit(found, kinds)
    proto = to_onnx(classifier, found[:1], options={"zipmap": False})
    (folder / "classes.onnx").write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    train(Path(sys.argv[1]))
