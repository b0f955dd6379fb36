"""One cache and many processes: starting at once, and killed at any moment."""

import hashlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from handler.testing.hub import Hub, Repository, hub_server
from tests.processes import ROOT

pytestmark = pytest.mark.integration

PROCESSES = 16
KILLS = int(os.environ.get("KILLS", "30"))
# A process becomes ready as a service does, and says what its model answers.
READY = """
import torch
from handler.lifecycle import load_workflow
from handler.settings import get_settings
workflow = load_workflow(get_settings())
rows = {"dtype": "float", "values": [[1.0] * 512]}
print(workflow.model_digest, float(workflow.inference(rows).sum()))
"""
FETCH = """
import os
from handler.models.reference import parse_reference
from handler.models.sources import fetch
from handler.settings import get_settings
print(fetch(parse_reference(os.environ["MODEL"]), get_settings()).sha256)
"""
# Before anything else is imported: a file system on which locks are an error.
WITHOUT_LOCKS = """
import errno, fcntl
def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = fcntl.lockf = refuse
"""


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    whole = io.BytesIO()
    torch.save(nn.Sequential(*[nn.Linear(512, 512) for _ in range(10)]), whole)
    return whole.getvalue()


@pytest.fixture
def hub(content: bytes) -> Iterator[Hub]:
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"m.torch": content})
        yield hub


@pytest.fixture(params=["plain", "without locks", "across devices"])
def environment(
    request: pytest.FixtureRequest, hub: Hub, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The environment of the processes, on three kinds of cache directories."""
    cache = tmp_path / "cache"
    cache.mkdir()
    variables = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODEL_CACHE_DIR": str(cache),
        "MODEL": "hf://owner/name/m.torch",
        "CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model": "hf://owner/name/m.torch"}',
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "KIND": request.param,
    }
    if request.param == "without locks":
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_LOCKS)
        variables["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if request.param == "across devices":
            assert Path(other).stat().st_dev != cache.stat().st_dev
            (cache / "sha256").symlink_to(other)
        yield variables


def start(code: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        cwd=environment["TMPDIR"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def leftovers(environment: dict[str, str], digest: str) -> list[str]:
    names = [path.name for path in Path(environment["MODEL_CACHE_DIR"], "sha256").iterdir()]
    return [name for name in names if name != digest]


def test_processes_that_start_at_once_share_one_download(
    hub: Hub, environment: dict[str, str], content: bytes
) -> None:
    # Importing torch sixteen times takes its time: to fetch is enough on the other kinds.
    code = READY if environment["KIND"] == "plain" else FETCH
    processes = [start(code, environment) for _ in range(PROCESSES)]
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, said[0][1]
    digest = hashlib.sha256(content).hexdigest()
    (answer,) = {output for output, _ in said}
    assert digest in answer
    assert hub.sent <= 1.2 * len(content)
    assert leftovers(environment, digest) == []


def test_no_moment_to_be_killed_at_leaves_a_wrong_model(
    hub: Hub, environment: dict[str, str], content: bytes
) -> None:
    digest = hashlib.sha256(content).hexdigest()
    path = Path(environment["MODEL_CACHE_DIR"], "sha256", digest)
    rng = random.Random(20261125)
    hub.pause = 0.004
    kills = KILLS if environment["KIND"] == "plain" else KILLS // 3
    killed = 0
    while killed < kills:  # who was through before is one moment more that has been looked at
        process = start(FETCH, environment)
        wait_for_download(hub, process)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        killed += process.returncode == -9
        assert len(leftovers(environment, digest)) <= 2, "a part, and who was downloading it"
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
            path.unlink()
    hub.pause = 0.0
    process = start(READY, environment)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.startswith(f"sha256={digest};")
    assert leftovers(environment, digest) == []


def wait_for_download(hub: Hub, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Returns when the process has asked for content, or is through."""
    asked, deadline = len(hub.requests), time.monotonic() + seconds
    while process.poll() is None and not any(m == "GET" for m, *_ in hub.requests[asked:]):
        assert time.monotonic() < deadline
        time.sleep(0.002)
