"""A server's virtual environment, its processes and its memory."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from bench.peers.peers import TORCH, Peer
from handler.testing import free_port

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENTS = ROOT / ".venv-peers"
START_SECONDS = 120
STOP_SECONDS = 5
REASON_LENGTH = 120


class Failed(Exception):
    """Why a server has no figures, in one line."""


def programs(peer: Peer) -> Path:
    """The folder with the programs of a server's environment, which is made if it is not there."""
    if not peer.packages:
        return Path(sys.executable).parent
    folder = ENVIRONMENTS / peer.package
    ready, wanted = folder / ".ready", "\n".join((TORCH, *peer.packages))
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {peer.package}", file=sys.stderr, flush=True)
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        run(str(folder / "bin/pip"), "install", "--quiet", TORCH, *peer.packages)
        ready.write_text(wanted)
    return folder / "bin"


def run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Raises Failed unless the command succeeds."""
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise Failed(reason(done.stderr) or f"{command[0]} ended with {done.returncode}")


def reason(log: str) -> str:
    """What went wrong, as far as one line of a log tells: its last error, or its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    exceptions = re.findall(r"\b[A-Z]\w*(?:Error|Exception): .+", log)
    line: str = (exceptions or errors or lines or [""])[-1]
    return line.replace("|", "/")[:REASON_LENGTH]


class Server:
    """A server that runs, from entering the context to leaving it.

    Args:
        peer: which.
        folder: an empty one, which the server starts in and takes for its home.
        models: the paths of the files of the model, by the names that the table has for them.
    """

    def __init__(self, peer: Peer, folder: Path, models: Mapping[str, str]) -> None:
        self.peer = peer
        self.folder = folder
        self.port = free_port()
        self._names = {
            **models,
            "root": str(ROOT),
            "folder": str(folder),
            "port": str(self.port),
            "port2": str(free_port()),
            "port3": str(free_port()),
        }
        self._processes: set[int] = set()

    def __enter__(self) -> Self:
        if self.peer.program and shutil.which(self.peer.program) is None:
            raise Failed(f"needs {self.peer.program}, which is not on PATH")
        environment = {
            "PATH": f"{programs(self.peer)}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            **{name: self._filled(value) for name, value in self.peer.environment.items()},
        }
        for name, content in self.peer.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._filled(content))
        if self.peer.prepare:
            run(*map(self._filled, self.peer.prepare), cwd=self.folder, env=environment)
        self.started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*map(self._filled, self.peer.command)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        processes = self.processes()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()

    def check(self) -> None:
        """Raises Failed when the server has ended, or has had its time to start."""
        self.processes()
        if self._process.poll() is not None:
            raise Failed(f"ended with status {self._process.returncode}: {self._why()}")
        if time.perf_counter() - self.started > START_SECONDS:
            raise Failed(f"no right answer within {START_SECONDS} s: {self._why()}")

    def processes(self) -> set[int]:
        """All that the server has started, whichever session they have moved to."""
        parents = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # After the name, which may have any characters, come the state and the parent.
                fields = status.read_text().rpartition(")")[2].split()
                parents[int(status.parent.name)] = int(fields[1])
        family = {self._process.pid} | self._processes
        while more := {child for child, parent in parents.items() if parent in family} - family:
            family |= more
        self._processes = family & parents.keys()
        return self._processes

    def peak_memory(self) -> int:
        """In bytes, the sum of the peaks of the server's processes."""
        peak = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{process}/status").read_text().splitlines()
                peak += sum(int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM"))
        return peak

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _why(self) -> str:
        return reason(self._log.read_text(errors="replace"))

    def _filled(self, text: str) -> str:
        return Template(text).substitute(self._names)
