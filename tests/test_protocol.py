import json
from typing import Any

import numpy as np
import pytest
import torch

from handler import protocol
from handler.errors import InvalidInput, MalformedBody


def parsed(**fields: Any) -> protocol.InfernetInput:
    return protocol.parse(json.dumps(fields).encode())


def test_the_envelope() -> None:
    request = parsed(source=1, destination=2, data={"a": 1}, requires_proof=False, id="ignored")
    assert (request.source, request.answers_to, request.data) == (1, 2, {"a": 1})


@pytest.mark.parametrize("source", [1, 2])
def test_an_absent_destination_is_the_source_s_side(source: int) -> None:
    assert parsed(source=source, data={}).answers_to == source


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b'{"source": 1, "data": {"a": NaN}}', b'"\xff"', b"\xef\xbb\xbf{}"],
)
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="not JSON in UTF-8"):
        protocol.parse(body)


@pytest.mark.parametrize(
    ("body", "description"),
    [
        ([], "the body: expected an object with source and data; found a list"),
        ({}, "source: missing; data: missing"),
        ({"source": 1}, "data: missing"),
        ({"source": 3, "data": {}}, "source: Input should be 0, 1 or 2; found a whole number"),
        ({"source": "1", "data": {}}, "source: Input should be 0, 1 or 2; found a string"),
        ({"source": 1, "destination": "x", "data": {}}, "destination: Input should be 0, 1 or 2"),
        ({"source": 1, "data": "00"}, "data: with source 1, expected an object; found a string"),
        ({"source": 2, "data": "00"}, "data: with source 2, expected an object; found a string"),
        ({"source": 1, "data": [1]}, "data: with source 1, expected an object; found a list"),
        ({"source": 1, "data": {}, "requires_proof": True}, "this service makes no proofs"),
        ({"source": 1, "data": {}, "requires_proof": "no"}, "requires_proof: Input should be"),
        ({"source": 0, "data": "00"}, "source: on-chain data (0) is not supported yet"),
        ({"source": 1, "destination": 0, "data": {}}, "destination: on-chain data (0)"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_name(body: Any, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        protocol.parse(json.dumps(body).encode())
    assert description in raised.value.description


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
    assert json.loads(protocol.encode(output), parse_constant=pytest.fail) == answer


def test_what_json_cannot_express_is_an_error() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        protocol.encode({"what": object()})
