"""A Hugging Face hub on the loopback interface: what its client asks of the real one, in small."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

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


@dataclass
class Hub:
    """The server's content, and what it was asked."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    # Statuses for the next requests, before the repositories are looked at.
    next_statuses: list[int] = field(default_factory=list)
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
            self._send(hub.next_statuses.pop(0), {"Retry-After": "0"})
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
        self._send_file(repository.commit, content)

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

    def _send_file(self, commit: str, content: bytes) -> None:
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
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
            self.wfile.write(content)
