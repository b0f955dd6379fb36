"""ONNX models made by hand and of scikit-learn's; torch is not needed to serve any of them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from handler import formats
from handler.errors import InvalidInput, ModelError
from handler.protocol import InfernetInput
from handler.workflows.onnx import TYPES, OnnxInferenceWorkflow

ORT_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(int8)": TensorProto.INT8,
    "tensor(int16)": TensorProto.INT16,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int64)": TensorProto.INT64,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(uint16)": TensorProto.UINT16,
    "tensor(uint32)": TensorProto.UINT32,
    "tensor(uint64)": TensorProto.UINT64,
    "tensor(bool)": TensorProto.BOOL,
}


def model(
    nodes: Sequence[Any],
    inputs: dict[str, tuple[int, Any]],
    outputs: dict[str, tuple[int, Any]],
    initializers: Sequence[Any] = (),
) -> Any:
    def values(described: dict[str, tuple[int, Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(n, t, s) for n, (t, s) in described.items()]

    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def served(tmp_path: Path) -> Callable[[Any], OnnxInferenceWorkflow]:
    def serve(proto: Any) -> OnnxInferenceWorkflow:
        (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
        workflow = OnnxInferenceWorkflow(model=str(tmp_path / "model.onnx"))
        workflow.setup()
        return workflow

    return serve


def identity(kind: int) -> Any:
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], {"x": (kind, [None, 2])}, {"y": (kind, [None, 2])})


def linear() -> Any:
    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    kind: int = TensorProto.FLOAT
    return model([node], {"x": (kind, ["n", 2])}, {"y": (kind, ["n", 3])}, [weights])


def two_inputs() -> Any:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["d"]),
    ]
    shape = (TensorProto.INT64, ["n"])
    return model(nodes, {"a": shape, "b": shape}, {"sum": shape, "d": shape})


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_of_input_with_and_without_a_dtype(
    served: Callable[[Any], OnnxInferenceWorkflow], kind: str
) -> None:
    workflow = served(identity(ORT_TYPES[kind]))
    usual, numpy_type = TYPES[kind]
    for request in ({"values": [[0, 1]]}, {"dtype": usual, "values": [[0, 1]]}):
        answer = workflow.inference(request)
        assert answer.dtype == numpy_type and answer.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("kind", "request_data", "reason"),
    [
        (
            "tensor(float)",
            {"dtype": "long", "values": [[1, 2]]},
            "found int64; the model takes float32",
        ),
        ("tensor(int64)", {"dtype": "double", "values": [[1, 2]]}, "the model takes int64"),
        (
            "tensor(float)",
            {"dtype": "double", "values": [[1e39, 0]]},
            "beyond the range of float32",
        ),
        ("tensor(int8)", {"dtype": "long", "values": [[1, 128]]}, "beyond the range of int8"),
        ("tensor(uint64)", {"dtype": "long", "values": [[1, -1]]}, "beyond the range of uint64"),
        ("tensor(float)", {"values": [[1, 2, 3]]}, "the model refuses it: .*Got: 3 Expected: 2"),
        ("tensor(float)", {"values": [1, 2]}, "the model refuses it: Invalid rank"),
        (
            "tensor(float)",
            {"values": [["x", 2]]},
            r"input x: data.values\[0\]\[0\]: found a string",
        ),
        ("tensor(float)", {"inputs": {"y": {"values": []}}}, "the model takes x"),
        ("tensor(float)", {"inputs": []}, "the model takes x"),
        ("tensor(float)", {"inputs": {"x": 1}}, "input x: data: found a whole number"),
        ("tensor(float)", {}, "input x: data.values: missing"),
        ("tensor(float)", [], "expected an object"),
    ],
)
def test_what_does_not_fit_is_the_caller_s_error(
    served: Callable[[Any], OnnxInferenceWorkflow], kind: str, request_data: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        served(identity(ORT_TYPES[kind])).inference(request_data)


def test_numbers_are_converted_within_their_kind(
    served: Callable[[Any], OnnxInferenceWorkflow],
) -> None:
    answer = served(linear()).inference({"dtype": "double", "values": [[1, 2], [0.5, 0]]})
    assert answer.dtype == np.float32 and answer.tolist() == [[6, 9, 12], [0, 0.5, 1]]
    small = served(identity(TensorProto.INT8)).inference({"dtype": "long", "values": [[-128, 127]]})
    assert small.dtype == np.int8


def test_several_inputs_and_outputs_have_names(
    served: Callable[[Any], OnnxInferenceWorkflow],
) -> None:
    workflow = served(two_inputs())
    request = {"inputs": {"a": {"values": [5, 6]}, "b": {"values": [1, 2], "dtype": "int"}}}
    answer = workflow.inference(request)
    assert {name: array.tolist() for name, array in answer.items()} == {"sum": [6, 8], "d": [4, 4]}
    form, call = formats.read(InfernetInput(source=1, data=request))
    body = json.loads(formats.write(workflow.inference(call.data), form, call, 1))
    assert [output["name"] for output in body["outputs"]] == ["sum", "d"]
    for incomplete in ({"values": [1]}, {"inputs": {"a": {"values": [1]}}}):
        with pytest.raises(InvalidInput, match=r"data\.inputs: .*the model takes a, b"):
            workflow.inference(incomplete)


def test_a_classifier_s_map_of_probabilities_is_an_array(
    served: Callable[[Any], OnnxInferenceWorkflow],
) -> None:
    rows = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, np.array(["no", "yes"])[(rows[:, 0] > 0.5).astype(int)])
    workflow = served(to_onnx(fitted, rows[:1]))
    answer = workflow.inference({"values": rows[:5].tolist()})
    assert answer["output_label"].tolist() == fitted.predict(rows[:5]).tolist()
    np.testing.assert_allclose(
        answer["output_probability"], fitted.predict_proba(rows[:5]), rtol=1e-5
    )
    form, call = formats.read(InfernetInput(source=1, data={"values": rows[:1].tolist()}))
    body = json.loads(formats.write(workflow.inference(call.data), form, call, 1))
    assert body["output_label"] in (["yes"], ["no"])
    assert body["output_probability"]["shape"] == [1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"nothing that onnx knows", "is no ONNX file"),
        (b"\x08\x0a", "cannot be loaded"),
        (linear().SerializeToString()[:-5], "is no ONNX file: it is no protobuf"),
    ],
)
def test_a_file_that_is_none_is_named_without_its_folder(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=reason) as raised:
        OnnxInferenceWorkflow(model=str(tmp_path / "model.onnx")).setup()
    assert str(tmp_path) not in raised.value.description


def test_an_input_that_is_no_tensor_of_numbers_is_refused(
    served: Callable[[Any], OnnxInferenceWorkflow],
) -> None:
    with pytest.raises(ModelError, match=r"its input x is a tensor\(string\)"):
        served(identity(TensorProto.STRING))


def test_torch_is_neither_imported_nor_needed(tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "model.onnx")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from handler.lifecycle import load_workflow\n"
        "from handler.settings import get_settings\n"
        "print(load_workflow(get_settings()).inference({'values': [[1, 2]]}).tolist())\n"
    )
    kwargs = json.dumps({"model": str(tmp_path / "model.onnx")})
    environment = {**os.environ, "CLASSIC_INF_WORKFLOW_KW_ARGS": kwargs}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[[6.0, 9.0, 12.0]]", done.stderr


@pytest.mark.parametrize("graph", [linear(), two_inputs()])
def test_the_example_for_the_end_of_init_is_one_that_the_model_takes(
    served: Callable[[Any], OnnxInferenceWorkflow], graph: Any
) -> None:
    workflow = served(graph)
    assert workflow.inference(workflow.example_input()) is not None
