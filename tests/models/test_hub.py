"""Files of the hub, by its own client, from a server that speaks its protocol and misbehaves."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from handler.deadline import bound_by
from handler.errors import ConfigurationError, ModelError
from handler.models.reference import parse_reference
from handler.models.sources import fetch
from handler.settings import Settings
from handler.testing.hub import COMMIT, Hub, Repository, hub_server

CONTENT = os.urandom(1_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "hf_a_token_that_must_not_be_seen"
Read = Callable[..., Settings]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"m.torch": CONTENT})
        hub.repositories["owner/private"] = Repository({"m.torch": CONTENT}, token=TOKEN)
        hub.repositories["owner/gated"] = Repository({"m.torch": CONTENT}, gated=True)
        # As HF_ENDPOINT does, which the client reads when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # as in the image
        yield hub


@pytest.fixture
def settings(settings_of: Read, tmp_path: Path) -> Settings:
    return settings_of(MODEL_CACHE_DIR=str(tmp_path / "cache"))


def got(settings: Settings, text: str = "hf://owner/name/m.torch") -> Any:
    return fetch(parse_reference(text), settings)


def methods(hub: Hub) -> list[str]:
    return [method for method, *_ in hub.requests]


@pytest.mark.parametrize("small", [False, True])
def test_a_branch_is_resolved_once_and_the_hub_is_asked_no_more(
    hub: Hub, settings: Settings, small: bool
) -> None:
    hub.repositories["owner/name"].small = small
    for _ in range(2):
        file = got(settings)
        assert file.path.read_bytes() == CONTENT
        assert str(file.reference) == f"hf://owner/name@{COMMIT}/m.torch#sha256={DIGEST}"
        assert not file.pinned
        assert methods(hub) == ["HEAD", "GET"]
    assert hub.requests[1][1].startswith(f"/owner/name/resolve/{COMMIT}/")
    assert got(settings, f"hf://owner/name/m.torch#sha256={DIGEST}").pinned
    got(settings, f"hf://owner/name@{COMMIT}/m.torch")
    assert methods(hub) == ["HEAD", "GET"], "the same content needs no hub by another name either"


def test_a_branch_that_moves_between_two_starts_changes_nothing_until_asked(
    hub: Hub, settings: Settings
) -> None:
    got(settings)
    moved = os.urandom(1_000_000)
    hub.repositories["owner/name"] = Repository({"m.torch": moved}, commit="f" * 40)
    assert got(settings).path.read_bytes() == CONTENT
    assert got(settings, f"hf://owner/name@{'f' * 40}/m.torch").path.read_bytes() == moved


def test_a_branch_that_moves_during_a_download_does_not_mix_two_contents(
    hub: Hub, settings: Settings
) -> None:
    moved = os.urandom(1_000_000)

    def move(done: int, total: int) -> None:
        hub.repositories["owner/name"] = Repository({"m.torch": moved}, commit="f" * 40)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(parse_reference("hf://owner/name/m.torch"), settings, move)
    assert got(settings).path.read_bytes() == moved


def test_cut_connections_and_busy_answers_are_tried_again(hub: Hub, settings: Settings) -> None:
    hub.next_statuses = [429, 503]
    hub.cut_after = 200_000
    assert got(settings).path.read_bytes() == CONTENT
    assert methods(hub) == ["HEAD"] * 3 + ["GET"] * 4 and hub.sent < 1.1 * len(CONTENT)


def test_wrong_bytes_under_the_right_digest_are_not_kept(hub: Hub, settings: Settings) -> None:
    hub.instead = CONTENT[::-1]
    with pytest.raises(ModelError, match="not those that the source says"):
        got(settings)
    assert list((settings.model_cache_dir / "sha256").iterdir()) == []
    hub.instead = None
    assert got(settings).path.read_bytes() == CONTENT


@pytest.mark.parametrize("retry_after", ["60", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_pause_that_the_caller_has_no_time_for_is_an_error_at_once(
    hub: Hub, settings: Settings, retry_after: str
) -> None:
    hub.next_statuses, hub.retry_after = [429], retry_after
    bound_by(lambda: 30.0)
    try:
        with pytest.raises(ModelError, match="the hub answered 429; tried 1 times"):
            got(settings)
    finally:
        bound_by(lambda: float("inf"))


def test_a_hub_that_says_nothing_costs_no_more_than_the_caller_has(
    hub: Hub, settings: Settings
) -> None:
    hub.pause = 5.0
    bound_by(lambda: 0.2)
    try:
        with pytest.raises(ModelError, match=r"cannot be reached \(ReadTimeout\); tried 1"):
            got(settings)
    finally:
        bound_by(lambda: float("inf"))


def test_the_token_does_not_follow_to_another_host(
    hub: Hub, settings_of: Read, tmp_path: Path
) -> None:
    settings = settings_of(MODEL_CACHE_DIR=str(tmp_path), HF_TOKEN=TOKEN)
    with hub_server() as storage:
        storage.repositories["owner/private"] = Repository({"m.torch": CONTENT})
        hub.storage = storage.url
        assert got(settings, "hf://owner/private/m.torch").path.read_bytes() == CONTENT
        assert {token for *_, token in storage.requests} == {None}
    assert {token for *_, token in hub.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("text", "token", "reason"),
    [
        ("hf://owner/private/m.torch", "", "a private one needs a token"),
        ("hf://owner/private/m.torch", "hf_wrong", "must be allowed to read it"),
        ("hf://owner/gated/m.torch", TOKEN, "the repository is gated"),
        ("hf://owner/missing/m.torch", "", "no such repository"),
        ("hf://owner/name@v9/m.torch", "", "no such revision"),
        ("hf://owner/name/missing", "", "no such file"),
        (f"hf://owner/name/m.torch#sha256={'0' * 64}", "", f"another content, {DIGEST}"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    hub: Hub, settings_of: Read, tmp_path: Path, text: str, token: str, reason: str
) -> None:
    settings = settings_of(MODEL_CACHE_DIR=str(tmp_path), HF_TOKEN=token)
    with pytest.raises(ModelError, match=reason) as raised:
        got(settings, text)
    assert len(hub.requests) == 1 and hub.sent == 0
    assert not token or token not in raised.value.description


@pytest.mark.parametrize("path", ["../../etc/passwd", "a/../../b", "/etc/passwd", "a\\..\\b"])
def test_no_file_name_leads_out_of_the_repository(settings: Settings, path: str) -> None:
    with pytest.raises(ConfigurationError, match="not a path inside it"):
        got(settings, f"hf://owner/name/{path}")
