"""Serves an ONNX model with onnxruntime. Torch is neither imported nor needed."""

from typing import Any

import numpy as np
import onnxruntime as ort

from handler import tensors
from handler.errors import InvalidInput, ModelError, kind_of
from handler.models.file import ModelFile
from handler.tensors import Array
from handler.workflows.model import ModelWorkflow
from handler.workflows.onnx_files import Malformed, reached

# What onnxruntime calls a type: the name that a request without a dtype means, and numpy's.
TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "tensor(float)": ("float", np.float32),
    "tensor(double)": ("double", np.float64),
    "tensor(float16)": ("half", np.float16),
    "tensor(int8)": ("int8", np.int8),
    "tensor(int16)": ("short", np.int16),
    "tensor(int32)": ("int", np.int32),
    "tensor(int64)": ("long", np.int64),
    "tensor(uint8)": ("uint8", np.uint8),
    "tensor(uint16)": ("int", np.uint16),
    "tensor(uint32)": ("long", np.uint32),
    "tensor(uint64)": ("long", np.uint64),
    "tensor(bool)": ("bool", np.bool_),
}
ERRORS_ONLY = 3


class OnnxInferenceWorkflow(ModelWorkflow):
    """Answers ``{"values": nested, "dtype": name}`` with what an ONNX model makes of the tensor.

    A model with several inputs takes ``{"inputs": {name: {"values": ..., "dtype": ...}}}``. The
    dtype may be left out. A float is converted to the model's width, as an integer is where every
    number fits. One output is answered as a tensor, several by their names.
    """

    def load(self, file: ModelFile) -> ort.InferenceSession:
        name = file.name
        _refuse_other_files(file)
        options = ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self.settings.threads
        options.inter_op_num_threads = 1
        try:
            session = ort.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # Its text holds the path.
            raise ModelError(
                f"model file {name} cannot be loaded: onnxruntime says {type(error).__name__}"
            ) from error
        self.inputs = {node.name: node.type for node in session.get_inputs()}
        for node, kind in self.inputs.items():
            if kind not in TYPES:
                raise ModelError(
                    f"model file {name}: its input {node} is a {kind}, which no dtype is"
                )
        self.shapes = {node.name: node.shape for node in session.get_inputs()}
        self.outputs = [node.name for node in session.get_outputs()]
        return session

    def example_input(self) -> Any:
        """Zeros for each input: one row, and one element on every axis of any length."""
        inputs = {}
        for name, shape in self.shapes.items():
            dtype, kind = TYPES[self.inputs[name]]
            sizes = [size if isinstance(size, int) else 1 for size in shape]
            inputs[name] = {"dtype": dtype, "values": np.zeros(sizes, kind)}
        return {"inputs": inputs}

    def do_preprocessing(self, input_data: Any) -> dict[str, Array]:
        """The model's inputs, by name."""
        if not isinstance(input_data, dict):
            raise InvalidInput(f"data: found {kind_of(input_data)}; expected an object")
        given = input_data.get("inputs")
        if given is None:
            if len(self.inputs) != 1:
                raise InvalidInput(
                    f"data.inputs: missing; the model takes {', '.join(self.inputs)}"
                )
            given = dict.fromkeys(self.inputs, input_data)
        if not isinstance(given, dict) or given.keys() != self.inputs.keys():
            raise InvalidInput(f"data.inputs: the model takes {', '.join(self.inputs)}")
        return {name: self._array(name, tensor) for name, tensor in given.items()}

    def do_run_model(self, preprocessed_data: dict[str, Array]) -> Any:
        """What the model gives.

        Raises:
            InvalidInput: the shape of an input does not fit the model; onnxruntime's own message.
        """
        try:
            found = self.model.run(None, preprocessed_data)
        except (_state.InvalidArgument, _state.RuntimeException, _state.Fail) as error:
            raise InvalidInput(f"data: the model refuses it: {_message(error)}") from error
        outputs = dict(zip(self.outputs, map(_plain, found), strict=True))
        return outputs if len(outputs) > 1 else outputs.popitem()[1]

    def _array(self, name: str, tensor: Any) -> Array:
        usual, wanted = TYPES[self.inputs[name]]
        if isinstance(tensor, dict):
            tensor = {"dtype": usual, **tensor}
        try:
            array = tensors.parse(tensor).array
        except InvalidInput as error:
            raise InvalidInput(f"input {name}: {error}") from None
        return _converted(array, np.dtype(wanted), f"input {name}")


def _refuse_other_files(file: ModelFile) -> None:
    """Returns when a model is one file, which its digest says all of."""
    try:
        found = reached(file.path)
    except Malformed as error:
        raise ModelError(f"model file {file.name} is no ONNX file: {error}") from error
    if found is not None:
        raise ModelError(
            f"model file {file.name} is refused, because it needs {found}: save it with everything "
            "inside"
        )


_state: Any = ort.capi.onnxruntime_pybind11_state


def _converted(array: Array, wanted: np.dtype[Any], place: str) -> Array:
    """The array in the model's dtype: of the same kind, and with every number still in range."""
    if array.dtype == wanted:
        return array
    integers = {"i", "u"}
    if array.dtype.kind != wanted.kind and not {array.dtype.kind, wanted.kind} <= integers:
        raise InvalidInput(f"{place}: dtype: found {array.dtype}; the model takes {wanted}")
    with np.errstate(over="ignore"):
        converted = array.astype(wanted)
    if wanted.kind == "f":
        lost = np.isinf(converted) & np.isfinite(array)
    else:
        # In Python's whole numbers: no dtype of numpy holds both int64 and uint64.
        limits = np.iinfo(wanted)
        lost = np.array(
            array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max
        )
    if lost.any():
        raise InvalidInput(
            f"{place}: a number is beyond the range of {wanted}, which the model takes"
        )
    return converted


def _plain(output: Any) -> Any:
    """An output as an array; a classifier's list of dicts by class is one of a column a class."""
    if isinstance(output, list) and output and isinstance(output[0], dict):
        return np.array([list(row.values()) for row in output])
    return output


def _message(error: Exception) -> str:
    """What onnxruntime says, without its status codes and source paths."""
    text = str(error).split("Status Message: ")[-1].split(" : ", 3)[-1]
    return " ".join(text.split())
