"""What an ONNX file reaches beyond itself, told before onnxruntime parses it.

Tensors may lie in other files, named by the model. A served model is one file, named by its
digest: what lies elsewhere is nobody's, so such a model is refused. The file is walked as protobuf,
with the messages that can hold a tensor or a node in one table and all else skipped.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# The depth at which protobuf's own parser stops, and far more fields than a real model has.
MAX_DEPTH = 100
MAX_FIELDS = 10_000_000

# Message -> field number -> the message in it.
MESSAGES = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
# Fields that say that a tensor is elsewhere, external_data and data_location; and a node's op_type.
EXTERNAL = {("Tensor", 13), ("Tensor", 14)}
OPERATOR = ("Node", 4)
# Operators that read a file which the model names.
READERS = {b"EPContext"}

# Tree ensembles keep their nodes in attributes' lists of floats, integers and short strings, one
# field an element: millions, which are skipped at once.
LISTS = re.compile(
    rb"(?:\x3d.{4}|\x40[\x80-\xff]{0,9}+[\x00-\x7f]|\x4a(?:"
    + b"|".join(rb"\x%02x.{%d}" % (length, length) for length in range(32))
    + rb"))++",
    re.DOTALL,
)

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class Malformed(ValueError):
    """The file is no protobuf of the kind that ONNX is."""


class _Field(NamedTuple):
    message: str
    number: int
    wire: int
    start: int
    end: int
    value: int
    """Of a number."""


def reached(path: Path) -> str | None:
    """What a model takes from outside of its file; None when it is nothing.

    Memory does not grow with the file, and time only in proportion to it.

    Raises:
        Malformed: the file is no ONNX model, or nested or split beyond what a model needs.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise Malformed("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for field in _fields(data):
                place = (field.message, field.number)
                # The number 0 says that a tensor is here.
                if place in EXTERNAL and (field.wire != VARINT or field.value):
                    return "tensors in other files"
                if place == OPERATOR and data[field.start : field.end] in READERS:
                    return f"a file of an operator {data[field.start : field.end].decode()}"
    return None


def _fields(data: mmap.mmap) -> Iterator[_Field]:
    """Every field of every message in the table, depth first."""
    # What is still to be read of each message that is open: its kind, position and end.
    opened = [("Model", 0, len(data))]
    for _ in range(MAX_FIELDS):
        while opened and opened[-1][1] == opened[-1][2]:
            opened.pop()
        if not opened:
            return
        message, position, end = opened.pop()
        if message == "Attribute" and (skipped := LISTS.match(data, position, end)):
            opened.append((message, skipped.end(), end))
            continue
        field = _field(data, message, position, end)
        yield field
        opened.append((message, field.end, end))
        inner = MESSAGES[message].get(field.number)
        if inner and field.wire == LENGTH:
            opened.append((inner, field.start, field.end))
            if len(opened) > MAX_DEPTH:
                raise Malformed("it is nested too deep")
    raise Malformed("it has too many fields")


def _field(data: mmap.mmap, message: str, position: int, end: int) -> _Field:
    tag, position = _varint(data, position, end)
    number, wire, value, start = tag >> 3, tag & 7, 0, position
    if wire == VARINT:
        value, position = _varint(data, position, end)
    elif wire == LENGTH:
        length, start = _varint(data, position, end)
        position = start + length
    else:
        # Groups are older than ONNX.
        position += _FIXED.get(wire, end)
    if position > end or not number:
        raise Malformed("it is no protobuf")
    return _Field(message, number, wire, start, position, value)


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    value = 0
    for index, byte in enumerate(data[position : min(position + 10, end)]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise Malformed("it is no protobuf")
