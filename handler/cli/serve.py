"""``infernet-lambda serve``: the application under hypercorn."""

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Annotated

import typer

APPLICATION = "handler.main:app"
DEFAULT_BIND = "127.0.0.1:3000"
# A drain ends when the last answer is out; the node itself gives a job up after 180 s.
DRAIN_SECONDS = 170
# Until the headers of a connection's next request are complete.
IDLE_SECONDS = 5
# Without a byte from the client; hypercorn counts it also while the client waits for its answer.
SILENT_SECONDS = 180


def serve(
    context: typer.Context,
    bind: Annotated[
        list[str] | None,
        typer.Option(help="HOST:PORT to listen at; may be repeated.  [default: 127.0.0.1:3000]"),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that serve.")] = 1,
    graceful_timeout: Annotated[
        int, typer.Option(help="Seconds that requests in flight have after SIGTERM.")
    ] = DRAIN_SECONDS,
) -> None:
    """Serve with hypercorn; any other option goes to hypercorn as it is.

    Example: infernet-lambda serve --bind 0.0.0.0:3000 --workers 2
    """
    # Not at the top: every command imports this file.
    from handler.auth import Closed, read_access
    from handler.settings import get_runtime

    # Each worker would find the same, and say so in a line of its own.
    if isinstance(access := read_access(), Closed):
        sys.exit(f"infernet-lambda serve: {access.problem}")
    try:
        from hypercorn.__main__ import main as hypercorn
    except ModuleNotFoundError:
        sys.exit("infernet-lambda serve: needs an extra: pip install 'infernet-lambda[server]'")
    # Workers that each started a thread a CPU would stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, get_runtime().threads // max(1, workers))))
    arguments = [
        APPLICATION,
        *(f"--bind={address}" for address in bind or [DEFAULT_BIND]),
        f"--workers={workers}",
        f"--graceful-timeout={graceful_timeout}",
        f"--keep-alive={IDLE_SECONDS}",
        f"--read-timeout={SILENT_SECONDS}",
        "--worker-class=uvloop",  # a later one in the user's own options counts
        *context.args,
    ]
    if workers == 0:
        sys.exit(hypercorn(arguments))
    sys.exit(_run_workers(arguments, hypercorn))


def _run_workers(arguments: list[str], hypercorn: Callable[[list[str]], int]) -> int:
    """Hypercorn's exit status, corrected in two ways that an orchestrator depends on.

    When the first of several workers has drained, hypercorn sends SIGTERM to the others, which
    would cut their answers off: they inherit that it is ignored, and stop by hypercorn's event.
    And a killed worker ends hypercorn with status 0, as if somebody had asked it to stop.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    received, wakeup = socket.socketpair()
    for end in (received, wakeup):
        end.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    status = hypercorn(arguments)
    signal.set_wakeup_fd(-1)
    try:
        signals = received.recv(1024)
    except BlockingIOError:
        signals = b""
    asked_to_stop = signal.SIGTERM in signals or signal.SIGINT in signals
    return status or (0 if asked_to_stop else 1)
