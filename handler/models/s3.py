"""Objects in S3, through boto3.

Importing this imports boto3, 240 to 410 ms that only a download has to pay.
"""

import base64
import re
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ResponseStreamingError,
)

from handler.errors import ModelError
from handler.models.reference import SHA256, Reference
from handler.models.remote import READ_SECONDS, Checksum, Remote, Transient

PART_BYTES = 8 * 1024 * 1024
THREADS = 8
METADATA = "sha256"  # x-amz-meta-sha256, which ``publish`` writes
MD5 = re.compile('"[0-9a-f]{32}"')
DENIED = (
    "access is denied: the function's role needs s3:GetObject (with a versionId, "
    "s3:GetObjectVersion) on the object, and s3:ListBucket to be told of a missing one"
)
PROBLEMS = {
    "404": "there is no such object",
    "NoSuchKey": "there is no such object",
    "NoSuchBucket": "there is no such bucket",
    "NoSuchVersion": "the object has no such version",
    "400": "S3 refuses the request: are versionId, region and credentials right?",
    "412": "the object was replaced during the download; give its versionId",
    "301": "the bucket is in another region: set AWS_REGION",
}


def client(attempts: int = 1) -> Any:
    """An S3 client; by default it never retries by itself: its caller knows what time is left."""
    config = Config(
        connect_timeout=5,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=THREADS,
    )
    return boto3.session.Session().client("s3", config=config)


def resolve(reference: Reference) -> Remote:
    """What S3 says of an object; its current version becomes the version id, where there are any.

    Raises:
        Transient: S3 is busy or cannot be reached.
        ModelError: says which of credentials, permission, bucket, key or version is wrong.
    """
    s3: Any = None
    try:
        s3 = client()
        found = s3.head_object(**_named(reference), ChecksumMode="ENABLED")
    except (BotoCoreError, ClientError) as error:
        raise failure(error, reference) from error
    resolved = replace(reference, version=found.get("VersionId", reference.version))
    # An object without versions may be replaced while it is read.
    named = {**_named(resolved), "IfMatch": found["ETag"]}
    size = found["ContentLength"]

    def part(start: int) -> bytes:
        try:
            asked = {**named, "Range": f"bytes={start}-{min(start + PART_BYTES, size) - 1}"}
            data: bytes = s3.get_object(**asked)["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise failure(error, resolved) from error
        return data

    def chunks(start: int) -> Iterator[bytes]:
        with ThreadPoolExecutor(THREADS) as pool:
            under_way: deque[Future[bytes]] = deque()
            try:
                for position in range(start, size, PART_BYTES):
                    under_way.append(pool.submit(part, position))
                    if len(under_way) == THREADS:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    return Remote(resolved, size, checksum(found), chunks)


def _named(reference: Reference) -> dict[str, str]:
    named = {"Bucket": reference.container, "Key": reference.path}
    return {**named, "VersionId": reference.version} if reference.version else named


def checksum(head: Mapping[str, Any]) -> Checksum | None:
    """What is known of an object's whole content: what ``publish`` wrote, or what S3 keeps."""
    if SHA256.fullmatch(written := head.get("Metadata", {}).get(METADATA, "")):
        return Checksum("sha256", written)
    # Of an upload in parts, S3 often keeps the checksum of the parts' checksums only.
    in_parts = "-" in head["ETag"]
    if head.get("ChecksumType") == "FULL_OBJECT" or not in_parts:
        for algorithm in ("sha256", "sha1", "crc32"):
            if value := head.get(f"Checksum{algorithm.upper()}"):
                return Checksum(algorithm, base64.b64decode(value).hex())
    # Unless the object is encrypted with a key of KMS, this is the content's MD5.
    if MD5.fullmatch(head["ETag"]) and "kms" not in head.get("ServerSideEncryption", ""):
        return Checksum("md5", head["ETag"].strip('"'))
    return None


def failure(error: Exception, reference: Reference, denied: str = DENIED) -> Exception:
    """What went wrong: Transient, or a ModelError that says what to change."""
    if isinstance(error, HTTPClientError | ResponseStreamingError):
        reason = type(error).__name__
        return Transient(f"it is not in MODEL_CACHE_DIR, and S3 cannot be reached ({reason})")
    if isinstance(error, NoCredentialsError):
        return ModelError(f"model {reference}: there are no AWS credentials")
    if not isinstance(error, ClientError):
        return ModelError(f"model {reference}: boto3 failed with {type(error).__name__}")
    code = error.response["Error"]["Code"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status == 429 or status >= 500:
        headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
        pause = headers.get("retry-after", "")
        return Transient(f"S3 answered {status}", float(pause) if pause.isdigit() else None)
    if status == 403:
        return ModelError(f"model {reference}: {denied}")
    problem = PROBLEMS.get(code) or PROBLEMS.get(str(status)) or f"S3 answered {code}"
    return ModelError(f"model {reference}: {problem}")
