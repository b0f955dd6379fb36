"""The Infernet envelope around a request's data. No model and no format of data is known here."""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from handler.errors import InvalidInput, MalformedBody, kind_of
from handler.limits import check_depth

CHAIN, OFFCHAIN, STREAM = 0, 1, 2
Side = Literal[0, 1, 2]


class InfernetInput(BaseModel):
    """The body of ``POST /service_output``. Unknown keys are ignored, as nodes add their own."""

    model_config = ConfigDict(frozen=True)

    source: Side
    destination: Side | None = None
    data: Any
    requires_proof: StrictBool = False

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
    try:
        request = InfernetInput.model_validate(value)
    except ValidationError as invalid:
        raise InvalidInput(_problems(invalid)) from None
    _refuse_misfits(request)
    return request


def _refuse_misfits(request: InfernetInput) -> None:
    if request.requires_proof:
        raise InvalidInput("requires_proof: found true; this service makes no proofs")
    kind, expected = (str, "a hex string") if request.source == CHAIN else (dict, "an object")
    if not isinstance(request.data, kind):
        raise InvalidInput(
            f"data: with source {request.source}, expected {expected}; "
            f"found {kind_of(request.data)}"
        )


def _problems(invalid: ValidationError) -> str:
    return "; ".join(
        f"{error['loc'][0]}: missing"
        if error["type"] == "missing"
        else f"{error['loc'][0]}: {error['msg']}; found {kind_of(error['input'])}"
        for error in invalid.errors(include_url=False, include_context=False)
    )
