"""Cold start: when the workflow is loaded, by whom, and what is remembered when that fails."""

import atexit
import inspect
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LoadTimeout
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from handler.deadline import bound_by, time_left
from handler.errors import DeadlineExceeded, HandlerError, Unavailable
from handler.ledger import Ledger, count, keep, phase, unanswered
from handler.settings import Settings
from handler.telemetry import cold_start
from handler.workflows import (
    ALIASES,
    TORCH,
    Workflow,
    configured_model,
    create_workflow,
    is_compiled,
    workflow_of_model,
)

if TYPE_CHECKING:
    from handler.models.reference import Reference

logger = logging.getLogger(__name__)

MODEL_ARGUMENTS = {"model", "model_name", "model_source", "model_args"}

# What the ledger of a load takes over from that of a fetch beside it.
FETCH_ENTRIES = {"resolve_ms", "download_ms", "download_bytes"}

LOADING_THREAD = "load-workflow"
# An orchestrator kills a container ten seconds after it has asked it to stop, or later.
EXIT_SECONDS = 5.0

State = Literal["unloaded", "loading", "ready", "failed"]


class WorkflowProvider:
    """Loads one workflow once, on a thread of its own, however many callers wait for it.

    A failure is remembered for ``retry_seconds``: a node re-sends failing jobs ten times a second,
    so that asking again must cost nothing.
    """

    def __init__(self, load: Callable[[], Workflow], retry_seconds: float) -> None:
        self._load = load
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._attempt: Future[Workflow] | None = None
        self._workflow: Workflow | None = None
        self._failed_at = 0.0
        self.ledger: Ledger | None = None
        self.warm = threading.Event()
        """Set when a load has ended, with the inference that follows it."""
        # Until when somebody waits, on the monotonic clock; None while nobody does.
        self._awaited_until: float | None = None

    @property
    def state(self) -> State:
        attempt = self._attempt
        if attempt is None:
            return "unloaded"
        if not attempt.done():
            return "loading"
        return "failed" if attempt.exception() else "ready"

    @property
    def cold_start(self) -> dict[str, Any]:
        """What the load cost, as far as it is known: phases in ms, bytes, peak memory."""
        return {} if self.ledger is None else dict(self.ledger.close())

    def start(self) -> "Future[Workflow]":
        """The attempt to load that is under way, was made, or is begun by this call."""
        with self._lock:
            if self._attempt is None or self._may_retry():
                self._attempt, self._awaited_until = Future(), None
                threading.Thread(
                    target=self._run, args=(self._attempt,), name=LOADING_THREAD, daemon=True
                ).start()
            return self._attempt

    def get(self) -> Workflow:
        """The workflow, once it is loaded.

        Raises:
            Unavailable: it cannot be loaded; says why.
            DeadlineExceeded: the caller's time is up; loading goes on for the next one.
        """
        if self._workflow is not None:  # without the locks of a future, at every request
            return self._workflow
        attempt = self.start()
        if attempt.done():
            return attempt.result()
        seconds = time_left()
        self._await(seconds)
        try:
            return attempt.result(None if seconds == float("inf") else max(0.0, seconds))
        except LoadTimeout:
            raise DeadlineExceeded(
                "the model is still being loaded, which goes on: ask again, and give the function "
                "more time, more memory or a smaller model if it never ends"
            ) from None

    def _await(self, seconds: float) -> None:
        """Lets the load know until when it is waited for: no longer may it try again."""
        with self._lock:
            until = time.monotonic() + seconds
            self._awaited_until = max(self._awaited_until or until, until)

    def _time_left(self) -> float:
        until = self._awaited_until
        return float("inf") if until is None else until - time.monotonic()

    def _may_retry(self) -> bool:
        return self.state == "failed" and time.monotonic() - self._failed_at > self._retry_seconds

    def _run(self, attempt: "Future[Workflow]") -> None:
        bound_by(self._time_left)
        self.ledger = Ledger()
        keep(self.ledger)
        try:
            with phase("total"):
                workflow = self._load()
        except HandlerError as error:
            self._fail(attempt, error)
        except BaseException as error:
            # A user's class may raise anything, also SystemExit. Its text may hold what its author
            # put there, a path or a token: the log of the process gets it, a caller does not.
            logger.exception("the workflow failed to load")
            self._fail(attempt, Unavailable(f"the workflow raised {type(error).__name__} in setup"))
        else:
            unanswered[id(workflow)] = self.ledger
            self._workflow = workflow
            attempt.set_result(workflow)
            if self._awaited_until is None:  # or the request at hand is the first inference
                warm_up(workflow)
        finally:
            self.warm.set()

    def _fail(self, attempt: "Future[Workflow]", error: HandlerError) -> None:
        if self.ledger is not None:
            cold_start(self.ledger, error=str(error))
        self._failed_at = time.monotonic()
        attempt.set_exception(error)


@atexit.register
def _let_loads_end() -> None:
    """A process that ends while a thread of it is in the C++ of torch is aborted."""
    for thread in threading.enumerate():
        if thread.name == LOADING_THREAD:
            thread.join(EXIT_SECONDS)


def warm_up(workflow: Workflow) -> None:
    """Makes one inference of what the workflow calls an example, if it does; it may fail."""
    example_input = getattr(workflow, "example_input", None)
    if not callable(example_input) or inspect.iscoroutinefunction(workflow.inference):
        return
    try:
        example = example_input()
        if example is not None:
            with phase("warm_up"):
                workflow.inference(example)
    except Exception as error:
        logger.debug("the inference of init failed: %s", type(error).__name__)


def load_workflow(settings: Settings, model: str | None = None) -> Workflow:
    """The workflow that the settings describe, set up.

    Args:
        settings: name the class, its arguments, and with them its model.
        model: a reference that takes the place of every argument that names a model.

    Raises:
        Unavailable: the class, its arguments or the model are wrong; says which.
    """
    args, kwargs = settings.workflow_args, settings.workflow_kwargs
    if model is not None:
        kept = {name: value for name, value in kwargs.items() if name not in MODEL_ARGUMENTS}
        args, kwargs = [], {**kept, "model": model}
    path, fetching = settings.workflow_class, None
    if path is None or path == TORCH or path in ALIASES:
        reference = configured_model(args, kwargs, settings)
        if path is None or is_compiled(reference):
            path = workflow_of_model(reference, settings)
        if reference is not None and reference.scheme != "file":
            fetching = _fetching(reference, settings)
    with phase("import_workflow"):
        workflow = create_workflow(path, args, kwargs)
    if fetching is not None:
        with phase("fetch_wait"):
            entries = fetching.result()
        for name in FETCH_ENTRIES & entries.keys():
            count(name, entries[name])
    workflow.setup()
    return workflow


def _fetching(reference: "Reference", settings: Settings) -> "Future[dict[str, Any]]":
    """Has a model in the cache, while the caller imports the library that will read it.

    Only the network is hidden by that: what both compute, Python's lock keeps apart. The digest
    is under way as well when the file is read. Gives the ledger of its own.
    """
    from handler.models.sources import fetch

    fetched: Future[dict[str, Any]] = Future()
    entries = Ledger()

    def run() -> None:
        keep(entries)
        try:
            fetch(reference, settings)
        except BaseException as error:
            fetched.set_exception(error)
        else:
            fetched.set_result(entries.entries)

    # The deadline of who waits for the load goes along.
    work = partial(copy_context().run, run)
    threading.Thread(target=work, name="fetch-model", daemon=True).start()
    return fetched


def begin(provider: WorkflowProvider, settings: Settings) -> None:
    """What is loaded before the first request, by mode and INFERNET_LOAD.

    Lambda cuts an on-demand init at 10 s and runs it again, so that loading is begun there, waited
    for within a budget, and finished in the first request if need be. Environments that are made
    ahead of the traffic load fully, and fail here if they cannot: a failure must not be published
    in a snapshot. A server listens at once and loads beside it.

    Raises:
        Unavailable: loading failed where that must stop the process.
    """
    if settings.load == "lazy":
        return
    attempt = provider.start()
    ahead_of_traffic = settings.initialization_type != "on-demand"
    if settings.on_lambda and not ahead_of_traffic:
        seconds = None if settings.load == "init" else settings.init_budget_seconds
        if not provider.warm.wait(seconds) and not attempt.done():
            logger.warning(
                "still loading after %s s of init; the first request waits for it", seconds
            )
    elif settings.on_lambda or settings.load == "init":
        provider.warm.wait()
        attempt.result()
