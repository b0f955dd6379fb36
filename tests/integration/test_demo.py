"""``make demo``, without the set-up."""

import subprocess
import sys

import pytest

from tests import processes

pytestmark = pytest.mark.integration


def test_the_main_job_is_shown() -> None:
    emulator = processes.emulator()
    if emulator is None:
        pytest.skip("integration tests: there is no .venv-tools: run make setup")
    command = [sys.executable, "-m", "handler.demo", str(emulator)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, process.stderr
    for shown in (
        "POST /service_output",
        "Authorization: Bearer ...",
        "\n200\n",
        "cold start",
        "warm",
    ):
        assert shown in process.stdout
