"""Pickles: what they import, without running them, and when one may run."""

import pickletools
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, cast

from handler.models.file import ModelFile
from handler.settings import Settings

MAX_BYTES = 64 * 1024 * 1024


def why_refused(file: ModelFile, settings: Settings) -> str | None:
    """What is missing before a pickle may be loaded, whose author can run any code; or None."""
    if not settings.torch_allow_pickle:
        return "its author can run any code with it; TORCH_ALLOW_PICKLE=true allows it"
    if not file.pinned:
        return (
            "TORCH_ALLOW_PICKLE=true is for a content that you name: add #sha256= to the "
            "reference, or write a lock with infernet-lambda lock and set CLASSIC_INF_MODEL_LOCK"
        )
    file.verify()
    return None


def pickle_globals(path: Path) -> list[str] | None:
    """What a pickled file imports, as ``module.name``, sorted; to be read, not to be relied on.

    None when it is no pickle, or one that cannot be followed: compressed, larger than 64 MiB, or
    one of joblib's, with arrays between the opcodes.

    Raises:
        OSError: the file cannot be read.
    """
    data = _pickle_in(path)
    if data is None:
        return None
    found: set[str] = set()
    try:
        while data:
            length = _collect(data, found)
            data = data[length:] if data[length : length + 1] == b"\x80" else b""
    except Exception:
        # pickletools raises whatever comes to it on bytes that are no pickle.
        return None
    return sorted(found)


def _pickle_in(path: Path) -> bytes | None:
    with path.open("rb") as file:
        head = file.read(4)
        if head[:1] == b"\x80":
            file.seek(0)
            data = file.read(MAX_BYTES + 1)
            return data if len(data) <= MAX_BYTES else None
    if head != b"PK\x03\x04":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if PurePosixPath(info.filename).name == "data.pkl" and info.file_size <= MAX_BYTES:
                    with archive.open(info) as member:
                        return member.read(MAX_BYTES)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        pass
    return None


def _collect(data: bytes, found: set[str]) -> int:
    """Adds what the first pickle in ``data`` imports; gives its length."""
    strings: list[Any] = []
    memo: dict[Any, Any] = {}
    end = 0
    for opcode, argument, position in pickletools.genops(data):
        end = cast(int, position) + 1
        match opcode.name:
            case "GLOBAL" | "INST":
                found.add(str(argument).replace(" ", "."))
                strings.append(None)
            case "STACK_GLOBAL":
                found.add(".".join(map(str, strings[-2:])))
                strings.append(None)
            case "MEMOIZE":
                memo[len(memo)] = strings[-1] if strings else None
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = strings[-1] if strings else None
            case "GET" | "BINGET" | "LONG_BINGET":
                strings.append(memo.get(argument))
            case _ if isinstance(argument, str):
                strings.append(argument)
    return end
