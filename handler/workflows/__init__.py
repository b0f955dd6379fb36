"""One backend a file, imported only when it is the one that serves."""

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from handler.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from handler.models.reference import Reference
    from handler.settings import Settings

TORCH = "handler.workflows.torch.TorchInferenceWorkflow"
ONNX = "handler.workflows.onnx.OnnxInferenceWorkflow"
SKLEARN = "handler.workflows.sklearn.SklearnInferenceWorkflow"
XGBOOST = "handler.workflows.xgboost.XGBoostInferenceWorkflow"
LIGHTGBM = "handler.workflows.lightgbm.LightGBMInferenceWorkflow"

# By the format of the model's file, as handler.models.format tells it.
WORKFLOWS = {
    "torch": TORCH,
    "torchscript": TORCH,
    "torch-legacy": TORCH,
    "safetensors": TORCH,
    "pt2": TORCH,
    "onnx": ONNX,
    "skops": SKLEARN,
    "pickle": SKLEARN,
    "xgboost": XGBOOST,
    "lightgbm": LIGHTGBM,
}
# The class paths of the original service: an operator's existing environment keeps working.
ALIASES = {
    f"{package}.workflows.inference.{name}": path
    for package in ("ml", "infernet_ml")
    for name, path in {
        "torch_inference_workflow.TorchInferenceWorkflow": TORCH,
        "onnx_inference_workflow.ONNXInferenceWorkflow": ONNX,
    }.items()
}
# What a backend's import may lack, and the extra that brings it.
EXTRAS = {
    "torch": "torch",
    "onnxruntime": "onnx",
    "skops": "sklearn",
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}


class Workflow(Protocol):
    """What the service needs of a workflow; any class with these two methods is one."""

    def setup(self) -> Any:
        """Loads the model. Called once, before any inference."""

    def inference(self, input_data: Any, /) -> Any:
        """The answer to one request's ``data``; may be a coroutine function."""


@cache
def takes_arrays(workflow_class: type) -> bool:
    """Whether a workflow takes an array for ``values``: ours do; a user's gets JSON's lists.

    A user's class may derive from ours and read the lists in a hook of its own.
    """
    path = f"{workflow_class.__module__}.{workflow_class.__qualname__}"
    return path in WORKFLOWS.values()


def create_workflow(path: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Workflow:
    """A workflow, not yet set up, of the class that a fully qualified name denotes.

    Raises:
        ConfigurationError: there is no such class, it is no workflow, or it refuses the arguments.
    """
    workflow_class = _import_class(path)
    for method in ("setup", "inference"):
        if not callable(getattr(workflow_class, method, None)):
            raise ConfigurationError(f"CLASSIC_INF_WORKFLOW_CLASS: {path} has no method {method}()")
    try:
        workflow: Workflow = workflow_class(*args, **kwargs)
    except TypeError as error:
        raise ConfigurationError(
            "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS or CLASSIC_INF_WORKFLOW_KW_ARGS do not fit "
            f"{path}: {error}"
        ) from error
    return workflow


def _import_class(path: str) -> Any:
    if path in ALIASES and importlib.util.find_spec(path.partition(".")[0]) is None:
        path = ALIASES[path]
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ConfigurationError(
            f"CLASSIC_INF_WORKFLOW_CLASS: {path} is not a fully qualified class (module.Class)"
        )
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, OSError) as error:
        extra = EXTRAS.get((getattr(error, "name", None) or "").partition(".")[0])
        if extra is not None and path in WORKFLOWS.values():
            raise ConfigurationError(
                f"{path} needs what is not installed: pip install 'infernet-lambda[{extra}]', or "
                f"build the image with --build-arg EXTRAS={extra}"
            ) from error
        raise ConfigurationError(f"CLASSIC_INF_WORKFLOW_CLASS: {path}: {error}") from error


def configured_model(
    args: Sequence[Any], kwargs: dict[str, Any], settings: "Settings"
) -> "Reference | None":
    """The model that these arguments of a workflow of ours name; None for the demo's.

    Raises:
        ConfigurationError: they name one in no form that is known.
    """
    from handler.models.reference import argument_reference

    given = {**dict(zip(("model_source", "model_args"), args, strict=False)), **kwargs}
    return argument_reference(
        given.get("model_source"),
        given.get("model_args"),
        given.get("model_name"),
        given.get("model"),
        settings.torch_model_file_name,
    )


def is_compiled(reference: "Reference | None") -> bool:
    """Whether a model is ONNX by its name: onnxruntime serves it, whoever was asked to."""
    return reference is not None and reference.path.lower().endswith(".onnx")


def workflow_of_model(reference: "Reference | None", settings: "Settings") -> str:
    """The class that serves a model, by the format of its file.

    The end of the file's name tells the format, or else, once it is fetched, its content.

    Raises:
        ModelError: the file cannot be had, or has a format that no workflow here serves.
    """
    from handler.models.format import SUFFIXES, format_of
    from handler.models.sources import fetch

    if reference is None:
        return TORCH  # which has a model to demonstrate itself with
    kind = SUFFIXES.get(PurePosixPath(reference.path).suffix.lower())
    if kind is None:
        kind = format_of(fetch(reference, settings).path)
    if kind not in WORKFLOWS:
        raise ModelError(
            f"model {reference}: its format is not known: name the workflow that serves it in "
            "CLASSIC_INF_WORKFLOW_CLASS"
        )
    return WORKFLOWS[kind]
