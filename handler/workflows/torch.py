"""Serves a torch model: what its file holds is the business of ``torch_files``."""

import dis
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handler import tensors
from handler.errors import InvalidInput
from handler.models.file import ModelFile
from handler.workflows.model import ModelWorkflow
from handler.workflows.torch_files import Architecture, input_of, load_model

# What torch.inference_mode enters, without the five calls of Python around it: for a small model
# they take a tenth of an inference.
InferenceMode: Any = getattr(torch._C, "_InferenceMode", torch.inference_mode)
DEMO_MODEL = Path(__file__).parent.parent / "demo" / "model.torch"


class TorchInferenceWorkflow(ModelWorkflow):
    """Answers ``{"dtype": name, "values": nested}`` with what a torch model makes of the tensor.

    The arguments name the model; without any it serves the bundled demo model.

    Args:
        model_class: import path of the class whose weights the file holds, when it holds no more.
        model_class_kwargs: its keyword arguments.
    """

    default_model = DEMO_MODEL
    verifies = True

    def __init__(
        self,
        *args: Any,
        model_class: str | None = None,
        model_class_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.architecture = Architecture(model_class, model_class_kwargs or {})

    def load(self, file: ModelFile) -> Any:
        torch.set_num_threads(self.settings.threads)
        return load_model(file, self.settings, self.architecture)

    def example_input(self) -> Any:
        """One row of zeros, where the model tells what it takes."""
        found = input_of(self.model)
        if found is None:
            return None
        dtype, shape = found
        return {"dtype": dtype, "values": np.zeros((1, *shape), tensors.DTYPES[dtype])}

    def do_preprocessing(self, input_data: Any) -> torch.Tensor:
        """The request's tensor, in its own dtype; its shape is the model's business."""
        dtype, array = tensors.parse(input_data)
        tensor = torch.from_numpy(array)
        return tensor.bfloat16() if dtype == "bfloat16" else tensor

    def do_run_model(self, preprocessed_data: torch.Tensor) -> Any:
        """What the model gives.

        Raises:
            InvalidInput: the input's shape or dtype does not fit the model; torch's own message.
        """
        if self.model is None:
            raise RuntimeError("setup() has not succeeded, so there is no model to ask")
        try:
            with InferenceMode(True):
                return self.model(preprocessed_data)
        except Exception as error:
            if _caused_by_input(error):
                raise InvalidInput(f"data: the model refuses it: {_message(error)}") from error
            raise


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
