"""What both models are asked in a proof: given inputs, and others drawn to cover their ranges."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from handler import protocol, tensors
from handler.errors import InvalidInput, ModelError
from handler.tensors import DTYPES, Array

DEFAULT_RANGE = (-10.0, 10.0)


class Declared(NamedTuple):
    """What the inputs of a model are, as far as anybody says."""

    shape: tuple[int, ...] | None = None
    """Of one input, without the batch."""
    dtype: str | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    """From and to, inclusive: one for all elements, or one each."""


def inputs_of(
    workflow: Any, declared: Declared, given: Array | None, count: int
) -> tuple[str, Array]:
    """The dtype, and at least ``count`` inputs of shape [inputs, *shape]: the given ones first.

    Raises:
        ModelError: nobody says what the inputs are, or not consistently; says what to declare.
    """
    if given is not None:
        declared = declared._replace(shape=given.shape[1:])
    example = workflow.example_input()
    shape = declared.shape or (example and example["values"].shape[1:])
    if shape is None:
        raise ModelError("the model does not tell the shape of its inputs: give --shape")
    dtype = declared.dtype or (example["dtype"] if example else _dtype_of(workflow))
    drawn = _drawn(shape, dtype, _ranges(declared, given, shape), count)
    if given is None:
        return dtype, drawn
    rest = max(0, count - len(given))
    return dtype, np.concatenate([given.astype(drawn.dtype), drawn[:rest]])


def read(path: Path) -> tuple[str, Array]:
    """The dtype and the inputs in a file: a request, or its ``data``, or an array of numpy (.npy).

    Raises:
        InvalidInput: it is none of them.
    """
    if path.suffix == ".npy":
        tensor = tensors.tensor_of(np.load(path, allow_pickle=False))
    else:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and "source" in found:
            found = protocol.parse(path.read_bytes()).data
        tensor = tensors.parse(found)
    if tensor is None or tensor.array.ndim < 2:
        raise InvalidInput(f"{path}: expected inputs of shape [inputs, ...]")
    return tensor


def _dtype_of(workflow: Any) -> str:
    """That of a torch model's weights, double for the others."""
    parameters = getattr(workflow.model, "parameters", None)
    weight = next(iter(parameters()), None) if callable(parameters) else None
    if weight is None:
        return "double"
    from handler.workflows.torch_files import dtype_name

    return dtype_name(weight)


def _ranges(declared: Declared, given: Array | None, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The lowest and the highest value of each element."""
    if not declared.ranges and given is not None and len(given):
        return given.min(axis=0).astype(np.float64), given.max(axis=0).astype(np.float64)
    ranges = np.array(declared.ranges or [DEFAULT_RANGE], dtype=np.float64)
    if len(ranges) not in (1, int(np.prod(shape))):
        raise ModelError(
            f"{len(ranges)} ranges are given: give one for all, or one for each of the "
            f"{int(np.prod(shape))} elements of an input"
        )
    low, high = (np.resize(side, shape) for side in ranges.T)
    return low, high


def _drawn(shape: tuple[int, ...], dtype: str, ranges: tuple[Array, Array], count: int) -> Array:
    """Inputs that cover their ranges: both ends, the middle, each element's ends, and at random."""
    low, high = ranges
    rng = np.random.default_rng(0)
    values = low + (high - low) * rng.random((count, *shape))
    corners = [low, high, (low + high) / 2, np.zeros(shape).clip(low, high)]
    values[: len(corners)] = corners[:count]
    # Then one element after the other at its lowest and its highest, among random ones.
    flat, ends = values.reshape(count, -1), np.stack([low.reshape(-1), high.reshape(-1)])
    for row in range(len(corners), count // 2):
        element = (row - len(corners)) // 2 % flat.shape[1]
        flat[row, element] = ends[row % 2, element]
    kind = DTYPES[dtype]
    return values.astype(kind) if kind.kind == "f" else np.rint(values).astype(kind)
