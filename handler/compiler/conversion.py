"""From a loaded workflow to ONNX: one function for each of its backends, in ``CONVERSIONS``.

Each gives candidates, the most exact first; which of them is true to the model, the proof tells.
"""

import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from handler.errors import ModelError
from handler.tensors import Array

INPUT, OUTPUT, BATCH = "input", "output", "batch"
Data = dict[str, Any]
"""A request's data, with an array for values."""
Answer = dict[str, Array]
"""By the names of the outputs."""

# What the exporters of torch say of an operator that they do not know.
OPERATOR = re.compile(r"aten[.:]+\w+|OpOverload\(op='([\w.]+)'|operator '?([\w:.]+)'? ")
# And onnxruntime of one that it has not for a type.
KERNEL = re.compile(r"implementation for (\w+)")


def candidates(workflow: Any, sample: Data, answer: Answer) -> Iterator[onnx.ModelProto]:
    """ONNX models that may give what a workflow gives.

    Args:
        workflow: one of ours, set up.
        sample: two inputs.
        answer: what the workflow gives for them.

    Raises:
        ModelError: ONNX cannot express the model; names the operator where it is known.
    """
    for convert in CONVERSIONS[type(workflow).__name__]:
        with _quietly():
            try:
                model = convert(workflow, sample, answer)
            except (ModelError, ImportError):
                raise
            except Exception as error:
                raise ModelError(f"cannot be expressed in ONNX: {problem(error)}") from error
        yield model


def problem(error: Exception) -> str:
    """Which operator an exporter or onnxruntime refuses, or else the first line of what it says."""
    text = f"{error} {error.__cause__ or ''}"
    if found := KERNEL.search(text):
        return f"onnxruntime has no operator {found[1]} for this dtype"
    if found := OPERATOR.search(text):
        return f"operator {found[1] or found[2] or found[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _torch(workflow: Any, sample: Data, answer: Answer) -> onnx.ModelProto:
    import torch

    model, tensor = workflow.model, workflow.do_preprocessing(sample)
    names = list(answer)
    if not isinstance(model, torch.jit.ScriptModule):
        program = torch.onnx.export(
            model,
            (tensor,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            input_names=[INPUT],
            output_names=names,
            verbose=False,
        )
        assert program is not None
        found: onnx.ModelProto = program.model_proto
        return found
    # What it cannot export, it prints, and cannot be told not to: to where nobody sees it, then.
    torch._C._jit_set_onnx_log_output_stream("stderr")
    content = io.BytesIO()
    torch.onnx.export(
        model,
        (tensor,),
        content,  # type: ignore[arg-type]
        dynamo=False,
        dynamic_axes={name: {0: BATCH} for name in (INPUT, *names)},
        input_names=[INPUT],
        output_names=names,
    )
    return onnx.load_model_from_string(content.getvalue())


def _sklearn(dtype: type[np.floating[Any]]) -> Callable[[Any, Data, Answer], onnx.ModelProto]:
    def convert(workflow: Any, sample: Data, answer: Answer) -> onnx.ModelProto:
        from skl2onnx import to_onnx
        from sklearn.base import is_classifier

        options: dict[str, Any] = {}
        if is_classifier(workflow.model):
            options = {"zipmap": False, "raw_scores": workflow.method == "decision_function"}
        options = {name: value for name, value in options.items() if value or name == "zipmap"}
        found = to_onnx(
            workflow.model,
            sample["values"][:1].astype(dtype),
            options={id(workflow.model): options},
        )
        return _answering(found, workflow.method, answer)

    return convert


def _xgboost(workflow: Any, sample: Data, answer: Answer) -> onnx.ModelProto:
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = workflow.model
    shape = [("input", FloatTensorType([None, booster.features]))]
    model = booster.model[: workflow.rounds] if workflow.rounds else booster.model
    return _answering(convert_xgboost(model, initial_types=shape), workflow.method, answer)


def _lightgbm(workflow: Any, sample: Data, answer: Answer) -> onnx.ModelProto:
    from onnxmltools.convert import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = workflow.model
    shape = [("input", FloatTensorType([None, booster.features]))]
    found = convert_lightgbm(booster.model, initial_types=shape, zipmap=False)
    return _answering(found, workflow.method, answer)


def _answering(model: onnx.ModelProto, method: str, answers: Answer) -> onnx.ModelProto:
    """The model with one output, that of the method, in the dtype and shape of an answer.

    Raises:
        ModelError: it has none that could be it.
    """
    answer = answers[OUTPUT]
    outputs = {value.name: value for value in model.graph.output}
    name = next(iter(outputs))
    if len(outputs) > 1 and method != "predict":
        name = list(outputs)[1]
    nodes, current = model.graph.node, name

    def add(operator: str, *inputs: str, **attributes: Any) -> None:
        nonlocal current
        following = f"answer_{len(nodes)}"
        nodes.append(helper.make_node(operator, [current, *inputs], [following], **attributes))
        current = following

    def constant(values: list[int]) -> str:
        tensor = helper.make_tensor(
            f"c_{len(nodes)}", onnx.TensorProto.INT64, [len(values)], values
        )
        model.graph.initializer.append(tensor)
        return tensor.name

    dims = outputs[name].type.tensor_type.shape.dim
    if len(dims) == 2 and answer.ndim == 1:
        # A column of its own for a value; of two classes' scores, that of the second.
        add("Gather", constant([dims[1].dim_value - 1]), axis=1)
        add("Reshape", constant([-1]))
    kind = helper.np_dtype_to_tensor_dtype(answer.dtype)
    add("Cast", to=kind)
    del model.graph.output[:]
    shape = [BATCH, *answer.shape[1:]]
    model.graph.output.append(helper.make_tensor_value_info(current, kind, shape))
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' remarks, which are for their authors."""
    logging.disable(logging.WARNING)
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        logging.disable(logging.NOTSET)


CONVERSIONS: dict[str, tuple[Callable[[Any, Data, Answer], onnx.ModelProto], ...]] = {
    "TorchInferenceWorkflow": (_torch,),
    "SklearnInferenceWorkflow": (_sklearn(np.float64), _sklearn(np.float32)),
    "XGBoostInferenceWorkflow": (_xgboost,),
    "LightGBMInferenceWorkflow": (_lightgbm,),
}
