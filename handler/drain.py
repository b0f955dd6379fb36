"""What a server does with the body of a request that it has refused without reading it."""

import asyncio
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DRAIN_SECONDS = 5


class Drain:
    """Answers first, then takes in what is left of the body, within bounds, and forgets it.

    Who closes a connection with something unread in it resets it, and the answer may be lost with
    it: a node would see a broken connection instead of the 401.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def receive_and_note() -> Message:
            nonlocal complete
            message = await receive()
            complete = not message.get("more_body", False)  # neither has a disconnect more
            return message

        async def drain() -> None:
            left = self.max_bytes
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    while not complete and left >= 0:
                        left -= len((await receive_and_note()).get("body", b""))

        async def send_and_drain(message: Any) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not last or complete:
                await send(message)
                return
            # The client has its whole answer now, but the connection is not done with it.
            await send({**message, "more_body": True})
            await drain()
            await send({"type": "http.response.body", "body": b""})

        is_http = scope["type"] == "http"
        await self.app(
            scope,
            receive_and_note if is_http else receive,
            send_and_drain if is_http else send,
        )
