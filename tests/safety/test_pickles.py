"""Pickles and what counts as one: offered to every workflow, none of them runs anything."""

import builtins
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest
import skops.io
import torch
from torch import nn

from handler.errors import HandlerError
from handler.lifecycle import load_workflow
from handler.settings import Settings

Read = Callable[..., Settings]


class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class Hidden(nn.Module):
    """A module with something else among its attributes."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner


def calls(proof: Path) -> dict[str, Any]:
    shell = Call(os.system, f"touch {proof}")
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    return {
        "os.system": shell,
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "nested reduce": {
            "weights": [1.0, {"deep": (Call(builtins.getattr, Call(eval, code), "x"),)}]
        },
        "in a module": Hidden(shell),
        "in a sequence": nn.Sequential(nn.Linear(1, 1), Hidden(Call(eval, code))),
        "joblib in joblib": Call(joblib.load, str(proof)),
        "torch in torch": Call(torch.load, str(proof)),
    }


def zipped(value: Any, path: Path) -> None:
    torch.save(value, path)


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def tar(value: Any, path: Path) -> None:
    """What torch wrote before 0.1.10."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(value, 2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def plain(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def compressed(value: Any, path: Path) -> None:
    joblib.dump(value, path, compress=3)


SAVERS = {
    "zip.torch": zipped,
    "legacy.pt": legacy,
    "tar.pt": tar,
    "plain.pth": plain,
    "plain.pkl": plain,
    "plain.bin": plain,
    "compressed.joblib": compressed,
}


@pytest.fixture
def refused(settings_of: Read) -> Callable[..., str]:
    def refuse(path: Path, **environment: str) -> str:
        """Why the service does not load a file: a 503 that does not say where the file is."""
        kwargs = f'{{"model": "{path}"}}'
        settings = settings_of(CLASSIC_INF_WORKFLOW_KW_ARGS=kwargs, **environment)
        with pytest.raises(HandlerError) as raised:
            load_workflow(settings)
        assert raised.value.status == 503
        assert str(path.parent) not in raised.value.description
        return raised.value.description

    return refuse


@pytest.mark.parametrize("file", SAVERS)
@pytest.mark.parametrize("name", calls(Path("x")))
def test_no_pickle_runs_anything(
    tmp_path: Path, refused: Callable[..., str], name: str, file: str
) -> None:
    proof, path = tmp_path / "proof", tmp_path / file
    SAVERS[file](calls(proof)[name], path)
    description = refused(path)
    assert not proof.exists()
    assert file in description
    # Allowed, but without naming the content: still not.
    refused(path, TORCH_ALLOW_PICKLE="true")
    assert not proof.exists()


@pytest.mark.parametrize("save", [zipped, legacy])
@pytest.mark.parametrize("size", [20_000, 10**9])
def test_an_allowed_class_is_not_called(
    tmp_path: Path, refused: Callable[..., str], save: Any, size: int
) -> None:
    path = tmp_path / "m.pt"
    save(Call(nn.Linear, size, size), path)
    description = refused(path)
    assert save is legacy or "it makes modules instead of having them" in description


def test_a_member_s_path_leads_nowhere(tmp_path: Path, refused: Callable[..., str]) -> None:
    path, proof = tmp_path / "m.torch", tmp_path / "proof"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/version", "3\n")
        archive.writestr("m/data.pkl", pickle.dumps(Call(os.system, f"touch {proof}"), 2))
        archive.writestr(f"m/../../../..{proof}", "written")
        archive.writestr(str(proof), "written")
    assert "m.torch" in refused(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"\x8b" + b"\xff\xff\xff\x7f",  # LONG4 of 2 GiB
        b"\x80\x04\x8e" + b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # BINBYTES8 of 8 EiB
        b"\x80\x04\x95" + b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # FRAME of 8 EiB
        b"\x80\x02" + b"(" * 1_000_000,
        b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    ],
    ids=["long", "bytes", "frame", "marks", "nesting"],
)
@pytest.mark.parametrize("file", ["m.pt", "m.pkl", "m.bin"])
def test_lengths_that_lie_and_nesting_cost_nothing(
    tmp_path: Path, refused: Callable[..., str], file: str, content: bytes
) -> None:
    (tmp_path / file).write_bytes(content)
    assert file in refused(tmp_path / file)
    with zipfile.ZipFile(tmp_path / f"zip.{file}", "w") as archive:
        archive.writestr("m/version", "3\n")
        archive.writestr("m/byteorder", "little")
        archive.writestr("m/data.pkl", content)
    assert file in refused(tmp_path / f"zip.{file}")


def exported(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    module = nn.Sequential(nn.Linear(2, 2))
    original = path.with_name("original.pt2")
    torch.export.save(torch.export.export(module, (torch.ones(1, 2),)), original)
    with zipfile.ZipFile(original) as archive, zipfile.ZipFile(path, "w") as new:
        for info in archive.infolist():
            new.writestr(info.filename, change(info.filename, archive.read(info)))
    return path


def test_a_crafted_exported_program_is_not_even_read(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    proof = tmp_path / "proof"
    code = f"__import__('pathlib').Path('{proof}').touch()"

    def change(name: str, data: bytes) -> bytes:
        if name.endswith(".pt"):
            return pickle.dumps(Call(eval, code))
        return data.replace(b'"s0"', f'"{code}"'.encode()).replace(b"torch.ops", code.encode())

    path = exported(tmp_path / "m.pt2", change)
    assert "exported program (.pt2)" in refused(path)
    assert "add #sha256=" in refused(path, TORCH_ALLOW_PICKLE="true")
    assert not proof.exists()
    # By any other name it is the same.
    assert "exported program (.pt2)" in refused(path.rename(tmp_path / "m.torch"))


class Touch:
    def __init__(self, proof: str) -> None:
        Path(proof).touch()

    def __setstate__(self, state: Any) -> None:
        Path(state["proof"]).touch()


def test_a_skops_file_makes_no_object_of_an_untrusted_type(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    proof, path = tmp_path / "proof", tmp_path / "m.skops"
    touch = Touch.__new__(Touch)
    touch.proof = str(proof)  # type: ignore[attr-defined]
    skops.io.dump(touch, path)
    assert f"{__name__}.Touch" in refused(path)
    for member in (b"builtins.eval", b"os.system"):
        module, _, function = member.partition(b".")
        with zipfile.ZipFile(path, "w") as archive:
            schema = b'{"__class__": "%s", "__module__": "%s", "__loader__": "FunctionNode", '
            archive.writestr("schema.json", schema % (function, module) + b'"content": {}}')
        assert "m.skops" in refused(path)
    assert not proof.exists()


def test_a_skops_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        with archive.open("1.npy", "w", force_zip64=True) as member:
            for _ in range(1024):
                member.write(bytes(1 << 20))
    assert "it unpacks to 1,073,741,826 bytes" in refused(path)
