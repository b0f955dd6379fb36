"""A server under load: ``python -m bench.load``.

Two workers of hypercorn serve the demo model to 64 connections, each of which asks again as soon as
it has its answer. One request in a hundred is malformed, one has no valid token. Every answer must
be the one that its request deserves; memory must not grow.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from handler.testing import free_port, wait_for_port

TOKEN = "a-token-of-the-load-run"
REQUEST = (Path(__file__).parent.parent / "handler/demo/request.json").read_bytes()
WORKERS, CONNECTIONS = 2, 64
GROWTH_BYTES = 16 * 1024 * 1024

# What is sent, and the status that it deserves.
GOOD, MALFORMED, STRANGER = (
    (REQUEST, TOKEN, 200),
    (b'{"source": 1,', TOKEN, 400),
    (REQUEST, "x", 401),
)


ASKED = [GOOD] * 100
ASKED[0], ASKED[50] = MALFORMED, STRANGER


class Run:
    """The requests of one run, in turn those of ``asked``, and what came of them."""

    def __init__(
        self, port: int, seconds: float, asked: Sequence[tuple[bytes, str, int]] = ASKED
    ) -> None:
        self.port = port
        self.asked = asked
        self.until = time.monotonic() + seconds
        self.counts: Counter[tuple[int, int]] = Counter()
        self.milliseconds: list[float] = []
        self.lost = 0
        self._numbers = itertools.count()

    async def connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while time.monotonic() < self.until:
            body, token, deserved = self.asked[next(self._numbers) % len(self.asked)]
            started = time.perf_counter()
            writer.write(
                b"POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            try:
                status, closing = await self._answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                continue
            self.milliseconds.append((time.perf_counter() - started) * 1e3)
            self.counts[deserved, status] += 1
            if closing:  # as hypercorn does after a thousand requests
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bool]:
        """The status of the next answer, and whether the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        answer = json.loads(await reader.readexactly(length))
        status = int(head.split()[1])
        assert ("code" in answer) == (status != 200)
        return status, "connection: close" in head


def resident(group: int) -> int:
    """The bytes of memory of the processes of a group."""
    pages = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and os.getpgid(int(folder.name)) == group:
            pages += int((folder / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def loaded(port: int, group: int, seconds: float) -> tuple[Run, int]:
    """A run, and by how many bytes the server grew in its second half."""
    run = Run(port, seconds)
    tasks = [asyncio.create_task(run.connection()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(seconds / 2)
    before = resident(group)
    await asyncio.gather(*tasks)
    return run, resident(group) - before


@contextlib.contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """A server as a process group of its own: its port, which ``{port}`` stands for, and group."""
    port = free_port()
    server = subprocess.Popen(
        [part.format(port=port) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_port(port)
        yield port, server.pid
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


async def throughput(
    port: int, request: tuple[bytes, str, int], connections: int, seconds: float
) -> float:
    """Answers a second, all of them as they have to be, after a third of that is not counted."""
    for duration in (seconds / 3, seconds):
        run = Run(port, duration, [request])
        await asyncio.gather(*[run.connection() for _ in range(connections)])
    assert not run.lost and run.counts.keys() == {(200, 200)}, run.counts
    return run.counts[200, 200] / seconds


SERVE = [sys.executable, "-m", "handler.cli", "serve", "--bind=127.0.0.1:{port}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    seconds = parser.parse_args().seconds
    environment = {"INFERNET_BEARER_TOKENS": TOKEN, "INFERNET_LOAD": "init"}
    with serving([*SERVE, f"--workers={WORKERS}"], environment) as (port, group):
        asyncio.run(loaded(port, group, 3))  # until both workers have their model
        run, growth = asyncio.run(loaded(port, group, seconds))
    wrong = {pair: count for pair, count in run.counts.items() if pair[0] != pair[1]}
    times = statistics.quantiles(run.milliseconds, n=100)
    print(
        f"{CONNECTIONS} connections, {WORKERS} workers, {seconds:g} s: "
        f"{sum(run.counts.values()) / seconds:.0f} answers a second, {times[49]:.1f} ms median, "
        f"{times[98]:.1f} ms at the 99th percentile; "
        + ", ".join(f"{count} x {status}" for (_, status), count in sorted(run.counts.items()))
        + f"; {run.lost} lost, {len(wrong)} kinds of wrong answers, {growth / 1e6:+.1f} MB"
    )
    sys.exit(bool(wrong or run.lost or growth > GROWTH_BYTES))


if __name__ == "__main__":
    main()
