"""The cache against a source that is a function: what is kept, resumed, refused and removed."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ModelError
from handler.models import cache as cache_module
from handler.models.cache import DAY_SECONDS, Cache
from handler.models.reference import Reference, parse_reference
from handler.models.remote import Checksum, Remote, Transient

CONTENT = os.urandom(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = parse_reference("hf://owner/name/m.torch")
RESOLVED = parse_reference(f"hf://owner/name@{COMMIT}/m.torch")
BLOCK = 100_000


class Source:
    """A source that sends blocks, and counts them; ``fail_at`` fails once at each position."""

    def __init__(self, content: bytes = CONTENT, *, fail_at: tuple[int, ...] = ()) -> None:
        self.content = content
        self.fail_at = list(fail_at)
        self.sent = 0

    def chunks(self, start: int) -> Iterator[bytes]:
        for position in range(start, len(self.content), BLOCK):
            if self.fail_at and position >= self.fail_at[0]:
                self.fail_at.pop(0)
                raise Transient("cut", 0.0)
            block = self.content[position : position + BLOCK]
            self.sent += len(block)
            yield block

    def remote(self, checksum: Checksum | None = None, size: int | None = None) -> Remote:
        size = len(self.content) if size is None else size
        return Remote(RESOLVED, size, checksum, self.chunks)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def names(cache: Cache) -> list[str]:
    return sorted(path.name for path in (cache.folder / "sha256").iterdir())


def test_what_was_fetched_is_found_by_what_was_asked_for_and_by_its_commit(cache: Cache) -> None:
    assert cache.find(REFERENCE) is None
    seen: list[tuple[int, int]] = []
    added = cache.add(REFERENCE, Source().remote(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) == 30
    for reference in (REFERENCE, RESOLVED):
        found = cache.find(reference)
        assert found is not None and found.intact
        assert found.path == added.path and found.path.read_bytes() == CONTENT
        assert str(found.reference) == f"{RESOLVED}#sha256={DIGEST}"
        assert found.description == f"sha256={DIGEST}; size={len(CONTENT)}; version={COMMIT}"
    assert names(cache) == [DIGEST], "nothing but the file is left"


@pytest.mark.parametrize(
    "checksum",
    [
        None,
        Checksum("sha256", DIGEST),
        Checksum("sha1", hashlib.sha1(CONTENT).hexdigest()),
        Checksum("md5", hashlib.md5(CONTENT).hexdigest()),
        Checksum("crc32", f"{__import__('zlib').crc32(CONTENT):08x}"),
        Checksum("git", hashlib.sha1(b"blob 3000000\0" + CONTENT).hexdigest()),
    ],
)
def test_every_checksum_of_a_source_is_held_against_the_bytes(
    cache: Cache, checksum: Checksum | None
) -> None:
    assert cache.add(REFERENCE, Source().remote(checksum)).sha256 == DIGEST
    if checksum is not None:
        wrong, other = Source(CONTENT[:-1] + b"x"), Cache(cache.folder / "other")
        with pytest.raises(ModelError, match="not those that the source says"):
            other.add(REFERENCE, wrong.remote(checksum))
        assert names(other) == [] and wrong.sent == 2 * len(CONTENT), "tried anew once"


def test_a_cut_connection_goes_on_where_it_ended(cache: Cache) -> None:
    source = Source(fail_at=(500_000, 500_000, 1_200_000, 2_900_000))
    assert cache.add(REFERENCE, source.remote()).sha256 == DIGEST
    assert source.sent == len(CONTENT), "no byte came twice"


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT + CONTENT])
def test_a_source_that_sends_more_than_it_said_is_not_believed(
    cache: Cache, content: bytes
) -> None:
    with pytest.raises(ModelError, match="not those that the source says"):
        cache.add(REFERENCE, Source(content).remote(size=len(CONTENT)))
    assert names(cache) == []


def test_what_a_dead_process_left_is_gone_on_with(cache: Cache) -> None:
    broken = Source(fail_at=(2_000_000,))

    def die(done: int, total: int) -> None:
        if done >= 1_500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.add(REFERENCE, broken.remote(), die)
    assert len(names(cache)) == 1
    source = Source()
    assert cache.add(REFERENCE, source.remote()).sha256 == DIGEST
    assert source.sent == len(CONTENT) - 1_500_000 and names(cache) == [DIGEST]


def test_what_is_left_of_another_content_is_thrown_away(cache: Cache) -> None:
    cache.add(REFERENCE, Source().remote())
    (cache.folder / "sha256" / DIGEST).rename(
        cache.folder / "sha256" / f"{cache_module._key(RESOLVED)}.x.part"
    )
    content = CONTENT[::-1]
    digest = hashlib.sha256(content).hexdigest()
    found = cache.add(REFERENCE, Source(content).remote(Checksum("sha256", digest)))
    assert found.sha256 == digest and names(cache) == [digest]


def test_a_part_that_is_taken_over_while_it_is_written_is_begun_anew(cache: Cache) -> None:
    moved = 0

    def take_over(done: int, total: int) -> None:
        nonlocal moved
        if done == total and not moved:
            moved += 1
            (part,) = (cache.folder / "sha256").glob("*.part")
            part.unlink()

    assert cache.add(REFERENCE, Source().remote(), take_over).sha256 == DIGEST
    assert moved == 1 and names(cache) == [DIGEST]


def test_another_content_than_the_pinned_one_is_refused(cache: Cache) -> None:
    pinned = parse_reference(f"hf://owner/name/m.torch#sha256={'0' * 64}")
    with pytest.raises(ModelError, match=f"another content, {DIGEST}"):
        cache.add(pinned, Source().remote())
    assert cache.find(pinned) is None


def test_a_corrupt_file_is_not_intact_and_can_be_put_away(cache: Cache) -> None:
    path = cache.add(REFERENCE, Source().remote()).path
    path.write_bytes(CONTENT[:-1] + b"x")
    found = cache.find(REFERENCE)
    assert found is not None and not found.intact
    cache.quarantine(found)
    assert cache.find(REFERENCE) is None and names(cache) == [f"{DIGEST}.corrupt"]


@pytest.mark.parametrize("record", ["", "{", "[]", '{"resolved": 1}', '{"resolved": "gs://x"}'])
def test_a_record_that_cannot_be_read_is_none(cache: Cache, record: str) -> None:
    cache.add(REFERENCE, Source().remote())
    for path in (cache.folder / "references").iterdir():
        path.write_text(record)
    assert cache.find(REFERENCE) is None
    assert cache.add(REFERENCE, Source().remote(Checksum("sha256", DIGEST))).sha256 == DIGEST
    assert cache.find(REFERENCE) is not None


@pytest.fixture
def with_space(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def limit(free: int) -> None:
        usage = shutil.disk_usage("/")._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return limit


def test_space_is_looked_at_before_the_first_byte(
    cache: Cache, with_space: Callable[[int], None]
) -> None:
    source = Source()
    with_space(2_999_999)
    with pytest.raises(ModelError) as raised:
        cache.add(REFERENCE, source.remote())
    description = raised.value.description
    for named in ("3,000,000 bytes", "2,999,999 free", "EphemeralStorageSize", "MODEL_CACHE_DIR"):
        assert named in description
    assert source.sent == 0 and names(cache) == []
    with_space(3_000_000)
    assert cache.add(REFERENCE, source.remote()).sha256 == DIGEST


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_meanwhile_keeps_no_part(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, "full")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(ModelError, match="EphemeralStorageSize"):
        cache.add(REFERENCE, Source().remote())
    assert names(cache) == []


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"MODEL_CACHE_DIR \(.*\) cannot be used: Not a directory"):
        Cache(tmp_path / "file" / "cache").add(REFERENCE, Source().remote())


def test_what_is_older_than_a_day_is_swept(cache: Cache) -> None:
    cache.add(REFERENCE, Source().remote())
    files = cache.folder / "sha256"
    old, young = files / "a.b.part", files / "c.d.part"
    corrupt, record = files / f"{'0' * 64}.corrupt", cache.folder / "references" / "x.y.part"
    for path in (old, young, corrupt, record):
        path.write_text("")
    past = time.time() - DAY_SECONDS - 1
    for path in (old, corrupt, record, files / DIGEST):
        os.utime(path, (past, past))
    other: Any = Reference("hf", "other", "owner/name", COMMIT)
    cache.add(other, Remote(other, 1, None, lambda _: iter([b"x"])))
    assert not old.exists() and not corrupt.exists() and not record.exists()
    assert young.exists() and (files / DIGEST).exists()
