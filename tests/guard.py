"""What a cold start imports and a warm request calls: ``python -m tests.guard`` prints it.

Run in an interpreter of its own. Counts do not depend on the machine's mood, as times do.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
DEMO = TESTS.parent / "handler" / "demo" / "request.json"
EVENT = TESTS / "events" / "function-url.json"
TOKEN = "a-token-of-the-guard"
KEPT = TESTS / "guard.json"


def measure() -> dict[str, int]:
    """Modules imported before the model and up to the first answer; calls of a warm request."""
    os.environ |= {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "INFERNET_BEARER_TOKENS": TOKEN,
        "INFERNET_LOAD": "lazy",
    }
    before = set(sys.modules)
    from handler.main import handler

    imported = set(sys.modules) - before
    event = json.loads(EVENT.read_text())
    event["body"] = DEMO.read_text()
    event["headers"]["authorization"] = f"Bearer {TOKEN}"
    assert handler(event, None)["statusCode"] == 200
    answered = set(sys.modules) - before
    for _ in range(3):  # what is cached from the second request on
        handler(event, None)
    ours = {name for name in answered if name.partition(".")[0] not in ("torch", "numpy")}
    return {
        "modules before the model": len(imported),
        "modules up to the first answer, without those of torch and numpy": len(ours),
        "Python calls of a warm request": calls(lambda: handler(event, None)),
    }


def calls(work: Callable[[], Any]) -> int:
    """How many Python functions are called."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


if __name__ == "__main__":
    # The service writes to standard output too; the last line is the guard's.
    print(json.dumps(measure()))
