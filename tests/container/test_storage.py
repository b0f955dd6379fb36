"""Where the weights are: fetched to an environment's own disk, or once for all, as on EFS."""

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch
from torch import nn

from handler.testing import INVOCATION_PATH, free_port, function_url_event
from handler.testing.hub import Hub, Repository, hub_server
from tests.container.conftest import Run, docker, eventually
from tests.container.test_image import READ_ONLY, TOKEN
from tests.processes import emulator

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

CONTAINERS = 8
USER = "65532:65532"  # as the access point of infra/efs.yaml has it
ROWS = [[1.0] * 256]


@pytest.fixture
def content() -> bytes:
    torch.manual_seed(0)
    whole = io.BytesIO()
    torch.save(nn.Sequential(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 4)).double(), whole)
    return whole.getvalue()


@pytest.fixture
def hub(content: bytes) -> Iterator[Hub]:
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"m.torch": content})
        yield hub


@pytest.fixture
def shared(image: str) -> Iterator[str]:
    """A volume that the service's user may write to."""
    volume = docker("volume", "create")
    options = ["--rm", "--volume", f"{volume}:/mnt/efs", "--entrypoint", "chown"]
    docker("run", *options, image, USER, "/mnt/efs")
    yield volume
    docker("volume", "rm", volume)


def started(run: Run, hub: Hub, *options: str) -> str:
    """Where a container listens that runs the function; it shares this machine's loopback."""
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "INFERNET_BEARER_TOKENS": TOKEN,
        "HF_ENDPOINT": hub.url,
        "CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model": "hf://owner/name/m.torch"}',
    }
    variables = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
    run(
        [
            *("--network", "host", *READ_ONLY, "--user", USER, *variables, *options),
            *("--volume", f"{emulator()}:/aws-lambda-rie:ro", "--entrypoint", "/aws-lambda-rie"),
        ],
        [
            *("--runtime-interface-emulator-address", address),
            *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
            *("/bin/sh", "/opt/infernet-lambda/entrypoint.sh"),
        ],
        port=None,
    )
    return f"http://{address}{INVOCATION_PATH}"


def answered(url: str) -> Any:
    request = {"source": 1, "data": {"dtype": "double", "values": ROWS}}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    event = function_url_event(body=json.dumps(request), headers=headers)

    def ask() -> httpx.Response | None:
        try:
            return httpx.post(url, json=event, timeout=120)
        except httpx.ConnectError:
            return None

    return eventually(ask).json()


def check(answer: Any, content: bytes) -> None:
    model: nn.Module = torch.load(io.BytesIO(content), weights_only=False)
    with torch.inference_mode():
        (expected,) = model(torch.tensor(ROWS, dtype=torch.double)).tolist()
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["values"][0] == pytest.approx(expected, rel=1e-9)
    assert hashlib.sha256(content).hexdigest() in answer["headers"]["x-model-digest"]


def test_containers_that_start_at_once_share_one_cache(
    shared: str, run: Run, hub: Hub, content: bytes
) -> None:
    options = ["--volume", f"{shared}:/mnt/efs", "--env", "MODEL_CACHE_DIR=/mnt/efs/models"]
    urls = [started(run, hub, *options) for _ in range(CONTAINERS)]
    with ThreadPoolExecutor(CONTAINERS) as pool:
        answers = list(pool.map(answered, urls))
    for answer in answers:
        check(answer, content)
    assert hub.sent == len(content), "fetched once for all of them"


def test_an_environment_of_its_own_fetches_to_its_own_disk(
    run: Run, hub: Hub, content: bytes
) -> None:
    urls = [started(run, hub, "--env", "MODEL_CACHE_DIR=/tmp/models") for _ in range(2)]
    for url in urls:
        check(answered(url), content)
    assert hub.sent == 2 * len(content)
