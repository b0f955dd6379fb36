"""Containers of the image that start at once and fetch one model into one folder."""

import io
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from bench.figures import PLOTS, plot, summary, table
from bench.rows import BEARER, TOKEN
from handler.testing import INVOCATION_PATH, free_port, function_url_event, wait_for_port
from handler.testing.hub import Hub, Repository, hub_server
from tests.container.conftest import docker

ROOT = Path(__file__).parent.parent
IMAGE = "infernet-growth"
USER = "65532:65532"  # as the access point of infra/efs.yaml has it
COUNTS = (1, 2, 4, 8, 16)
RUNS = 3
BUILD_SECONDS, ANSWER_SECONDS = 1800, 240
WIDTH = 256


class Start(NamedTuple):
    """What it took to start some environments at once: ms from the start of all, bytes."""

    first: float
    last: float
    cpu: float
    fetched: int


def environments(emulator: Path) -> None:
    """Containers of the image that fetch one model of 20 MB into one folder."""
    tag = ("build", "--quiet", "--tag", IMAGE, "--file", str(ROOT / "Dockerfile.lambda"))
    docker(*tag, str(ROOT), timeout=BUILD_SECONDS)
    whole = io.BytesIO()
    model = nn.Sequential(nn.Linear(WIDTH, 10_000), nn.ReLU(), nn.Linear(10_000, 1)).double()
    torch.save(model, whole)
    size = len(whole.getvalue())
    starts = defaultdict(list)
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"m.torch": whole.getvalue()})
        at_once(1, emulator, hub)  # fills the page cache: not counted
        for _ in range(RUNS):
            for count in COUNTS:
                starts[count].append(at_once(count, emulator, hub))
    samples = {
        "last answer": {n: [x.last for x in found] for n, found in starts.items()},
        "first answer": {n: [x.first for x in found] for n, found in starts.items()},
        "CPU time of all": {n: [x.cpu for x in found] for n, found in starts.items()},
    }
    fetched = {n: max(x.fetched for x in found) for n, found in starts.items()}
    rows = [
        [str(n), *(summary(of[n]) for of in samples.values()), f"{fetched[n] / size:.2f}"]
        for n in COUNTS
    ]
    head = ["environments", *(f"{name}, ms" for name in samples), "files fetched, at most"]
    table(head, rows)
    plot(PLOTS / "environments.png", "environments that start at once", samples)


def at_once(count: int, emulator: Path, hub: Hub) -> Start:
    """Starts so many, each of which has to answer one request."""
    hub.sent = 0
    with created(count, emulator, hub) as ports, ThreadPoolExecutor(count) as pool:
        started = time.perf_counter()

        def answered(identifier: str) -> float:
            docker("start", identifier, timeout=ANSWER_SECONDS)
            ask(ports[identifier])
            return (time.perf_counter() - started) * 1e3

        times = list(pool.map(answered, ports))
        return Start(min(times), max(times), sum(map(cpu_ms, ports)), hub.sent)


def ask(port: int) -> None:
    """Has one prediction of the function that listens at a port, or will soon."""
    request = {"source": 1, "data": {"dtype": "double", "values": [[1.0] * WIDTH]}}
    event = json.dumps(function_url_event(body=json.dumps(request), headers=BEARER))
    wait_for_port(port, ANSWER_SECONDS)
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    connection.request("POST", INVOCATION_PATH, event)
    answer = json.loads(connection.getresponse().read())
    assert answer["statusCode"] == 200, answer


@contextmanager
def created(count: int, emulator: Path, hub: Hub) -> Iterator[dict[str, int]]:
    """Containers that have yet to be started, and the port of each on this machine's loopback.

    They share a volume, which is empty.
    """
    volume = docker("volume", "create")
    at_volume = ("--volume", f"{volume}:/mnt/efs")
    ports: set[int] = set()
    while len(ports) < 2 * count:
        ports.add(free_port())
    containers: dict[str, int] = {}
    try:
        docker("run", "--rm", *at_volume, "--entrypoint", "chown", IMAGE, USER, "/mnt/efs")
        for _ in range(count):
            port, api = ports.pop(), ports.pop()
            containers[create(emulator, hub, port, api, *at_volume)] = port
        yield containers
    finally:
        for identifier in containers:
            docker("rm", "--force", identifier)
        docker("volume", "rm", volume)


def create(emulator: Path, hub: Hub, port: int, api: int, *options: str) -> str:
    environment = {
        "INFERNET_BEARER_TOKENS": TOKEN,
        "HF_ENDPOINT": hub.url,
        "MODEL_CACHE_DIR": "/mnt/efs/models",
        "CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model": "hf://owner/name/m.torch"}',
    }
    return docker(
        *("create", "--network", "host", "--read-only", "--tmpfs", "/tmp", "--user", USER),
        *(word for pair in environment.items() for word in ("--env", "=".join(pair))),
        *(*options, "--volume", f"{emulator}:/rie:ro", "--entrypoint", "/rie", IMAGE),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api}"),
        *("/bin/sh", "/opt/infernet-lambda/entrypoint.sh"),
    )


def cpu_ms(identifier: str) -> float:
    """What the processes of a container have had of a CPU so far."""
    pids = docker("top", identifier, "-eo", "pid").split()[1:]
    # The process's name, which is in brackets, may hold blanks; user and system time come 11 later.
    stats = [Path("/proc", pid, "stat").read_text().rpartition(")")[2].split() for pid in pids]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)
    return ticks / os.sysconf("SC_CLK_TCK") * 1e3
