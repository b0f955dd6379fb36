"""A model file into S3, in parts, with its sha256 beside it. Only the command line uploads."""

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import ModelError
from handler.models import s3
from handler.models.cache import Progress, silent
from handler.models.file import ModelFile
from handler.models.reference import Reference

PART_BYTES = 16 * 1024 * 1024
THREADS = 4
ATTEMPTS = 5
DENIED = "access is denied: publishing needs s3:PutObject and s3:GetObject on the object"


def upload(file: ModelFile, goal: Reference, progress: Progress | None) -> tuple[Reference, int]:
    """The published object, with its version and content, and how many bytes were sent for it.

    Raises:
        ModelError: S3 refuses or cannot be reached; says why.
    """
    named = {"Bucket": goal.container, "Key": goal.path}
    try:
        client = s3.client(ATTEMPTS)
        sent = 0
        if _written(client, named).get("sha256") != file.sha256:
            sent = _send(client, named, file, progress or silent)
        head = _written(client, named)
    except (BotoCoreError, ClientError) as error:
        failure = s3.failure(error, goal, DENIED)
        raise failure if isinstance(failure, ModelError) else ModelError(str(failure)) from error
    if head.get("sha256") != file.sha256:
        raise ModelError(f"{goal}: S3 holds another file of that name by now; publish again")
    return replace(goal, version=head.get("version"), sha256=file.sha256), sent


def _written(client: Any, named: Mapping[str, str]) -> dict[str, str | None]:
    """The sha256 that an earlier upload wrote, and the version of the object; empty without one."""
    try:
        head = client.head_object(**named)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return {}
        raise
    digest = head.get("Metadata", {}).get(s3.METADATA)
    return {"sha256": digest, "version": head.get("VersionId")}


def _send(client: Any, named: Mapping[str, str], file: ModelFile, progress: Progress) -> int:
    """Sends what is not there from an upload that was interrupted; gives the bytes sent."""
    identifier, there = _under_way(client, named) or (None, {})
    if identifier is None:
        written = {"Metadata": {s3.METADATA: file.sha256}, "ChecksumAlgorithm": "SHA256"}
        identifier = client.create_multipart_upload(**named, **written)["UploadId"]
    asked = {**named, "UploadId": identifier}

    def part(number: int) -> tuple[dict[str, Any], int, int]:
        with file.path.open("rb") as content:
            content.seek((number - 1) * PART_BYTES)
            data = content.read(PART_BYTES)
        checksum = b64encode(hashlib.sha256(data).digest()).decode()
        entry = {"PartNumber": number, "ChecksumSHA256": checksum}
        known = there.get(number, {})
        if _is(known, data, checksum):
            return {**entry, "ETag": known["ETag"]}, len(data), 0
        found = client.upload_part(**asked, PartNumber=number, Body=data, ChecksumSHA256=checksum)
        return {**entry, "ETag": found["ETag"]}, len(data), len(data)

    entries, done, sent = [], 0, 0
    with ThreadPoolExecutor(THREADS) as pool:
        for entry, size, new in pool.map(part, range(1, math.ceil(file.size / PART_BYTES) + 1)):
            entries.append(entry)
            done, sent = done + size, sent + new
            progress(done, file.size)
    client.complete_multipart_upload(**asked, MultipartUpload={"Parts": entries})
    return sent


def _under_way(
    client: Any, named: Mapping[str, str]
) -> tuple[str, dict[int, dict[str, Any]]] | None:
    """The youngest upload of an object that was not finished, and the parts that it has."""
    try:
        found = client.list_multipart_uploads(Bucket=named["Bucket"], Prefix=named["Key"])
    except ClientError:
        return None  # without s3:ListBucketMultipartUploads, an upload begins anew
    uploads = [u for u in found.get("Uploads", []) if u["Key"] == named["Key"]]
    if not uploads:
        return None
    identifier = max(uploads, key=lambda upload: upload["Initiated"])["UploadId"]
    pages = client.get_paginator("list_parts").paginate(**named, UploadId=identifier)
    parts = {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}
    return identifier, parts


def _is(part: Mapping[str, Any], data: bytes, checksum: str) -> bool:
    """Whether an uploaded part holds these bytes."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return part.get("ChecksumSHA256") == checksum or part.get("ETag", "").strip('"') == md5
