"""Objects of S3, by boto3, from moto's server over HTTP."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.errors import ModelError
from handler.models import s3
from handler.models.reference import parse_reference
from handler.models.remote import Checksum
from handler.models.sources import fetch
from handler.settings import Settings
from tests.servers import aws_server, credentials

CONTENT = os.urandom(20_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Read = Callable[..., Settings]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws_server() as url:
        yield url


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in credentials(endpoint).items():
        monkeypatch.setenv(name, value)
    return boto3.client("s3")


@pytest.fixture
def bucket(client: Any) -> Iterator[str]:
    client.create_bucket(Bucket="models")
    yield "models"
    versions = client.list_object_versions(Bucket="models")
    for found in versions.get("Versions", []) + versions.get("DeleteMarkers", []):
        client.delete_object(Bucket="models", Key=found["Key"], VersionId=found["VersionId"])
    client.delete_bucket(Bucket="models")


@pytest.fixture
def settings(settings_of: Read, tmp_path: Path) -> Settings:
    return settings_of(MODEL_CACHE_DIR=str(tmp_path / "cache"))


def test_an_object_comes_in_parallel_ranges(
    client: Any, bucket: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_object(Bucket=bucket, Key="a/m.onnx", Body=CONTENT, ChecksumAlgorithm="SHA256")
    monkeypatch.setattr(s3, "PART_BYTES", 1_000_000)
    file = fetch(parse_reference(f"s3://{bucket}/a/m.onnx"), settings)
    assert file.path.read_bytes() == CONTENT
    assert str(file.reference) == f"s3://{bucket}/a/m.onnx#sha256={DIGEST}"
    client.delete_object(Bucket=bucket, Key="a/m.onnx")
    assert fetch(parse_reference(f"s3://{bucket}/a/m.onnx"), settings).path == file.path


def test_a_download_goes_on_from_where_it_was(
    client: Any, bucket: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_object(Bucket=bucket, Key="m", Body=CONTENT)
    monkeypatch.setattr(s3, "PART_BYTES", 1_000_000)
    reference = parse_reference(f"s3://{bucket}/m")

    def die(done: int, total: int) -> None:
        if done >= 10_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(reference, settings, die)
    seen: list[int] = []
    assert fetch(reference, settings, lambda done, _: seen.append(done)).sha256 == DIGEST
    assert seen[:9] == [(i + 1) * 1024 * 1024 for i in range(9)], "read back from the disk first"


def test_a_version_is_resolved_and_stays(client: Any, bucket: str, settings: Settings) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key="m", Body=b"first")["VersionId"]
    second = client.put_object(Bucket=bucket, Key="m", Body=b"second")["VersionId"]
    current = fetch(parse_reference(f"s3://{bucket}/m"), settings)
    assert current.path.read_bytes() == b"second" and f"versionId={second}" in str(
        current.reference
    )
    older = fetch(parse_reference(f"s3://{bucket}/m?versionId={first}"), settings)
    assert older.path.read_bytes() == b"first"


def test_an_object_that_is_replaced_meanwhile_is_not_mixed(
    client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_object(Bucket=bucket, Key="m", Body=CONTENT)
    monkeypatch.setattr(s3, "PART_BYTES", 1_000_000)
    remote = s3.resolve(parse_reference(f"s3://{bucket}/m"))
    client.put_object(Bucket=bucket, Key="m", Body=CONTENT[::-1])
    with pytest.raises(ModelError, match="replaced during the download"):
        list(remote.chunks(0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3://models/missing", "no such object"),
        ("s3://nowhere-at-all/m", "no such"),
        ("s3://models/m?versionId=nonsense", "S3 refuses the request|no such"),
    ],
)
def test_what_is_missing_is_named(
    client: Any, bucket: str, settings: Settings, text: str, reason: str
) -> None:
    client.put_object(Bucket=bucket, Key="m", Body=b"x")
    with pytest.raises(ModelError, match=reason):
        fetch(parse_reference(text), settings)


def test_a_denied_object_names_the_permission(
    client: Any, bucket: str, settings: Settings, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    client.put_object(Bucket=bucket, Key="m", Body=b"x")
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0")
    try:
        with pytest.raises(ModelError, match="s3:GetObject") as raised:
            fetch(parse_reference(f"s3://{bucket}/m"), settings)
        assert "testing" not in raised.value.description
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="10000000")


def test_credentials_that_are_not_there_are_named(
    settings: Settings, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(ModelError, match="no AWS credentials"):
        fetch(parse_reference("s3://models/m"), settings)


MD5 = hashlib.md5(b"x").hexdigest()
WHOLE, PARTS = {"ETag": f'"{MD5}"'}, {"ETag": f'"{MD5}-7"'}


@pytest.mark.parametrize(
    ("head", "checksum"),
    [
        (WHOLE, Checksum("md5", MD5)),
        ({**WHOLE, "ServerSideEncryption": "aws:kms"}, None),
        (PARTS, None),
        ({**WHOLE, "ChecksumSHA256": "AAAA"}, Checksum("sha256", "000000")),
        ({**WHOLE, "ChecksumCRC32": "AAAA"}, Checksum("crc32", "000000")),
        (
            {**PARTS, "ChecksumCRC32": "AAAA", "ChecksumType": "FULL_OBJECT"},
            Checksum("crc32", "0" * 6),
        ),
        ({**PARTS, "ChecksumSHA256": "AAAA-7", "ChecksumType": "COMPOSITE"}, None),
        (
            {**PARTS, "ChecksumSHA256": "AAAA", "Metadata": {"sha256": DIGEST}},
            Checksum("sha256", DIGEST),
        ),
        ({**PARTS, "Metadata": {"sha256": "something"}}, None),
    ],
)
def test_the_checksum_that_s3_keeps(head: Any, checksum: Checksum | None) -> None:
    assert s3.checksum(head) == checksum
