"""Where a file is looked for, what is done with a corrupt one, and what the lock allows."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError, ModelError
from handler.models import sources
from handler.models.file import Corrupt, ModelFile
from handler.models.lock import read_lock
from handler.models.reference import Reference, file_reference, parse_reference
from handler.models.remote import Remote
from handler.models.sources import fetch, load
from handler.settings import Settings

CONTENT = b"a model" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = parse_reference("hf://owner/name/m")
RESOLVED = parse_reference(f"hf://owner/name@{COMMIT}/m")
Read = Callable[..., Settings]


class Source:
    """The source, which may be gone."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = False

    def remote(self, reference: Reference, _: Settings) -> Remote:
        self.asked += 1
        if self.gone:
            raise ModelError(f"model {reference}: the hub cannot be reached")
        return Remote(RESOLVED, len(CONTENT), None, lambda start: iter([CONTENT[start:]]))


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Source]:
    source = Source()
    monkeypatch.setattr(sources, "_remote", source.remote)
    monkeypatch.setattr(sources, "BAKED", tmp_path / "baked")
    yield source
    read_lock.cache_clear()


@pytest.fixture
def settings(settings_of: Read, tmp_path: Path) -> Settings:
    return settings_of(MODEL_CACHE_DIR=str(tmp_path / "cache"))


def test_a_baked_model_needs_neither_cache_nor_source(
    source: Source, settings: Settings, settings_of: Read, tmp_path: Path
) -> None:
    baked = settings_of(MODEL_CACHE_DIR=str(tmp_path / "baked"))
    path = fetch(REFERENCE, baked).path
    source.gone = True
    assert fetch(REFERENCE, settings).path == path
    assert not settings.model_cache_dir.exists()


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT[:-1] + b"x", b"", CONTENT * 2])
def test_a_corrupt_entry_is_fetched_again_once_and_never_served(
    source: Source, settings: Settings, damaged: bytes
) -> None:
    path = fetch(REFERENCE, settings).path
    path.write_bytes(damaged)
    assert fetch(REFERENCE, settings).path.read_bytes() == CONTENT
    assert source.asked == 2
    path.write_bytes(damaged)
    source.gone = True
    with pytest.raises(ModelError, match=r"cannot be reached; the copy in .* is corrupt"):
        fetch(REFERENCE, settings)
    with pytest.raises(ModelError, match="cannot be reached"):
        fetch(REFERENCE, settings)


def test_a_corrupt_baked_model_is_fetched_into_the_cache(
    source: Source, settings: Settings, settings_of: Read, tmp_path: Path
) -> None:
    baked = settings_of(MODEL_CACHE_DIR=str(tmp_path / "baked"))
    fetch(REFERENCE, baked).path.write_bytes(b"other")
    assert fetch(REFERENCE, settings).path.is_relative_to(settings.model_cache_dir)


def test_what_was_made_of_a_corrupt_file_is_thrown_away(source: Source, settings: Settings) -> None:
    """Whether the loader noticed or not, and before or after the digest was known."""

    def trusting(file: ModelFile) -> bytes:
        return file.path.read_bytes()

    def careful(file: ModelFile) -> bytes:
        file.verify()
        return file.path.read_bytes()

    def failing(file: ModelFile) -> bytes:
        if (content := file.path.read_bytes()) != CONTENT:
            raise ValueError("this is no model")
        return content

    path = fetch(REFERENCE, settings).path
    for asked, loader in enumerate((trusting, careful, failing), 2):
        path.write_bytes(b"other" * asked)
        assert load(REFERENCE, settings, loader) == CONTENT
        assert source.asked == asked


def test_what_a_loader_says_of_a_good_file_is_not_the_file_s_fault(
    source: Source, settings: Settings
) -> None:
    fetch(REFERENCE, settings)

    def failing(file: ModelFile) -> None:
        raise ModelError("a format that nobody knows")

    with pytest.raises(ModelError, match="nobody knows"):
        load(REFERENCE, settings, failing)
    assert source.asked == 1


def test_a_local_file_is_held_against_its_pin(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "m"
    with pytest.raises(ModelError, match="no such file"):
        fetch(file_reference(path), settings)
    with pytest.raises(ModelError, match="no such file"):
        fetch(file_reference(tmp_path), settings)
    path.write_bytes(CONTENT)
    found = fetch(file_reference(path), settings)
    assert (found.sha256, found.size, found.pinned) == (DIGEST, len(CONTENT), False)
    assert fetch(parse_reference(f"{path}#sha256={DIGEST}"), settings).pinned
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(Corrupt, match="has another sha256"):
        fetch(parse_reference(f"{path}#sha256={DIGEST}"), settings)


def test_another_content_is_named_before_what_a_loader_says_of_it(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    path.write_bytes(CONTENT + b"x")

    def failing(file: ModelFile) -> None:
        raise ModelError("a format that nobody knows")

    with pytest.raises(Corrupt, match="has another sha256"):
        load(parse_reference(f"{path}#sha256={DIGEST}"), settings, failing)
    with pytest.raises(ModelError, match="nobody knows"):
        load(file_reference(path), settings, failing)


def locking(tmp_path: Path, *models: dict[str, Any]) -> Path:
    path = tmp_path / "model.lock"
    path.write_text(json.dumps({"version": 1, "models": models}))
    return path


def entry(**changes: Any) -> dict[str, Any]:
    known = {"reference": str(REFERENCE), "resolved": str(RESOLVED), "size": len(CONTENT)}
    return {**known, "sha256": DIGEST, "format": "torch", **changes}


@pytest.mark.parametrize(
    "text", ["hf://owner/name/m", str(RESOLVED), f"{RESOLVED}#sha256={DIGEST}"]
)
def test_what_the_lock_lists_is_loaded_and_counts_as_pinned(
    source: Source, settings_of: Read, tmp_path: Path, text: str
) -> None:
    settings = settings_of(
        MODEL_CACHE_DIR=str(tmp_path / "cache"),
        CLASSIC_INF_MODEL_LOCK=str(locking(tmp_path, entry())),
    )
    file = fetch(parse_reference(text), settings)
    assert file.pinned and str(file.reference) == f"{RESOLVED}#sha256={DIGEST}"


@pytest.mark.parametrize(
    ("models", "text", "reason"),
    [
        ([entry()], "hf://owner/other/m", "is not in CLASSIC_INF_MODEL_LOCK"),
        ([], "hf://owner/name/m", "is not in CLASSIC_INF_MODEL_LOCK"),
        ([entry()], f"hf://owner/name/m#sha256={'0' * 64}", f"says sha256 {DIGEST}"),
        ([entry(sha256="0" * 64)], "hf://owner/name/m", f"another content, {DIGEST}"),
        ([entry()], "/etc/hostname", "is not in CLASSIC_INF_MODEL_LOCK"),
    ],
)
def test_nothing_else_is(
    source: Source, settings_of: Read, tmp_path: Path, models: Any, text: str, reason: str
) -> None:
    settings = settings_of(
        MODEL_CACHE_DIR=str(tmp_path / "cache"),
        CLASSIC_INF_MODEL_LOCK=str(locking(tmp_path, *models)),
    )
    with pytest.raises(ModelError, match=reason):
        fetch(parse_reference(text), settings)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ('{"version": 2}', "version: Input should be 1"),
        (json.dumps({"models": [entry(sha256="x")]}), "models.0.sha256"),
    ],
)
def test_a_lock_that_cannot_be_read_is_a_wrong_setting(
    source: Source, settings_of: Read, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "model.lock"
    if content is not None:
        path.write_text(content)
    settings = settings_of(CLASSIC_INF_MODEL_LOCK=str(path))
    with pytest.raises(ConfigurationError, match=f"CLASSIC_INF_MODEL_LOCK: .*{reason}"):
        fetch(REFERENCE, settings)
