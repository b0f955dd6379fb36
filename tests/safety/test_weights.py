"""safetensors and ONNX files that lie: about lengths, offsets, and where their weights are."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from handler.errors import HandlerError
from handler.lifecycle import load_workflow
from handler.settings import Settings
from handler.workflows.onnx_files import reached

Read = Callable[..., Settings]


def refused(settings_of: Read, path: Path, **kwargs: Any) -> str:
    arguments = json.dumps({"model": str(path), **kwargs})
    with pytest.raises(HandlerError) as raised:
        load_workflow(settings_of(CLASSIC_INF_WORKFLOW_KW_ARGS=arguments))
    assert raised.value.status == 503
    assert str(path.parent) not in raised.value.description
    return raised.value.description


def header(content: Any, data: bytes = bytes(16)) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}


@pytest.mark.parametrize(
    "content",
    [
        header(tensor(0, 1 << 40, [1 << 38])),
        header(tensor(1 << 40, (1 << 40) + 16, [4])),
        header(tensor(0, 16, [1 << 20])),
        header(tensor(16, 0, [4])),
        header(tensor(-4, 12, [4])),
        header(tensor(0, 16, [1 << 32, 1 << 32, 0])),
        header(tensor(0, 12, [3])),
        header({**tensor(0, 16, [4]), "bias": tensor(8, 16, [2])["weight"]}),
        header(tensor(0, 16, [4], "OBJ")),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 200_000_000) + b"{" + bytes(200),
        struct.pack("<Q", 2) + b"{]",
        b'{"weight"',
    ],
)
def test_offsets_that_lie_are_refused(settings_of: Read, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    found = refused(settings_of, tmp_path / "m.safetensors", model_class="torch.nn.Identity")
    assert "m.safetensors" in found


def outside(location: str) -> Any:
    weights = numpy_helper.from_array(np.zeros((2, 2), "float32"), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    return weights


def graph(initializers: Any = (), nodes: Any = ()) -> Any:
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return helper.make_graph(nodes, "g", [shape], [result], list(initializers))


def in_an_initializer(location: str) -> Any:
    return helper.make_model(graph([outside(location)]))


def in_a_constant(location: str) -> Any:
    constant = helper.make_node("Constant", [], ["w"], value=outside(location))
    return helper.make_model(graph([], [constant, helper.make_node("MatMul", ["x", "w"], ["y"])]))


def in_a_branch(location: str) -> Any:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [2, 2])],
        [outside(location)],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return helper.make_model(graph([numpy_helper.from_array(np.array(True), "c")], [node]))


def in_a_sparse_tensor(location: str) -> Any:
    model = in_an_initializer("x")
    del model.graph.initializer[:]
    sparse = model.graph.sparse_initializer.add(dims=[2, 2])
    sparse.values.CopyFrom(outside(location))
    return model


def in_a_function(location: str) -> Any:
    model = helper.make_model(graph())
    node = helper.make_node("Constant", [], ["w"], value=outside(location))
    function = model.functions.add(name="f", domain="custom")
    function.node.append(node)
    return model


def in_training(location: str) -> Any:
    model = helper.make_model(graph())
    model.training_info.add().initialization.initializer.append(outside(location))
    return model


PLACES = [
    in_an_initializer,
    in_a_constant,
    in_a_branch,
    in_a_sparse_tensor,
    in_a_function,
    in_training,
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["{}/secret", "../secret", "secret", "a/../../secret"])
def test_weights_outside_of_the_file_are_refused_wherever_they_are_named(
    settings_of: Read, tmp_path: Path, place: Callable[[str], Any], location: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(16)))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "secret").write_bytes(bytes(16))
    model = place(location.format(tmp_path))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert "it needs tensors in other files" in refused(settings_of, folder / "m.onnx")


def test_a_location_alone_or_a_mark_alone_is_enough(tmp_path: Path) -> None:
    for field in ("external_data", "data_location"):
        weights = outside("secret")
        weights.ClearField(field)
        path = tmp_path / f"{field}.onnx"
        path.write_bytes(helper.make_model(graph([weights])).SerializeToString())
        assert reached(path) == "tensors in other files"


def test_an_operator_that_is_the_name_of_a_file_is_refused(
    settings_of: Read, tmp_path: Path
) -> None:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/hostname"
    )
    onnx.save(helper.make_model(graph([], [node])), tmp_path / "m.onnx")
    assert "it needs a file of an operator EPContext" in refused(settings_of, tmp_path / "m.onnx")


def nested(depth: int) -> bytes:
    """Graphs in attributes of nodes of graphs, as bytes: each message around the one before."""
    message = b""
    for _ in range(depth):
        for tag in (
            6,
            5,
            1,
        ):  # of an attribute its graph, of a node its attribute, of a graph a node
            size, length = len(message), b""
            while size > 127:
                length += bytes([size & 127 | 128])
                size >>= 7
            message = bytes([tag << 3 | 2]) + length + bytes([size]) + message
    return message


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x0a\x3a" + b"\xff" * 9 + b"\x01",
        b"\x08\x0a" + b"\x3a\xff\xff\xff\xff\x0f",
        b"\x08\x0a" + b"\xff" * 20,
        b"\x08\x0a\x0b",
        b"\x08\x0a\x3a\x02\x0a\x05",
    ],
)
def test_lengths_that_lie_are_no_onnx_file(
    settings_of: Read, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "onnx" in refused(settings_of, tmp_path / "m.onnx").lower()


def test_nesting_does_not_exhaust_anything(settings_of: Read, tmp_path: Path) -> None:
    inner = nested(2000)
    size = len(inner)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x3a" + length + inner)
    assert "m.onnx is no ONNX file: it is nested too deep" in refused(
        settings_of, tmp_path / "m.onnx"
    )
