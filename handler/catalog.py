"""Which models a request may name, and the workflow that serves each."""

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from handler.errors import ConfigurationError, InvalidInput
from handler.lifecycle import WorkflowProvider, load_workflow
from handler.settings import Settings
from handler.workflows import Workflow, takes_arrays

if TYPE_CHECKING:
    from handler.models.model_id import ModelId
    from handler.models.reference import Reference


class Catalog:
    """The configured workflow, and those of CLASSIC_INF_ALLOWED_MODELS, loaded when asked for.

    Of the latter at most CLASSIC_INF_MAX_MODELS are kept: the longest unused makes room.
    """

    def __init__(self, provider: WorkflowProvider, settings: Settings) -> None:
        self._provider = provider
        self._settings = settings
        self._lock = threading.Lock()
        # In the order of their last use.
        self._on_demand: dict[str, WorkflowProvider] = {}

    def get(self, model_id: "ModelId | None" = None) -> Workflow:
        """The workflow that serves a model; without one, the configured workflow.

        Raises:
            InvalidInput: the model is not served here; names the one that is.
            Unavailable: the workflow cannot be loaded; says why.
        """
        if model_id is None:
            return self._provider.get()
        allowed = self._allowed(model_id)
        if allowed is not None and self._provider.state != "ready":
            return self._load(allowed).get()
        workflow = self._provider.get()
        configured = reference_of(workflow)
        if configured is not None and model_id.names(configured):
            return workflow
        if allowed is not None:
            return self._load(allowed).get()
        raise InvalidInput(_not_served(configured))

    @property
    def takes_arrays(self) -> bool:
        """Whether ``values`` may be read as an array: known once the workflow is loaded."""
        return self._provider.state == "ready" and takes_arrays(type(self._provider.get()))

    def models(self) -> "list[tuple[Reference, bool]]":
        """Every model that may be asked for, and whether it is loaded now.

        Raises:
            Unavailable: the configured workflow cannot be loaded; says why.
        """
        configured = reference_of(self._provider.get())
        found = [] if configured is None else [(configured, True)]
        with self._lock:
            loaded = {text for text, p in self._on_demand.items() if p.state == "ready"}
        references = allowed_references(self._settings)
        return found + [(reference, text in loaded) for text, reference in references.items()]

    def _allowed(self, model_id: "ModelId") -> str | None:
        references = allowed_references(self._settings).items()
        return next((text for text, found in references if model_id.names(found)), None)

    def _load(self, model: str) -> WorkflowProvider:
        with self._lock:
            provider = self._on_demand.pop(model, None)
            if provider is None:
                while len(self._on_demand) >= self._settings.max_models:
                    del self._on_demand[next(iter(self._on_demand))]
                load = partial(load_workflow, self._settings, model)
                provider = WorkflowProvider(load, self._settings.retry_seconds)
            self._on_demand[model] = provider
            return provider


def allowed_references(settings: Settings) -> "dict[str, Reference]":
    """What CLASSIC_INF_ALLOWED_MODELS lists, and what it means.

    Raises:
        ConfigurationError: an entry is no model reference.
    """
    from handler.models.reference import parse_reference

    try:
        return {text: parse_reference(text) for text in settings.allowed_models}
    except ConfigurationError as error:
        raise ConfigurationError(f"CLASSIC_INF_ALLOWED_MODELS: {error}") from None


def reference_of(workflow: Any) -> "Reference | None":
    """The model that a workflow says it serves, by its attribute ``reference``."""
    from handler.models.reference import parse_reference

    reference = getattr(workflow, "reference", None)
    return parse_reference(reference) if isinstance(reference, str) else reference


def _not_served(configured: "Reference | None") -> str:
    from handler.models.model_id import ModelId

    served = configured and ModelId.of(configured)
    if served is None:
        return "model_id: not served here; leave it out to ask the model that is"
    return f"model_id: not served here; this service serves {served}"
