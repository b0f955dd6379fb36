import json
from typing import Any

import pytest

from handler import protocol
from handler.errors import InvalidInput, MalformedBody


def parsed(**fields: Any) -> protocol.InfernetInput:
    return protocol.parse(json.dumps(fields).encode())


def test_the_envelope() -> None:
    request = parsed(source=1, destination=2, data={"a": 1}, requires_proof=False, id="ignored")
    assert (request.source, request.answers_to, request.data) == (1, 2, {"a": 1})


@pytest.mark.parametrize("source", [0, 1, 2])
def test_an_absent_destination_is_the_source_s_side(source: int) -> None:
    assert parsed(source=source, data={} if source else "00").answers_to == source


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
        ({"source": 0, "data": {}}, "data: with source 0, expected a hex string; found an object"),
        ({"source": 0, "data": None}, "data: with source 0, expected a hex string; found null"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_name(body: Any, description: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        protocol.parse(json.dumps(body).encode())
    assert description in raised.value.description


ODD: list[Any] = [0, 1, 2, 3, -1, 1.0, True, False, None, "1", [], {}, 2**70]


@pytest.mark.parametrize("source", ODD)
def test_what_plainly_is_an_envelope_is_one_by_its_description(source: Any) -> None:
    agreed = 0
    for destination in [..., *ODD]:
        for proof in [..., True, False, None, 0, "no"]:
            fields = {"source": source, "destination": destination, "requires_proof": proof}
            value = {key: field for key, field in fields.items() if field is not ...} | {
                "data": "" if source == 0 else {}
            }
            if (plain := protocol._plain(value)) is not None:
                assert plain == protocol._described(value), value
                agreed += 1
    assert agreed == (10 if source in (0, 1, 2) and type(source) is int else 0)
