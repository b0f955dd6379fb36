from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError
from handler.models.reference import (
    Reference,
    file_reference,
    historic_reference,
    hub_reference,
    parse_reference,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf://owner/name/model.torch", Reference("hf", "model.torch", "owner/name")),
        ("hf://owner/name/a/b.torch", Reference("hf", "a/b.torch", "owner/name")),
        (f"hf://owner/name@{COMMIT}/m", Reference("hf", "m", "owner/name", COMMIT)),
        ("hf://owner/name@refs%2Fpr%2F1/m", Reference("hf", "m", "owner/name", "refs/pr/1")),
        (f"hf://owner/name/m#sha256={DIGEST}", Reference("hf", "m", "owner/name", None, DIGEST)),
        ("s3://bucket/a/b.onnx", Reference("s3", "a/b.onnx", "bucket")),
        ("s3://bucket/m?versionId=a.B_9", Reference("s3", "m", "bucket", "a.B_9")),
        (
            f"s3://bucket/m?versionId=V#sha256={DIGEST}",
            Reference("s3", "m", "bucket", "V", DIGEST),
        ),
        ("file:///opt/models/m", Reference("file", "/opt/models/m")),
        ("file:///opt/my%20model%231", Reference("file", "/opt/my model#1")),
        (f"file:///m#sha256={DIGEST}", Reference("file", "/m", sha256=DIGEST)),
        ("/opt/models/m", Reference("file", "/opt/models/m")),
        ("models/m", Reference("file", str(Path.cwd() / "models" / "m"))),
    ],
)
def test_every_form(text: str, reference: Any) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference
    if "://" in text:
        assert str(reference) == text, "a reference prints back"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hf://owner",
        "hf://owner/name",
        "hf:///name/m",
        "hf://owner//m",
        "hf://owner/name/../m",
        "hf://owner/name//etc/passwd",
        "hf://owner/name/a\\..\\b",
        "https://example.org/m",
        "gs://bucket/m",
        "s3://bucket",
        "s3:///key",
        "s3://BUCKET/key",
        "s3://b/key",
        "/opt/m#sha256=",
        "/opt/m#sha256=abc",
        f"hf://owner/name/m#sha256={DIGEST.upper()}",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_reference(text)


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_the_historic_forms(case: Any) -> None:
    local = historic_reference(case("LOCAL"), {"model_path": "/opt/m"})
    assert local == file_reference("/opt/m")
    hub = historic_reference(case("HUGGINGFACE_HUB"), {"repo_id": "owner/name", "filename": "m"})
    assert hub == hub_reference("owner/name", "m")


@pytest.mark.parametrize(
    ("source", "args", "missing"),
    [
        ("LOCAL", {}, "model_path"),
        ("LOCAL", {"model_path": 1}, "model_path"),
        ("HUGGINGFACE_HUB", {"repo_id": "owner/name"}, "filename"),
        ("HUGGINGFACE_HUB", {"filename": "m"}, "repo_id"),
        ("ARWEAVE", {}, "LOCAL and HUGGINGFACE_HUB"),
    ],
)
def test_a_historic_form_names_what_it_lacks(source: str, args: Any, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        historic_reference(source, args)


@pytest.mark.parametrize("repo", ["name", "a/b/c", "/name", "owner/", ""])
def test_a_hub_repository_is_owner_and_name(repo: str) -> None:
    with pytest.raises(ConfigurationError, match="owner/name"):
        hub_reference(repo, "m")
