"""A pipeline of scikit-learn, in the one file that is safe to load: skops."""

import sys
from pathlib import Path

import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(folder: Path) -> None:
    """Writes ``model.skops`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, kinds = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, kinds)
    skops.io.dump(model, folder / "model.skops")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
