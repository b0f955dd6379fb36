"""The formats of a request's data, each answered in kind; ``FORMATS`` is the one table of them.

A workflow knows none of this: it is given the classic object, ``{"dtype", "shape", "values"}`` with
values in nested lists (or an array, which ours take), whatever the format of the request was, and
gives a tensor. Only an object
that is in none of the formats reaches it as it is.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from handler import tensors, vectors
from handler.errors import InvalidInput, kind_of
from handler.protocol import CHAIN, InfernetInput
from handler.tensors import Array, Tensor
from handler.vectors import ARITHMETICS, DEFAULT_DECIMALS, IEEE

if TYPE_CHECKING:
    from handler.models.model_id import ModelId

FIVE_KEYS = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")


class Call(NamedTuple):
    """What a request asks for, whatever its format was."""

    data: Any
    """What the workflow is given."""
    model_id: "ModelId | None" = None
    output_arithmetic: int = IEEE
    output_num_decimals: int = DEFAULT_DECIMALS


class Format(NamedTuple):
    """How one format is recognised, read and answered."""

    name: str
    recognises: Callable[[Any], bool]
    """Whether data is in this format: bytes when it came from a chain, otherwise an object."""
    read: Callable[[Any], Call]
    tensor_object: Callable[[Any], dict[str, Any] | None]
    """A tensor in an answer off-chain; None for a value that is no tensor."""
    raw_output: Callable[[Array, Call], bytes]
    """A tensor in an answer on-chain."""


def read(request: InfernetInput, *, arrays: bool = False) -> tuple[Format, Call]:
    """The format of a request's data, and what it asks for.

    With ``arrays``, for a workflow that takes them, ``values`` stay the array that they are.

    Raises:
        InvalidInput: the data does not fit its format; says where.
    """
    on_chain = request.source == CHAIN
    data: Any = _bytes(request.data) if on_chain else request.data
    if not on_chain and type(data.get("dtype")) is str and "input" not in data:
        form: Format | None = CLASSIC  # as almost all are: there is no need to look at the others
    else:
        forms = FORMATS[:2] if on_chain else FORMATS[2:]
        form = next((form for form in forms if form.recognises(data)), None)
    if form is None:
        raise InvalidInput(
            "data: its first word names no format: expected 0x40, 0x60 or 0x80 (a request), or "
            "0x20 (an int256[])"
        )
    call = form.read(data)
    as_it_is = arrays or not isinstance(call.data.get("values"), np.ndarray)
    return form, call if as_it_is else _with_lists(call)


def write(output: Any, form: Format, call: Call, destination: int) -> bytes:
    """The body that answers a workflow's output, always a JSON object without ``code``.

    Raises:
        InvalidInput: the output has no form on-chain; says what to change.
        TypeError, ValueError: the output holds what JSON cannot express; names the type.
    """
    if destination == CHAIN:
        return orjson.dumps(_five_keys(output, form, call))
    value = _object(output, form.tensor_object)
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _object(output: Any, tensor_object: Callable[[Any], dict[str, Any] | None]) -> dict[Any, Any]:
    """A tensor is the format's object; a list, tuple or dict of tensors is ``{"outputs": [...]}``.

    Another dict passes through; all else, and a dict that a node would take for an error, is
    wrapped as ``{"output": value}``.
    """
    if (tensor := tensor_object(output)) is not None:
        return tensor
    outputs = [(name, tensor_object(value)) for name, value in named(output)]
    if outputs and all(tensor is not None for _, tensor in outputs):
        return {"outputs": [{"name": name, **(tensor or {})} for name, tensor in outputs]}
    value = _jsonable(output, tensor_object)
    return value if isinstance(value, dict) and "code" not in value else {"output": value}


def named(output: Any) -> list[tuple[str, Any]]:
    """The outputs of a workflow that has several, with the names that an answer gives them."""
    if isinstance(output, dict):
        return [(str(name), value) for name, value in output.items()]
    if isinstance(output, list | tuple):
        return [(f"output_{index}", value) for index, value in enumerate(output)]
    return []


def _jsonable(value: Any, tensor_object: Callable[[Any], dict[str, Any] | None]) -> Any:
    """The value with tensors as their objects and non-finite floats as their names."""
    if isinstance(value, dict):
        return {key: _jsonable(item, tensor_object) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item, tensor_object) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    if (tensor := tensor_object(value)) is not None:
        return tensor
    # Arrays that are no tensors, of strings for one, answer as the lists they are.
    return _jsonable(value.tolist(), tensor_object) if hasattr(value, "tolist") else value


def _five_keys(output: Any, form: Format, call: Call) -> dict[str, Any]:
    """The one answer that a node can deliver on-chain."""
    if isinstance(output, dict) and output.keys() == set(FIVE_KEYS):
        for key, value in output.items():
            if value is not None and not _is_hex(value):
                raise InvalidInput(
                    f"the workflow's {key}: a node takes null, or hex of even length without 0x; "
                    "correct it in do_postprocessing"
                )
        return output
    if isinstance(output, list | tuple) and len(output) == 1:
        (output,) = output
    array = tensors.array_of(output)
    if array is None:
        raise InvalidInput(
            "the workflow's answer has no form on-chain, which takes one tensor or an object of "
            f"{', '.join(FIVE_KEYS)}; make one of them in do_postprocessing"
        )
    return {**dict.fromkeys(FIVE_KEYS, ""), "raw_output": form.raw_output(array, call).hex()}


def _is_hex(value: Any) -> bool:
    if not isinstance(value, str) or len(value) % 2:
        return False
    return not set(value) - set("0123456789abcdefABCDEF")


# handler.onchain imports eth_abi, which takes 215 ms: only a request from a chain, or to one, pays
# for it. So the functions that follow import it themselves.
def _begins_with(*words: int) -> Callable[[Any], bool]:
    def recognises(data: Any) -> bool:
        if not isinstance(data, bytes):
            return False
        from handler import onchain

        return onchain.first_word(data) in words

    return recognises


def _bytes(text: str) -> bytes:
    from handler import onchain

    return onchain.from_hex(text)


def _with_lists(call: Call) -> Call:
    tensor = Tensor(call.data["dtype"], call.data["values"])
    return call._replace(data=tensors.to_lists(tensor))


def _classic_data(array: Array) -> dict[str, Any]:
    try:
        tensor = tensors.tensor_of(array)
    except ValueError:
        raise InvalidInput("data: an unsigned integer is beyond what dtype long takes") from None
    assert tensor is not None
    return {"dtype": tensor.dtype, "shape": list(tensor.array.shape), "values": tensor.array}


def _read_abi_request(data: bytes) -> Call:
    from handler import onchain

    model_id, array, output_arithmetic, output_num_decimals = onchain.decode_request(data)
    return Call(_classic_data(array), model_id, output_arithmetic, output_num_decimals)


def _read_legacy(data: bytes) -> Call:
    from handler import onchain

    return Call(_classic_data(onchain.decode_legacy(data)))


def _read_request(data: dict[str, Any]) -> Call:
    array = vectors.from_json(data["input"], "data.input")
    return Call(
        _classic_data(array),
        _model_id(data.get("model_id")),
        _arithmetic(data.get("output_arithmetic")),
        _decimals(data.get("output_num_decimals")),
    )


def _read_vector(data: dict[str, Any]) -> Call:
    return Call(_classic_data(vectors.from_json(data, "data")))


def _model_id(text: Any) -> "ModelId | None":
    from handler.models.model_id import ModelId

    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise InvalidInput(f"data.model_id: found {kind_of(text)}; expected a string or null")
    return ModelId.parse(text)


def _arithmetic(value: Any) -> int:
    if value is None:
        return IEEE
    if not isinstance(value, str) or value not in ARITHMETICS:
        raise InvalidInput('data.output_arithmetic: expected "ieee" or "fixed_point"')
    return ARITHMETICS[value]


def _decimals(value: Any) -> int:
    if value is None:
        return DEFAULT_DECIMALS
    if type(value) is not int or not 0 <= value <= 255:
        raise InvalidInput("data.output_num_decimals: expected a whole number from 0 to 255")
    return value


def _vector_object(value: Any) -> dict[str, Any] | None:
    array = tensors.array_of(value)
    return None if array is None else vectors.to_json(array)


def _raw_vector(array: Array, call: Call) -> bytes:
    from handler import onchain

    vector = onchain.vector_of(array, call.output_arithmetic, call.output_num_decimals)
    return onchain.encode_vector(vector)


def _raw_legacy(array: Array, call: Call) -> bytes:
    from handler import onchain

    return onchain.encode_legacy(array)


CLASSIC = Format("classic", lambda data: isinstance(data, dict), Call, tensors.to_json, _raw_vector)
# The first row that recognises the data is its format: from a chain one of the first two.
FORMATS = (
    # name, recognised by, read, a tensor off-chain, a tensor on-chain
    Format(
        "abi request",
        _begins_with(0x40, 0x60, 0x80),
        _read_abi_request,
        _vector_object,
        _raw_vector,
    ),
    Format("abi int256[]", _begins_with(0x20), _read_legacy, tensors.to_json, _raw_legacy),
    Format(
        "infernet-ml 2",
        lambda data: isinstance(data, dict) and vectors.is_vector(data.get("input")),
        _read_request,
        _vector_object,
        _raw_vector,
    ),
    Format("vector", vectors.is_vector, _read_vector, _vector_object, _raw_vector),
    CLASSIC,
)
