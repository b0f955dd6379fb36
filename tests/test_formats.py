"""Every format of data, recognised by its shape and answered in kind."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from handler import formats, onchain, vectors
from handler.errors import InvalidInput
from handler.formats import FIVE_KEYS
from handler.protocol import InfernetInput
from tests.test_onchain import RECORDED, by_name, recorded_array

CHAIN, OFFCHAIN, STREAM = 0, 1, 2
VALUES = np.array([[1.5, 2.5]])
VECTOR = {"dtype": 2, "shape": [1, 2], "values": [1.5, 2.5]}
TENSOR = {"dtype": "double", "shape": [1, 2], "values": [[1.5, 2.5]]}
ABI_VECTOR = onchain.encode_vector(onchain.vector_of(VALUES))
ABI_REQUEST = onchain.encode_request(ABI_VECTOR).hex()
ABI_LEGACY = onchain.encode_legacy(VALUES).hex()


def read(data: Any, source: int | None = None) -> Any:
    if source is None:
        source = CHAIN if isinstance(data, str) else OFFCHAIN
    return formats.read(InfernetInput(source=source, data=data))


def answered(output: Any, data: Any = None, destination: int = OFFCHAIN) -> bytes:
    form, call = read(data or {})
    return formats.write(output, form, call, destination)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (ABI_REQUEST, "abi request"),
        (onchain.encode_request(ABI_VECTOR, None, 0).hex(), "abi request"),
        (onchain.encode_request(ABI_VECTOR, None, 0, 18).hex().upper(), "abi request"),
        (f" {ABI_LEGACY}\n", "abi int256[]"),
        ({"input": VECTOR}, "infernet-ml 2"),
        ({"input": VECTOR, "model_id": None, "more": 1}, "infernet-ml 2"),
        (VECTOR, "vector"),
        ({**VECTOR, "name": "output_0"}, "vector"),
        (TENSOR, "classic"),
        ({"dtype": "double", "values": 1}, "classic"),
        ({}, "classic"),
        ({"input": "text"}, "classic"),
        ({"input": TENSOR}, "classic"),
        ({"dtype": True, "values": []}, "classic"),
        ({"dtype": 2, "shape": []}, "classic"),
    ],
)
def test_a_format_is_recognised_by_its_shape(data: Any, name: str) -> None:
    form, call = read(data)
    assert form.name == name
    if name == "classic":
        assert call.data is data, "what is in no other format reaches the workflow as it is"
    else:
        assert call.data == TENSOR, "a workflow is given the classic object"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (ABI_REQUEST, VECTOR),
        (ABI_LEGACY, TENSOR),
        ({"input": VECTOR}, VECTOR),
        (VECTOR, VECTOR),
        (TENSOR, TENSOR),
        ({"own": 1}, TENSOR),
    ],
)
@pytest.mark.parametrize("destination", [OFFCHAIN, STREAM])
def test_an_answer_off_chain_has_the_format_of_the_request(
    data: Any, answer: Any, destination: int
) -> None:
    assert json.loads(answered(VALUES, data, destination)) == answer


@pytest.mark.parametrize(
    ("data", "raw_output"),
    [
        (ABI_REQUEST, ABI_VECTOR.hex()),
        (ABI_LEGACY, ABI_LEGACY),
        ({"input": VECTOR}, ABI_VECTOR.hex()),
        (VECTOR, ABI_VECTOR.hex()),
        (TENSOR, ABI_VECTOR.hex()),
        ({"own": 1}, ABI_VECTOR.hex()),
    ],
)
def test_an_answer_on_chain_is_the_five_keys(data: Any, raw_output: str) -> None:
    answer = json.loads(answered(VALUES, data, CHAIN))
    assert answer == {**dict.fromkeys(FIVE_KEYS, ""), "raw_output": raw_output}


@pytest.mark.parametrize(
    ("output", "arithmetic", "num_decimals"),
    [
        ({}, 0, 18),
        ({"output_arithmetic": "fixed_point"}, 1, 18),
        ({"output_arithmetic": "fixed_point", "output_num_decimals": 0}, 1, 0),
        ({"output_arithmetic": "ieee", "output_num_decimals": 6}, 0, 6),
        ({"output_arithmetic": None, "output_num_decimals": None}, 0, 18),
    ],
)
def test_the_form_that_a_request_asks_for(output: Any, arithmetic: int, num_decimals: int) -> None:
    expected = onchain.encode_vector(onchain.vector_of(VALUES, arithmetic, num_decimals)).hex()
    answer = json.loads(answered(VALUES, {"input": VECTOR, **output}, CHAIN))
    assert answer["raw_output"] == expected
    trailing = [arithmetic, num_decimals]
    on_chain = onchain.encode_request(ABI_VECTOR, None, *trailing).hex()
    assert json.loads(answered(VALUES, on_chain, CHAIN))["raw_output"] == expected


@pytest.mark.parametrize("case", by_name("vectors"))
def test_a_recorded_request_gives_the_values_of_the_vector(case: Any) -> None:
    _, call = read(case["request_hex"])
    array = recorded_array(case)
    expected = array.astype(np.float64) if case["arithmetic"] == "fixed_point" else array
    classic = formats._with_lists(formats.Call(formats._classic_data(expected))).data
    assert call.data == classic and call.data["shape"] == case["shape"]
    assert isinstance(call.data["values"], list) or case["shape"] == []
    assert (str(call.model_id) if call.model_id else None) == case["model_id"]


@pytest.mark.parametrize("dtype", RECORDED["dtype_enum"].values())
def test_a_vector_of_every_dtype_survives_as_json(dtype: int) -> None:
    vector = {"dtype": dtype, "shape": [2], "values": [0, 1]}
    _, call = read(vector)
    answer = json.loads(answered(np.array([0, 1], dtype=vectors.KINDS[dtype].numpy), vector))
    _, again = read(answer)
    assert again.data == call.data


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ({"dtype": 10, "shape": [1], "values": [65_535]}, "int"),
        ({"dtype": 11, "shape": [1], "values": [4_294_967_295]}, "long"),
        ({"dtype": 12, "shape": [1], "values": [2**63 - 1]}, "long"),
        ({"dtype": 4, "shape": [1], "values": [1.5]}, "double"),
    ],
)
def test_dtypes_without_a_classic_name_become_one_that_holds_them(data: Any, dtype: str) -> None:
    _, call = read(data)
    assert call.data == {"dtype": dtype, "shape": [1], "values": data["values"]}


@pytest.mark.parametrize(
    ("data", "description"),
    [
        ({**VECTOR, "dtype": 16}, "data.dtype: unknown dtype; known are 0 to 15"),
        ({**VECTOR, "dtype": -1}, "data.dtype: unknown dtype"),
        ({"dtype": 2, "values": [1.5]}, "data.shape: found null; expected a list of whole"),
        ({**VECTOR, "shape": [1.0, 2]}, "data.shape: found a list with something else"),
        ({**VECTOR, "shape": [3]}, "data.shape: does not match the number of values, which is 2"),
        ({**VECTOR, "shape": [-1, -2]}, "data.shape: a dimension is not from 0 to 65535"),
        ({**VECTOR, "shape": [1] * 65}, "data.shape: more than 64 dimensions"),
        ({"dtype": 2, "shape": [65535] * 2 + [0], "values": []}, "data.shape: too large"),
        ({**VECTOR, "values": 1.5}, "data.values: found a fraction; expected a flat list"),
        ({**VECTOR, "values": [[1.5, 2.5]]}, "data.values[0]: found a list; dtype float64"),
        ({**VECTOR, "dtype": 0, "values": [1, 1e6]}, "data.values[1]: found a number beyond"),
        ({**VECTOR, "dtype": 1, "values": [1, 1e39]}, "beyond the range of dtype float32"),
        ({**VECTOR, "dtype": 8, "values": [1.9, 2]}, "data.values[0]: found a fraction"),
        ({**VECTOR, "dtype": 12, "values": [1, 2**64 - 1]}, "beyond what dtype long takes"),
        ({"input": {**VECTOR, "dtype": 99}}, "data.input.dtype: unknown dtype"),
        ({"input": {**VECTOR, "values": ["x", 1]}}, "data.input.values[0]: found a string"),
        ({"input": VECTOR, "model_id": 7}, "data.model_id: found a whole number"),
        ({"input": VECTOR, "model_id": "gpt"}, "model_id: expected storage/owner/name"),
        ({"input": VECTOR, "output_arithmetic": "float"}, 'expected "ieee" or "fixed_point"'),
        ({"input": VECTOR, "output_arithmetic": []}, 'expected "ieee" or "fixed_point"'),
        ({"input": VECTOR, "output_num_decimals": 256}, "whole number from 0 to 255"),
        ({"input": VECTOR, "output_num_decimals": True}, "whole number from 0 to 255"),
        ("", "data: empty"),
        ("00", "data: truncated: shorter than one word"),
        ("00" * 32, "data: its first word names no format"),
        ("ff" * 64, "data: its first word names no format"),
    ],
)
def test_data_that_does_not_fit_its_format_is_refused_by_name(data: Any, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read(data)
    assert description in raised.value.description


GIVEN = {"raw_input": "00", "processed_input": None, "raw_output": "aB", "processed_output": ""}


def test_a_workflow_may_give_the_five_keys_itself() -> None:
    five = {**GIVEN, "proof": None}
    assert json.loads(answered(five, ABI_REQUEST, CHAIN)) == five


@pytest.mark.parametrize(
    "output",
    [
        (VALUES, VALUES),
        {"a": VALUES},
        {"a": VALUES, "b": VALUES},
        GIVEN,
        {**GIVEN, "proof": "", "more": ""},
        {"dtype": "double", "values": [1.5]},
        {**GIVEN, "proof": "0"},
        {**GIVEN, "proof": "0x00"},
        {**GIVEN, "proof": "zz"},
        {**GIVEN, "proof": 1},
        [1.5],
        1.5,
        "00",
        None,
        [],
        np.array(["text"]),
    ],
)
def test_what_has_no_form_on_chain_points_to_the_hook_that_makes_one(output: Any) -> None:
    with pytest.raises(InvalidInput, match="in do_postprocessing"):
        answered(output, ABI_REQUEST, CHAIN)


def test_a_list_of_one_tensor_is_that_tensor_on_chain() -> None:
    assert answered([VALUES], ABI_REQUEST, CHAIN) == answered(VALUES, ABI_REQUEST, CHAIN)


def test_bfloat16_goes_out_as_float32() -> None:
    output = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    expected = np.array([1.5, -2.0], dtype=np.float32)
    raw = json.loads(answered(output, ABI_REQUEST, CHAIN))["raw_output"]
    assert raw == onchain.encode_vector(onchain.vector_of(expected)).hex()
    assert json.loads(answered(output, VECTOR))["dtype"] == 1
    assert json.loads(answered(output, TENSOR))["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_unsigned_integers_keep_their_dtype_in_a_vector(dtype: str) -> None:
    output = torch.tensor([1, 2]).to(getattr(torch, dtype))
    number = RECORDED["dtype_enum"][dtype]
    assert json.loads(answered(output, VECTOR))["dtype"] == number
    raw = bytes.fromhex(json.loads(answered(output, VECTOR, CHAIN))["raw_output"])
    assert onchain.decode_vector(raw).dtype == dtype


def test_several_tensors_off_chain_are_outputs_in_the_format_of_the_request() -> None:
    answer = json.loads(answered((VALUES, np.array(1.5)), VECTOR))
    scalar = {"dtype": 2, "shape": [], "values": [1.5]}
    assert answer["outputs"] == [{"name": "output_0", **VECTOR}, {"name": "output_1", **scalar}]


def test_what_json_lacks_is_spelled_in_a_vector_too() -> None:
    answer = json.loads(answered(np.array([np.nan, np.inf, 1.5]), VECTOR))
    assert answer == {"dtype": 2, "shape": [3], "values": ["NaN", "Infinity", 1.5]}
    assert json.loads(answered(np.array([1 + 2j]), VECTOR))["values"] == [{"re": 1.0, "im": 2.0}]


ONE = {"dtype": "double", "shape": [1], "values": [1.5]}


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (torch.tensor([1.5], dtype=torch.double), ONE),
        (np.array([1.5]), ONE),
        (
            (np.array([1.5]), torch.tensor([1.5]).double()),
            {"outputs": [{"name": "output_0", **ONE}, {"name": "output_1", **ONE}]},
        ),
        ([np.array([1.5])], {"outputs": [{"name": "output_0", **ONE}]}),
        ({"probability": np.array([1.5])}, {"outputs": [{"name": "probability", **ONE}]}),
        ({"code": np.array([1.5])}, {"outputs": [{"name": "code", **ONE}]}),
        ({"text": "a", "score": np.array([1.5])}, {"text": "a", "score": ONE}),
        ({"score": 0.5, "none": None}, {"score": 0.5, "none": None}),
        ({}, {}),
        ({"code": "200"}, {"output": {"code": "200"}}),
        ([1, "a"], {"output": [1, "a"]}),
        ([], {"output": []}),
        (None, {"output": None}),
        ("text", {"output": "text"}),
        (7, {"output": 7}),
        ((1, 2), {"output": [1, 2]}),
        (float("nan"), {"output": "NaN"}),
        ({"a": [float("inf"), {"b": -float("inf")}]}, {"a": ["Infinity", {"b": "-Infinity"}]}),
        (np.array(["setosa"]), {"output": ["setosa"]}),
        (np.array([1.5, "a"], dtype=object), {"output": [1.5, "a"]}),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_every_output_has_its_answer(output: Any, answer: Any) -> None:
    assert json.loads(answered(output), parse_constant=pytest.fail) == answer


def test_what_json_cannot_express_is_an_error() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        answered({"what": object()})
