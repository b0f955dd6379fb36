"""Large tensors of numbers, from the bytes of a body to an array without a Python object for each.

A short cut, and nothing more: whatever is unusual in a body gives None, and the general way, which
is ``handler.protocol`` and ``handler.tensors``, says what it means or what is wrong with it.
"""

import math
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from handler import protocol
from handler.errors import HandlerError
from handler.limits import Elements, count
from handler.tensors import DTYPES, MAX_DIMENSIONS, Array, Target, narrowed
from handler.vectors import KINDS

if TYPE_CHECKING:
    import simdjson

VALUES = re.compile(rb'"values"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
COMMA = ord(",")
MUCH_BEHIND = 1000
# Bytes of a body for each element that it may have. An element takes two at least: a body that is
# no longer than this has twice too many at most, and parsing these costs no more than that.
BYTES_EACH = 4
# A list of which rows are longer than that is walked row by row, which costs more for short ones.
LONG_ROW = 16

# numpy's kind of a dtype -> what simdjson calls a buffer of such numbers, and their type there.
BUFFERS = {"f": ("d", np.float64), "i": ("i", np.int64), "u": ("u", np.uint64)}

# One for the process, as it keeps its memory, which is most of what parsing would cost otherwise.
_lock = threading.Lock()
_parser: "simdjson.Parser | None" = None


def parse(body: bytes, elements: Elements) -> protocol.InfernetInput | None:
    """The request in a body, with an array for ``values``: in its shape, and in the dtype beside.

    The array is where the general way has nested lists, and of it the general way would make the
    same array. None when the body is none of which that can be said at once, or may have more
    elements than it should, so that they must be counted.
    """
    found = VALUES.search(body)
    if found is None:
        return None
    start = found.end()
    # No string is in a list of numbers: it ends before the next one. What comes behind the values
    # is short, or the parser will refuse it as a part of them.
    near = body.find(b'"', max(start, len(body) - MUCH_BEHIND))
    quote = near if near < 0 else body.find(b'"', start)
    end = body.rfind(b"]", start, quote if quote >= 0 else len(body)) + 1
    around = body[:start] + b"[]" + body[end:]
    # The one place that is called values, whatever way there is to spell it.
    if end <= start or b"\\" in around or around.count(b'"values"') != 1:
        return None
    try:
        if len(body) > BYTES_EACH * elements.limit and elements.check_body(body):
            return None
        request = protocol.parse(around)
        holder = _holder(request.data)
        target = _target(holder)
        if holder is None or target is None:
            return None
        array = _array(body, start, end, target)
        # As many commas as in the body: these are quicker to count.
        if array is None or elements.near(array.size - 1 + count(around, b",")):
            return None
    except (HandlerError, ValueError, TypeError, RuntimeError):
        return None
    # A vector, of which the dtype is a number, has flat values whatever its shape.
    if type(holder["dtype"]) is int and array.ndim > 1:
        return None
    holder["values"] = array
    return request


def _holder(data: Any) -> dict[str, Any] | None:
    """The object in a request's data that has the values."""
    if isinstance(data, dict) and "values" not in data:
        data = data.get("input")
    return data if isinstance(data, dict) and data.get("values") == [] else None


def _target(holder: dict[str, Any] | None) -> Target | None:
    dtype = holder and holder.get("dtype")
    if isinstance(dtype, str) and dtype in DTYPES:
        return Target(dtype, DTYPES[dtype], (), "data.values")
    if type(dtype) is int and 0 <= dtype < len(KINDS):
        return Target(KINDS[dtype].name, KINDS[dtype].numpy, (), "data.values")
    return None


def _array(body: bytes, start: int, end: int, target: Target) -> Array | None:
    """The array that nested lists in a body spell; None when they are ragged, or empty."""
    global _parser
    if target.numpy.kind not in BUFFERS:
        return None
    # Its import takes 12 ms.
    import simdjson

    code, kind = BUFFERS[target.numpy.kind]
    text = memoryview(body)[start:end]
    lists = count(body, b"[", start, end)
    with _lock:
        _parser = _parser or simdjson.Parser()
        nested = _parser.parse(text)
        assert isinstance(nested, simdjson.Array)
        flat = np.frombuffer(nested.as_buffer(of_type=code), dtype=kind)  # type: ignore[arg-type]
        shape = _shape(nested, np.frombuffer(text, np.uint8), lists, flat.size)
        del nested  # the parser is not used again while there is one
    return None if shape is None else narrowed(flat, target).reshape(shape)


def _shape(nested: "simdjson.Array", text: Array, lists: int, size: int) -> tuple[int, ...] | None:
    if not size:
        return None
    shape = _walked(nested, lists) if lists * LONG_ROW <= size else _read_off(text)
    if shape is None or len(shape) > MAX_DIMENSIONS or math.prod(shape) != size:
        return None
    return shape


def _walked(nested: "simdjson.Array", lists: int) -> tuple[int, ...] | None:
    """The shape of nested lists, so many in all, that are seen to be of one length on each axis."""
    shape: list[int] = []
    level: list[Any] = [nested]
    while level:
        lists -= len(level)
        lengths = set(map(len, level))
        if len(lengths) > 1 or not (length := lengths.pop()):
            return None
        shape.append(length)
        # What lies deeper elsewhere is a list more than is counted here.
        level = [row for rows in level for row in rows] if _is_list(level[0][0]) else []
        if not all(map(_is_list, level)):
            return None
    return None if lists else tuple(shape)


def _is_list(value: Any) -> bool:
    return hasattr(value, "as_buffer")


def _read_off(text: Array) -> tuple[int, ...] | None:
    """The shape of nested lists, from their brackets and commas alone.

    Each block of one more dimension must be the one before, repeated.
    """
    # Of JSON's characters for numbers and lists, [ and ] are the only ones with these bits.
    structure = text[(text == COMMA) | (text & 0xF9 == 0x59)].tobytes()
    depth = len(structure) - len(structure.lstrip(b"["))
    shape: list[int] = []
    block = b""
    for axis in reversed(range(depth)):
        end = structure.find(b"]" * (depth - axis), axis) + depth - axis
        inside = end - axis - 2
        length, rest = divmod(inside + 1, len(block) + 1)
        shape.insert(0, length)
        block = b"[" + b",".join([block] * length) + b"]"
        if rest or end - axis != len(block):
            return None
    return tuple(shape) if block == structure else None
