"""``infernet-lambda compile``: a model as ONNX, proven to give the same answers."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handler.cli import report
from handler.cli.lock import locked_model, write_lock
from handler.errors import HandlerError
from handler.lifecycle import load_workflow
from handler.models.cache import silent
from handler.models.lock import LockedModel, ModelLock, read_lock
from handler.models.reference import Reference
from handler.settings import get_settings
from handler.workflows import ONNX, Workflow, takes_arrays

if TYPE_CHECKING:
    from handler.compiler.inputs import Declared

MINIMUM_INPUTS = 1000


def compile_(
    ref: Annotated[str, typer.Argument(help="The model: torch, scikit-learn, XGBoost, LightGBM.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    lock: Annotated[
        Path, typer.Option(help="The lock to write both digests and the differences to.")
    ] = Path("model.lock"),
    method: Annotated[
        str | None,
        typer.Option(help="predict, predict_proba or decision_function, where there is a choice."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(help="Inputs to compare with: a request, its data (JSON), or a .npy file."),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="Of one input, as 3,224,224.  [default: what the model says]")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the inputs.  [default: that of the model's weights]")
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", help="FROM:TO, once, or for each element.  [default: -10:10]"),
    ] = None,
    count: Annotated[
        int, typer.Option(min=MINIMUM_INPUTS, help="How many inputs to compare.")
    ] = MINIMUM_INPUTS,
    tolerance: Annotated[
        float, typer.Option(min=0, help="By which answers may differ, absolutely or relatively.")
    ] = 1e-5,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Turn a model into ONNX, which starts in a sixth of the time, and prove that it is the same.

    The model is loaded as the service would load it: what CLASSIC_INF_WORKFLOW_KW_ARGS,
    TORCH_SAFE_GLOBALS and the like say counts here too. Both models are asked the same inputs: the
    given ones, and others that cover their range. Nothing is written when an answer differs by more
    than the tolerance. The number of rows of a request stays free.

    Example: infernet-lambda compile model.torch -o model.onnx --range -3:3
    """
    reference = report.reference(ref)
    declared = _declared(shape, dtype, range_)
    with report.failures("compile"):
        try:
            found = _compiled(reference, method, declared, inputs, count, tolerance, output)
            _lock(lock, found)
        except ImportError as error:
            raise report.Failed(
                f"{error.name} is not installed: pip install 'infernet-lambda[compile]'"
            ) from None
        except OSError as error:
            raise report.Failed(f"{error.filename}: {error.strerror}") from None
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    proof = found.compiled
    assert proof is not None
    typer.echo(
        f"{found.resolved}\n  onnx, {found.size:,} bytes, {found.sha256}\n"
        f"  of {proof.source}\n  {proof.source_sha256}\n"
        f"  {proof.inputs:,} inputs: differs by {proof.max_absolute_difference:.3g} at most, "
        f"{proof.max_relative_difference:.3g} of the value"
    )


def _declared(shape: str | None, dtype: str | None, ranges: list[str] | None) -> "Declared":
    from handler.compiler.inputs import Declared
    from handler.tensors import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise typer.BadParameter(f"known are {', '.join(DTYPES)}", param_hint="--dtype")
    try:
        sizes = None if shape is None else tuple(int(size) for size in shape.split(",") if size)
    except ValueError:
        raise typer.BadParameter("expected sizes, as 3,224,224", param_hint="--shape") from None
    try:
        pairs = [tuple(map(float, text.split(":"))) for text in ranges or ()]
        bounds = tuple((low, high) for low, high in pairs)
    except ValueError:
        raise typer.BadParameter("expected FROM:TO", param_hint="--range") from None
    return Declared(sizes, dtype, bounds)


def _compiled(
    reference: Reference,
    method: str | None,
    declared: "Declared",
    given: Path | None,
    count: int,
    tolerance: float,
    output: Path,
) -> LockedModel:
    """Writes the compiled file; what a lock says of it."""
    from handler.compiler import inputs
    from handler.compiler.proof import compile_model

    # First, so that nothing is loaded for a file that cannot be read.
    dtype, rows = (declared.dtype, None) if given is None else inputs.read(given)
    settings = get_settings()
    if method is not None:
        kwargs = {**settings.workflow_kwargs, "method": method}
        settings = replace(settings, workflow_kwargs=kwargs)
    workflow: Any = load_workflow(settings, str(reference))
    _refuse_foreign(workflow)
    dtype, asked = inputs.inputs_of(workflow, declared._replace(dtype=dtype), rows, count)
    try:
        with report.progress_bar("inputs", of_bytes=False) as progress:
            proof = compile_model(workflow, dtype, asked, tolerance, output, progress or silent)
    except HandlerError as error:
        raise report.Failed(f"model {reference} stays as it is: {error}") from error
    proof = proof.model_copy(update={"source": str(workflow.reference.unpinned)})
    written = report.reference(str(output.absolute()))
    model = locked_model(written, replace(settings, model_lock=None), {})
    return model.model_copy(update={"compiled": proof})


def _refuse_foreign(workflow: Workflow) -> None:
    kind = type(workflow)
    if not takes_arrays(kind) or f"{kind.__module__}.{kind.__qualname__}" == ONNX:
        raise report.Failed(
            "only models that are served by TorchInferenceWorkflow, SklearnInferenceWorkflow, "
            "XGBoostInferenceWorkflow or LightGBMInferenceWorkflow can be compiled"
        )


def _lock(path: Path, model: LockedModel) -> None:
    """Puts a model in a lock, in place of what the lock said of the same reference."""
    others = read_lock(path).models if path.exists() else ()
    kept = tuple(other for other in others if other.reference != model.reference)
    write_lock(path, ModelLock(models=(*kept, model)))
