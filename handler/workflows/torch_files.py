"""Torch's model files: programs, whole modules, weights, exported programs; none is trusted."""

import inspect
import pickle
import pkgutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from handler.errors import ConfigurationError, ModelError
from handler.models.file import ModelFile
from handler.models.format import format_of
from handler.models.pickles import MAX_BYTES, why_refused
from handler.settings import Settings
from handler.workflows import torchscript

NAMED = 5  # of many keys, how many an error names


class Architecture(NamedTuple):
    """The class that weights belong to, and its keyword arguments."""

    path: str | None = None
    kwargs: Mapping[str, Any] = {}

    def build(self, name: str) -> torch.nn.Module:
        """A module of the class, with whatever weights it begins with.

        Raises:
            ModelError: no class is named; ``name`` is the file's.
            ConfigurationError: there is no such class, or it refuses the arguments.
        """
        if self.path is None:
            raise ModelError(
                f"model file {name} holds weights only: name the class that they belong to in "
                'CLASSIC_INF_WORKFLOW_KW_ARGS, as {"model_class": "package.module.Class"}'
            )
        try:
            module = pkgutil.resolve_name(self.path)(**self.kwargs)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise ConfigurationError(f"model_class {self.path}: {error}") from error
        if not isinstance(module, torch.nn.Module):
            raise ConfigurationError(f"model_class {self.path} is no torch.nn.Module")
        return module


# torch's name of a dtype -> ours, where they differ.
NAMES = {"float32": "float", "float64": "double", "float16": "half", "int64": "long"}


def input_of(model: Any) -> tuple[str, tuple[int, ...]] | None:
    """The dtype and the shape of one input of a model, without the batch; None if it does not tell.

    An exported program tells it, and the weights of a linear layer that comes first.
    """
    nodes: Any = getattr(getattr(model, "graph", None), "nodes", ())
    if not callable(nodes):  # as in a graph of TorchScript
        inputs = [node.meta["val"] for node in nodes if node.op == "placeholder"]
        if inputs:
            return dtype_name(inputs[0]), tuple(int(size) for size in inputs[0].shape[1:])
    weight: Any = next(iter(model.parameters()), None)
    # [outputs, inputs]; what another layer takes, its weights do not say.
    linear = weight is not None and weight.ndim == 2 and weight.is_floating_point()
    return (dtype_name(weight), (int(weight.shape[1]),)) if linear else None


def dtype_name(tensor: Any) -> str:
    """The wire name of a tensor's dtype."""
    name = str(tensor.dtype).removeprefix("torch.")
    return NAMES.get(name, name)


def load_model(
    file: ModelFile,
    settings: Settings,
    architecture: Architecture = Architecture(),  # noqa: B008
) -> Any:
    """The model in a file, in eval mode.

    Raises:
        ModelError: the file holds no model, or one that is refused; names what it would need.
        ConfigurationError: ``architecture`` or TORCH_SAFE_GLOBALS names what cannot be imported.
    """
    name = file.name
    # Whether a program may run hangs on its source alone, not on who vouches for it, and weights
    # run nothing: they are loaded while their digest is still being computed.
    if settings.use_jit or torchscript.is_torchscript(file.path):
        return torchscript.load(file.path, name)
    form = format_of(file.path)
    if form == "safetensors":
        return _with_weights(architecture, _safetensors(file.path, name), name)
    file.verify()
    if form == "pt2":
        return _exported(file, settings)
    loaded = _unpickled(file, settings)
    if isinstance(loaded, torch.nn.Module):
        return loaded.eval()
    if isinstance(loaded, Mapping) and all(map(torch.is_tensor, loaded.values())):
        return _with_weights(architecture, loaded, name)
    raise ModelError(
        f"model file {name} holds a {type(loaded).__name__}, neither a module nor its weights: "
        "save the module with torch.save(model, ...), its state_dict(), or a TorchScript program"
    )


def _with_weights(
    architecture: Architecture, weights: Mapping[str, torch.Tensor], name: str
) -> torch.nn.Module:
    # Without memory, where the class lets itself be built so: its first weights are not wanted.
    try:
        with torch.device("meta"):
            module = architecture.build(name)
        _assign(module, weights, name)
        if not any(tensor.is_meta for tensor in _tensors(module)):
            return module.eval()
    except (ConfigurationError, RuntimeError):
        pass  # what is really wrong will be so again
    module = architecture.build(name)
    _assign(module, weights, name)
    return module.eval()


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _assign(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    expected = module.state_dict()
    both = expected.keys() & weights.keys()
    problems = {
        "lacks": expected.keys() - weights.keys(),
        "has besides": weights.keys() - expected.keys(),
        "has in another shape": {k for k in both if weights[k].shape != expected[k].shape},
    }
    for problem, keys in problems.items():
        if keys:
            raise ModelError(
                f"model file {name} does not fit model_class: it {problem} {_some(keys)}"
            )
    module.load_state_dict(weights, assign=True)


def _some(keys: Iterable[str]) -> str:
    named = sorted(keys)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(named[:NAMED]) + more


def _safetensors(path: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        import safetensors
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise ModelError(
            f"model file {name} needs safetensors: pip install 'infernet-lambda[torch]'"
        ) from None
    try:
        return load_file(path)
    except (safetensors.SafetensorError, RuntimeError, ValueError) as error:
        raise ModelError(f"model file {name} is no safetensors file: {error}") from error


def _exported(file: ModelFile, settings: Settings) -> Any:
    """A program of ``torch.export``: loading one unpickles, and evaluates expressions."""
    name = file.name
    if reason := why_refused(file, settings):
        raise ModelError(f"model file {name} is an exported program (.pt2), and {reason}")
    try:
        with file.path.open("rb") as content:
            return torch.export.load(content).module()
    except Exception as error:
        raise ModelError(f"model file {name} cannot be loaded: {type(error).__name__}") from error


def _unpickled(file: ModelFile, settings: Settings) -> Any:
    name = file.name
    _refuse_bombs(file)
    if why_refused(file, settings) is None:
        return _loaded(file, weights_only=False)
    allowed = [*_torch_nn(), *_imported(settings.torch_safe_globals)]
    with torch.serialization.safe_globals(allowed), _without_construction(name):
        try:
            return _loaded(file, weights_only=True)
        except pickle.UnpicklingError as error:
            missing = _missing_globals(file.path)
            if not missing:
                raise ModelError(f"model file {name}: not a file that torch saved") from error
            reason = why_refused(file, settings) if settings.torch_allow_pickle else None
            raise ModelError(
                f"model file {name} is a pickle that needs {', '.join(missing)}; "
                + (reason or "if you trust them, name them in TORCH_SAFE_GLOBALS")
            ) from error


@contextmanager
def _without_construction(name: str) -> Iterator[None]:
    """Lets this thread make no module of torch.nn but by taking its state from a file.

    A pickle may call what it may import, and Linear(100000, 100000) would fill the memory. What
    torch saves of a module never calls its class.
    """
    construct: Any = torch.nn.Module.__init__
    thread = threading.get_ident()

    def refuse(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        if threading.get_ident() == thread and type(self).__module__.startswith("torch.nn"):
            raise ModelError(
                f"model file {name} is refused: it makes modules instead of having them"
            )
        construct(self, *args, **kwargs)

    torch.nn.Module.__init__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module.__init__ = construct  # type: ignore[method-assign]


def _refuse_bombs(file: ModelFile) -> None:
    """Refuses an archive that declares more than it holds: torch saves without compression."""
    try:
        archive: Any = torch._C.PyTorchFileReader(str(file.path))
    except RuntimeError:
        return  # not an archive, but a pickle as torch saved it before 1.6
    try:
        sizes = {name: archive.get_record_size(name) for name in archive.get_all_records()}
    except RuntimeError as error:
        raise ModelError(
            f"model file {file.name}: its archive has members outside of its folder"
        ) from error
    if sum(sizes.values()) > file.size:
        raise ModelError(f"model file {file.name} is refused: it unpacks to more than its own size")
    if sizes.get("data.pkl", 0) > MAX_BYTES:
        raise ModelError(f"model file {file.name}: its pickle is larger than 64 MiB")


def _loaded(file: ModelFile, *, weights_only: bool) -> Any:
    # Mapped, the weights are read when they are needed and never copied. Before torch 1.6, files
    # were pickles through and through, which cannot be.
    mapped = format_of(file.path) == "torch"
    try:
        return torch.load(
            file.path, map_location="cpu", weights_only=weights_only, mmap=mapped or None
        )
    except (pickle.UnpicklingError, ModelError):
        raise
    except Exception as error:
        raise ModelError(
            f"model file {file.name} cannot be loaded: {type(error).__name__}"
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
