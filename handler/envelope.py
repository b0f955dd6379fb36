"""What the Infernet envelope is, field by field: for errors that name one, and for descriptions."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from handler.errors import InvalidInput, kind_of

Side = Literal[0, 1, 2]


class Envelope(BaseModel):
    """The body of ``POST /service_output``. Unknown keys are ignored, as nodes add their own."""

    model_config = ConfigDict(frozen=True)

    source: Side
    destination: Side | None = None
    data: Any
    requires_proof: StrictBool = False


def validated(value: dict[str, Any]) -> Envelope:
    """The envelope in a JSON object.

    Raises:
        InvalidInput: it does not fit; names each field that is wrong.
    """
    try:
        envelope = Envelope.model_validate(value)
    except ValidationError as invalid:
        raise InvalidInput(_problems(invalid)) from None
    if envelope.requires_proof:
        raise InvalidInput("requires_proof: found true; this service makes no proofs")
    return envelope


def _problems(invalid: ValidationError) -> str:
    return "; ".join(
        f"{error['loc'][0]}: missing"
        if error["type"] == "missing"
        else f"{error['loc'][0]}: {error['msg']}; found {kind_of(error['input'])}"
        for error in invalid.errors(include_url=False, include_context=False)
    )
