"""JSON to named numpy arrays and back.

A tensor on the wire is ``{"dtype": name, "shape": [...], "values": nested}``. JSON has no
non-finite and no complex numbers: the former are the strings "NaN", "Infinity" and "-Infinity"
(the protobuf JSON mapping), the latter ``{"re": x, "im": y}``.
"""

import math
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.errors import InvalidInput, kind_of

Array = npt.NDArray[Any]

DOUBLE = np.dtype(np.float64)
# The one table: wire name (torch's own attribute names) -> numpy type that carries the values.
# numpy has no bfloat16; float32 holds each of its values exactly.
DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": DOUBLE,
    "cfloat": np.dtype(np.complex64),
    "cdouble": np.dtype(np.complex128),
    "half": np.dtype(np.float16),
    "bfloat16": np.dtype(np.float32),
    "uint8": np.dtype(np.uint8),
    "int8": np.dtype(np.int8),
    "short": np.dtype(np.int16),
    "int": np.dtype(np.int32),
    "long": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "bfloat16"}
_NUMERIC = "biufc"
NUMBERS = {float, int}
FEW = 64
ARRAYS = (np.ndarray, np.generic)

NON_FINITE = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
# The largest finite bfloat16; past the middle between it and 2^128 a value rounds to infinity.
BFLOAT16_MAX = float.fromhex("0x1.fep127")
MAX_DIMENSIONS = 64  # numpy's and torch's own limit
# The product of the dimensions that are not 0, where one is: [65535, 65535, 0] has no element, but
# as nested lists it would fill the memory.
MAX_EMPTY = 65_535


class Tensor(NamedTuple):
    """A numpy array and the wire name of its dtype."""

    dtype: str
    array: Array


class Target(NamedTuple):
    """What a flat list of JSON values is to become, and where it stands in the request."""

    dtype: str  # as the caller wrote it
    numpy: np.dtype[Any]
    shape: Sequence[int]
    field: str

    def place(self, index: int) -> str:
        position = np.unravel_index(index, self.shape) if self.shape else ()
        return self.field + "".join(f"[{axis}]" for axis in position)


def parse(data: Any) -> Tensor:
    """A tensor from the JSON object ``{"dtype": name, "values": nested}``; other keys are ignored.

    Except for ``shape`` where nothing else can say it: behind an axis without elements. Values that
    were read as an array of the dtype are taken as they are.

    Raises:
        InvalidInput: names the field, what was found there and what is allowed.
    """
    if not isinstance(data, dict):
        raise InvalidInput(f"data: found {kind_of(data)}; expected an object with dtype and values")
    try:
        dtype, values = data["dtype"], data["values"]
    except KeyError as missing:
        raise InvalidInput(f"data.{missing.args[0]}: missing") from None
    if not isinstance(dtype, str) or dtype not in DTYPES:
        found = "another name" if isinstance(dtype, str) else kind_of(dtype)
        raise InvalidInput(f"data.dtype: found {found}; allowed are {', '.join(DTYPES)}")
    if isinstance(values, np.ndarray):
        return Tensor(dtype, values)
    shape, flat, kinds = _flatten(values)
    target = Target(dtype, DTYPES[dtype], shape, "data.values")
    array = _CONVERTERS[target.numpy.kind](flat, target, kinds)
    return Tensor(dtype, array.reshape(shape if array.size else _behind(shape, data.get("shape"))))


def convert(flat: list[Any], target: Target) -> Array:
    """The flat array of JSON values, each of them seen to fit the target's dtype.

    Raises:
        InvalidInput: names the first element that does not fit.
    """
    return _CONVERTERS[target.numpy.kind](flat, target, set(map(type, flat)))


def array_of(value: Any) -> Array | None:
    """The array that a torch tensor, numpy array or numpy scalar holds; None for anything else."""
    tensor = _held(value)
    return None if tensor is None else tensor.array


def tensor_of(value: Any) -> Tensor | None:
    """The tensor that a torch tensor, numpy array or numpy scalar holds; None for anything else.

    Raises:
        TypeError, ValueError: the array's type has no wire name that could hold it.
    """
    tensor = _held(value)
    return _widened(tensor.array) if tensor is not None and not tensor.dtype else tensor


def _held(value: Any) -> Tensor | None:
    """The array and its wire name, which is empty where there is none."""
    # A torch tensor can only be here if somebody else imported torch; this module never does.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.dtype is torch.bfloat16:
            return Tensor("bfloat16", value.float().numpy(force=True))
        try:
            value = value.numpy()
        except (RuntimeError, TypeError):
            # One that has a gradient, is on another device, or conjugated on paper only.
            value = value.numpy(force=True)
    if type(value) is np.ndarray and (name := _NAMES.get(value.dtype)):
        return Tensor(name, value)
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, ARRAYS) or value.dtype.kind not in _NUMERIC:
        return None
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return Tensor(_NAMES.get(array.dtype, ""), array)


def to_json(value: Any) -> dict[str, Any] | None:
    """The wire object of what ``tensor_of`` takes; its ``values`` may be an array, for orjson.

    Raises:
        TypeError, ValueError: the array's type has no wire name that could hold it.
    """
    tensor = _held(value)
    if tensor is None:
        return None
    dtype, array = tensor if tensor.dtype else _widened(tensor.array)
    return {"dtype": dtype, "shape": list(array.shape), "values": json_values(array)}


def to_lists(tensor: Tensor) -> dict[str, Any]:
    """The wire object as a JSON decoder would give it, with ``values`` in lists."""
    values = json_values(tensor.array)
    values = values.tolist() if isinstance(values, np.ndarray | np.generic) else values
    return {"dtype": tensor.dtype, "shape": list(tensor.array.shape), "values": values}


def json_values(array: Array) -> Any:
    """What orjson writes as the array's values: nested lists, or an array or scalar of numpy."""
    if array.dtype.kind == "c":
        pair = np.frompyfunc(lambda re, im: {"re": re, "im": im}, 2, 1)
        pairs = pair(_spelled(array.real), _spelled(array.imag))
        return np.asarray(pairs, dtype=object).tolist()
    if array.dtype.kind == "f" and not _is_finite(array):
        return _spelled(array).tolist()
    # orjson writes contiguous arrays and numpy scalars, but not arrays without a dimension.
    if array.ndim:
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)
    return array[()]


def _is_finite(array: Array) -> bool:
    # Neither NaN nor infinity goes into a sum unseen. BLAS is fastest at that of many squares, but
    # to call it costs more than to add a few. What is too large to be added is looked at closely.
    few = array.size <= FEW
    total = sum(array.ravel().tolist()) if few else np.vdot(array, array)
    return math.isfinite(total) or bool(np.isfinite(array).all())


def _widened(array: Array) -> Tensor:
    """Unsigned integers beyond a byte have no wire name: the next one that holds them all."""
    for name in ("int", "long"):
        dtype = DTYPES[name]
        if array.dtype.kind == "u" and np.can_cast(array.dtype, dtype, "safe"):
            return Tensor(name, array.astype(dtype))
    if array.dtype.kind == "u" and (array <= np.iinfo(np.int64).max).all():
        return Tensor("long", array.astype(np.int64))
    raise ValueError(f"the answer's dtype {array.dtype} does not fit any of {', '.join(DTYPES)}")


def _spelled(array: Array) -> Array:
    """Floats as Python objects, the non-finite ones as their names."""
    spelled = np.asarray(array.astype(object))
    for name, mask in (
        ("NaN", np.isnan(array)),
        ("Infinity", np.isposinf(array)),
        ("-Infinity", np.isneginf(array)),
    ):
        spelled[mask] = name
    return spelled


def _flatten(values: Any) -> tuple[tuple[int, ...], list[Any], set[type]]:
    """The shape of nested lists, their elements in C order and the types of those."""
    shape: list[int] = []
    level = [values]
    # Down to the first list that is not alone, as a row mostly is: there is nothing to compare.
    while len(level) == 1 and type(level[0]) is list and len(shape) < MAX_DIMENSIONS:
        level = level[0]
        shape.append(len(level))
    while list in (kinds := set(map(type, level))):
        axis = len(shape)
        if axis == MAX_DIMENSIONS:
            raise InvalidInput(f"data.values: nested deeper than {MAX_DIMENSIONS} dimensions")
        if len(kinds) > 1:
            raise InvalidInput(f"data.values: ragged: axis {axis} mixes lists and numbers")
        lengths = set(map(len, level))
        if len(lengths) > 1:
            low, high = min(lengths), max(lengths)
            raise InvalidInput(
                f"data.values: ragged: axis {axis} has lists of {low} to {high} elements; "
                "all must have the same length"
            )
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level)) if len(level) > 1 else level[0]
    return tuple(shape), level, kinds


def _behind(shape: tuple[int, ...], declared: Any) -> tuple[int, ...]:
    """The declared shape, where it goes on behind the axis of length 0 with which lists end."""
    fits = _is_shape(declared) and tuple(declared[: len(shape)]) == shape
    return tuple(declared) if fits else shape


def _is_shape(declared: Any) -> bool:
    return (
        isinstance(declared, list)
        and len(declared) <= MAX_DIMENSIONS
        and all(type(size) is int and size >= 0 for size in declared)
        and math.prod(size or 1 for size in declared) <= MAX_EMPTY
    )


def _floats(flat: list[Any], target: Target, kinds: set[type]) -> Array:
    takes = 'numbers, or "NaN", "Infinity", "-Infinity"'
    if not kinds <= NUMBERS:
        flat = [_number(v) for v in _checked(flat, target, _is_number, takes)]
    wide = np.fromiter(flat, DOUBLE, len(flat))
    return wide if target.numpy is DOUBLE else narrowed(wide, target)


def narrowed(wide: Array, target: Target) -> Array:
    """Numbers of 64 bits, floats or integers, in the target's dtype, which is of the same kind.

    Raises:
        InvalidInput: names the first float that is beyond its range, or that an integer is.
    """
    if target.numpy == wide.dtype:
        return wide
    if target.numpy.kind != "f":
        limits = np.iinfo(target.numpy)
        if wide.size and not limits.min <= int(wide.min()) <= int(wide.max()) <= limits.max:
            raise InvalidInput(f"{target.field}: found a number beyond dtype {target.dtype}")
        return wide.astype(target.numpy)
    with np.errstate(over="ignore"):
        array = wide.astype(target.numpy)
    overflow = np.isinf(array) & np.isfinite(wide)
    if target.dtype == "bfloat16":
        middle = BFLOAT16_MAX + (2.0**128 - BFLOAT16_MAX) / 2
        overflow |= np.isfinite(wide) & (np.abs(wide) >= middle)
    _refuse_overflow(overflow, target)
    return array


def _integers(flat: list[Any], target: Target, kinds: set[type]) -> Array:
    limits = np.iinfo(target.numpy)
    takes = f"whole numbers from {limits.min} to {limits.max}"
    if kinds != {int}:
        flat = [int(v) for v in _checked(flat, target, _is_whole, takes)]
    if flat and not limits.min <= min(flat) <= max(flat) <= limits.max:
        _checked(flat, target, lambda v: bool(limits.min <= v <= limits.max), takes)
    return np.array(flat, dtype=target.numpy)


def _booleans(flat: list[Any], target: Target, kinds: set[type]) -> Array:
    takes = "true, false, 0 or 1"
    checked = _checked(flat, target, lambda v: type(v) in (bool, int) and v in (0, 1), takes)
    return np.array(checked, dtype=np.bool_)


def _complexes(flat: list[Any], target: Target, kinds: set[type]) -> Array:
    takes = 'numbers, or {"re": number, "im": number}'
    checked = _checked(flat, target, _is_complex, takes)
    parts = np.array([_parts(v) for v in checked], dtype=np.float64).reshape(-1, 2)
    with np.errstate(over="ignore"):
        narrow = parts.astype(np.float32 if target.numpy == np.complex64 else np.float64)
    _refuse_overflow((np.isinf(narrow) & np.isfinite(parts)).any(axis=1), target)
    return narrow.view(target.numpy).reshape(-1)


_CONVERTERS: dict[str, Callable[[list[Any], Target, set[type]], Array]] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "c": _complexes,
}


def _is_number(value: Any) -> bool:
    # The exact type, because a bool is an int and a tensor of floats does not take true.
    return type(value) in (float, int) or (type(value) is str and value in NON_FINITE)


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_complex(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"re", "im"} and all(map(_is_number, value.values()))
    return _is_number(value)


def _number(value: Any) -> float:
    return NON_FINITE[value] if isinstance(value, str) else float(value)


def _parts(value: Any) -> tuple[float, float]:
    if isinstance(value, dict):
        return _number(value["re"]), _number(value["im"])
    return _number(value), 0.0


def _checked(flat: list[Any], target: Target, fits: Callable[[Any], bool], takes: str) -> list[Any]:
    """The elements, all seen to fit; the error names the first that does not."""
    for index, value in enumerate(flat):
        if not fits(value):
            raise InvalidInput(
                f"{target.place(index)}: found {kind_of(value)}; dtype {target.dtype} takes {takes}"
            )
    return flat


def _refuse_overflow(overflow: Array, target: Target) -> None:
    if overflow.any():
        place = target.place(int(overflow.argmax()))
        raise InvalidInput(f"{place}: found a number beyond the range of dtype {target.dtype}")
