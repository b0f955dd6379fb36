"""An Infernet node, as far as a service can tell: how it asks, and how it takes an answer."""

import json
import time
from typing import Any, NamedTuple, Self

JOB_SECONDS, STREAM_SECONDS = 180, 60
FIVE_KEYS = {"raw_input", "processed_input", "raw_output", "processed_output", "proof"}
LOST = "a node loses such a body: answer application/json, also for errors"
DELIVERED = "a node would deliver it on-chain as a result: answer errors with a string in code"
BLOCKED = "it blocks the subscription for ever: answer an object at the top level"

# What the service itself says is wrong, by its code.
OWN_ERRORS = {
    "401": "give --bearer the token that the service was given",
    "422": "give --data a FILE with an input that the model takes",
    "503": "the service says what it needs; correct its settings and look at its log",
    "504": "the model took too long to load or to answer: more memory, or a smaller model",
}
# What AWS answers before, or instead of, the function.
AWS_ERRORS = {
    403: "the function URL needs AuthType NONE and, for everybody (*), both permissions: "
    "lambda:InvokeFunctionUrl and lambda:InvokeFunction",
    413: "Lambda takes 6 MB at most",
    429: "the reserved concurrency of the function, or the account's, is used up: raise it",
    502: "the function ended, ran out of memory, or gave an answer that Lambda refuses, which is "
    "limited to 6 MB: see its log group",
    504: "the function reached its timeout: raise it, to 170 s at most",
}


class Problem(Exception):
    """What is wrong with an answer, and what to do about it."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


class Answer(NamedTuple):
    """What came back."""

    status: int
    content_type: str
    body: bytes


class Node:
    """Sends requests as a node does: a static bearer, no redirects, 180 s of patience.

    A context manager, which closes its connections.
    """

    def __init__(self, url: str, bearer: str | None, seconds: float = JOB_SECONDS) -> None:
        self.url = url.rstrip("/")
        self.bearer = bearer
        self.seconds = seconds
        # Not at the top: every command imports this file, and most have no use for it.
        import httpx

        self._client = httpx.Client(follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(
        self,
        request: dict[str, Any] | bytes,
        *,
        bearer: str | None = None,
        path: str = "/service_output",
        seconds: float = JOB_SECONDS,
    ) -> Answer:
        """The answer to a request; ``bearer`` replaces the right one, blank for none.

        Raises:
            Problem: there is no answer, or it comes too late.
        """
        import httpx

        bearer = self.bearer if bearer is None else bearer
        seconds = min(seconds, self.seconds)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        content = request if isinstance(request, bytes) else json.dumps(request).encode()
        started = time.perf_counter()
        try:
            response = self._client.post(
                self.url + path, content=content, headers=headers, timeout=seconds
            )
        except httpx.TimeoutException:
            raise _too_late(seconds) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            remedy = "is the URL right, and does the service run?"
            raise Problem(f"no answer: {type(error).__name__}", remedy) from None
        if time.perf_counter() - started > seconds:  # the client's limit is for each read
            raise _too_late(seconds)
        content_type = response.headers.get("content-type", "")
        return Answer(response.status_code, content_type, response.content)


def read(answer: Answer) -> dict[str, Any]:
    """The object of an answer, by the rules that hold for errors and results alike.

    Raises:
        Problem: a node could not read it.
    """
    if 300 <= answer.status < 400:
        raise Problem(
            f"a redirect ({answer.status})", "a node loses the body or the bearer: never redirect"
        )
    value = _json(answer)
    if not isinstance(value, dict) or "code" not in value:
        _refuse_aws(answer)
    if answer.content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(f"content type {answer.content_type or 'missing'}", LOST)
    if isinstance(value, Problem):
        raise value
    if not isinstance(value, dict):
        raise Problem("no object at the top level", BLOCKED)
    return value


def take_result(answer: Answer) -> dict[str, Any]:
    """The result of a job off-chain.

    Raises:
        Problem: it is an error, or no node could read it.
    """
    value = read(answer)
    if "code" in value:
        code = value["code"]
        if code in (200, "200"):
            raise Problem("a result with a key code", "name the key otherwise: code marks errors")
        remedy = OWN_ERRORS.get(str(code), "look at the log of the service")
        raise Problem(f"error {code}: {value.get('description', '')}", remedy)
    if answer.status >= 400:
        raise Problem(f"status {answer.status} without a code", DELIVERED)
    return value


def take_on_chain(answer: Answer) -> dict[str, Any]:
    """The result of a job on-chain: the five keys, each hex or blank or null.

    Raises:
        Problem: a node could not deliver it.
    """
    value = take_result(answer)
    if value.keys() != FIVE_KEYS:
        raise Problem("not exactly the five keys", f"answer {', '.join(sorted(FIVE_KEYS))}")
    for key, text in value.items():
        if text is not None and not _is_hex(text):
            raise Problem(f"{key} is no hex", "hex of even length without 0x, or blank, or null")
    return value


def take_error(answer: Answer) -> str:
    """The code of an answer that must be an error.

    Raises:
        Problem: a node would not see that it is one.
    """
    value = read(answer)
    if "code" not in value:
        raise Problem("no error, where there must be one", DELIVERED)
    if not isinstance(value["code"], str):
        raise Problem("the code of the error is no string", DELIVERED)
    if value["code"] == "200":
        raise Problem('an error with the code "200"', DELIVERED)
    return value["code"]


def take_refusal(answer: Answer) -> None:
    """The answer to somebody without the right bearer.

    Raises:
        Problem: it is another one.
    """
    if "code" not in read(answer):
        remedy = "anybody may call this service: give it its bearer token"
        raise Problem("answered all the same", remedy)
    if (code := take_error(answer)) != "401":
        raise Problem(f"error {code} instead of 401", "look at the log of the service")


def take_stream(answer: Answer) -> None:
    """A streamed answer, of which the status counts.

    Raises:
        Problem: the job has failed.
    """
    try:
        answer.body.decode()
    except UnicodeDecodeError:
        raise Problem("not UTF-8", "a node reads a stream as UTF-8") from None
    if answer.status >= 300:
        read(answer)
        raise Problem(f"status {answer.status}", "a stream with 400 or more is a failed job")
    if not answer.body:
        raise Problem("an empty body", "answer the same object as off-chain, as one chunk")


def _too_late(seconds: float) -> Problem:
    remedy = "a node gives the job up: more memory, or a smaller model"
    return Problem(f"no answer within {seconds:g} s", remedy)


def _json(answer: Answer) -> Any:
    """What the body holds, or the problem with it."""
    if answer.body.startswith(b"\xef\xbb\xbf"):
        return Problem("a byte order mark", "answer UTF-8 without one")
    try:
        return json.loads(answer.body.decode(), parse_constant=_not_json)
    except UnicodeDecodeError:
        return Problem("not UTF-8", LOST)
    except ValueError as error:
        found = str(error) if "NaN" in str(error) else "not JSON"
        return Problem(found, "answer JSON, with non-finite numbers as strings")


def _not_json(constant: str) -> Any:
    raise ValueError(f"NaN or Infinity, which is not JSON ({constant})")


def _refuse_aws(answer: Answer) -> None:
    if answer.status in AWS_ERRORS:
        raise Problem(f"AWS itself answered {answer.status}", AWS_ERRORS[answer.status])


def _is_hex(text: Any) -> bool:
    digits = set("0123456789abcdefABCDEF")
    return isinstance(text, str) and len(text) % 2 == 0 and not set(text) - digits
