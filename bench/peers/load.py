"""Connections that ask a server again as soon as they have its answer."""

import asyncio
import http.client
import json
import statistics
import time
from typing import Any, NamedTuple

import numpy as np

from bench.peers.peers import Peer, Rows
from bench.peers.server import Failed, Server

CONNECTIONS = 16
# Until caches are filled and whatever starts late has started; what is answered then is checked,
# but not counted.
WARM_SECONDS = 2.0
# Then a request counts as lost.
ANSWER_SECONDS = 30.0


class Figures(NamedTuple):
    """What one server did."""

    a_second: float
    median_ms: float
    slowest_ms: float
    """99 of 100 are faster."""
    start_seconds: float
    megabytes: float
    lost: int


class Exchange:
    """What a server is asked, and whether an answer is right."""

    def __init__(self, peer: Peer, rows: Rows, expected: np.ndarray[Any, Any]) -> None:
        self.path = peer.path
        self.headers = {"Content-Type": "application/json", **peer.headers}
        self.body = json.dumps(peer.body(rows)).encode()
        self._values = peer.values
        self._expected = expected
        lines = {"Host": "127.0.0.1", **self.headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.request = f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body

    def right(self, status: int, body: bytes) -> bool:
        """Whether the values are the model's, in double precision."""
        try:
            values = np.array(self._values(json.loads(body)), dtype=float).reshape(-1)
            return status == 200 and np.allclose(values, self._expected.reshape(-1), 1e-9, 1e-12)
        except (LookupError, TypeError, ValueError):
            return False


class Run:
    """The answers of one run."""

    def __init__(self, port: int, request: bytes, seconds: float) -> None:
        self.port = port
        self.request = request
        self.counted_from = time.perf_counter() + WARM_SECONDS
        self.until = self.counted_from + seconds
        self.milliseconds: list[float] = []
        # Checked after the run, so that checking does not take the server's time.
        self.answers: list[tuple[int, bytes]] = []
        self.lost = 0

    async def connection(self) -> asyncio.StreamWriter | None:
        """Asks until the time is over; the connection stays open, if there is one."""
        streams = None
        while (started := time.perf_counter()) < self.until:
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self.port)
                streams[1].write(self.request)
                async with asyncio.timeout(ANSWER_SECONDS):
                    closing = await self._answer(streams[0], started)
            except (OSError, asyncio.IncompleteReadError):
                self.lost += 1
                closing = True
                await asyncio.sleep(0.01)  # or a server that is gone would be asked a million times
            if closing and streams:
                streams[1].close()
                streams = None
        return streams and streams[1]

    async def _answer(self, reader: asyncio.StreamReader, started: float) -> bool:
        """Whether the connection ends with the answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        if not length:
            raise Failed("its answers do not tell their length")
        body = await reader.readexactly(int(length))
        ended = time.perf_counter()
        self.answers.append((int(head.split()[1]), body))
        if self.counted_from <= ended < self.until:
            self.milliseconds.append((ended - started) * 1e3)
        return "connection: close" in head


async def loaded(server: Server, request: bytes, seconds: float) -> tuple[Run, int]:
    """A run, and the peak memory of the server before it sees a connection end."""
    run = Run(server.port, request, seconds)
    writers = await asyncio.gather(*(run.connection() for _ in range(CONNECTIONS)))
    peak = server.peak_memory()
    for writer in writers:
        if writer:
            writer.close()
    return run, peak


def first_answer(server: Server, exchange: Exchange) -> float:
    """The seconds from a server's start to its first right answer."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request("POST", exchange.path, exchange.body, exchange.headers)
            response = connection.getresponse()
            if exchange.right(response.status, response.read()):
                return time.perf_counter() - server.started
        except (OSError, http.client.HTTPException):
            pass  # it does not listen yet
        finally:
            connection.close()
        server.check()
        time.sleep(0.02)


def measured(server: Server, rows: Rows, expected: np.ndarray[Any, Any], seconds: float) -> Figures:
    """The figures of a server.

    Raises:
        Failed: there are none.
    """
    with server:
        exchange = Exchange(server.peer, rows, expected)
        start_seconds = first_answer(server, exchange)
        run, peak = asyncio.run(loaded(server, exchange.request, seconds))
    wrong = sum(not exchange.right(*answer) for answer in run.answers)
    if wrong:
        raise Failed(f"{wrong} of {len(run.answers)} answers are wrong")
    if len(run.milliseconds) < 2:
        raise Failed(f"no answer under load, {run.lost} connections lost")
    times = statistics.quantiles(run.milliseconds, n=100)
    rate = len(run.milliseconds) / seconds
    return Figures(rate, times[49], times[98], start_seconds, peak / 1e6, run.lost)
