"""Who may ask: the bearer check in front of a route, and the tokens that it compares with."""

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from handler.errors import ConfigurationError, SecretError, Unauthorized
from handler.secret import read_tokens, tokens_in
from handler.settings import AuthSettings, Runtime, get_auth_settings

logger = logging.getLogger(__name__)

# How long tokens from a secret count as current, and how long when AWS does not give them again.
LIFETIME_SECONDS, KEPT_SECONDS = 300.0, 60.0
# The least time between two readings of a secret: who guesses tokens must not hammer AWS.
PAUSE_SECONDS = 10.0


class Access(Protocol):
    """Decides whose requests are admitted."""

    async def admits(self, scope: Scope) -> bool:
        """Whether this request may pass.

        Raises:
            Unavailable: nobody can tell; says why.
        """


class BearerAuth:
    """Middleware of a route: who has no valid token is answered 401, before the body is read.

    With ``required=False`` everybody passes. Either way ``scope["authorized"]`` says who has one.
    """

    def __init__(self, app: ASGIApp, access: Access, *, required: bool = True) -> None:
        self.app = app
        self.access = access
        self.required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["authorized"] = await self.access.admits(scope)
        except SecretError:
            if self.required:
                raise
            scope["authorized"] = False
        if self.required and not scope["authorized"]:
            raise Unauthorized("send the service's token in one header, Authorization: Bearer")
        await self.app(scope, receive, send)


class Open:
    """Admits everybody; ``warning`` is what an operator should know who did not ask for it."""

    def __init__(self, warning: str | None = None) -> None:
        self.warning = warning

    async def admits(self, scope: Scope) -> bool:
        return True


class Closed:
    """Admits nobody and says why: the settings that decide it are missing or wrong."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    async def admits(self, scope: Scope) -> bool:
        raise ConfigurationError(self.problem)


class Tokens:
    """Admits who has one of the tokens, of which only digests are kept."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [blake2b(token.encode()).digest() for token in tokens]

    async def admits(self, scope: Scope) -> bool:
        token = bearer(scope)
        return token is not None and self.know(token)

    def know(self, token: bytes) -> bool:
        """Whether it is one of the tokens, in a time that tells nothing of which, or how nearly."""
        digest = blake2b(token).digest()
        known = False
        for expected in self._digests:
            known |= hmac.compare_digest(digest, expected)
        return known


class SecretTokens:
    """Admits who has one of the tokens in a secret, which may change while the process runs.

    ``read`` gives them or raises SecretError; ``clock`` counts seconds.
    """

    def __init__(
        self, read: Callable[[], list[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._tokens: Tokens | None = None
        # The reading under way, or the last one; its result is what went wrong.
        self._reading: Future[str | None] | None = None
        self._current_until = self._next_reading = float("-inf")

    async def admits(self, scope: Scope) -> bool:
        token = bearer(scope)
        if token is None:
            return False
        if self._tokens and self._clock() < self._current_until and self._tokens.know(token):
            return True
        problem = await asyncio.wrap_future(self.refresh())
        if self._tokens is None:
            raise SecretError(problem or "")
        return self._tokens.know(token)

    def refresh(self) -> "Future[str | None]":
        """The reading that is under way, is begun by this call, or was made a moment ago."""
        with self._lock:
            reading = self._reading
            if reading is None or (reading.done() and self._clock() >= self._next_reading):
                reading = self._reading = Future()
                # From here on a caller who is cancelled does not cancel it for the others.
                reading.set_running_or_notify_cancel()
                threading.Thread(
                    target=self._run, args=(reading,), name="read-secret", daemon=True
                ).start()
            return reading

    def _run(self, reading: "Future[str | None]") -> None:
        problem = None
        try:
            self._tokens = Tokens(self._read())
        except SecretError as error:
            problem = error.description
        except Exception as error:
            problem = f"the bearer tokens cannot be read: {type(error).__name__}"
        now = self._clock()
        self._next_reading = now + PAUSE_SECONDS
        if self._tokens is not None:
            self._current_until = now + (KEPT_SECONDS if problem else LIFETIME_SECONDS)
        if problem is not None:
            logger.error("%s%s", problem, "; the known tokens are kept" if self._tokens else "")
        reading.set_result(problem)


def bearer(scope: Scope) -> bytes | None:
    """The token in a request's one Authorization header, when that is of the scheme Bearer."""
    headers = scope["headers"]
    found = dict(headers)
    value = found.get(b"authorization")
    repeated = len(found) < len(headers)
    if value is None or (repeated and [name for name, _ in headers].count(b"authorization") > 1):
        return None
    scheme, _, token = value.partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else None


def create_access(settings: AuthSettings) -> Access:
    """What INFERNET_AUTH and the tokens say, and where this process runs."""
    if settings.auth == "none":
        return Open()
    if settings.bearer_tokens is not None:
        return Tokens(tokens_in(settings.bearer_tokens.get_secret_value()))
    if settings.bearer_secret_arn is not None:
        return SecretTokens(partial(read_tokens, settings.bearer_secret_arn))
    if settings.auth == "auto" and (settings.sam_local or not settings.on_lambda):
        return Open("no token is asked for: anybody may call this service (INFERNET_AUTH)")
    why = "INFERNET_AUTH=bearer" if settings.auth == "bearer" else "a Lambda function"
    return Closed(
        f"{why} needs a token: set INFERNET_BEARER_TOKENS or INFERNET_BEARER_SECRET_ARN "
        "(or INFERNET_AUTH=none, to serve everybody)"
    )


def read_access() -> Access:
    """What the environment says of access, which a mistake in another setting does not touch."""
    try:
        return create_access(get_auth_settings())
    except ConfigurationError as error:
        return Closed(error.description)


def begin(access: Access, runtime: Runtime) -> None:
    """Begins to read a secret beside the loading of the workflow; requests report what goes wrong.

    Ahead of the traffic it also ends here: no snapshot may be taken in the middle of it.
    """
    if isinstance(access, SecretTokens):
        reading = access.refresh()
        if runtime.initialization_type != "on-demand":
            reading.result()
