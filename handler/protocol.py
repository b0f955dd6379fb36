"""The Infernet envelope around a request's data. No model and no format of data is known here."""

from typing import Any, NamedTuple

import orjson

from handler.errors import InvalidInput, MalformedBody, kind_of
from handler.limits import check_depth

CHAIN, OFFCHAIN, STREAM = 0, 1, 2
SIDES = frozenset({CHAIN, OFFCHAIN, STREAM})
# By its source, data is a hex string or an object.
DATA_TYPES: dict[int, type] = {CHAIN: str, OFFCHAIN: dict, STREAM: dict}


class InfernetInput(NamedTuple):
    """The body of ``POST /service_output``. Unknown keys are ignored, as nodes add their own.

    ``handler.envelope`` describes it, and says what is wrong with one that does not fit.
    """

    source: int
    data: Any
    destination: int | None = None

    @property
    def answers_to(self) -> int:
        """The side that reads the answer: older nodes name only the source."""
        return self.source if self.destination is None else self.destination


def parse(body: bytes) -> InfernetInput:
    """The request in a body.

    Raises:
        MalformedBody: the body is not JSON, or not UTF-8.
        InvalidInput: the JSON does not fit the envelope; names the field.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # The decoder's message quotes nothing of the body; its position helps to find the place.
        raise MalformedBody(f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput(
            f"the body: expected an object with source and data; found {kind_of(value)}"
        )
    check_depth(body, value)
    return _plain(value) or _checked(_described(value))


def _plain(value: dict[str, Any]) -> InfernetInput | None:
    """The request in an object that plainly is one, as almost all are; None for any other."""
    source, destination = value.get("source"), value.get("destination")
    if type(source) is not int or source not in SIDES or "data" not in value:
        return None
    if destination is not None and (type(destination) is not int or destination not in SIDES):
        return None
    data = value["data"]
    if value.get("requires_proof", False) is not False or type(data) is not DATA_TYPES[source]:
        return None
    return InfernetInput(source, data, destination)


def _described(value: dict[str, Any]) -> InfernetInput:
    # pydantic, which takes 50 ms to import, and which only those pay for who send something odd.
    from handler.envelope import validated

    envelope = validated(value)
    return InfernetInput(envelope.source, envelope.data, envelope.destination)


def _checked(request: InfernetInput) -> InfernetInput:
    if type(request.data) is not DATA_TYPES[request.source]:
        expected = "a hex string" if request.source == CHAIN else "an object"
        raise InvalidInput(
            f"data: with source {request.source}, expected {expected}; "
            f"found {kind_of(request.data)}"
        )
    return request
