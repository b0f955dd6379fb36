import hashlib
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handler import formats, onchain
from handler.demo.train import SPECIES
from handler.errors import ConfigurationError, InvalidInput, ModelError
from handler.models.reference import file_reference, hub_reference
from handler.protocol import InfernetInput
from handler.settings import Settings
from handler.tensors import DTYPES
from handler.workflows.torch import DEMO_MODEL, TorchInferenceWorkflow
from tests.test_onchain import by_name

Save = Callable[..., Path]
Read = Callable[..., Settings]


class Custom(nn.Module):
    """A class outside torch: refused unless its name is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.layer(x))


class Failing(nn.Module):
    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.error is not None:
            raise self.error
        return x @ torch.ones(3, dtype=x.dtype)


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x * 2


def served(
    model: nn.Module | None = None, path: Path | str | None = None
) -> TorchInferenceWorkflow:
    workflow = TorchInferenceWorkflow(model=str(path) if path else None)
    if model is None:
        workflow.setup()
    else:
        workflow.model, workflow.is_setup = model, True
    return workflow


def double(values: Any) -> dict[str, Any]:
    return {"dtype": "double", "values": values}


def test_the_bundled_demo_is_served_by_default() -> None:
    request = json.loads((DEMO_MODEL.parent / "request.json").read_text())
    probabilities = served().inference(request["data"])
    assert probabilities.shape == (3, len(SPECIES)) and not probabilities.requires_grad
    assert probabilities.argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("script", [False, True])
def test_both_formats_answer_as_the_model_does(saved: Save, script: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.9), nn.ReLU()).double()
    answer = served(path=saved(model, script=script)).inference(double([[1, 2], [3, 4]]))
    expected = model.eval()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double())
    assert torch.equal(answer, expected), "and in eval mode: dropout is off"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_reaches_the_model(dtype: str) -> None:
    answer = served(nn.Identity()).inference({"dtype": dtype, "values": [[1, 0]]})
    assert torch.equal(answer, torch.tensor([[1, 0]], dtype=getattr(torch, dtype)))


@pytest.mark.parametrize(
    "model",
    [
        nn.TransformerEncoderLayer(4, 2, batch_first=True),
        nn.LSTM(4, 2),
        nn.Sequential(OrderedDict(conv=nn.Conv1d(1, 1, 2), norm=nn.BatchNorm1d(1), act=nn.GELU())),
        nn.ModuleDict({"embedding": nn.Embedding(3, 2)}),
    ],
    ids=lambda model: type(model).__name__,
)
def test_whole_modules_of_torch_s_own_classes_load(saved: Save, model: nn.Module) -> None:
    workflow = served(path=saved(model))
    assert type(workflow.model) is type(model) and not workflow.model.training


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double(), ("double", (1, 3))),
        (nn.Linear(2, 2).half(), ("half", (1, 2))),
        (nn.Conv1d(2, 2, 1), None),
        (nn.ReLU(), None),
    ],
)
@pytest.mark.parametrize("script", [False, True])
def test_the_example_for_the_end_of_init_is_what_the_first_layer_takes(
    saved: Save, model: nn.Module, script: bool, example: Any
) -> None:
    workflow = served(path=saved(model, script=script))
    found = workflow.example_input()
    if example is None:
        assert found is None
        return
    assert (found["dtype"], found["values"].shape) == example
    assert workflow.inference(found).shape[0] == 1


def test_other_classes_are_refused_and_listed(saved: Save, settings_of: Read) -> None:
    path, name = saved(Custom()), f"{Custom.__module__}.Custom"
    with pytest.raises(ModelError, match="TORCH_SAFE_GLOBALS") as raised:
        served(path=path)
    assert name in raised.value.description and "torch.nn" not in raised.value.description
    settings_of(TORCH_SAFE_GLOBALS=f" {name}, collections.OrderedDict")
    assert isinstance(served(path=path).model, Custom)


def test_a_safe_global_that_does_not_exist_is_named(saved: Save, settings_of: Read) -> None:
    settings_of(TORCH_SAFE_GLOBALS="nowhere.Nothing")
    with pytest.raises(ConfigurationError, match=r"TORCH_SAFE_GLOBALS: nowhere\.Nothing"):
        served(path=saved(nn.Linear(1, 1)))


class Payload:
    """Unpickling it creates a file: what a hostile model would do with a shell command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_a_pickle_runs_only_when_the_operator_says_so(tmp_path: Path, settings_of: Read) -> None:
    path, proof = tmp_path / "model.torch", tmp_path / "proof"
    torch.save(Payload(proof), path)
    with pytest.raises(ModelError, match=r"pathlib\.Path"):
        served(path=path)
    assert not proof.exists()
    settings_of(TORCH_ALLOW_PICKLE="true")
    with pytest.raises(ModelError, match="for a content that you name: add #sha256="):
        served(path=path)
    assert not proof.exists()
    pin = f"#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"
    with pytest.raises(ModelError, match="neither a module nor its weights"):
        served(path=f"{path}{pin}")
    assert proof.exists()
    settings_of(TORCH_ALLOW_PICKLE="false")
    with pytest.raises(ModelError, match="name them in TORCH_SAFE_GLOBALS"):
        served(path=f"{path}{pin}")


def test_files_that_hold_no_model_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.torch"
    torch.save(nn.Linear(1, 1).state_dict(), path)
    with pytest.raises(ModelError, match=r"holds weights only: .*model_class"):
        served(path=path)
    torch.save(torch.ones(1), path)
    with pytest.raises(ModelError, match="holds a Tensor, neither a module nor its weights"):
        served(path=path)
    path.write_bytes(pickle.dumps({"weights": [1.0]}))
    with pytest.raises(ModelError, match=r"model\.torch"):
        served(path=path)
    path.write_bytes(b"nothing that torch knows")
    with pytest.raises(ModelError, match=r"model\.torch"):
        served(path=path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.torch"):
        served(path=path)
    with pytest.raises(ModelError, match="there is no such file"):
        served(path=tmp_path / "missing")


REFUSED_BY_TORCH: list[tuple[nn.Module, Any, str]] = [
    (nn.Linear(2, 1).double(), double([[1, 2, 3]]), "mat1 and mat2 shapes cannot be multiplied"),
    (nn.Linear(2, 1).double(), {"dtype": "int", "values": [[1, 2]]}, "same dtype"),
    (nn.Softmax(1), double([1, 2]), "Dimension out of range"),
    (nn.BatchNorm1d(2).double(), double([1.0]), "expected 2D or 3D input"),
    (nn.Embedding(3, 2), {"dtype": "long", "values": [3]}, "index out of range"),
    (nn.Linear(2, 1), {"dtype": "bool", "values": [[True, False]]}, "dtype"),
    (Failing(), double([1, 2]), "size"),
    (torch.jit.script(nn.Linear(2, 1)), double([[1, 2]]), "must have the same dtype"),
]


@pytest.mark.parametrize(("model", "data", "message"), REFUSED_BY_TORCH)
def test_an_input_that_torch_refuses_is_the_caller_s_error(
    model: nn.Module, data: Any, message: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        served(model).inference(data)
    assert message in raised.value.description
    assert "Traceback" not in raised.value.description and "\n" not in raised.value.description


@pytest.mark.parametrize("error", [RuntimeError("boom"), ValueError("boom"), IndexError("boom")])
def test_what_the_model_raises_itself_is_not(error: Exception) -> None:
    with pytest.raises(type(error), match="boom"):
        served(Failing(error)).inference(double([1]))


def test_a_model_may_answer_several_tensors() -> None:
    first, second = served(Several()).inference(double([1]))
    assert second.tolist() == [2 * first.item()]


FILE, HUB = file_reference("m"), hub_reference("owner/name", "m")


@pytest.mark.parametrize(
    ("args", "kwargs", "reference"),
    [
        ([], {"model": "m"}, FILE),
        ([], {"model": "hf://owner/name/m"}, HUB),
        ([], {"model_name": "owner/name"}, HUB),
        (["owner/name"], {}, HUB),
        ([], {"model_source": "local", "model_args": {"model_path": "m"}}, FILE),
        (["LOCAL", {"model_path": "m"}], {}, FILE),
        (["huggingface_hub"], {"model_args": {"repo_id": "owner/name", "filename": "m"}}, HUB),
        ([], {}, file_reference(DEMO_MODEL)),
    ],
)
def test_every_way_to_name_a_model(
    settings_of: Read, args: Any, kwargs: Any, reference: Any
) -> None:
    settings_of(TORCH_MODEL_FILE_NAME="m")
    assert TorchInferenceWorkflow(*args, **kwargs).reference == reference


@pytest.mark.parametrize(
    "kwargs",
    [
        {"model": "m", "model_name": "owner/name"},
        {"model_name": "owner/name", "model_source": "LOCAL"},
        {"model": "m", "model_args": {"model_path": "m"}},
    ],
)
def test_one_way_at_a_time(kwargs: Any) -> None:
    with pytest.raises(ConfigurationError, match="give one of"):
        TorchInferenceWorkflow(**kwargs)


# What torch has a dtype for, and a classic name besides.
SAME_DTYPE = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}
SAME_DTYPE |= {"complex64", "complex128"}


@pytest.mark.parametrize("case", by_name("vectors"))
def test_recorded_vectors_go_through_a_model_and_come_out_the_same(
    case: Any, saved: Callable[..., Path]
) -> None:
    workflow = TorchInferenceWorkflow(model=str(saved(nn.Identity())))
    workflow.setup()
    request = InfernetInput(source=0, data=case["request_hex"])
    form, call = formats.read(request)
    asked_for = call.output_arithmetic, call.output_num_decimals
    answer = json.loads(formats.write(workflow.inference(call.data), form, call, 0))
    found = onchain.decode_vector(bytes.fromhex(answer["raw_output"]))
    assert (found.arithmetic, found.num_decimals) == asked_for
    assert found.array.shape == tuple(case["shape"])
    if case["arithmetic"] == "ieee" and not any(asked_for[:1]) and case["dtype"] in SAME_DTYPE:
        assert answer["raw_output"] == case["vector_hex"]
    else:
        expected = onchain.decode_vector(bytes.fromhex(case["vector_hex"])).array
        assert found.array.tolist() == expected.tolist()
