"""What one request, and all of them together, may cost: seen before the memory is spent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from handler.errors import InvalidInput, Overloaded, PayloadTooLarge, UnsupportedEncoding

# Of tensors there are 64 dimensions at most; the rest is for what lies around them.
MAX_DEPTH = 100
# Commas, or words, that are no elements of a tensor, in a body that is not there to deceive.
OTHERS = 1000
# From there on, it is worth the while to count in another way than bytes.count does.
MANY_BYTES = 65_536
FEW = 100
# Lambda's limit for an answer, less what is in it beside the body.
LAMBDA_ANSWER_BYTES = 6_291_456 - 4096


def check_headers(scope: Scope, max_bytes: int) -> None:
    """Refuses what the headers of a request already give away.

    Raises:
        UnsupportedEncoding: the body is compressed.
        PayloadTooLarge: the body is declared larger than the limit.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity"):
        raise UnsupportedEncoding("the body is compressed: send it as it is")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > max_bytes:
        raise _body_too_large(max_bytes)


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body of a request, of which no more than ``limit`` bytes are ever kept.

    Raises:
        PayloadTooLarge: it has more.
        ClientDisconnect: the rest of it will not come.
    """
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _body_too_large(limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _body_too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {max_bytes} bytes (INFERNET_MAX_BODY_BYTES)")


class Elements:
    """How many elements the tensor of a request may have."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def check_body(self, body: bytes) -> bool:
        """Whether a body is so close to the limit that its elements must be counted.

        Raises:
            PayloadTooLarge: it holds more, which is seen before it is decoded.
        """
        commas = count(body, b",")  # there is one between any two elements
        if commas > self.limit:
            commas -= body.count(b'"im"')  # and one within each complex number
        return self.near(commas)

    def check_hex(self, data: str) -> bool:
        """The same for data in the ABI, of which an element takes a word."""
        return self.near(len(data) // 64)

    def check(self, data: Any) -> None:
        """Refuses decoded data of which one tensor has too many.

        Raises:
            PayloadTooLarge: it has more elements.
        """
        if _largest(data) > self.limit:
            raise self._too_many()

    def near(self, at_most: int) -> bool:
        """The same for data that has so many elements at most."""
        if at_most > self.limit + OTHERS:
            raise self._too_many()
        return at_most >= self.limit

    def _too_many(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the data has more than {self.limit} elements (INFERNET_MAX_ELEMENTS)"
        )


def check_depth(body: bytes, value: Any) -> None:
    """Refuses JSON that is nested so deeply that it would exhaust whoever walks through it.

    Raises:
        InvalidInput: it is.
    """
    # Nothing is nested deeper than there are brackets: most bodies need no walk.
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        children = chain.from_iterable(v.values() if type(v) is dict else v for v in level)
        level = [child for child in children if type(child) in (list, dict)]
        if not level:
            return
    raise InvalidInput(f"the body: nested deeper than {MAX_DEPTH} levels")


def check_answer(answer: bytes) -> bytes:
    """The answer; InvalidInput when it is too large for Lambda, where it is a string in JSON."""
    # No character of it takes more than six times its bytes.
    if len(answer) > LAMBDA_ANSWER_BYTES // 6 and _as_string(answer) > LAMBDA_ANSWER_BYTES:
        raise _answer_too_large()
    return answer


def check_output(output: Any) -> None:
    """Refuses a tensor that has no chance to fit in an answer, before it is written.

    Raises:
        InvalidInput: it is too large.
    """
    # The shortest JSON of an element, "0.0," for a double, takes half of its bytes.
    if getattr(output, "nbytes", 0) > 2 * LAMBDA_ANSWER_BYTES:
        raise _answer_too_large()


def _answer_too_large() -> InvalidInput:
    return InvalidInput(
        "the answer is larger than the 6 MB that Lambda carries: ask for fewer rows at a time"
    )


def _as_string(answer: bytes) -> int:
    """The size of an answer as a JSON string, as the Lambda runtime writes it: in ASCII."""
    deletes = 5 * count(answer, b"\x7f")  # which simplejson writes as \u007f, and json does not
    if answer.isascii():
        return len(answer) + count(answer, b'"') + count(answer, b"\\") + deletes
    return len(json.dumps(answer.decode())) + deletes


class Slots:
    """Bounds how many requests are worked on at the same time, within one event loop."""

    def __init__(self, count: int) -> None:
        self.free = count

    def check(self) -> None:
        """Raises Overloaded when there is none free."""
        if self.free < 1:
            raise Overloaded(
                "as many requests as INFERNET_MAX_CONCURRENCY allows are under way: ask again"
            )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One of them, for as long as the context lasts.

        Raises:
            Overloaded: there is none free.
        """
        self.check()
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1


def count(text: bytes, byte: bytes, start: int = 0, end: int | None = None) -> int:
    """How many there are of a byte, in a long text several times as fast as bytes.count.

    While they are rare, looking for the next one is fastest; numpy looks at many bytes at once.
    """
    end = len(text) if end is None else end
    if end - start < MANY_BYTES:
        return text.count(byte, start, end)
    at = start - 1
    for found in range(FEW):
        at = text.find(byte, at + 1, end)
        if at < 0:
            return found
    return int(np.count_nonzero(np.frombuffer(text, np.uint8)[start:end] == byte[0]))


def _largest(value: Any) -> int:
    """The number of elements of the largest tensor, which is an outermost list, in a JSON value."""
    if isinstance(value, dict):
        return max((_largest(item) for key, item in value.items() if key != "shape"), default=0)
    if not isinstance(value, list):
        return 0
    number = inner = 0
    level = [value]
    while level:
        items = list(chain.from_iterable(level))
        level = [item for item in items if type(item) is list]
        number += len(items) - len(level)
        inner = max([inner, *(_largest(item) for item in items if type(item) is dict)])
    return max(number, inner)
