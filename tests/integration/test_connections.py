"""Clients of a server that send slowly, too much, too early, or stop in the middle."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.test_server import Serve, Server, later, serve

pytestmark = pytest.mark.integration
__all__ = ["serve"]

CONNECTIONS = 80  # more than a worker has slots
BODY = json.dumps({"source": 1, "data": {"seconds": 0}}).encode()


def head(length: int, *lines: str) -> bytes:
    headers = ["POST /service_output HTTP/1.1", "Host: x", f"Content-Length: {length}", *lines]
    return ("\r\n".join(headers) + "\r\n\r\n").encode()


@contextmanager
def connections(server: Server, count: int = CONNECTIONS) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        yield [
            stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(count)
        ]


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes; it may do so while there is something unread."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def assert_answers(server: Server) -> None:
    assert server.ask({"seconds": 0}, timeout=5).json() == {"seconds": 0}
    assert server.health()["status"] == "ok"


def open_files(server: Server) -> int:
    return sum(len(list(Path(f"/proc/{worker}/fd").iterdir())) for worker in server.workers())


def test_headers_that_drip_in_are_cut_off(serve: Serve, log: Path) -> None:
    with serve(workers=1) as server, connections(server) as slow:
        for connection in slow:
            connection.sendall(b"POST /service_output HTTP/1.1\r\n")
        ended = time.monotonic() + 8
        while time.monotonic() < ended:
            for connection in slow:
                try:
                    connection.send(b"x: y\r\n")
                except OSError:
                    continue
            assert_answers(server)
            time.sleep(0.5)
        for connection in slow:
            with pytest.raises(OSError):
                for _ in range(3):
                    connection.sendall(b"x: y\r\n")
                    time.sleep(0.05)
        assert_answers(server)
    assert "Traceback" not in log.read_text()


def test_bodies_that_drip_in_take_no_slot(serve: Serve, log: Path) -> None:
    with serve(workers=1) as server, connections(server) as slow:
        for connection in slow:
            connection.sendall(head(len(BODY)) + BODY[:5])
        for position in range(5, 9):
            for connection in slow:
                connection.sendall(BODY[position : position + 1])
            assert_answers(server)
        slow[0].sendall(BODY[9:])
        assert slow[0].recv(65536).startswith(b"HTTP/1.1 200"), "slow is not refused"
    assert "Traceback" not in log.read_text()


def test_clients_that_stop_in_the_middle(serve: Serve, log: Path) -> None:
    with serve(workers=1) as server:
        before = open_files(server)
        for how in (socket.SHUT_WR, socket.SHUT_RDWR):
            for sent in (b"", b"POST /serv", head(len(BODY)), head(len(BODY)) + BODY[:5]):
                with connections(server, 20) as half:
                    for connection in half:
                        connection.sendall(sent)
                        connection.shutdown(how)
                    assert_answers(server)
        with connections(server, 20) as gone:
            for connection in gone:
                connection.sendall(head(len(BODY)) + BODY)
        assert_answers(server)
        deadline = time.monotonic() + 15
        while open_files(server) > before + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert open_files(server) <= before + 2, "their connections are closed"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("token", ["", "a-token-of-the-tests"])
def test_oversized_requests(serve: Serve, log: Path, token: str) -> None:
    """Refused from their headers; whatever is sent after that ends with the connection."""
    status = b"HTTP/1.1 401" if token else b"HTTP/1.1 413"
    with serve(workers=1, INFERNET_BEARER_TOKENS=token) as server:
        before = open_files(server)
        with connections(server, 20) as large:
            for connection in large:
                connection.sendall(head(10**9))
            for connection in large:
                assert read_all(connection).startswith(status)
        with connections(server, 4) as pouring:
            for connection in pouring:
                pour(connection, head(10**9), 20_000_000)
            assert server.health()["status"] == "ok"
        with connections(server, 20) as headers:
            for connection in headers:
                connection.sendall(b"GET / HTTP/1.1\r\nx: " + b"x" * 100_000)
                assert not read_all(connection).startswith(b"HTTP/1.1 200")
        deadline = time.monotonic() + 15
        while open_files(server) > before + 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert open_files(server) <= before + 2, "their connections are closed"
        assert server.health()["status"] == "ok"
    assert "Traceback" not in log.read_text()


def read_answer(connection: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        received += connection.recv(65536)
    return received


def test_a_refusal_is_answered_before_its_body_and_keeps_the_connection(serve: Serve) -> None:
    """A node with a wrong token must see the 401, not a connection that breaks."""
    token = "a-token-of-the-tests"
    with (
        serve(workers=1, INFERNET_BEARER_TOKENS=token) as server,
        connections(server, 5) as refused,
    ):
        for connection in refused:
            for _ in range(3):
                connection.sendall(head(len(BODY)))
                assert read_answer(connection).startswith(b"HTTP/1.1 401")
                connection.sendall(BODY)
            connection.sendall(head(len(BODY), f"Authorization: Bearer {token}") + BODY)
            assert read_answer(connection).endswith(b'{"seconds":0}')
        url, headers = f"{server.url}/service_output", {"Authorization": "Bearer wrong"}
        with httpx.Client(headers=headers, timeout=30) as client:
            for size in (10, 2000, 100_000, 6_000_000) * 3:
                assert client.post(url, content=b"x" * size).status_code == 401
                assert client.get(f"{server.url}/nothing").status_code == 404


def pour(connection: socket.socket, first: bytes, count: int) -> None:
    """Sends without reading, until the server has had enough."""
    try:
        connection.sendall(first)
        for _ in range(count // 65536):
            connection.sendall(b"x" * 65536)
    except OSError:
        pass


def test_pipelined_requests_are_answered_in_their_order(serve: Serve, log: Path) -> None:
    requests, seconds = b"", [0.3, 0, 0.1, 0]
    for index, pause in enumerate(seconds):
        body = json.dumps({"source": 1, "data": {"seconds": pause, "index": index}}).encode()
        last = ["Connection: close"] if index == len(seconds) - 1 else []
        requests += head(len(body), *last) + body
    with serve(workers=1) as server, connections(server, 5) as pipelines:
        for connection in pipelines:
            connection.sendall(requests)
        assert_answers(server)
        for connection in pipelines:
            received = read_all(connection)
            assert received.count(b"HTTP/1.1 200") == len(seconds)
            places = [received.index(b'"index":%d' % index) for index in range(len(seconds))]
            assert places == sorted(places)
    assert "Traceback" not in log.read_text()


def test_a_prediction_is_longer_than_an_idle_connection_may_be(serve: Serve) -> None:
    """The time-outs are for silence before a request, not for the wait for its answer."""
    with serve(workers=1) as server:
        assert server.ask({"seconds": 6}).json() == {"seconds": 6}


def test_beyond_its_concurrency_a_server_refuses_at_once(serve: Serve) -> None:
    with serve(workers=1, INFERNET_MAX_CONCURRENCY="2") as server:
        flights = [later(lambda: server.ask({"seconds": 2})) for _ in range(2)]
        started = time.monotonic()
        refused = server.ask({"seconds": 0})
        assert refused.status_code == 503 and refused.json()["code"] == "503"
        assert refused.headers["retry-after"] == "1"
        assert not any(answers for _, answers in flights) and time.monotonic() - started < 2
        for thread, answers in flights:
            thread.join(30)
            assert answers[0].status_code == 200
        assert_answers(server)


def test_a_crowd_loses_no_answer(serve: Serve) -> None:
    """Every request is answered, with its result or with the refusal of a full server."""
    with serve(workers=2, INFERNET_MAX_CONCURRENCY="4") as server:
        responses: list[httpx.Response] = []
        crowd = [
            threading.Thread(target=lambda: responses.append(server.ask({"seconds": 0.2})))
            for _ in range(40)
        ]
        for caller in crowd:
            caller.start()
        for caller in crowd:
            caller.join(30)
    statuses = [response.status_code for response in responses]
    assert len(statuses) == 40 and set(statuses) == {200, 503}
