"""Weights with a class, exported programs, and the archives that are refused unread."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from handler.errors import ConfigurationError, ModelError
from handler.settings import Settings
from handler.workflows.torch import TorchInferenceWorkflow

Read = Callable[..., Settings]
ROWS = {"dtype": "float", "values": [[0.1, 0.2, 0.3, 0.4]]}


class Net(nn.Module):
    """With a buffer that no file holds, which the class computes."""

    scale: torch.Tensor

    def __init__(self, hidden: int = 3, *, scaled: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.last = nn.Linear(hidden, 2)
        if scaled:
            self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)
        self.scaled = scaled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.norm(self.first(x)))
        return found * self.scale if self.scaled else found


class NotMeta(Net):
    def __init__(self) -> None:
        super().__init__()
        self.first.weight.data.numpy()


NET = f"{__name__}.Net"


def served(path: Path, pin: bool = False, **kwargs: Any) -> TorchInferenceWorkflow:
    digest = f"#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}" if pin else ""
    workflow = TorchInferenceWorkflow(model=f"{path}{digest}", **kwargs)
    workflow.setup()
    return workflow


def saved(module: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    return path


@pytest.mark.parametrize("file", ["m.safetensors", "m.pt"])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("Net", {}), ("Net", {"hidden": 5}), ("Net", {"scaled": True}), ("NotMeta", {})],
)
def test_weights_are_put_into_their_class(
    tmp_path: Path, file: str, name: str, kwargs: Any
) -> None:
    torch.manual_seed(1)
    module = globals()[name](**kwargs).eval()
    path = saved(module, tmp_path / file)
    workflow = served(path, model_class=f"{__name__}.{name}", model_class_kwargs=kwargs)
    assert not workflow.model.training
    expected = module(torch.tensor(ROWS["values"]))
    torch.testing.assert_close(workflow.inference(ROWS), expected.detach())


@pytest.mark.parametrize("file", ["m.safetensors", "m.pt"])
@pytest.mark.parametrize(
    ("kwargs", "error", "reason"),
    [
        ({}, ModelError, "holds weights only: .*model_class"),
        ({"model_class": "nowhere.Net"}, ConfigurationError, "model_class nowhere.Net: No module"),
        ({"model_class": f"{__name__}.Nothing"}, ConfigurationError, "no attribute 'Nothing'"),
        ({"model_class": "pathlib.Path"}, ConfigurationError, "is no torch.nn.Module"),
        (
            {"model_class": NET, "model_class_kwargs": {"size": 1}},
            ConfigurationError,
            "unexpected keyword argument 'size'",
        ),
        (
            {"model_class": NET, "model_class_kwargs": {"hidden": 4}},
            ModelError,
            "has in another shape first.bias, first.weight, last.weight, norm.bias, .* and 2 more",
        ),
        (
            {"model_class": "torch.nn.Identity"},
            ModelError,
            "it has besides first.bias.* and 4 more",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, file: str, kwargs: Any, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        served(saved(Net(), tmp_path / file), **kwargs)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = saved(nn.Linear(4, 3), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"it lacks first\.bias"):
        served(path, model_class=NET)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "m.pt2"
    module = nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)).eval()
    program = torch.export.export(
        module, (torch.ones(2, 4),), dynamic_shapes=({0: torch.export.Dim("rows")},)
    )
    torch.export.save(program, path)
    return path


def test_an_exported_program_runs_when_its_content_is_named(
    exported: Path, settings_of: Read
) -> None:
    settings_of(TORCH_ALLOW_PICKLE="true")
    for rows in (1, 5):
        answer = served(exported, pin=True).inference(
            {"dtype": "float", "values": [[1.0] * 4] * rows}
        )
        assert answer.shape == (rows, 2) and torch.allclose(answer.sum(1), torch.ones(rows))


@pytest.mark.parametrize(
    ("allowed", "pin", "reason"),
    [
        ("false", True, "TORCH_ALLOW_PICKLE=true allows it"),
        ("false", False, "TORCH_ALLOW_PICKLE=true allows it"),
        ("true", False, "for a content that you name: add #sha256="),
    ],
)
def test_an_exported_program_counts_as_a_pickle(
    exported: Path, settings_of: Read, allowed: str, pin: bool, reason: str
) -> None:
    settings_of(TORCH_ALLOW_PICKLE=allowed)
    with pytest.raises(ModelError, match=reason):
        served(exported, pin=pin)


def bomb(path: Path, members: dict[str, int]) -> Path:
    """An archive of zeros, a thousand times smaller than what it unpacks to."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("m/version", "3\n")
        for name, size in members.items():
            with archive.open(f"m/{name}", "w", force_zip64=True) as member:
                for _ in range(size // (1 << 20)):
                    member.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    "members",
    [
        {"data.pkl": 1 << 30},
        {"data.pkl": 1 << 20, "data/0": 1 << 30},
        {"constants.pkl": 1 << 20, "data.pkl": 1 << 30},
    ],
)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, members: dict[str, int]
) -> None:
    path = bomb(tmp_path / "m.torch", members)
    code = (
        "import resource, sys, torch\n"
        "from handler.errors import ModelError\n"
        "from handler.workflows.torch import TorchInferenceWorkflow\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    TorchInferenceWorkflow(model=sys.argv[1]).setup()\n"
        "except ModelError as error:\n"
        "    print(error)\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(grown)\n"
        "assert grown < 200_000\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "unpacks to more than its own size" in done.stdout
