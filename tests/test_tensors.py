import math
from typing import Any, Literal

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidInput
from handler.tensors import DTYPES, parse, tensor_of, to_json, to_lists

FLOATS = ("float", "double", "half", "bfloat16")
INTEGERS = ("uint8", "int8", "short", "int", "long")
COMPLEX = ("cfloat", "cdouble")


def wire(tensor: Any) -> Any:
    """What a tensor looks like on the other side of the wire."""
    found = tensor_of(tensor)
    assert found is not None
    return orjson.loads(orjson.dumps(to_json(found), option=orjson.OPT_SERIALIZE_NUMPY))


def test_the_table_has_the_twelve_names_of_torch() -> None:
    assert len(DTYPES) == 12
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("values", "shape"),
    [(1, ()), ([], (0,)), ([1], (1,)), ([[], []], (2, 0)), ([[1, 0], [0, 1], [1, 1]], (3, 2))],
)
def test_every_dtype_takes_every_nesting(dtype: str, values: Any, shape: tuple[int, ...]) -> None:
    tensor = parse({"dtype": dtype, "values": values, "bot": "ignored"})
    assert tensor.dtype == dtype and tensor.array.dtype == DTYPES[dtype]
    assert tensor.array.shape == shape
    expected = torch.tensor(values, dtype=getattr(torch, dtype))
    assert torch.equal(torch.from_numpy(tensor.array).to(expected.dtype), expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("long", 2**63 - 1),
        ("long", -(2**63)),
        ("long", 2**53 + 1),
        ("int", -(2**31)),
        ("short", 32767),
        ("int8", -128),
        ("uint8", 255),
        ("int", 3.0),
    ],
)
def test_integers_are_exact(dtype: str, value: float) -> None:
    assert parse({"dtype": dtype, "values": [value, value]}).array.tolist() == [value, value]
    assert wire(torch.tensor([int(value)], dtype=getattr(torch, dtype)))["values"] == [value]


def test_one_large_integer_beside_a_float_stays_exact() -> None:
    assert parse({"dtype": "long", "values": [2**53 + 1, 1.0]}).array.tolist() == [2**53 + 1, 1]


@pytest.mark.parametrize("dtype", FLOATS)
def test_non_finite_floats_are_their_names(dtype: str) -> None:
    values = ["NaN", "Infinity", "-Infinity", 1.5]
    array = parse({"dtype": dtype, "values": values}).array
    assert math.isnan(array[0]) and array[1:].tolist() == [math.inf, -math.inf, 1.5]
    back = wire(torch.from_numpy(array).to(getattr(torch, dtype)))
    assert back == {"dtype": dtype, "shape": [4], "values": values}


@pytest.mark.parametrize("dtype", COMPLEX)
def test_complex_numbers(dtype: str) -> None:
    values = [1, 2.5, {"re": 0.5, "im": -3}, {"re": "NaN", "im": "-Infinity"}]
    array = parse({"dtype": dtype, "values": values}).array
    assert array[:3].tolist() == [1, 2.5, 0.5 - 3j]
    back = wire(torch.from_numpy(array))["values"]
    assert back[2:] == [{"re": 0.5, "im": -3.0}, {"re": "NaN", "im": "-Infinity"}]
    assert wire(torch.tensor(1 + 2j, dtype=getattr(torch, dtype)))["values"] == {"re": 1, "im": 2}
    assert parse({"dtype": dtype, "values": []}).array.shape == (0,)


def test_booleans() -> None:
    assert parse({"dtype": "bool", "values": [True, 0, 1, False]}).array.tolist() == [1, 0, 1, 0]
    assert wire(torch.tensor([True, False]))["values"] == [True, False]


REFUSED: list[tuple[Any, str]] = [
    ([1], "data: found a list; expected an object with dtype and values"),
    ({"values": [1]}, "data.dtype: missing"),
    ({"dtype": "double"}, "data.values: missing"),
    ({"dtype": 2, "values": [1]}, "data.dtype: found a whole number; allowed are float, double"),
    ({"dtype": "float64", "values": [1]}, "data.dtype: found another name; allowed are float"),
    ({"dtype": "double", "values": None}, "data.values: found null; dtype double takes numbers"),
    ({"dtype": "double", "values": "1"}, "data.values: found a string; dtype double takes"),
    ({"dtype": "double", "values": {"a": 1}}, "data.values: found an object"),
    ({"dtype": "double", "values": [1, True]}, "data.values[1]: found a boolean"),
    ({"dtype": "double", "values": [[1, 2], [3, "nan"]]}, "data.values[1][1]: found a string"),
    ({"dtype": "double", "values": [[1, 2], [3]]}, "ragged: axis 1 has lists of 1 to 2 elements"),
    ({"dtype": "double", "values": [[[1], [2]], [[1], 2]]}, "ragged: axis 2 mixes lists"),
    ({"dtype": "double", "values": [[1], 2]}, "ragged: axis 1 mixes lists and numbers"),
    ({"dtype": "float", "values": [1, 1e39]}, "data.values[1]: found a number beyond the range"),
    ({"dtype": "half", "values": 70000}, "data.values: found a number beyond the range"),
    ({"dtype": "bfloat16", "values": [3.3999e38]}, "beyond the range of dtype bfloat16"),
    ({"dtype": "cfloat", "values": [0, {"re": 0, "im": 1e39}]}, "data.values[1]: found a number"),
    ({"dtype": "cfloat", "values": [{"re": 0}]}, "data.values[0]: found an object"),
    ({"dtype": "int", "values": [1, 1.5]}, "data.values[1]: found a fraction; dtype int takes"),
    ({"dtype": "int", "values": ["NaN"]}, "data.values[0]: found a string"),
    ({"dtype": "int", "values": [True]}, "data.values[0]: found a boolean"),
    ({"dtype": "uint8", "values": [-1]}, "takes whole numbers from 0 to 255"),
    ({"dtype": "uint8", "values": [0, 256]}, "data.values[1]: found a whole number"),
    ({"dtype": "long", "values": [2**63]}, "takes whole numbers from -9223372036854775808 to"),
    ({"dtype": "long", "values": [1e300]}, "data.values[0]: found a whole number"),
    ({"dtype": "bool", "values": [2]}, "data.values[0]: found a whole number; dtype bool takes"),
    ({"dtype": "bool", "values": [1.0]}, "dtype bool takes true, false, 0 or 1"),
]


@pytest.mark.parametrize(("data", "description"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(data: Any, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse(data)
    assert description in raised.value.description


def test_the_deepest_nesting() -> None:
    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 1.5

    assert parse({"dtype": "double", "values": nested(64)}).array.ndim == 64
    with pytest.raises(InvalidInput, match="deeper than 64"):
        parse({"dtype": "double", "values": nested(65)})


@given(
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda dtype: st.tuples(st.just(dtype), st.lists(_values(dtype), max_size=8))
    )
)
def test_an_answer_is_valid_input(case: tuple[str, list[Any]]) -> None:
    dtype, values = case
    first = parse({"dtype": dtype, "values": values})
    answer = wire(first)
    again = parse(answer)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again.array, first.array)
    assert wire(again) == answer


def _values(dtype: str) -> st.SearchStrategy[Any]:
    limits = DTYPES[dtype]
    if dtype == "bool":
        return st.booleans()
    if dtype in INTEGERS:
        return st.integers(int(np.iinfo(limits).min), int(np.iinfo(limits).max))
    width: Literal[16, 32, 64] = 32 if limits.itemsize in (4, 8) and dtype != "double" else 64
    width = 16 if dtype == "half" else width
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=width)
    if dtype == "bfloat16":
        numbers = numbers.filter(lambda v: abs(v) < 3e38)
    floats = numbers | st.sampled_from(["NaN", "Infinity", "-Infinity"])
    if dtype in COMPLEX:
        return floats | st.fixed_dictionaries({"re": floats, "im": floats})
    return floats


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.arange(3, dtype=np.uint16), "int"),
        (np.arange(3, dtype=np.uint32), "long"),
        (np.arange(3, dtype=np.uint64), "long"),
        (np.arange(3, dtype=">f8"), "double"),
        (np.arange(6.0).reshape(2, 3).T[:, 0], "double"),
        (np.float32(1), "float"),
        (torch.tensor([0.0, 1.0], requires_grad=True), "float"),
        (torch.tensor([1 + 2j]).conj(), "cfloat"),
        (torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16).T, "bfloat16"),
    ],
)
def test_arrays_of_every_kind_have_a_wire_name(value: Any, dtype: str) -> None:
    answer = wire(value)
    assert answer["dtype"] == dtype
    assert answer["shape"] == list(value.shape)


def test_an_unsigned_integer_that_no_name_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="uint64"):
        tensor_of(np.array([2**64 - 1], dtype=np.uint64))


@pytest.mark.parametrize("value", [1.5, [1], "a", None, {"a": 1}, np.array(["a"])])
def test_what_is_no_tensor(value: Any) -> None:
    assert tensor_of(value) is None


@pytest.mark.parametrize(
    ("values", "declared", "shape"),
    [
        ([], [0, 3], (0, 3)),
        ([[], []], [2, 0, 3], (2, 0, 3)),
        ([], None, (0,)),
        ([], "x", (0,)),
        ([], [3], (0,)),
        ([], [0, -1], (0,)),
        ([], [0, 1.0], (0,)),
        ([], [0, True], (0,)),
        ([], [0] * 65, (0,)),
        ([], [0, 2**62, 2**62], (0,)),
        ([], [0, 65_535, 2], (0,)),
        ([[1, 2]], [2, 1], (1, 2)),
        ([[1, 2]], [0, 3], (1, 2)),
    ],
)
def test_a_declared_shape_counts_only_where_lists_end(
    values: Any, declared: Any, shape: tuple[int, ...]
) -> None:
    found = parse({"dtype": "double", "values": values, "shape": declared})
    assert found.array.shape == shape


def test_to_lists_is_what_a_decoder_of_the_json_would_give() -> None:
    for array in (np.array([[1.5, np.nan]]), np.array(7), np.array([True]), np.array([1 + 2j])):
        tensor = tensor_of(array)
        assert tensor is not None
        assert to_lists(tensor) == orjson.loads(
            orjson.dumps(to_json(tensor), option=orjson.OPT_SERIALIZE_NUMPY)
        )
