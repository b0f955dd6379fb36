"""Hostile TorchScript files must be inert: neither loading nor calling them touches a file."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handler.errors import ModelError
from handler.settings import Settings, get_settings
from handler.workflows import torchscript
from handler.workflows.torch_files import load_model
from tests.files import model_file

Save = Callable[..., Path]


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            x = self.layer(x)
        return torch.relu(x)


class ReadsWhenCalled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 3, dtype=torch.uint8)


class ReadsInABranch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            if x.sum() > 0:
                x = torch.from_file("/etc/hostname", False, 3, dtype=torch.uint8)
        return x


class WritesWhenCalled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "/tmp/written-by-a-model")
        return x


class NestedReader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = ReadsWhenCalled()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.inner(x)
        return result


class ReadsWhenLoaded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return (self.factor, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        print(torch.from_file("/etc/hostname", False, 3, dtype=torch.uint8))
        self.factor = state[0]
        self.training = state[1]


def test_a_program_of_tensor_operators_runs(saved: Save) -> None:
    path = saved(Plain(), script=True)
    assert torchscript.is_torchscript(path)
    module = torchscript.load(path, "m")
    assert not module.training and module(torch.ones(1, 2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("module", "operator"),
    [
        (ReadsWhenCalled, "aten::from_file"),
        (ReadsInABranch, "aten::from_file"),
        (NestedReader, "aten::from_file"),
        (WritesWhenCalled, "aten::save"),
        (ReadsWhenLoaded, "aten::from_file"),
    ],
)
def test_a_program_that_touches_files_is_refused_by_name(
    saved: Save, module: type[nn.Module], operator: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = saved(module(), script=True)
    capfd.readouterr()
    with pytest.raises(ModelError, match="is refused") as raised:
        torchscript.load(path, "m")
    assert operator in raised.value.description
    assert capfd.readouterr().out == "", "nothing ran while it was being loaded"


def test_the_graphs_are_a_second_line_of_defence(
    saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchscript, "_refused_in_source", lambda *_: set())
    for module in (ReadsWhenCalled, ReadsInABranch, NestedReader, WritesWhenCalled):
        with pytest.raises(ModelError, match=r"aten::(from_file|save)"):
            torchscript.load(saved(module(), script=True), "m")


def rewritten(path: Path, source: str) -> Path:
    """The archive with its program replaced, as somebody would who builds one by hand."""

    def replaced(name: str, data: bytes) -> tuple[str, bytes]:
        is_program = "/code/" in name and name.endswith(".py")
        return name, source.encode() if is_program else data

    return crafted(path, replaced)


def crafted(path: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    """The archive with each member's name and content changed."""
    target = path.with_name("crafted.torch")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as new:
        for name in archive.namelist():
            new.writestr(*change(name, archive.read(name)))
    return target


PROGRAM = """class Identity(Module):
  def forward(self, x: Tensor) -> Tensor:
    {}
    return x
"""


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('y = "/etc/hostname".from_file(False, 3)', "aten::from_file"),
        ("t = torch\n    y = t.relu(x)", "torch as a value"),
        ('y = getattr(torch, "from_file")("/etc/hostname")', "torch as a value"),
        ("o = ops\n    y = x", "ops as a value"),
        ("a = ops.aten\n    y = x", "ops.aten as a value"),
        ("y = ops.quantized.linear_unpack(x)", "operators of quantized"),
        ("y = ops.aten.from_file(x)", "aten::from_file"),
        ("y = __torch__.torch.classes.quantized.Conv2dPackedParamsBase()", "torch.classes"),
        ("y = __torch__.torch\n    z = y.classes.quantized.x()", "torch as a value"),
        ("y = ops.prim.rpc_sync(x)", "aten::rpc_sync"),
    ],
)
def test_no_detour_reaches_a_refused_operator(saved: Save, line: str, named: str) -> None:
    path = rewritten(saved(nn.Identity(), script=True), PROGRAM.format(line))
    with pytest.raises(ModelError, match="is refused") as raised:
        torchscript.load(path, "m")
    assert named in raised.value.description


class Classifier(nn.Module):
    """With an attribute that is called as the place of native classes is."""

    classes: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("classes", torch.tensor([3.0, 5.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classes[x.argmax(1)]


def test_a_model_may_have_classes_of_its_own(saved: Save) -> None:
    model = torchscript.load(saved(Classifier(), script=True), "m")
    assert model(torch.tensor([[0.0, 1.0]])).tolist() == [5.0]


@pytest.mark.parametrize("source", ["def (", "\0", "(" * 10_000])
def test_a_program_that_cannot_be_read_is_refused(saved: Save, source: str) -> None:
    path = rewritten(saved(nn.Identity(), script=True), source)
    with warnings.catch_warnings(), pytest.raises(ModelError, match="cannot be"):
        torchscript.load(path, "m")


def test_no_case_of_a_file_name_hides_the_program(saved: Save) -> None:
    path = saved(ReadsWhenLoaded(), script=True)
    hidden = crafted(path, lambda name, data: (name.upper(), data))
    with pytest.raises(ModelError, match="aten::from_file"):
        load_model(model_file(hidden), get_settings())


def test_a_native_class_that_only_the_data_names_is_refused(saved: Save) -> None:
    path = saved(nn.Identity(), script=True)

    def named(name: str, data: bytes) -> tuple[str, bytes]:
        native = b"c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n0"
        return name, data.replace(b"\x80\x02", b"\x80\x02" + native, 1)

    with pytest.raises(ModelError, match=r"torch\.classes"):
        torchscript.load(crafted(path, named), "m")


def test_use_jit_forces_torchscript(saved: Save, settings_of: Callable[..., Settings]) -> None:
    whole = saved(nn.Linear(1, 1))
    assert not torchscript.is_torchscript(whole)
    with pytest.raises(ModelError, match="USE_JIT"):
        load_model(model_file(whole), settings_of(USE_JIT="true"))


def test_a_truncated_archive_is_a_model_error(saved: Save, tmp_path: Path) -> None:
    data = saved(Plain(), script=True).read_bytes()
    broken: Any = tmp_path / "broken.torch"
    for size in (0, 10, len(data) // 2, len(data) - 1):
        broken.write_bytes(data[:size])
        with pytest.raises(ModelError):
            torchscript.load(broken, "m")
