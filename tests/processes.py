"""Programs that the tests run, and where the Makefile puts them."""

import os
import platform
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
SAM = ROOT / ".venv-tools" / "bin" / "sam"


def emulator() -> Path | None:
    """The Runtime Interface Emulator, which the wheel of aws-sam-cli carries."""
    machine = platform.machine().replace("aarch64", "arm64")
    pattern = f".venv-tools/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    return next(ROOT.glob(pattern), None)


@contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, which is ended as a whole; it writes to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
