"""``GET /service-resources``: what a node collects, for routers to know which models are where."""

import os
import platform
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from handler.catalog import Catalog
from handler.errors import InvalidInput
from handler.lifecycle import WorkflowProvider
from handler.settings import Settings
from handler.workflows import WORKFLOWS, Workflow

if TYPE_CHECKING:
    from handler.models.reference import Reference

SPECIFICATION = "0.1.0"  # of the shape that infernet-ml 2.0.0 defines
# What the bundled model takes, where a model does not tell.
EXAMPLE = {"dtype": "double", "values": [[5.1, 3.5, 1.4, 0.2]]}
SERVICE_ID = "infernet-lambda"


def served(provider: WorkflowProvider) -> dict[str, str | None]:
    """The class and the model of the workflow, and the digest of its file; None until loaded."""
    workflow = provider.get() if provider.state == "ready" else None
    kind = type(workflow)
    reference = getattr(workflow, "reference", None)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}" if workflow else None,
        "model": None if reference is None else str(reference),
        "digest": getattr(workflow, "model_digest", None),
    }


def example(workflow: Workflow) -> Any:
    """The ``data`` of a request that a workflow takes, as far as it tells."""
    example_input = getattr(workflow, "example_input", None)
    return (example_input() if callable(example_input) else None) or EXAMPLE


def supported(catalog: Catalog, text: str) -> bool:
    """Whether a request may name this model.

    Raises:
        Unavailable: the configured workflow cannot be loaded, so that nobody knows.
    """
    from handler.models.model_id import ModelId

    try:
        model_id = ModelId.parse(text)
    except InvalidInput:
        return False
    return any(model_id.names(reference) for reference, _ in catalog.models())


def describe(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """The machine and the models, by type; ``cached_models`` are those loaded now.

    Raises:
        Unavailable: the configured workflow cannot be loaded; says why.
    """
    capabilities: dict[str, dict[str, Any]] = {}
    for reference, loaded in catalog.models():
        kind, model = _model(reference)
        capability = capabilities.setdefault(
            kind,
            {
                "id": "ml",
                "type": kind,
                "task": [],
                "models": [],
                "cached_models": [],
                "inference_engine": None,
                "inference_engine_version": None,
            },
        )
        for listed in ("models", "cached_models") if loaded else ("models",):
            if model not in capability[listed]:
                capability[listed].append(model)
    return {
        "version": SPECIFICATION,
        "service_id": SERVICE_ID,
        "hardware_capabilities": [_hardware(settings)],
        "compute_capability": list(capabilities.values()),
    }


def _model(reference: "Reference") -> tuple[str, dict[str, Any]]:
    from handler.models.format import SUFFIXES
    from handler.models.model_id import ModelId

    suffix = PurePosixPath(reference.path).suffix.lower()
    # The module that serves it is named for its kind.
    kind = WORKFLOWS[SUFFIXES.get(suffix, "torch")].split(".")[2]
    model_id = ModelId.of(reference)
    repository = model_id.repository if model_id else "local"
    return kind, {"type": "model", "manifest": {}, "repo_id": repository}


def _hardware(settings: Settings) -> dict[str, Any]:
    cpus = sorted(os.sched_getaffinity(0))
    facts = _cpu_facts()
    frequency = float(facts.get("cpu MHz", 0))
    folder = next(path for path in (settings.model_cache_dir, Path("/")) if path.is_dir())
    disk = shutil.disk_usage(folder)
    return {
        "capability_id": "base",
        "os_info": {"name": platform.system(), "version": platform.version()},
        "cpu_info": {
            "model": facts.get("model name", ""),
            "architecture": platform.machine(),
            "byte_order": f"{sys.byteorder.capitalize()} Endian",
            "vendor_id": facts.get("vendor_id", ""),
            "num_cores": len(cpus),
            "cores": [{"id": cpu, "frequency": frequency} for cpu in cpus],
        },
        "disk_info": [
            {
                "filesystem": "models",
                "mount_point": str(folder),
                "size": disk.total,
                "used": disk.used,
                "available": disk.free,
            }
        ],
    }


def _cpu_facts() -> dict[str, str]:
    """What Linux says of the first processor; nothing on another system."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
