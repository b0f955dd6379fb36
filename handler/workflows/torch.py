"""Serves a torch model: a TorchScript program or a whole module, neither of them trusted."""

import dis
import inspect
import os
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from handler import tensors
from handler.errors import ConfigurationError, InvalidInput, ModelError
from handler.models.file import ModelFile
from handler.settings import Settings
from handler.workflows import torchscript
from handler.workflows.model import ModelWorkflow

DEMO_MODEL = Path(__file__).parent.parent / "demo" / "model.torch"


class TorchInferenceWorkflow(ModelWorkflow):
    """Answers ``{"dtype": name, "values": nested}`` with what a torch model makes of the tensor.

    The arguments name the model; without any it serves the bundled demo model.
    """

    default_model = DEMO_MODEL
    verifies = True

    def load(self, file: ModelFile) -> torch.nn.Module:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        # Whether a program may run hangs on its source alone, not on who vouches for it: it is
        # loaded while its digest is still being computed.
        if not torchscript.is_torchscript(file.path):
            file.verify()
        return load_model(file.path, self.settings)

    def do_preprocessing(self, input_data: Any) -> torch.Tensor:
        """The request's tensor, in its own dtype; its shape is the model's business."""
        tensor = tensors.parse(input_data)
        return torch.from_numpy(tensor.array).to(getattr(torch, tensor.dtype))

    def do_run_model(self, preprocessed_data: torch.Tensor) -> Any:
        """What the model gives.

        Raises:
            InvalidInput: the input's shape or dtype does not fit the model; torch's own message.
        """
        if self.model is None:
            raise RuntimeError("setup() has not succeeded, so there is no model to ask")
        try:
            with torch.inference_mode():
                return self.model(preprocessed_data)
        except Exception as error:
            if _caused_by_input(error):
                raise InvalidInput(f"data: the model refuses it: {_message(error)}") from error
            raise


def load_model(path: Path, settings: Settings) -> torch.nn.Module:
    """The model in a file, in eval mode.

    Raises:
        ModelError: the file holds no model, or one that is refused; names what it would need.
    """
    if settings.use_jit or torchscript.is_torchscript(path):
        return torchscript.load(path)
    model = _unpickle(path, settings)
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"model file {path.name} holds a {type(model).__name__}, not a module: save the whole "
            "module with torch.save(model, ...) or a TorchScript program"
        )
    return model.eval()


def _unpickle(path: Path, settings: Settings) -> Any:
    if settings.torch_allow_pickle:
        return _loaded(path, weights_only=False)
    allowed = [*_torch_nn(), *_imported(settings.torch_safe_globals)]
    with torch.serialization.safe_globals(allowed):
        try:
            return _loaded(path, weights_only=True)
        except pickle.UnpicklingError as error:
            missing = _missing_globals(path)
            if not missing:
                raise ModelError(f"model file {path.name}: not a file that torch saved") from error
            raise ModelError(
                f"model file {path.name} is a pickle that needs {', '.join(missing)}; if you trust "
                "them, name them in TORCH_SAFE_GLOBALS"
            ) from error


def _loaded(path: Path, *, weights_only: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=weights_only)
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        raise ModelError(
            f"model file {path.name} cannot be loaded: {type(error).__name__}"
        ) from error


def _missing_globals(path: Path) -> list[str]:
    """The globals outside the allow-list that a pickled file asks for."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        # Not the zip format that can be inspected, or not a checkpoint at all.
        return []


def _torch_nn() -> Iterator[Any]:
    """What whole modules are made of: torch.nn's own classes, and the functions they keep."""
    yield from (torch.nn.functional.relu, torch.nn.functional.gelu)
    for submodule in filter(inspect.ismodule, vars(torch.nn.modules).values()):
        for member in vars(submodule).values():
            if inspect.isclass(member) and issubclass(member, torch.nn.Module):
                yield member


def _imported(names: str) -> Iterator[Any]:
    """What a comma-separated list of import paths denotes."""
    for name in filter(None, map(str.strip, names.split(","))):
        try:
            yield pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"TORCH_SAFE_GLOBALS: {name}: {error}") from error


def _caused_by_input(error: Exception) -> bool:
    """Whether torch refused the input, as opposed to the model's own code failing.

    Both are RuntimeErrors. What tells them apart is who raised: an operator of torch, which leaves
    a frame that was calling it, or a ``raise`` statement in the model's code.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not isinstance(error, RuntimeError | IndexError | ValueError):
        return False
    code = last.tb_frame.f_code
    if Path(code.co_filename).is_relative_to(Path(torch.__file__).parent):
        return True
    raised = dis.opname[code.co_code[last.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")
    return not raised and not isinstance(error, ValueError)


def _message(error: Exception) -> str:
    """torch's message; TorchScript puts it on the last line, after the program's traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if len(lines) > 1 and "TorchScript" in lines[0]:
        return lines[-1].partition(": ")[2]
    return lines[0]
