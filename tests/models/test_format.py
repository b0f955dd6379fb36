"""Every format by its content, and what pickles import; hostile files are just unknown."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import safetensors.torch
import skops.io
import torch
import xgboost
from sklearn.linear_model import LogisticRegression
from torch import nn

from handler.models.format import format_of
from handler.models.pickles import MAX_BYTES, pickle_globals

ROWS = np.random.default_rng(0).random((40, 4))
CLASSES = (ROWS[:, 0] > 0.5).astype(int)
MODULE = nn.Sequential(nn.Linear(4, 2), nn.ReLU()).eval()


def sklearn_model() -> Any:
    return LogisticRegression().fit(ROWS, CLASSES)


def save_script(path: Path) -> None:
    script: Any = torch.jit.script(MODULE)
    script.save(str(path))


def save_exported(path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(MODULE, (torch.ones(2, 4),)), file)


def save_booster(path: Path, kind: str) -> None:
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(ROWS, CLASSES), 2)
    path.write_bytes(booster.save_raw(kind))


def save_trees(path: Path) -> None:
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(ROWS, CLASSES).booster_.save_model(path)


SAVERS: dict[str, Callable[[Path], Any]] = {
    "torch": lambda path: torch.save(MODULE, path),
    "torch of weights": lambda path: torch.save(MODULE.state_dict(), path),
    "torch-legacy": lambda path: torch.save(MODULE, path, _use_new_zipfile_serialization=False),
    "torchscript": save_script,
    "pt2": save_exported,
    "safetensors": lambda path: safetensors.torch.save_file(MODULE.state_dict(), path),
    "skops": lambda path: skops.io.dump(sklearn_model(), path),
    "skops compressed": lambda path: skops.io.dump(
        sklearn_model(), path, compression=zipfile.ZIP_DEFLATED
    ),
    "pickle": lambda path: path.write_bytes(pickle.dumps(sklearn_model())),
    "pickle of joblib": lambda path: joblib.dump(sklearn_model(), path),
    "pickle zlib": lambda path: joblib.dump(sklearn_model(), path, compress=("zlib", 3)),
    "pickle gzip": lambda path: joblib.dump(sklearn_model(), path, compress=("gzip", 3)),
    "pickle bz2": lambda path: joblib.dump(sklearn_model(), path, compress=("bz2", 3)),
    "pickle xz": lambda path: joblib.dump(sklearn_model(), path, compress=("xz", 3)),
    "xgboost json": lambda path: save_booster(path, "json"),
    "xgboost ubj": lambda path: save_booster(path, "ubj"),
    "lightgbm": save_trees,
    "onnx": lambda path: path.write_bytes(b"\x08\x0a\x12\x08producer"),
    "unknown": lambda path: path.write_bytes(b"nothing"),
    "unknown empty": lambda path: path.write_bytes(b""),
    "unknown archive": lambda path: path.write_bytes(b"PK\x03\x04" + b"x" * 100),
    "unknown length": lambda path: path.write_bytes(b"\xff" * 8 + b"{"),
}


@pytest.mark.parametrize("case", SAVERS)
def test_every_format(tmp_path: Path, case: str) -> None:
    SAVERS[case](tmp_path / "model")
    assert format_of(tmp_path / "model") == case.partition(" ")[0]


@pytest.mark.parametrize("case", ["torch", "torch-legacy", "pickle"])
def test_what_a_pickle_imports(tmp_path: Path, case: str) -> None:
    path = tmp_path / "model"
    SAVERS[case](path)
    names = pickle_globals(path)
    assert names is not None and names == sorted(set(names))
    own = "sklearn.linear_model._logistic.LogisticRegression"
    assert (own if case == "pickle" else "torch.nn.modules.linear.Linear") in names


class Evil:
    def __reduce__(self) -> Any:
        return (eval, ("1/0",))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_it_is_read_and_not_run(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "m").write_bytes(pickle.dumps([Evil(), {"a": Evil()}], protocol))
    (name,) = pickle_globals(tmp_path / "m") or []
    assert name in ("builtins.eval", "__builtin__.eval")


def archived(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/") + ".pkl", data)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"\x80\x04\xff",
        b"\x80\x04\x95" + b"\xff" * 8,
        b"PK\x03\x04",
        archived(other=b"x"),
        archived(model__data=b"\0" * (MAX_BYTES + 1)),
        b"{}",
    ],
    ids=range(8),
)
def test_what_cannot_be_followed_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    assert pickle_globals(tmp_path / "m") is None
