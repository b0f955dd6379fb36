"""A Hugging Face hub on the loopback interface: what its client asks of the real one, in small."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

BLOCK_BYTES = 64 * 1024
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Repository:
    """A repository with one commit, which ``main`` and other names of it denote."""

    files: dict[str, bytes]
    token: str | None = None
    gated: bool = False
    commit: str = COMMIT
    names: tuple[str, ...] = ("main",)
    # Kept in git itself, which names files by another digest than large ones.
    small: bool = False


@dataclass
class Hub:
    """The server's content, and what it was asked."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    # Statuses for the next requests, before the repositories are looked at.
    next_statuses: list[int] = field(default_factory=list)
    retry_after: str = "0"
    # How the content is sent: seconds between blocks, another content under the same digest, and
    # after how many bytes each connection is cut.
    pause: float = 0.0
    instead: bytes | None = None
    cut_after: int | None = None
    # Where a GET is redirected to: another host, as the real hub does with large files.
    storage: str | None = None
    # Bytes of content that were sent.
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Method, path and Authorization header of every request.
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def hub_server(port: int = 0) -> Iterator[Hub]:
    """A hub that runs until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None: ...

    def _answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.requests.append((self.command, self.path, self.headers.get("Authorization")))
        if hub.next_statuses:
            pause = {"Retry-After": hub.retry_after} if hub.retry_after else {}
            self._send(hub.next_statuses.pop(0), pause)
            return
        if self.command == "GET" and hub.storage is not None:
            self._send(302, {"Location": hub.storage + self.path})
            return
        asked = RESOLVE.fullmatch(unquote(self.path.partition("?")[0]))
        if asked is None:
            self._send(404, {})
            return
        repository = hub.repositories.get(asked["repo"])
        if refused := self._refusal(repository, asked["revision"], asked["path"]):
            status, code = refused
            self._send(status, {"X-Error-Code": code} if code else {})
            return
        assert repository is not None
        content = repository.files[asked["path"]]
        self._send_file(repository, content)

    def _refusal(
        self, repository: Repository | None, revision: str, path: str
    ) -> tuple[int, str] | None:
        """The status and error code that the hub answers instead of a file."""
        authorization = self.headers.get("Authorization")
        if repository is None or (
            repository.token is not None and authorization != f"Bearer {repository.token}"
        ):
            # The hub does not tell a private repository from one that does not exist.
            return (404, "RepoNotFound") if authorization else (401, "RepoNotFound")
        if repository.gated:
            return 403, "GatedRepo"
        if revision not in (repository.commit, *repository.names):
            return 404, "RevisionNotFound"
        if path not in repository.files:
            return 404, "EntryNotFound"
        return None

    def _send_file(self, repository: Repository, content: bytes) -> None:
        etag = hashlib.sha256(content).hexdigest()
        if repository.small:
            blob = b"blob %d\0" % len(content) + content
            etag = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
        headers = {
            "X-Repo-Commit": repository.commit,
            "ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
        }
        content = self.server.hub.instead or content  # type: ignore[attr-defined]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, headers, content)
            return
        start, size = int(asked[1]), len(content)
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._send(206, headers, content[start:])

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            with suppress(ConnectionError):
                self._send_blocks(content)

    def _send_blocks(self, content: bytes) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        for start in range(0, len(content), BLOCK_BYTES):
            if hub.cut_after is not None and start >= hub.cut_after:
                self.close_connection = True
                return
            self.wfile.write(content[start : start + BLOCK_BYTES])
            with hub.lock:
                hub.sent += len(content[start : start + BLOCK_BYTES])
            time.sleep(hub.pause)
