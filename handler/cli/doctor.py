"""``infernet-lambda doctor``: asks a service what a node asks, and judges as a node does."""

import json
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from handler.cli.node import (
    STREAM_SECONDS,
    Answer,
    Node,
    Problem,
    read,
    take_error,
    take_on_chain,
    take_refusal,
    take_result,
    take_stream,
)
from handler.cli.service import Bearer, StackName, Url, service

SAMPLE = Path(__file__).parent.parent / "demo" / "request.json"
PARALLEL = 8
LAMBDA_BYTES = 6 * 1024 * 1024

# Asks a service and judges its answer; may say what it saw.
Ask = Callable[[Node], str | None]


class Skipped(Exception):
    """A check that cannot be made, and why."""


class Check(NamedTuple):
    """One thing that a node may send."""

    name: str
    ask: Ask


class Result(NamedTuple):
    """What came of a check: ``ok`` is None when it was skipped."""

    check: str
    ok: bool | None
    seconds: float
    found: str
    remedy: str


def doctor(
    url: Url = None,
    bearer: Bearer = None,
    data: Annotated[
        Path | None,
        typer.Option(help="JSON of a request, or of its data, that the model takes."),
    ] = None,
    stack: StackName = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Check that a service is what a node needs; exit with the number of failures.

    Example: infernet-lambda doctor --stack iris --data request.json
    """
    url, bearer = service("doctor", url, bearer, stack)
    requests = Requests(_sample(data or SAMPLE))
    with Node(url, bearer) as node:
        results = [run(check, node) for check in checks(requests)]
    failures = sum(result.ok is False for result in results)
    if as_json:
        rows = [result._asdict() for result in results]
        typer.echo(json.dumps({"url": node.url, "failures": failures, "checks": rows}, indent=2))
    else:
        for result in results:
            typer.echo(_line(result))
        skipped = sum(result.ok is None for result in results)
        passed = len(results) - failures - skipped
        typer.echo(f"{passed} passed, {failures} failed, {skipped} skipped")
    sys.exit(min(failures, 125))


class Requests:
    """The requests that a node makes of one object of data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.hex = _on_chain(data)

    def off_chain(self, destination: int = 1) -> dict[str, Any]:
        request = {"source": 1, "destination": destination, "data": self.data}
        # A node leaves it out of a stream's request.
        return request if destination == 2 else {**request, "requires_proof": False}

    def on_chain(self, destination: int = 0) -> dict[str, Any]:
        return {**self.off_chain(destination), "source": 0, "data": self._hex()}

    def bad_dtype(self) -> dict[str, Any]:
        self._hex()
        return {**self.off_chain(0), "data": {"dtype": "nonsense", "values": [[1]]}}

    def with_hex(self, text: str) -> dict[str, Any]:
        return {**self.off_chain(0), "source": 0, "data": text}

    def oversize(self) -> bytes:
        return json.dumps(self.off_chain()).encode().ljust(LAMBDA_BYTES + 1)

    def _hex(self) -> str:
        if self.hex is None:
            raise Skipped("the data is no tensor, so that it has no form on-chain")
        return self.hex


def checks(requests: Requests) -> list[Check]:
    """Everything that a node may send, in the order in which it is worth knowing."""
    off_chain = requests.off_chain
    wrong = secrets.token_urlsafe(24)
    return [
        Check("off-chain", _expect(take_result, off_chain)),
        Check("on-chain", _expect(take_on_chain, requests.on_chain)),
        Check("delegated", _expect(take_on_chain, lambda: off_chain(0))),
        Check("chained to itself", lambda node: _chained(node, requests)),
        Check("stream", _expect(take_stream, lambda: off_chain(2), seconds=STREAM_SECONDS)),
        Check("bad dtype", _expect(take_error, requests.bad_dtype)),
        Check("garbage hex", _expect(take_error, lambda: requests.with_hex("zz"))),
        Check("empty hex", _expect(_take_either, lambda: requests.with_hex(""))),
        Check("wrong bearer", lambda node: _stranger(node, off_chain(), wrong)),
        Check("missing bearer", lambda node: _stranger(node, off_chain(), "")),
        Check("double slash", _expect(take_result, off_chain, path="//service_output")),
        Check("oversize", lambda node: _oversize(node.send(requests.oversize()))),
        Check(f"{PARALLEL} in parallel", lambda node: _parallel(node, off_chain())),
    ]


def run(check: Check, node: Node) -> Result:
    """What comes of one check."""
    started = time.perf_counter()
    ok: bool | None = True
    remedy = ""
    try:
        found = check.ask(node) or ""
    except Problem as problem:
        ok, found, remedy = False, problem.found, problem.remedy
    except Skipped as skipped:
        ok, found = None, str(skipped)
    return Result(check.name, ok, time.perf_counter() - started, found, remedy)


def _expect(
    judge: Callable[[Answer], Any], request: Callable[[], dict[str, Any]], **options: Any
) -> Ask:
    def ask(node: Node) -> None:
        judge(node.send(request(), **options))

    return ask


def _chained(node: Node, requests: Requests) -> str | None:
    """First and last of a chain: the whole answer of the one is the data of the other."""
    first = requests.off_chain() if requests.hex is None else requests.on_chain(1)
    output = take_result(node.send(first))
    last = node.send({**requests.off_chain(0), "data": output})
    if read(last).get("code") == "422":
        return "the model does not take its own answer, and says so"
    take_on_chain(last)
    return None


def _take_either(answer: Answer) -> None:
    # Some workflows need no input; the others must say so.
    (take_error if "code" in read(answer) else take_on_chain)(answer)


def _stranger(node: Node, request: dict[str, Any], token: str) -> str | None:
    answer = node.send(request, bearer=token)
    if node.bearer is None:
        take_result(answer)
        return "the service is open: anybody may call it"
    take_refusal(answer)
    return None


def _oversize(answer: Answer) -> str | None:
    try:
        take_error(answer)
    except Problem as problem:
        if answer.status != 413 or not problem.found.startswith("AWS"):
            raise
        return "refused by Lambda itself, before the service"
    return None


def _parallel(node: Node, request: dict[str, Any]) -> None:
    def ask(_: int) -> Problem | None:
        try:
            take_result(node.send(request))
        except Problem as problem:
            return problem
        return None

    with ThreadPoolExecutor(PARALLEL) as pool:
        problems = [problem for problem in pool.map(ask, range(PARALLEL)) if problem]
    if problems:
        found = f"{len(problems)} of {PARALLEL} failed: {problems[0].found}"
        raise Problem(found, problems[0].remedy)


def _sample(path: Path) -> dict[str, Any]:
    """The data of a request in a file, which may hold the whole request or the data alone."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--data") from None
    if isinstance(value, dict) and value.keys() >= {"source", "data"}:
        value = value["data"]
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{path}: expected a JSON object", param_hint="--data")
    return value


def _on_chain(data: dict[str, Any]) -> str | None:
    """The same data as a contract would send it, or None when it is no tensor."""
    from handler import formats, onchain, tensors
    from handler.errors import InvalidInput
    from handler.protocol import InfernetInput

    try:
        _, call = formats.read(InfernetInput(source=1, data=data))
        array = tensors.parse(call.data).array
    except InvalidInput:
        return None
    vector = onchain.encode_vector(onchain.vector_of(array))
    return onchain.encode_request(vector, call.model_id).hex()


def _line(result: Result) -> str:
    verdict = {True: "ok", False: "FAIL", None: "skip"}[result.ok]
    words = ": ".join(filter(None, [result.found, result.remedy]))
    return f"{verdict:5} {result.check:18} {result.seconds * 1e3:7.0f} ms  {words}".rstrip()
