"""The cold-start ledger: what a load cost, phase by phase.

imports_ms, settings_ms   before the first load
import_workflow_ms        the class, and the library behind it
resolve_ms                asking the source what a reference denotes
download_ms, download_bytes
fetch_wait_ms             waiting for both after import_workflow_ms, beside which they run
load_ms                   from a file to a model; the digest is computed at the same time
verify_ms                 waiting for the digest after that
total_ms                  the load as a whole
warm_up_ms                one inference of an example, at the end of init
first_inference_ms        of a request
peak_memory_bytes         of the process, when the ledger is written
"""

import contextlib
import resource
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

# What a process knows before its first load.
before: dict[str, Any] = {}
# The ledgers of loads that succeeded, by the id of their workflow, until it has answered once.
unanswered: "dict[int, Ledger]" = {}


class Ledger:
    """The entries of one load."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = dict(before)
        before.clear()

    def add(self, name: str, amount: float) -> None:
        self.entries[name] = round(self.entries.get(name, 0) + amount, 3)

    def close(self) -> dict[str, Any]:
        """The entries, with the peak memory of the process so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.entries["peak_memory_bytes"] = peak * 1024
        return self.entries


_kept: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


def keep(ledger: Ledger) -> None:
    """From now on, this context's phases are entered there."""
    _kept.set(ledger)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Enters how long the block takes, as ``name_ms``, when somebody keeps a ledger."""
    started = time.perf_counter()
    try:
        yield
    finally:
        count(f"{name}_ms", (time.perf_counter() - started) * 1e3)


def count(name: str, amount: float) -> None:
    """Enters an amount, when somebody keeps a ledger."""
    if ledger := _kept.get():
        ledger.add(name, amount)
