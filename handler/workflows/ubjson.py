"""Whether a UBJSON file is whole: XGBoost believes every length that it declares, and crashes."""

import struct

# The bytes behind a type's letter, and how lengths of these types are read.
SIZES = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4}
SIZES |= {b"L": 8, b"D": 8}
LENGTHS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
MAX_DEPTH = 64


def is_whole(data: bytes) -> bool:
    """Whether the data is one UBJSON object in which no length leads outside of it."""
    try:
        return _object(data, 1, 0) == len(data) if data[:1] == b"{" else False
    except (KeyError, struct.error, RecursionError):
        return False


def _length(data: bytes, position: int) -> tuple[int, int]:
    """A length at a position, and the position behind it; both within the data."""
    form = LENGTHS[data[position : position + 1]]
    (length,) = struct.unpack_from(form, data, position + 1)
    position += 1 + struct.calcsize(form)
    if not 0 <= length <= len(data) - position:
        raise KeyError
    return length, position


def _skipped(data: bytes, position: int, size: int) -> int:
    if position + size > len(data):
        raise KeyError
    return position + size


def _value(data: bytes, position: int, depth: int) -> int:
    """The position behind a value."""
    kind, position = data[position : position + 1], position + 1
    if kind in SIZES:
        return _skipped(data, position, SIZES[kind])
    if kind == b"S":
        length, position = _length(data, position)
        return _skipped(data, position, length)
    if depth == MAX_DEPTH:
        raise KeyError
    return {b"{": _object, b"[": _array}[kind](data, position, depth + 1)


def _object(data: bytes, position: int, depth: int) -> int:
    while data[position : position + 1] != b"}":
        length, position = _length(data, position)
        position = _value(data, position + length, depth)
    return position + 1


def _array(data: bytes, position: int, depth: int) -> int:
    if data[position : position + 1] == b"$":
        # Of one type and of a length that is told: the values alone follow.
        size = SIZES[data[position + 1 : position + 2]]
        if data[position + 2 : position + 3] != b"#":
            raise KeyError
        length, position = _length(data, position + 3)
        return _skipped(data, position, length * size)
    if data[position : position + 1] == b"#":
        length, position = _length(data, position + 1)
        for _ in range(length):
            position = _value(data, position, depth)
        return position
    while data[position : position + 1] != b"]":
        position = _value(data, position, depth)
    return position + 1
