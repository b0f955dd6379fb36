from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError
from handler.models.reference import (
    FileReference,
    HubReference,
    historic_reference,
    hub_reference,
    parse_reference,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("hf://owner/name/model.torch", HubReference("owner/name", "model.torch")),
        ("hf://owner/name/a/b.torch", HubReference("owner/name", "a/b.torch")),
        (f"hf://owner/name@{COMMIT}/m", HubReference("owner/name", "m", COMMIT)),
        ("hf://owner/name@v1.0/m", HubReference("owner/name", "m", "v1.0")),
        ("file:///opt/models/m", FileReference(Path("/opt/models/m"))),
        ("file:///opt/my%20model", FileReference(Path("/opt/my model"))),
        ("/opt/models/m", FileReference(Path("/opt/models/m"))),
        ("models/m", FileReference(Path("models/m"))),
    ],
)
def test_every_form(text: str, reference: Any) -> None:
    assert parse_reference(text) == reference
    if text.startswith(("hf:", "file:")):
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
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_reference(text)


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_the_historic_forms(case: Any) -> None:
    local = historic_reference(case("LOCAL"), {"model_path": "/opt/m"})
    assert local == FileReference(Path("/opt/m"))
    hub = historic_reference(case("HUGGINGFACE_HUB"), {"repo_id": "owner/name", "filename": "m"})
    assert hub == HubReference("owner/name", "m")


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
