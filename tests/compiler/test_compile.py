"""``infernet-lambda compile``: every format through the real exporters, and what they cannot do."""

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import sk2torch
import skops.io
import torch
import xgboost
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from typer.testing import CliRunner, Result

from handler.cli.commands import app
from handler.compiler.inputs import Declared, inputs_of
from handler.compiler.proof import difference
from handler.errors import ModelError
from handler.lifecycle import load_workflow
from handler.settings import Settings, get_settings
from tests.processes import ROOT

Read = Callable[..., Settings]
Compile = Callable[..., Result]
IRIS, KINDS = load_iris(return_X_y=True)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)


@pytest.fixture
def compile_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compile:
    """Runs the command in a folder of its own, as the settings of the test say."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environment: str) -> Result:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, ["compile", *arguments, "-o", "model.onnx"])

    return run


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(x), self.second(x)


class Unknown(nn.Module):
    """Of an operator that ONNX has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.linalg.svdvals(x)
        return found


def double() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()


def whole(path: Path) -> None:
    torch.save(double(), path)


def program(path: Path) -> None:
    script: Any = torch.jit.script(double())
    script.save(str(path))


def exported(path: Path) -> None:
    batch = torch.export.Dim("batch")
    sample = (torch.zeros(2, 4, dtype=torch.double),)
    torch.export.save(torch.export.export(double(), sample, dynamic_shapes=({0: batch},)), path)


def wrapped(path: Path) -> None:
    """A scikit-learn model in torch's words, as Ritual's examples have it."""
    model = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(sk2torch.wrap(model.fit(IRIS, KINDS > 0))).save(str(path))


def two(path: Path) -> None:
    script: Any = torch.jit.script(Two())
    script.save(str(path))


def skops_file(path: Path) -> None:
    skops.io.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, KINDS), path)


def xgboost_classes(path: Path) -> None:
    xgboost.XGBClassifier(n_estimators=8).fit(IRIS, KINDS).save_model(path)


def xgboost_values(path: Path) -> None:
    xgboost.XGBRegressor(n_estimators=8).fit(PATIENTS, PROGRESS).save_model(path)


def lightgbm_classes(path: Path) -> None:
    lightgbm.LGBMClassifier(n_estimators=8, verbose=-1).fit(IRIS, KINDS).booster_.save_model(path)


def lightgbm_values(path: Path) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=8, verbose=-1).fit(PATIENTS, PROGRESS)
    model.booster_.save_model(path)


@pytest.mark.parametrize(
    ("name", "save", "arguments", "dtype"),
    [
        ("m.torch", whole, [], "double"),
        ("m.jit", program, ["--range", "-3:3"], "double"),
        ("m.pt2", exported, [], "double"),
        ("m.pt", wrapped, ["--shape", "4", "--range", "0:8"], "double"),
        ("two.pt", two, ["--dtype", "float"], "float"),
        ("m.skops", skops_file, [], "double"),
        ("m.skops", skops_file, ["--method", "predict_proba"], "double"),
        ("m.ubj", xgboost_classes, [], "double"),
        ("m.ubj", xgboost_classes, ["--method", "predict_proba", "--range", "0:8"], "double"),
        ("m.json", xgboost_values, ["--range", "-0.1:0.2"], "double"),
        ("m.txt", lightgbm_classes, ["--method", "predict_proba"], "double"),
        ("m.txt", lightgbm_values, [], "double"),
    ],
)
def test_a_compiled_model_answers_as_the_one_it_is_of(
    compile_: Compile,
    settings_of: Read,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    save: Callable[[Path], None],
    arguments: list[str],
    dtype: str,
) -> None:
    path = tmp_path / name
    save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = f"{path}#sha256={digest}"
    done = compile_(pinned, *arguments, TORCH_ALLOW_PICKLE="true")
    assert done.exit_code == 0, done.output
    compiled = (tmp_path / "model.onnx").read_bytes()
    (locked,) = json.loads((tmp_path / "model.lock").read_text())["models"]
    proof = locked.pop("compiled")
    assert locked["sha256"] == hashlib.sha256(compiled).hexdigest() and locked["format"] == "onnx"
    assert proof["source"] == path.as_uri() and proof["source_sha256"] == digest
    assert proof["inputs"] == 1000 and proof["tolerance"] == 1e-5
    smaller = min(proof["max_absolute_difference"], proof["max_relative_difference"])
    assert smaller <= 1e-5
    assert digest in done.output and locked["sha256"] in done.output
    # And once more, by a request of three rows that the proof did not make.
    kwargs = {"method": arguments[1]} if "--method" in arguments else {}
    monkeypatch.setenv("CLASSIC_INF_WORKFLOW_KW_ARGS", json.dumps({"model": pinned, **kwargs}))
    source = load_workflow(settings_of())
    kwargs = {"model": str(tmp_path / "model.onnx")}
    other = load_workflow(settings_of(CLASSIC_INF_WORKFLOW_KW_ARGS=json.dumps(kwargs)))
    declared = Declared((4,) if save is wrapped else None)
    width = inputs_of(source, declared, None, 1)[1].shape[1]
    rows = np.random.default_rng(1).uniform(0, 1, size=(3, width)).tolist()
    answers = [w.inference({"dtype": dtype, "values": rows}) for w in (source, other)]
    if save is two:
        assert list(answers[1]) == ["output_0", "output_1"]
        answers = [answers[0][1], answers[1]["output_1"]]
    expected, found = (np.asarray(answer) for answer in answers)
    assert expected.dtype == found.dtype and expected.shape == found.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_torch_is_not_needed_by_who_names_the_workflow_of_torch(
    compile_: Compile, tmp_path: Path
) -> None:
    whole(tmp_path / "m.torch")
    assert compile_(str(tmp_path / "m.torch")).exit_code == 0
    served = (
        "import sys; sys.modules['torch'] = None\n"
        "from handler.lifecycle import load_workflow\n"
        "from handler.settings import get_settings\n"
        "workflow = load_workflow(get_settings())\n"
        "print(workflow.inference({'dtype': 'double', 'values': [[1, 2, 3, 4]]}).tolist())"
    )
    environment = {
        "CLASSIC_INF_WORKFLOW_CLASS": "handler.workflows.torch.TorchInferenceWorkflow",
        "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(tmp_path / "model.onnx")}),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", served]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with torch.inference_mode():
        expected = double()(torch.tensor([[1, 2, 3, 4]], dtype=torch.double))
    np.testing.assert_allclose(json.loads(run.stdout.splitlines()[-1]), expected, rtol=1e-12)


def refused(done: Result) -> str:
    assert done.exit_code == 1 and not Path("model.onnx").exists()
    line = done.stderr.strip()
    assert line.startswith("infernet-lambda compile: ") and "\n" not in line, line
    return line


@pytest.mark.parametrize(
    ("model", "script", "arguments", "message"),
    [
        (Unknown(), True, ["--shape", "4", "--dtype", "float"], "aten::linalg_svdvals"),
        (nn.Conv1d(3, 4, 2).double(), False, ["--shape", "3,8"], "no operator Conv"),
        (nn.Linear(4, 2).bfloat16(), False, [], "no operator Gemm"),
        (nn.Conv1d(3, 4, 2), False, [], "give --shape"),
        (nn.Embedding(9, 2), False, [], "give --shape, --dtype or --range"),
        (nn.Linear(4, 2), False, ["--range", "0:1", "--range", "0:2"], "2 ranges are given"),
        (nn.Linear(4, 2), False, ["--tolerance", "0", "--range", "-1e9:1e9"], "beyond the toler"),
    ],
)
def test_what_onnx_cannot_do_stays_on_torch(
    compile_: Compile, tmp_path: Path, model: Any, script: bool, arguments: list[str], message: str
) -> None:
    path = tmp_path / "m.torch"
    if script:
        torch.jit.script(model).save(str(path))
    else:
        torch.save(model.eval(), path)
    assert message in refused(compile_(str(path), *arguments))
    assert not (tmp_path / "model.lock").exists()


def test_an_operator_of_a_whole_module_is_named(tmp_path: Path, compile_: Compile) -> None:
    torch.save(nn.Sequential(nn.Linear(4, 4), Unknown()), tmp_path / "m.torch")
    allowed = f"{Unknown.__module__}.{Unknown.__qualname__}"
    done = compile_(str(tmp_path / "m.torch"), TORCH_SAFE_GLOBALS=allowed)
    assert "linalg_svd" in refused(done)


def test_a_program_for_one_size_of_batch_is_refused(tmp_path: Path, compile_: Compile) -> None:
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(2, 4),)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    done = compile_(f"{path}#sha256={digest}", TORCH_ALLOW_PICKLE="true")
    assert "dynamic_shapes" in refused(done)


def test_a_refusal_leaves_the_file_before_alone(tmp_path: Path, compile_: Compile) -> None:
    xgboost_values(tmp_path / "m.json")
    (tmp_path / "model.onnx").write_bytes(b"before")
    done = compile_(str(tmp_path / "m.json"), "--tolerance", "0")
    assert done.exit_code == 1 and "beyond the tolerance 0" in done.stderr
    assert (tmp_path / "model.onnx").read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "model.onnx"]


@pytest.mark.parametrize("kind", ["request", "data", "npy"])
def test_given_inputs_are_asked_first(tmp_path: Path, compile_: Compile, kind: str) -> None:
    skops_file(tmp_path / "m.skops")
    data = {"dtype": "double", "values": IRIS.tolist()}
    given = tmp_path / ("inputs.npy" if kind == "npy" else "inputs.json")
    if kind == "npy":
        np.save(given, IRIS)
    else:
        given.write_text(json.dumps({"source": 1, "data": data} if kind == "request" else data))
    done = compile_(str(tmp_path / "m.skops"), "--inputs", str(given), "--json", "--count", "1200")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["compiled"]["inputs"] == 1200
    workflow = load_workflow_of(tmp_path / "m.skops")
    _, inputs = inputs_of(workflow, Declared(dtype="double"), IRIS, 1200)
    assert np.array_equal(inputs[: len(IRIS)], IRIS) and len(inputs) == 1200
    assert (inputs >= IRIS.min(axis=0)).all() and (inputs <= IRIS.max(axis=0)).all()


def load_workflow_of(path: Path) -> Any:
    return load_workflow(get_settings(), str(path))


def test_drawn_inputs_cover_their_ranges(tmp_path: Path) -> None:
    skops_file(tmp_path / "m.skops")
    ranges = ((0.0, 1.0), (-5.0, 5.0), (2.0, 2.0), (-1.0, 0.0))
    workflow = load_workflow_of(tmp_path / "m.skops")
    dtype, inputs = inputs_of(workflow, Declared(ranges=ranges), None, 1000)
    low, high = np.array(ranges).T
    assert dtype == "double" and inputs.shape == (1000, 4)
    assert np.array_equal(inputs.min(axis=0), low) and np.array_equal(inputs.max(axis=0), high)
    assert len(np.unique(inputs[:, 1])) > 800


def test_two_proofs_are_kept_in_one_lock_and_by_a_lock_written_anew(
    tmp_path: Path, compile_: Compile
) -> None:
    program(tmp_path / "m.jit")
    assert compile_(str(tmp_path / "m.jit")).exit_code == 0
    assert compile_(str(tmp_path / "m.jit"), "--count", "1001").exit_code == 0
    first = json.loads((tmp_path / "model.lock").read_text())["models"]
    assert len(first) == 1 and first[0]["compiled"]["inputs"] == 1001
    files = [str(tmp_path / "model.onnx"), str(tmp_path / "m.jit")]
    done = CliRunner().invoke(app, ["lock", *files, "-o", "model.lock"])
    assert done.exit_code == 0, done.output
    compiled, source = json.loads((tmp_path / "model.lock").read_text())["models"]
    assert compiled == first[0] and "compiled" not in source
    assert "TorchScript" in done.output and "infernet-lambda compile" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "a"], "3,224,224"),
        (["--dtype", "float64"], "known are"),
        (["--range", "1"], "FROM:TO"),
        (["--range", "a:b"], "FROM:TO"),
        (["--count", "999"], "greater than or equal to 1000"),
    ],
)
def test_a_mistake_in_an_option_is_status_2(
    compile_: Compile, arguments: list[str], message: str
) -> None:
    done = compile_("m.torch", *arguments, COLUMNS="300")
    assert done.exit_code == 2 and message in done.stderr


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("nowhere.torch", None, "no such file"),
        ("m.onnx", lambda path: path.write_bytes(b"\x08\x08x"), "model file m.onnx"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    compile_: Compile, tmp_path: Path, name: str, save: Any, message: str
) -> None:
    if save is not None:
        save(tmp_path / name)
    assert message in refused(compile_(str(tmp_path / name)))


def test_without_the_extra_the_extra_is_named(
    compile_: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skops_file(tmp_path / "m.skops")
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    assert "infernet-lambda[compile]" in refused(compile_(str(tmp_path / "m.skops")))


@pytest.mark.parametrize(
    ("expected", "found", "absolute", "relative", "beyond"),
    [
        ([1.0, np.nan, np.inf], [1.0, np.nan, np.inf], 0.0, 0.0, False),
        ([1.0, 100.0], [1.0, 100.5], 0.5, 0.5 / 100.5, False),
        ([0.0, 1.0], [0.001, 1.0], 0.001, 1.0, False),
        ([1.0], [1.1], 0.1, 0.1 / 1.1, True),
        ([1.0], [np.nan], np.inf, np.inf, True),
        ([np.inf], [1.0], np.inf, np.inf, True),
        ([1, 2], [1, 2], 0.0, 0.0, False),
        ([1, 2], [1, 3], np.inf, np.inf, True),
    ],
)
def test_a_difference_counts_when_it_is_absolutely_and_relatively_too_large(
    expected: list[Any], found: list[Any], absolute: float, relative: float, beyond: bool
) -> None:
    result = difference(np.array(expected), np.array(found), 0.01)
    assert result == pytest.approx((absolute, relative, beyond))


@pytest.mark.parametrize("found", [np.zeros(3, np.float32), np.zeros((3, 1))])
def test_another_dtype_or_shape_is_another_answer(found: Any) -> None:
    with pytest.raises(ModelError, match="an answer has"):
        difference(np.zeros(3), found, 1.0)
