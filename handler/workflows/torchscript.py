"""Loads a TorchScript file, which is a program: only one that computes on tensors may run.

A scripted module may carry ``__setstate__``, which runs while the file is being loaded, so the
program is read before it is loaded, with torch's own reader of the archive: another one might see
another program. After loading, the graphs that torch made of it are walked as well, so that nothing
hangs on how the source was read.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from handler.errors import ModelError

NAMESPACES = {"aten", "prim"}
# Operators of those namespaces that leave the process: files, and calls to other machines.
REFUSED = {"from_file", "save", "rpc_async", "rpc_sync", "rpc_remote"}
MAX_SOURCE_BYTES = 64 * 1024 * 1024


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, by what it contains."""
    try:
        archive: Any = torch._C.PyTorchFileReader(str(path))
        # Only TorchScript keeps its constants apart from its data.
        return bool(archive.has_record("constants.pkl"))
    except RuntimeError:
        return False


def load(path: Path, name: str) -> torch.jit.ScriptModule:
    """The module of a TorchScript file, in eval mode; ``name`` is the file's, for errors.

    Raises:
        ModelError: the file is no TorchScript, or its program uses more than tensor operators;
            names the operators.
    """
    refused = _refused_in_source(path, name)
    if not refused:
        try:
            module: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ModelError(
                f"model file {name} cannot be loaded as TorchScript: {type(error).__name__}"
            ) from error
        refused = set(_refused_in_graphs(module))
    if refused:
        raise ModelError(
            f"model file {name} is a program that is refused, because it uses "
            f"{', '.join(sorted(refused))}; only aten and prim operators without access to files "
            "or other machines may run"
        )
    script: torch.jit.ScriptModule = module.eval()
    return script


def _refused_in_source(path: Path, name: str) -> set[str]:
    if not is_torchscript(path):
        raise ModelError(f"model file {name} is not a TorchScript file; is USE_JIT right?")
    refused: set[str] = set()
    try:
        archive = torch._C.PyTorchFileReader(str(path))
        # The reader finds a record whatever the case of its name.
        records = {record.lower(): record for record in archive.get_all_records()}
        sources = [record for lowered, record in records.items() if lowered.endswith(".py")]
        if sum(map(archive.get_record_size, sources)) > MAX_SOURCE_BYTES:
            raise ModelError(f"model file {name}: the program is larger than 64 MiB")
        # Beside its program, torch compresses nothing but that program's debugging information.
        declared = sum(map(archive.get_record_size, archive.get_all_records()))
        if declared > path.stat().st_size + 2 * MAX_SOURCE_BYTES:
            raise ModelError(f"model file {name} is refused: it unpacks to more than its own size")
        for source in sources:
            refused.update(_refused_names(ast.parse(archive.get_record(source))))
        for record in ("data.pkl", "constants.pkl"):
            # A native class can also be named by the data alone, which makes one of them.
            if b"torch.classes" in archive.get_record(record):
                refused.add("torch.classes")
    except (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError) as error:
        raise ModelError(f"model file {name}: the program cannot be read") from error
    return refused


def _refused_names(program: ast.AST) -> Iterator[str]:
    """What a program's source names beyond tensor operators.

    An operator is reached as ``torch.name``, ``ops.namespace.name`` or as a method of a value
    (``"file".from_file(...)``), and native classes as ``torch.classes``. The names ``torch`` and
    ``ops`` on their own could be passed on under another name, so they are refused too.
    """
    nodes = list(ast.walk(program))
    bases = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in ("torch", "ops") and id(node) not in bases:
            yield f"{node.id} as a value"
        if not isinstance(node, ast.Attribute):
            continue
        if node.attr in REFUSED:
            yield f"aten::{node.attr}"
        if isinstance(node.value, ast.Name) and node.value.id == "ops":
            if node.attr not in NAMESPACES:
                yield f"operators of {node.attr}"
            elif id(node) not in bases:
                yield f"ops.{node.attr} as a value"
        # A model's own attribute may have that name, as the classes of a classifier do.
        if node.attr == "classes" and _ends_in_torch(node.value):
            yield "torch.classes"
        if node.attr == "torch" and id(node) not in bases:
            yield "torch as a value"


def _ends_in_torch(node: ast.AST) -> bool:
    return "torch" in (getattr(node, "id", ""), getattr(node, "attr", ""))


def _refused_in_graphs(module: Any) -> Iterator[str]:
    for part in module.modules():
        for name in part._c._method_names():
            for kind in _operators(part._c._get_method(name).inlined_graph):
                namespace, _, operator = kind.partition("::")
                if namespace not in NAMESPACES or operator in REFUSED:
                    yield kind


def _operators(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _operators(inner)
