"""The ABI against what infernet-ml 2.0.0 encoded, and against everything that it should not be."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handler import onchain
from handler.errors import InvalidInput
from handler.models.model_id import ModelId
from handler.onchain import Vector
from handler.vectors import ARITHMETICS, FIXED_POINT, IEEE, KINDS, NUMBERS

FILE = Path(__file__).parent / "vectors" / "infernet.json"
RECORDED: dict[str, Any] = json.loads(FILE.read_text())
DTYPES = {kind.name: kind.numpy for kind in KINDS}


def by_name(key: str, name: str = "name") -> list[Any]:
    return [pytest.param(case, id=case[name]) for case in RECORDED[key]]


def recorded_array(case: Any) -> Any:
    """The values of a recorded vector as numpy holds them in its dtype."""
    spelled = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    flat = [
        complex(value["re"], value["im"])
        if isinstance(value, dict)
        else spelled[value]
        if isinstance(value, str)
        else value
        for value in case["values"]
    ]
    return np.array(flat).astype(DTYPES[case["dtype"]]).reshape(case["shape"])


def recorded_vector(case: Any) -> Vector:
    arithmetic = ARITHMETICS[case["arithmetic"]]
    # infernet-ml takes 0 decimals for "not given" when it encodes.
    return Vector(recorded_array(case), case["dtype"], arithmetic, case["num_decimals"] or 18)


def test_the_dtypes_are_those_of_the_contract() -> None:
    assert {kind.name: number for number, kind in enumerate(KINDS)} == RECORDED["dtype_enum"]
    assert {kind.name: kind.solidity for kind in KINDS} == RECORDED["solidity_types"]
    assert RECORDED["arithmetic_enum"] == ARITHMETICS


@pytest.mark.parametrize("case", by_name("vectors"))
def test_a_recorded_vector_is_decoded_to_its_values(case: Any) -> None:
    vector = onchain.decode_vector(bytes.fromhex(case["vector_hex"]))
    expected = recorded_array(case)
    assert vector.array.shape == expected.shape
    if vector.arithmetic == FIXED_POINT:
        assert vector.array.dtype == np.float64
        assert vector.array.tolist() == expected.astype(np.float64).tolist()
    else:
        assert (vector.dtype, vector.array.dtype) == (case["dtype"], expected.dtype)
        assert vector.array.tobytes() == expected.tobytes(), "bit by bit, also NaN and -0.0"


@pytest.mark.parametrize("case", by_name("vectors"))
def test_a_vector_is_encoded_to_the_recorded_bytes(case: Any) -> None:
    assert onchain.encode_vector(recorded_vector(case)).hex() == case["vector_hex"]


@pytest.mark.parametrize("case", by_name("vectors"))
def test_a_recorded_request(case: Any) -> None:
    data = bytes.fromhex(case["request_hex"])
    request = onchain.decode_request(data)
    assert (str(request.model_id) if request.model_id else None) == case["model_id"]
    assert request.output_arithmetic == ARITHMETICS[case["output_arithmetic"] or "ieee"]
    # infernet-ml leaves 0 decimals out of the request, so nobody can know that they were meant.
    assert request.output_num_decimals == (case["output_num_decimals"] or 18)
    assert request.array.shape == tuple(case["shape"])
    output = [ARITHMETICS[case["output_arithmetic"]]] if case["output_arithmetic"] else []
    output += [case["output_num_decimals"]] if case["output_num_decimals"] else []
    vector = bytes.fromhex(case["vector_hex"])
    assert onchain.encode_request(vector, request.model_id, *output) == data


@pytest.mark.parametrize(
    ("output", "expected"),
    [((), (IEEE, 18)), ((1,), (1, 18)), ((1, 0), (1, 0)), ((1, 6), (1, 6)), ((0, 255), (0, 255))],
)
def test_trailing_values_are_honoured(output: Any, expected: Any) -> None:
    vector = onchain.encode_vector(onchain.vector_of(np.zeros(1)))
    request = onchain.decode_request(onchain.encode_request(vector, None, *output))
    assert (request.output_arithmetic, request.output_num_decimals) == expected


@pytest.mark.parametrize("case", by_name("model_ids", "unique_id"))
def test_a_recorded_model_id(case: Any) -> None:
    if "error" in case:
        with pytest.raises(InvalidInput, match="storage/owner/name"):
            ModelId.parse(case["unique_id"])
        return
    model_id = ModelId.parse(case["unique_id"])
    assert str(model_id) == case["unique_id"]
    assert onchain.encode_model_id(model_id).hex() == case["model_hex"]
    assert onchain.decode_model_id(bytes.fromhex(case["model_hex"])) == model_id


@pytest.mark.parametrize("case", by_name("legacy_int256"))
def test_a_recorded_legacy_array(case: Any) -> None:
    data = bytes.fromhex(case["hex"])
    array = onchain.decode_legacy(data)
    expected = np.array(case["workflow_input"]["values"], dtype=np.float64)
    assert array.shape == expected.shape and array.tolist() == expected.tolist()


def test_a_legacy_answer_has_18_decimals() -> None:
    encoded = onchain.encode_legacy(np.array([[1.0, -0.5, 1e-18]]))
    simple = next(case for case in RECORDED["legacy_int256"] if case["name"] == "simple")
    assert encoded.hex() == simple["hex"]


def doubles(limit: float) -> st.SearchStrategy[float]:
    return st.floats(-limit, limit, allow_nan=False)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(
    kind=st.sampled_from(KINDS),
    data=st.data(),
    shape=SHAPES,
    num_decimals=st.integers(0, 255),
)
def test_ieee_vectors_survive_a_round_trip(
    kind: Any, data: st.DataObject, shape: Any, num_decimals: int
) -> None:
    array = data.draw(hnp.arrays(kind.numpy, shape))
    encoded = onchain.encode_vector(Vector(array, kind.name, IEEE, num_decimals))
    found = onchain.decode_vector(encoded)
    assert (found.dtype, found.arithmetic, found.num_decimals) == (kind.name, IEEE, num_decimals)
    assert found.array.shape == shape and found.array.dtype == kind.numpy
    assert found.array.tobytes() == array.tobytes()


@given(data=st.data(), shape=SHAPES, num_decimals=st.integers(0, 18))
def test_fixed_point_survives_a_round_trip(
    data: st.DataObject, shape: Any, num_decimals: int
) -> None:
    array = data.draw(hnp.arrays(np.float64, shape, elements=doubles(1e18)))
    encoded = onchain.encode_vector(Vector(array, "float64", FIXED_POINT, num_decimals))
    found = onchain.decode_vector(encoded)
    # What the arithmetic itself loses: the part behind the decimals, and one rounding each way.
    for before, after in zip(array.ravel().tolist(), found.array.ravel().tolist(), strict=True):
        assert after == int(before * 10**num_decimals) / 10**num_decimals
    assert onchain.encode_vector(found._replace(dtype="float64")) == encoded or num_decimals


@given(hnp.arrays(st.sampled_from([np.int64, np.uint64, np.int8, np.bool_]), SHAPES))
def test_integers_are_exact_in_fixed_point(array: Any) -> None:
    encoded = onchain.encode_vector(onchain.vector_of(array, FIXED_POINT, 18))
    *_, words = decode(["uint8", "uint8", "uint8", "uint16[]", "int128[]"], encoded)
    assert list(words) == [int(value) * 10**18 for value in array.ravel().tolist()]


GOOD = onchain.encode_vector(onchain.vector_of(np.array([[1.5, 2.5]])))
REQUEST = onchain.encode_request(GOOD)


def patched(data: bytes, word: int, value: int) -> bytes:
    return data[: 32 * word] + value.to_bytes(32) + data[32 * (word + 1) :]


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(32) for value in values)


def heads(dtype: int, solidity: str, values: list[int], arithmetic: int = 0) -> bytes:
    types = ["uint8", "uint8", "uint8", "uint16[]", solidity]
    return encode(types, [arithmetic, 18, dtype, [len(values)], values])


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"", "vector: truncated"),
        (GOOD[:159], "vector: truncated: shorter than its five heads"),
        (GOOD[:-1], "values: truncated: it declares more elements than the 1"),
        (GOOD[:-32], "values: truncated: it declares more elements than the 1"),
        (GOOD[:200], "shape: truncated: it declares more elements than the 0"),
        (patched(GOOD, 0, 2), "arithmetic: unknown; known are 0"),
        (patched(GOOD, 0, 2**255), "arithmetic: unknown"),
        (patched(GOOD, 1, 256), "num_decimals: expected 0 to 255"),
        (patched(GOOD, 2, 16), "unknown dtype; known are 0 to 15"),
        (patched(GOOD, 2, 2**64), "unknown dtype"),
        (patched(GOOD, 0, 1), "dtype: fixed point takes 3 only"),
        (patched(GOOD, 2, 1), "a word does not fit its type"),
        (patched(GOOD, 2, 15), "a word does not fit its type"),
        (patched(GOOD, 3, 2**255), "shape: truncated: its offset leads outside"),
        (patched(GOOD, 4, len(GOOD)), "values: truncated: its offset leads outside"),
        (patched(GOOD, 3, 0), "an offset leads outside of it"),
        (patched(GOOD, 5, 2**255), "shape: truncated: it declares more elements"),
        (patched(GOOD, 8, 2**40), "values: truncated: it declares more elements"),
        (patched(GOOD, 7, 3), "shape: does not match the number of values, which is 2"),
        (patched(GOOD, 7, 65_536), "shape: a dimension is not from 0 to 65535"),
        (patched(GOOD, 7, 2**200), "shape: a dimension is not from 0 to 65535"),
        (heads(3, "int128[]", [2**64]), "float128 carries the 64 bits of a double"),
        (heads(4, "int256[]", [-(2**200)]), "float256 carries the 64 bits of a double"),
        (words(0, 18, 2, 160, 192 + 65 * 32, 65, *[1] * 65, 1, 0), "more than 64 elements"),
        (words(0, 18, 2, 160, 288, 3, 65535, 65535, 0, 0), "too large for a vector without"),
    ],
)
def test_bytes_that_are_no_vector_are_refused_by_name(data: bytes, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        onchain.decode_vector(data)
    assert description in raised.value.description
    assert raised.value.description.startswith("data: vector: ") or "vector." in str(raised.value)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (REQUEST[:-32], "data: truncated: it ends before its last value"),
        (REQUEST[:96], "truncated, or an offset leads outside of it"),
        (REQUEST[:40], "truncated"),
        (patched(REQUEST, 1, 2**255), "an offset leads outside of it"),
        (patched(REQUEST, 3, 2**255), "it declares more bytes than there can be"),
        (patched(REQUEST, 3, 2**40), "truncated"),
        (onchain.encode_request(GOOD, None, 2), "output_arithmetic: unknown"),
        (patched(onchain.encode_request(GOOD, None, 1, 1), 3, 256), "output_num_decimals"),
        (encode(["bytes", "bytes"], [b"x", GOOD]), "data: model: truncated"),
        (
            encode(["bytes", "bytes"], [encode(["bytes", "string"], [b"", "f"]), GOOD]),
            "data: model: repository: truncated",
        ),
        (
            encode(
                ["bytes", "bytes"],
                [
                    encode(
                        ["bytes", "string"],
                        [encode(["uint8", "string", "string", "string"], [3, "o", "n", ""]), "f"],
                    ),
                    GOOD,
                ],
            ),
            "unknown storage; known are 0 to 2",
        ),
        (
            encode(["bytes", "bytes"], [encode(["bytes", "bytes"], [b"", b"\xff"]), GOOD]),
            "data: model: a string is not UTF-8",
        ),
    ],
)
def test_bytes_that_are_no_request_are_refused_by_name(data: bytes, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        onchain.decode_request(data)
    assert description in raised.value.description


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (words(0x20), "int256[]: truncated: its offset leads outside"),
        (words(0x20, 1), "declares more elements than the 0"),
        (words(0x20, 2**255, 1), "declares more elements than the 1"),
    ],
)
def test_bytes_that_are_no_legacy_array(data: bytes, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        onchain.decode_legacy(data)
    assert description in raised.value.description


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("0", "odd"),
        ("0x00", "without 0x"),
        ("zz", "something else than hex"),
        ("0 00 ", "something else than hex"),
        ("é0", "something else than hex"),
    ],
)
def test_text_that_is_no_hex(text: str, description: str) -> None:
    with pytest.raises(InvalidInput, match=description):
        onchain.from_hex(text)


def test_hex_in_either_case_with_blanks_around() -> None:
    assert onchain.from_hex(" \tAbCdEf\n") == b"\xab\xcd\xef"


@pytest.mark.parametrize(
    ("vector", "description"),
    [
        (Vector(np.array([1e5]), "float16"), "beyond the range of dtype float16"),
        (Vector(np.array([1e39]), "float32"), "beyond the range of dtype float32"),
        (Vector(np.array([300]), "uint8"), "beyond the range of dtype uint8"),
        (Vector(np.array([1e21]), "float64", FIXED_POINT, 18), "does not fit int128"),
        (Vector(np.array([1.0]), "float64", FIXED_POINT, 255), "does not fit int128"),
        (Vector(np.array([2**62]), "int64", FIXED_POINT, 20), "does not fit int128"),
        (Vector(np.array([np.nan]), "float64", FIXED_POINT), "NaN"),
        (Vector(np.array([np.inf]), "float64", FIXED_POINT), "does not fit int128"),
        (Vector(np.array([1j]), "complex128", FIXED_POINT), "complex"),
        (Vector(np.zeros((0, 65_536)), "float64"), "a dimension over 65535"),
    ],
)
def test_what_the_abi_cannot_hold_is_refused(vector: Vector, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        onchain.encode_vector(vector)
    assert description in raised.value.description


@pytest.mark.parametrize("value", [6e58, -np.inf, np.nan])
def test_what_int256_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match=r"int256|NaN"):
        onchain.encode_legacy(np.array([value]))


def test_zero_decimals_are_zero() -> None:
    encoded = onchain.encode_vector(Vector(np.array([1.9, -1.9]), "float64", FIXED_POINT, 0))
    assert struct.unpack(">q", encoded[-8:]) == (-1,)
    assert onchain.decode_vector(encoded).array.tolist() == [1.0, -1.0]
    assert NUMBERS["float128"] == encoded[3 * 32 - 1]
