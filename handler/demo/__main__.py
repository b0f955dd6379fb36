"""The main job, shown: the demo model behind the real Lambda runtime interface.

``python -m handler.demo PATH_OF_AWS_LAMBDA_RIE``
"""

import argparse
import json
import secrets
import time
from pathlib import Path

from handler.testing import LambdaEmulator, function_url_event

REQUEST = Path(__file__).parent / "request.json"
WARM_REQUESTS = 50


def main() -> None:
    """Sends the sample request as function URL events; prints it, its answer and the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    emulator = parser.parse_args().emulator
    token = secrets.token_urlsafe(24)
    headers = {"Authorization": f"Bearer {token}"}
    event = function_url_event(body=REQUEST.read_text(), headers=headers)
    started = time.perf_counter()
    with LambdaEmulator(emulator, {"INFERNET_BEARER_TOKENS": token}) as service:
        response = service.invoke(event)
        cold = time.perf_counter() - started
        warm = []
        for _ in range(WARM_REQUESTS):
            started = time.perf_counter()
            assert service.invoke(event)["body"] == response["body"]
            warm.append(time.perf_counter() - started)
    print(
        "POST /service_output", "Authorization: Bearer ...", REQUEST.read_text().strip(), sep="\n"
    )
    print(f"\n{response['statusCode']}", response["body"], sep="\n")
    print(f"\ncold start, emulator start to first answer: {cold * 1000:.0f} ms")
    print(f"warm, through the emulator: {sorted(warm)[WARM_REQUESTS // 2] * 1000:.1f} ms")
    answer = json.loads(response["body"])
    assert response["statusCode"] == 200 and answer["shape"] == [3, 3], "the demo failed"


if __name__ == "__main__":
    main()
