"""The ABI side of the Infernet contract: bytes to vectors and requests, and back.

    vector   (uint8 arithmetic, uint8 num_decimals, uint8 dtype, uint16[] shape, T[] values)
    request  (bytes model, bytes vector[, uint8 output_arithmetic][, uint8 output_num_decimals])
    model    (bytes repository, string "file,file")
    repository  (uint8 storage, string owner, string name, string version)
    legacy   int256[] with 18 decimals, one row of doubles

Importing this imports eth_abi, which only a request from a chain or to one has to pay for.
"""

from binascii import unhexlify
from typing import Any, NamedTuple

import numpy as np
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError, InsufficientDataBytes, InvalidPointer

from handler.errors import InvalidInput
from handler.models.model_id import STORAGES, ModelId, split_files
from handler.tensors import MAX_DIMENSIONS, Array
from handler.vectors import (
    DEFAULT_DECIMALS,
    FIXED_POINT,
    IEEE,
    KINDS,
    MAX_DIMENSION,
    NUMBERS,
    Kind,
    kind_numbered,
    kind_of_array,
    shaped,
)

WORD = 32
FIXED_POINT_KIND = "float128"
# The first word of a request is the offset of its first value, so it tells how many values follow
# the two that are always there.
TRAILING = {0x40: 0, 0x60: 1, 0x80: 2}


class Vector(NamedTuple):
    """An array and how the ABI carries it; ``dtype`` is one of the sixteen of the contract."""

    array: Array
    dtype: str
    arithmetic: int = IEEE
    num_decimals: int = DEFAULT_DECIMALS


class Request(NamedTuple):
    """A decoded request: the model it names, if any, its vector, and the form of the answer."""

    model_id: ModelId | None
    array: Array
    output_arithmetic: int
    output_num_decimals: int


def from_hex(text: str) -> bytes:
    """The bytes of on-chain data: hex without 0x, blanks around it allowed.

    Raises:
        InvalidInput: it is empty, odd or no hex.
    """
    text = text.strip()
    if not text:
        raise InvalidInput("data: empty: the contract gave no input")
    if text[:2] in ("0x", "0X"):
        raise InvalidInput("data: expected hex without 0x")
    if len(text) % 2:
        raise InvalidInput("data: an odd number of hex digits")
    try:
        return unhexlify(text)
    except ValueError:
        raise InvalidInput("data: something else than hex digits") from None


def first_word(data: bytes) -> int:
    """The first word, by which the formats are told apart.

    Raises:
        InvalidInput: there is none.
    """
    if len(data) < WORD:
        raise InvalidInput(f"data: truncated: shorter than one word of {WORD} bytes")
    return _word(data, 0)


def decode_request(data: bytes) -> Request:
    """The request in ABI-encoded bytes.

    Raises:
        InvalidInput: the bytes are no request; says which part of it is wrong.
    """
    trailing = TRAILING[first_word(data)]
    types = ["bytes", "bytes", *["uint256"] * trailing]
    model, vector, *output = _decode(types, data, "data")
    arithmetic = output[0] if trailing > 0 else IEEE
    num_decimals = output[1] if trailing > 1 else DEFAULT_DECIMALS
    check_arithmetic(arithmetic, "data: output_arithmetic")
    check_decimals(num_decimals, "data: output_num_decimals")
    model_id = decode_model_id(model) if model else None
    return Request(model_id, decode_vector(vector).array, arithmetic, num_decimals)


def decode_model_id(data: bytes) -> ModelId:
    """The model id in ABI-encoded bytes.

    Raises:
        InvalidInput: the bytes are none.
    """
    repository, files = _decode(["bytes", "string"], data, "data: model")
    types = ["uint256", "string", "string", "string"]
    storage, owner, name, version = _decode(types, repository, "data: model: repository")
    if storage >= len(STORAGES):
        raise InvalidInput(f"data: model: unknown storage; known are 0 to {len(STORAGES) - 1}")
    return ModelId(STORAGES[storage], owner, name, version, split_files(files))


def encode_model_id(model_id: ModelId) -> bytes:
    """A model id as ABI-encoded bytes."""
    storage, owner, name, version, files = model_id
    values = [STORAGES.index(storage), owner, name, version]
    repository = encode(["uint8", "string", "string", "string"], values)
    return encode(["bytes", "string"], [repository, ",".join(files)])


def encode_request(vector: bytes, model_id: ModelId | None = None, *output: int) -> bytes:
    """A request as a contract makes it, with ``output`` for its trailing values."""
    model = encode_model_id(model_id) if model_id else b""
    types = ["bytes", "bytes", *["uint8"] * len(output)]
    return encode(types, [model, vector, *output])


def decode_vector(data: bytes) -> Vector:
    """The vector in ABI-encoded bytes; of fixed point, the doubles that it denotes.

    Raises:
        InvalidInput: the bytes are no vector; says which part of it is wrong.
    """
    field = "data: vector"
    if len(data) < 5 * WORD:
        raise InvalidInput(f"{field}: truncated: shorter than its five heads")
    arithmetic, num_decimals, number = (_word(data, index) for index in range(3))
    check_arithmetic(arithmetic, f"{field}: arithmetic")
    check_decimals(num_decimals, f"{field}: num_decimals")
    kind = kind_numbered(number, field)
    if arithmetic == FIXED_POINT and kind.name != FIXED_POINT_KIND:
        raise InvalidInput(f"{field}: dtype: fixed point takes {NUMBERS[FIXED_POINT_KIND]} only")
    _check_length(data, 3, f"{field}: shape", MAX_DIMENSIONS)
    _check_length(data, 4, f"{field}: values")
    # The shape as uint256, to tell a dimension that is too large from bytes that make no sense.
    types = ["uint8", "uint8", "uint8", "uint256[]", f"{kind.solidity}[]"]
    *_, shape, values = _decode(types, data, field)
    if arithmetic == FIXED_POINT:
        # Division of whole numbers, which Python rounds correctly whatever their size.
        scale = 10**num_decimals
        flat = np.array([value / scale for value in values], dtype=np.float64)
    else:
        flat = _from_words(values, kind, f"{field}: values")
    return Vector(shaped(flat, shape, field), kind.name, arithmetic, num_decimals)


def encode_vector(vector: Vector) -> bytes:
    """A vector as ABI-encoded bytes.

    Raises:
        InvalidInput: it has a dimension or a value that the ABI type cannot hold.
    """
    array, dtype, arithmetic, num_decimals = vector
    if any(size > MAX_DIMENSION for size in array.shape):
        raise InvalidInput(f"raw_output: the answer has a dimension over {MAX_DIMENSION}")
    if arithmetic == FIXED_POINT:
        dtype = FIXED_POINT_KIND
        values = _scaled(array, num_decimals, 128)
    else:
        values = _to_words(_narrowed(array, KINDS[NUMBERS[dtype]]))
    number = NUMBERS[dtype]
    return encode(
        ["uint8", "uint8", "uint8", "uint16[]", f"{KINDS[number].solidity}[]"],
        [arithmetic, num_decimals, number, array.shape, values],
    )


def vector_of(array: Array, arithmetic: int = IEEE, num_decimals: int = DEFAULT_DECIMALS) -> Vector:
    """The vector that carries an array in its own dtype.

    Raises:
        ValueError: the contract has no such dtype.
    """
    return Vector(array, kind_of_array(array).name, arithmetic, num_decimals)


def decode_legacy(data: bytes) -> Array:
    """The row of doubles in a bare ``int256[]`` of fixed point with 18 decimals; shape (1, n).

    Raises:
        InvalidInput: the bytes are no such array.
    """
    _check_length(data, 0, "data: int256[]")
    (values,) = _decode(["int256[]"], data, "data: int256[]")
    scale = 10**DEFAULT_DECIMALS
    return np.array([value / scale for value in values], dtype=np.float64).reshape(1, -1)


def encode_legacy(array: Array) -> bytes:
    """An array's values, flat in C order, as ``int256[]`` of fixed point with 18 decimals.

    Raises:
        InvalidInput: a value does not fit.
    """
    return encode(["int256[]"], [_scaled(array, DEFAULT_DECIMALS, 256)])


def check_arithmetic(value: int, field: str) -> None:
    if value not in (IEEE, FIXED_POINT):
        raise InvalidInput(f"{field}: unknown; known are 0 (IEEE 754) and 1 (fixed point)")


def check_decimals(value: int, field: str) -> None:
    if not 0 <= value <= 255:
        raise InvalidInput(f"{field}: expected 0 to 255")


def _decode(types: list[str], data: bytes, field: str) -> tuple[Any, ...]:
    try:
        return decode(types, data)
    except InsufficientDataBytes:
        problem = "truncated: it ends before its last value"
    except InvalidPointer:
        problem = "truncated, or an offset leads outside of it"
    except OverflowError:
        problem = "it declares more bytes than there can be"
    except UnicodeDecodeError:
        problem = "a string is not UTF-8"
    except DecodingError:
        problem = "a word does not fit its type"
    raise InvalidInput(f"{field}: {problem}")


def _word(data: bytes, index: int) -> int:
    return int.from_bytes(data[index * WORD : (index + 1) * WORD])


def _check_length(data: bytes, head: int, field: str, limit: int | None = None) -> None:
    """Refuses an array that declares more elements than there are, before one is made of it."""
    offset = _word(data, head)
    room = (len(data) - offset) // WORD - 1
    if room < 0:
        raise InvalidInput(f"{field}: truncated: its offset leads outside of the data")
    length = int.from_bytes(data[offset : offset + WORD])
    if length > room:
        raise InvalidInput(
            f"{field}: truncated: it declares more elements than the {room} that its bytes can hold"
        )
    if limit is not None and length > limit:
        raise InvalidInput(f"{field}: more than {limit} elements")


def _from_words(values: tuple[Any, ...], kind: Kind, field: str) -> Array:
    """The array whose bits, or values, the words are."""
    if kind.numpy.kind == "f":
        try:
            bits = np.array(values, dtype=f"i{kind.numpy.itemsize}")
        except OverflowError:
            raise InvalidInput(
                f"{field}: {kind.name} carries the 64 bits of a double, and found more"
            ) from None
        return bits.view(kind.numpy)
    if kind.numpy.kind == "c":
        half = 4 * kind.numpy.itemsize
        mask = (1 << half) - 1
        parts = [(value >> half, value & mask) for value in values]
        return np.array(parts, dtype=f"u{half // 8}").reshape(-1).view(kind.numpy)
    return np.array(values, dtype=kind.numpy)


def _narrowed(array: Array, kind: Kind) -> Array:
    if array.dtype == kind.numpy:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(kind.numpy)
        lost = np.isfinite(array) & ~np.isfinite(narrow)
    if kind.numpy.kind in "iu":
        lost = narrow != array
    if lost.any():
        raise InvalidInput(f"raw_output: a number is beyond the range of dtype {kind.name}")
    return narrow


def _to_words(array: Array) -> list[Any]:
    flat = np.ascontiguousarray(array).reshape(-1)
    size = flat.dtype.itemsize
    if flat.dtype.kind == "f":
        return list(flat.view(f"i{size}").tolist())
    if flat.dtype.kind == "c":
        parts = flat.view(f"u{size // 2}").reshape(-1, 2).tolist()
        return [real << 4 * size | imaginary for real, imaginary in parts]
    return list(flat.tolist())


def _scaled(array: Array, num_decimals: int, bits: int) -> list[int]:
    """trunc(value * 10^decimals), of floats as the product of two doubles, of integers exactly."""
    if array.dtype.kind == "c":
        raise InvalidInput("raw_output: complex numbers have no fixed point; ask for IEEE 754")
    limit = 1 << (bits - 1)
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise InvalidInput("raw_output: the answer has a NaN, which fixed point cannot express")
        with np.errstate(over="ignore"):
            product = array.astype(np.float64).reshape(-1) * float(10**num_decimals)
        fits = bool((np.abs(product) < limit).all())
        values = list(map(int, product.tolist())) if fits else []
    else:
        values = [int(value) * 10**num_decimals for value in array.reshape(-1).tolist()]
        fits = all(-limit <= value < limit for value in values)
    if not fits:
        raise InvalidInput(
            f"raw_output: a value of the answer does not fit int{bits} with {num_decimals} "
            "decimals; ask for fewer, or for IEEE 754"
        )
    return values
