"""``fetch``, ``lock`` and ``publish``, as a script runs them, against a hub and S3 over HTTP."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import torch
from torch import nn

from handler.models import sources, upload
from handler.models.reference import parse_reference
from handler.settings import Settings
from handler.testing.hub import COMMIT, Hub, Repository, hub_server
from tests.servers import aws_server, credentials

TOKEN = "hf_a_token_that_must_not_be_seen"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    whole = io.BytesIO()
    torch.save(nn.Linear(4, 2), whole)
    return whole.getvalue()


@pytest.fixture
def hub(content: bytes) -> Iterator[Hub]:
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"m.torch": content, "large": LARGE})
        hub.repositories["owner/private"] = Repository({"m.torch": content}, token=TOKEN)
        yield hub


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    with aws_server() as url:
        yield credentials(url)


@pytest.fixture
def command(hub: Hub, aws: dict[str, str], tmp_path: Path) -> Command:
    environment = {
        "PATH": os.environ["PATH"],
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODEL_CACHE_DIR": str(tmp_path / "cache"),
        **aws,
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "handler.cli", *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


LARGE = os.urandom(40_000_000)


def test_a_fetched_folder_can_be_baked_into_an_image(
    command: Command,
    hub: Hub,
    content: bytes,
    tmp_path: Path,
    settings_of: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    into = tmp_path / "models"
    ref = "hf://owner/private/m.torch"
    done = command("fetch", ref, "--into", str(into), "--json", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(done.stdout) == {
        "reference": ref,
        "resolved": f"hf://owner/private@{COMMIT}/m.torch#sha256={digest}",
        "path": str(into / "sha256" / digest),
        "size": len(content),
        "sha256": digest,
    }
    assert TOKEN not in done.stdout + done.stderr
    again = command("fetch", ref, "--into", str(into))
    assert again.returncode == 0 and digest in again.stdout, "without the token, from the folder"
    monkeypatch.setattr(sources, "BAKED", into)
    settings = settings_of(MODEL_CACHE_DIR=str(tmp_path / "none"))
    assert sources.fetch(parse_reference(ref), settings).path == into / "sha256" / digest


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fetch", "gs://bucket/m"], 2, "unknown scheme"),
        (["fetch", "/etc/hostname"], 2, "read where it is"),
        (["fetch", "hf://owner/missing/m"], 1, "infernet-lambda fetch: model hf://owner/missing/m"),
        (["fetch", "s3://bucket-of-nobody/m"], 1, "no such"),
        (["lock", "hf://owner/name"], 2, "not a path inside it"),
        (["lock", "hf://owner/private/m.torch"], 1, "infernet-lambda lock: model hf://owner/pri"),
        (["lock", "hf://owner/name/m.torch", "-o", "/nowhere/lock"], 1, "No such file"),
        (["publish", "hf://owner/name/m.torch", "/tmp/m"], 2, "s3://bucket/key"),
        (["publish", "hf://owner/name/m.torch", "s3://bucket-of-nobody/m"], 1, "no such bucket"),
    ],
)
def test_what_fails_is_one_line_and_a_status(
    command: Command, arguments: list[str], status: int, message: str
) -> None:
    done = command(*arguments, COLUMNS="500")
    assert done.returncode == status, done.stderr
    assert message in done.stderr and done.stdout == ""
    assert status == 2 or done.stderr.count("\n") == 1


def test_a_lock_is_written_and_then_holds(
    command: Command, hub: Hub, content: bytes, tmp_path: Path
) -> None:
    ref, path = "hf://owner/name/m.torch", tmp_path / "model.lock"
    done = command("lock", ref, "--output", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == path.read_text()
    (model,) = json.loads(path.read_text())["models"]
    assert "torch.nn.modules.linear.Linear" in model.pop("globals")
    assert model == {
        "reference": ref,
        "resolved": f"hf://owner/name@{COMMIT}/m.torch",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": "torch",
    }
    assert command("fetch", ref, CLASSIC_INF_MODEL_LOCK=str(path)).returncode == 0
    other = command("fetch", "hf://owner/name/large", CLASSIC_INF_MODEL_LOCK=str(path))
    assert other.returncode == 1 and "is not in CLASSIC_INF_MODEL_LOCK" in other.stderr


def test_a_published_model_comes_back_from_s3(
    command: Command, aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="published")
    client.put_bucket_versioning(Bucket="published", VersioningConfiguration={"Status": "Enabled"})
    digest = hashlib.sha256(LARGE).hexdigest()
    arguments = ("publish", "hf://owner/name/large", "s3://published/models/", "--json")
    first = command(*arguments)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["sent"] == report["size"] == len(LARGE) and report["sha256"] == digest
    assert report["published"].startswith("s3://published/models/large?versionId=")
    assert report["published"].endswith(f"#sha256={digest}")
    again = json.loads(command(*arguments).stdout)
    assert again == {**report, "sent": 0}, "it is there"
    back = command("fetch", report["published"], "--into", str(tmp_path / "back"), "--json")
    assert back.returncode == 0, back.stderr
    assert Path(json.loads(back.stdout)["path"]).read_bytes() == LARGE


def test_an_interrupted_upload_goes_on(
    aws: dict[str, str],
    tmp_path: Path,
    settings_of: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="interrupted")
    (tmp_path / "large").write_bytes(LARGE)
    file = sources.fetch(parse_reference(str(tmp_path / "large")), settings_of())
    goal = parse_reference("s3://interrupted/large")

    def die(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(upload, "PART_BYTES", 8 * 1024 * 1024)
    monkeypatch.setattr(upload, "THREADS", 1)
    with pytest.raises(KeyboardInterrupt):
        upload.upload(file, goal, die)
    seen: list[int] = []
    published, sent = upload.upload(file, goal, lambda done, _: seen.append(done))
    assert seen[-1] == len(LARGE) and 0 <= sent < len(LARGE)
    assert str(published) == f"s3://interrupted/large#sha256={file.sha256}"
