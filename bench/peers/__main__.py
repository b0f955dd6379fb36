"""Other model servers beside ours, as one table: ``python -m bench.peers``.

Each serves the same model, with one worker, to connections that ask again as soon as they have
their answer. The exit status is 1 when one answers more of them in a second than ours.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.peers.load import CONNECTIONS, Figures, measured
from bench.peers.peers import OURS, PEERS, Peer, Rows
from bench.peers.server import Failed, Server
from handler.compiler.proof import compile_model
from handler.workflows.torch import TorchInferenceWorkflow

COLUMNS = ("server", "version", "answers/s", "median", "99 %", "start-up", "memory", "ours to it")


class Task:
    """The model that all serve, a request, and its answer."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8)).double()
        path, compiled = folder / "model.torch", folder / "model.onnx"
        torch.save(model, path)
        workflow = TorchInferenceWorkflow(model=str(path))
        workflow.setup()
        inputs = np.random.default_rng(0).normal(size=(1000, 69))
        compile_model(workflow, "double", inputs, 1e-9, compiled)
        self.models = {"model": str(path), "compiled": str(compiled)}
        row = torch.randn(1, 69, dtype=torch.double)
        self.rows: Rows = row.tolist()
        with torch.inference_mode():
            self.expected: np.ndarray[Any, Any] = model(row).numpy()

    def figures(self, peer: Peer, seconds: float) -> Figures | str:
        """What a server did, or why it did not."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                server = Server(peer, Path(folder), self.models)
                return measured(server, self.rows, self.expected, seconds)
            except (Failed, OSError) as problem:
                return str(problem)


def together(results: Sequence[Figures | str]) -> Figures | str:
    """The medians of a server's rounds, or why one of them failed."""
    figures = []
    for result in results:
        if isinstance(result, str):
            return result
        figures.append(result)
    medians = Figures(*map(statistics.median, zip(*figures, strict=True)))
    return medians._replace(lost=sum(one.lost for one in figures))


def measure(
    task: Task, peers: Sequence[Peer], rounds: int, seconds: float
) -> dict[str, Figures | str]:
    """What each server did. All take turns, so that a drift of the machine meets all."""
    results: dict[str, list[Figures | str]] = {peer.name: [] for peer in peers}
    for number, peer in itertools.product(range(rounds), peers):
        so_far = results[peer.name]
        if not any(isinstance(result, str) for result in so_far):
            print(f"round {number + 1} of {rounds}: {peer.name}", file=sys.stderr, flush=True)
            so_far.append(task.figures(peer, seconds))
    return {name: together(some) for name, some in results.items()}


def cells(peer: Peer, result: Figures | str, ours: Figures | str) -> list[str]:
    """The cells of a row of the table."""
    if isinstance(result, str):
        return [peer.name, peer.version, result, *[""] * (len(COLUMNS) - 3)]
    return [
        peer.name,
        peer.version,
        f"{result.a_second:,.0f}" + (f" ({result.lost} lost)" if result.lost else ""),
        f"{result.median_ms:.1f} ms",
        f"{result.slowest_ms:.1f} ms",
        f"{result.start_seconds:.1f} s",
        f"{result.megabytes:,.0f} MB",
        "" if isinstance(ours, str) else f"{ours.a_second / result.a_second:.2f}",
    ]


def ahead(results: Mapping[str, Figures | str]) -> list[str]:
    """The peers that answer more than ours does; all, when ours has no figures."""
    rates = {name: x.a_second for name, x in results.items() if isinstance(x, Figures)}
    ours = rates.get(OURS[0].name, 0.0)
    return [peer.name for peer in PEERS if rates.get(peer.name, 0.0) > ours]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of load on a server, each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="peers that have this in their name")
    arguments = parser.parse_args()
    peers = [*OURS, *(x for x in PEERS if arguments.only.lower() in x.name.lower())]
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Task(Path(folder)), peers, arguments.rounds, arguments.seconds)
    print(
        f"1 worker, {CONNECTIONS} connections, "
        f"median of {arguments.rounds} rounds of {arguments.seconds:g} s\n"
    )
    rows = [cells(peer, results[peer.name], results[OURS[0].name]) for peer in peers]
    for texts in (COLUMNS, ["---", "---", *["---:"] * (len(COLUMNS) - 2)], *rows):
        print(f"| {' | '.join(texts)} |")
    if names := ahead(results):
        sys.exit(f"ahead of ours: {'; '.join(names)}")


if __name__ == "__main__":
    main()
