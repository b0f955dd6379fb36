"""One backend a file, imported only when it is the one that serves."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

from handler.errors import ConfigurationError

# The class paths of the original service: an operator's existing environment keeps working.
ALIASES = {
    f"{package}.workflows.inference.torch_inference_workflow.TorchInferenceWorkflow": (
        "handler.workflows.torch.TorchInferenceWorkflow"
    )
    for package in ("ml", "infernet_ml")
}


class Workflow(Protocol):
    """What the service needs of a workflow; any class with these two methods is one."""

    def setup(self) -> Any:
        """Loads the model. Called once, before any inference."""

    def inference(self, input_data: Any, /) -> Any:
        """The answer to one request's ``data``; may be a coroutine function."""


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
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"CLASSIC_INF_WORKFLOW_CLASS: {path}: {error}") from error
