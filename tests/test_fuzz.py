"""Whatever a caller sends, the answer has one of two shapes, and nothing is left behind."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handler.adapter import Adapter
from handler.app import create_app
from handler.formats import FIVE_KEYS
from handler.lifecycle import WorkflowProvider, load_workflow
from handler.settings import Settings
from handler.testing import function_url_event
from handler.workflows.torch import DEMO_MODEL
from tests.fuzz import cases

CASES = int(os.environ.get("FUZZ_CASES", "5000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261124"))
OBSERVED = ("x-request-id", "x-cold-start", "server-timing")
DEMO = DEMO_MODEL.read_bytes()
DIGEST = f"sha256={hashlib.sha256(DEMO).hexdigest()}; size={len(DEMO)}"
GROWTH_BYTES = 8 * 1024 * 1024


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def judge(body: bytes, response: Any) -> int:
    """The status of an answer that is as it should be."""
    status: int = response["statusCode"]
    answer = json.loads(response["body"])
    headers = {
        "content-type": "application/json",
        "content-length": str(len(response["body"].encode())),
    }
    if status == 200:
        headers["x-model-digest"] = DIGEST
    found = dict(response["headers"])
    assert headers.items() <= found.items()
    assert found.pop("x-model-digest", DIGEST) == DIGEST
    assert found.keys() == {*headers, *OBSERVED} - {"x-model-digest"}
    if status != 200:
        assert status in (400, 422), body
        assert answer.keys() == {"code", "name", "description"}, body
        assert answer["code"] == str(status) and len(answer["description"]) < 500, body
        return status
    assert isinstance(answer, dict) and "code" not in answer, body
    request = json.loads(body)
    destination = request.get("destination")
    if (request["source"] if destination is None else destination) == 0:
        assert answer.keys() == set(FIVE_KEYS), body
        bytes.fromhex(answer["raw_output"])
    return status


def test_no_body_is_answered_with_anything_else(
    event_loop: None,
    settings_of: Callable[..., Settings],
) -> None:
    settings = settings_of(AWS_LAMBDA_RUNTIME_API="x", INFERNET_AUTH="none")
    app = create_app(settings, WorkflowProvider(lambda: load_workflow(settings), 5))
    handler: Any = Adapter(app)
    counts: Counter[int] = Counter()
    before = 0
    for index, body in enumerate(cases(SEED, CASES)):
        counts[judge(body, handler(function_url_event(body=body, as_base64=True), None))] += 1
        if index == CASES // 2:
            before = resident()
    growth = resident() - before
    # The bodies reach every part of the service: a fuzz that only finds the door proves nothing.
    assert min(counts[200], counts[400], counts[422]) > CASES // 50, counts
    assert growth < GROWTH_BYTES, f"{growth} bytes more after the second half"
