"""Vectors of the Infernet contract: a dtype by number, a shape, and the values flat in C order.

This is their JSON form, ``{"dtype": 2, "shape": [1, 8], "values": [...]}``; their ABI form is in
``handler.onchain``. On the other side of both are numpy arrays.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from handler.errors import InvalidInput, kind_of
from handler.tensors import MAX_DIMENSIONS, MAX_EMPTY, Array, Target, convert, json_values

IEEE, FIXED_POINT = 0, 1
ARITHMETICS = {"ieee": IEEE, "fixed_point": FIXED_POINT}
DEFAULT_DECIMALS = 18
MAX_DIMENSION = 65_535  # a uint16 in the ABI


class Kind(NamedTuple):
    """One dtype of the contract: its name, what carries it here, and its Solidity type."""

    name: str
    numpy: np.dtype[Any]
    solidity: str


# The index is the number on the wire. The two widest floats carry the 64 bits of a double.
KINDS = (
    Kind("float16", np.dtype(np.float16), "int16"),
    Kind("float32", np.dtype(np.float32), "int32"),
    Kind("float64", np.dtype(np.float64), "int64"),
    Kind("float128", np.dtype(np.float64), "int128"),
    Kind("float256", np.dtype(np.float64), "int256"),
    Kind("int8", np.dtype(np.int8), "int8"),
    Kind("int16", np.dtype(np.int16), "int16"),
    Kind("int32", np.dtype(np.int32), "int32"),
    Kind("int64", np.dtype(np.int64), "int64"),
    Kind("uint8", np.dtype(np.uint8), "uint8"),
    Kind("uint16", np.dtype(np.uint16), "uint16"),
    Kind("uint32", np.dtype(np.uint32), "uint32"),
    Kind("uint64", np.dtype(np.uint64), "uint64"),
    Kind("complex64", np.dtype(np.complex64), "uint64"),
    Kind("complex128", np.dtype(np.complex128), "uint128"),
    Kind("bool", np.dtype(np.bool_), "bool"),
)
NUMBERS = {kind.name: number for number, kind in enumerate(KINDS)}


def kind_numbered(number: int, field: str) -> Kind:
    """The dtype with a number of the contract.

    Raises:
        InvalidInput: there is none.
    """
    if not 0 <= number < len(KINDS):
        raise InvalidInput(f"{field}: unknown dtype; known are 0 to {len(KINDS) - 1}")
    return KINDS[number]


def kind_of_array(array: Array) -> Kind:
    """The dtype of the contract that an array has.

    Raises:
        ValueError: none; only numpy's own wide floats are like that.
    """
    if array.dtype.name not in NUMBERS:
        raise ValueError(f"the answer's dtype {array.dtype} is none of {', '.join(NUMBERS)}")
    return KINDS[NUMBERS[array.dtype.name]]


def is_vector(data: Any) -> bool:
    """Whether a JSON value looks like a vector: its dtype is a number; a tensor's is a name."""
    return isinstance(data, dict) and type(data.get("dtype")) is int and "values" in data


def from_json(vector: dict[str, Any], field: str) -> Array:
    """The array of a vector's JSON form; ``field`` is its place in the request.

    Raises:
        InvalidInput: names the field, what was found there and what is allowed.
    """
    kind = kind_numbered(vector["dtype"], f"{field}.dtype")
    values, shape = vector["values"], vector.get("shape")
    if not isinstance(values, list | np.ndarray):
        raise InvalidInput(f"{field}.values: found {kind_of(values)}; expected a flat list")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        found = "a list with something else" if isinstance(shape, list) else kind_of(shape)
        raise InvalidInput(f"{field}.shape: found {found}; expected a list of whole numbers")
    target = Target(kind.name, kind.numpy, [len(values)], f"{field}.values")
    flat = values if isinstance(values, np.ndarray) else convert(values, target)
    return shaped(flat, shape, field)


def to_json(array: Array) -> dict[str, Any]:
    """A vector's JSON form; its ``values`` may be a numpy array for orjson to write."""
    number = NUMBERS[kind_of_array(array).name]
    return {"dtype": number, "shape": list(array.shape), "values": json_values(array.reshape(-1))}


def shaped(flat: Array, shape: list[int] | tuple[int, ...], field: str) -> Array:
    """The array in its shape.

    Raises:
        InvalidInput: the shape does not match the number of elements, or is out of bounds.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidInput(f"{field}.shape: more than {MAX_DIMENSIONS} dimensions")
    if any(not 0 <= size <= MAX_DIMENSION for size in shape):
        raise InvalidInput(f"{field}.shape: a dimension is not from 0 to {MAX_DIMENSION}")
    if math.prod(shape) != flat.size:
        raise InvalidInput(
            f"{field}.shape: does not match the number of values, which is {flat.size}"
        )
    if not flat.size and math.prod(size or 1 for size in shape) > MAX_EMPTY:
        raise InvalidInput(f"{field}.shape: too large for a vector without values")
    return flat.reshape(shape)
