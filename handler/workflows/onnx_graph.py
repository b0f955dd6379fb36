"""What an ONNX file would make onnxruntime reach for, read before onnxruntime reads it.

A model is one file, known by its content. Weights in other files would be neither, and a path in a
model file is its author's choice. The file is walked as protobuf, by a table of the messages that
lead to tensors and nodes; unknown fields are passed over, as protobuf itself does.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from handler.errors import ModelError

# Of each message, the fields that hold messages: number -> message.
MESSAGES = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
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
EXTERNAL_DATA, DATA_LOCATION, OP_TYPE = 13, 14, 4
INSIDE = 0
# Operators that are the name of a file with a compiled part of the model.
REFUSED = {b"EPContext"}

Data = bytes | mmap.mmap


def refuse_other_files(path: Path, name: str) -> None:
    """Returns when a model reaches for no file but its own; ``name`` is the file's, for errors.

    Raises:
        ModelError: it does, or it is no ONNX file.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ModelError(f"model file {name} is empty") from None
        with data:
            for problem in _problems(data):
                raise ModelError(f"model file {name} is refused: {problem}")


def _problems(data: Data) -> Iterator[str]:
    # A list of what is still to be read, not recursion: how deep it nests is its author's choice.
    to_read = [("Model", 0, len(data))]
    while to_read:
        message, start, end = to_read.pop()
        for number, kind, begin, stop in _fields(data, start, end):
            inner = MESSAGES[message].get(number)
            if kind == 2 and inner:
                to_read.append((inner, begin, stop))
            elif message == "Tensor" and (
                number == EXTERNAL_DATA or (number == DATA_LOCATION and data[begin] != INSIDE)
            ):
                yield "its weights are in another file; save it with its weights inside"
            elif message == "Node" and number == OP_TYPE and data[begin:stop] in REFUSED:
                yield f"its operator {data[begin:stop].decode()} reads another file"


def _fields(data: Data, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and start and end of the value of each field of a message."""
    position = start
    while position < end:
        tag, position = _varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        begin = position
        match kind:
            case 0:
                _, position = _varint(data, position, end)
            case 1:
                position += 8
            case 2:
                length, begin = _varint(data, position, end)
                position = begin + length
            case 5:
                position += 4
            case _:
                raise ModelError("the model file is no ONNX file")
        if position > end:
            raise ModelError("the model file is no ONNX file, or truncated")
        yield number, kind, begin, position


def _varint(data: Data, position: int, end: int) -> tuple[int, int]:
    """The number at a position, and the position behind it."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise ModelError("the model file is no ONNX file, or truncated")
