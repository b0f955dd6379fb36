"""The Infernet envelope: what a node sends, and what it is answered. No model is known here."""

import math
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from handler.errors import InvalidInput, MalformedBody, kind_of
from handler.tensors import tensor_of, to_json

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
    try:
        request = InfernetInput.model_validate(value)
    except ValidationError as invalid:
        raise InvalidInput(_problems(invalid)) from None
    _refuse_misfits(request)
    return request


def encode(output: Any) -> bytes:
    """The body that answers a workflow's output, always a JSON object without ``code``.

    A tensor or array is the tensor object; a list, tuple or dict of them is
    ``{"outputs": [{"name", "dtype", "shape", "values"}, ...]}``; another dict passes through; all
    else, and a dict that a node would take for an error, is wrapped as ``{"output": value}``.

    Raises:
        TypeError, ValueError: the output holds what JSON cannot express; names the type.
    """
    value = _answer(output)
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _answer(output: Any) -> dict[Any, Any]:
    if (tensor := tensor_of(output)) is not None:
        return to_json(tensor)
    named = _named(output)
    tensors = {name: tensor_of(value) for name, value in named.items()}
    if tensors and None not in tensors.values():
        return {
            "outputs": [
                {"name": name, **to_json(t)} for name, t in tensors.items() if t is not None
            ]
        }
    value = _jsonable(output)
    return value if isinstance(value, dict) and "code" not in value else {"output": value}


def _named(output: Any) -> dict[str, Any]:
    if isinstance(output, dict):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, list | tuple):
        return {f"output_{index}": value for index, value in enumerate(output)}
    return {}


def _jsonable(value: Any) -> Any:
    """The value with tensors as their objects and non-finite floats as their names."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    if (tensor := tensor_of(value)) is not None:
        return to_json(tensor)
    # Arrays that are no tensors, of strings for one, answer as the lists they are.
    return _jsonable(value.tolist()) if hasattr(value, "tolist") else value


def _refuse_misfits(request: InfernetInput) -> None:
    if request.requires_proof:
        raise InvalidInput("requires_proof: found true; this service makes no proofs")
    if CHAIN in (request.source, request.answers_to):
        side = "source" if request.source == CHAIN else "destination"
        raise InvalidInput(f"{side}: on-chain data (0) is not supported yet; use 1 (off-chain)")
    if not isinstance(request.data, dict):
        raise InvalidInput(
            f"data: with source {request.source}, expected an object; found {kind_of(request.data)}"
        )


def _problems(invalid: ValidationError) -> str:
    return "; ".join(
        f"{error['loc'][0]}: missing"
        if error["type"] == "missing"
        else f"{error['loc'][0]}: {error['msg']}; found {kind_of(error['input'])}"
        for error in invalid.errors(include_url=False, include_context=False)
    )
