"""Whether two models give the same answers, and by how much they differ at most."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from handler import formats, tensors
from handler.compiler.conversion import OUTPUT, Answer, Data, candidates, problem
from handler.errors import HandlerError, InvalidInput, ModelError
from handler.models.cache import Progress, silent
from handler.models.lock import Proof
from handler.tensors import Array

# Inputs at a time, in turn, so that the batch is seen to be free.
BATCHES = (1, 2, 5, 64)


class Difference(NamedTuple):
    """The largest differences between any two elements."""

    absolute: float = 0.0
    relative: float = 0.0
    """To the larger of the two."""
    beyond: bool = False
    """Whether both are beyond the tolerance, for one and the same element."""

    def __or__(self, other: Any) -> "Difference":
        return Difference(*map(max, self, other))


def compile_model(
    workflow: Any,
    dtype: str,
    inputs: Array,
    tolerance: float,
    path: Path,
    progress: Progress = silent,
) -> Proof:
    """Writes an ONNX model that gives the answers of a workflow, and says how that is known.

    Nothing is written unless it does.

    Args:
        workflow: one of ours, set up.
        dtype: of the inputs, by its wire name.
        inputs: of shape [inputs, ...], two at least.
        tolerance: by which two numbers may differ, absolutely or relative to the larger one.
        progress: is told how many inputs both were asked, of how many.

    Raises:
        ModelError: ONNX cannot express the model, or what it expresses gives other answers.
        OSError: the file cannot be written.
    """
    sample = {"dtype": dtype, "values": inputs[:2]}
    answer = _asked(workflow, sample)
    problems: list[str] = []
    for model in candidates(workflow, sample, answer):
        try:
            with TemporaryDirectory(dir=path.parent) as folder:
                written = Path(folder, path.name)
                written.write_bytes(model.SerializeToString(deterministic=True))
                pair = (workflow, _served(written))
                largest = _compared(pair, dtype, inputs, tolerance, progress)
                if not largest.beyond:
                    written.replace(path)
        except HandlerError as error:
            problems.append(str(error))
            continue
        if not largest.beyond:
            return Proof(
                source_sha256=workflow.model_digest.partition(";")[0].removeprefix("sha256="),
                inputs=len(inputs),
                max_absolute_difference=largest.absolute,
                max_relative_difference=largest.relative,
                tolerance=tolerance,
            )
        problems.append(
            f"its answers to {len(inputs):,} inputs differ by up to {largest.absolute:.3g}, or "
            f"{largest.relative:.3g} of the value, which is beyond the tolerance {tolerance:g}"
        )
    raise ModelError("; and then ".join(dict.fromkeys(problems)))


def _served(path: Path) -> Any:
    """The compiled file behind the workflow that will serve it."""
    from handler.workflows.onnx import OnnxInferenceWorkflow

    workflow = OnnxInferenceWorkflow(model=str(path.absolute()))
    try:
        workflow.setup()
    except ModelError as error:
        raise ModelError(problem(error)) from error
    return workflow


def _compared(
    pair: tuple[Any, Any], dtype: str, inputs: Array, tolerance: float, progress: Progress
) -> Difference:
    largest, asked = Difference(), 0
    for rows in _batches(inputs):
        data = {"dtype": dtype, "values": rows}
        expected, found = (_asked(workflow, data) for workflow in pair)
        if expected.keys() != found.keys():
            raise ModelError(f"its outputs are {', '.join(found)}, not {', '.join(expected)}")
        for name, array in expected.items():
            largest |= difference(array, found[name], tolerance)
        asked += len(rows)
        progress(asked, len(inputs))
    return largest


def difference(expected: Array, found: Array, tolerance: float) -> Difference:
    """By how much two arrays differ.

    Raises:
        ModelError: in shape or dtype.
    """
    for what in ("shape", "dtype"):
        wanted, got = getattr(expected, what), getattr(found, what)
        if wanted != got:
            raise ModelError(f"an answer has {what} {got}, not {wanted}")
    if expected.dtype.kind not in "fc":
        # Classes and whole numbers: one that differs is another answer.
        same = np.array_equal(expected, found)
        return Difference() if same else Difference(np.inf, np.inf, beyond=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        absolute = np.abs(expected.astype(np.float64) - found)
        relative = absolute / np.maximum(np.abs(expected), np.abs(found))
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    absolute[same] = relative[same] = 0.0
    # One of them is no number, or infinite.
    absolute[np.isnan(absolute)] = relative[np.isnan(relative)] = np.inf
    return Difference(
        float(absolute.max(initial=0.0)),
        float(relative.max(initial=0.0)),
        bool((np.minimum(absolute, relative) > tolerance).any()),
    )


def _batches(inputs: Array) -> Iterator[Array]:
    start = number = 0
    while start < len(inputs):
        size = BATCHES[number % len(BATCHES)]
        yield inputs[start : start + size]
        start, number = start + size, number + 1


def _asked(workflow: Any, data: Data) -> Answer:
    try:
        output = workflow.inference(data)
    except InvalidInput as error:
        raise ModelError(f"{error}; give --shape, --dtype or --range if they are others") from error
    except Exception as error:
        count = len(data["values"])
        raise ModelError(
            f"the model fails with {count} inputs at a time ({type(error).__name__}): their number "
            "must be free, in an exported program by dynamic_shapes"
        ) from error
    named = formats.named(output) or [(OUTPUT, output)]
    arrays = {name: tensors.array_of(value) for name, value in named}
    found = {name: array for name, array in arrays.items() if array is not None}
    if len(found) != len(arrays):
        raise ModelError("its answer is no tensor, and no list or dict of tensors")
    return found
