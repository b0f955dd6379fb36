"""Documents of several queries, ranked by XGBoost: it gives scores, and the highest comes first."""

import sys
from pathlib import Path

import numpy as np
import xgboost

QUERIES, DOCUMENTS, FEATURES = 40, 10, 5


def train(folder: Path) -> None:
    """Writes ``model.ubj`` into a folder; a document is the better the larger its first feature."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(QUERIES * DOCUMENTS, FEATURES))
    relevance = np.digitize(rows[:, 0], [-1, 0, 1])
    ranker = xgboost.XGBRanker(objective="rank:ndcg", n_estimators=30, max_depth=3)
    ranker.fit(rows, relevance, qid=np.repeat(np.arange(QUERIES), DOCUMENTS))
    ranker.save_model(folder / "model.ubj")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
