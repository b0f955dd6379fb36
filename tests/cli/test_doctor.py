"""The doctor finds what a node would trip over, and nothing in a service that is well."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from handler.cli.commands import app
from handler.cli.doctor import SAMPLE, Requests, checks, run
from handler.cli.node import Node
from handler.formats import FIVE_KEYS

TOKEN = "the-right-token"
DATA = json.loads(SAMPLE.read_text())["data"]


class Said(NamedTuple):
    """What the stub answers."""

    status: int
    value: Any
    content_type: str = "application/json"


class Stub:
    """A small service that behaves; a test overrides what shall not."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.lock = threading.Lock()

    def error(self, status: int) -> Said:
        return Said(status, {"code": str(status), "name": "x", "description": "y"})

    def is_known(self, token: str | None) -> bool:
        return token == f"Bearer {TOKEN}"

    def off_chain(self) -> Said:
        return Said(200, {"dtype": "double", "shape": [1], "values": [1.0]})

    def on_chain(self) -> Said:
        return Said(200, {**dict.fromkeys(FIVE_KEYS, ""), "raw_output": "00aB", "proof": None})

    def stream(self) -> Said:
        return self.off_chain()

    def refused(self) -> Said:
        return self.error(422)

    def answer(self, path: str, token: str | None, body: bytes) -> Said:
        if path.replace("//", "/") != "/service_output":
            return self.error(404)
        if not self.is_known(token):
            return self.error(401)
        if len(body) > 6 * 1024 * 1024:
            return self.error(413)
        request = json.loads(body)
        data = request["data"]
        if data in ("", "zz") or (isinstance(data, dict) and data["dtype"] == "nonsense"):
            return self.refused()
        return {0: self.on_chain, 1: self.off_chain, 2: self.stream}[request["destination"]]()


@contextmanager
def serving(stub: Stub) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or the client's kernel waits for more

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            # Not self.path, in which two slashes have become one.
            said = stub.answer(self.requestline.split()[1], self.headers["authorization"], body)
            content = (
                said.value if isinstance(said.value, bytes) else json.dumps(said.value).encode()
            )
            self.send_response(said.status)
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def failures(
    stub: Stub, bearer: str | None = TOKEN, data: Any = None, seconds: float = 20
) -> dict[str, tuple[str, str]]:
    """What was found, and the remedy, by check."""
    with serving(stub) as url, Node(url, bearer, seconds) as node:
        results = [run(check, node) for check in checks(Requests(data or DATA))]
    assert len(results) == 13
    for result in results:
        assert result.ok is not False or (result.found and result.remedy), "what to do about it"
    return {r.check: (r.found, r.remedy) for r in results if r.ok is False}


def test_nothing_is_wrong_with_a_service_that_behaves() -> None:
    assert failures(Stub()) == {}


def stub(**methods: Callable[..., Any]) -> Stub:
    made: Stub = type("Misbehaving", (Stub,), methods)()
    return made


def one_at_a_time(self: Stub, *request: Any) -> Said:
    with self.lock:
        self.in_flight += 1
    try:
        time.sleep(0.1)
        if self.in_flight > 1:
            return Said(429, {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"})
        return Stub.answer(self, *request)
    finally:
        with self.lock:
            self.in_flight -= 1


def redirecting(self: Stub, path: str, *request: Any) -> Said:
    return Said(307, {}) if path.startswith("//") else Stub.answer(self, path, *request)


def slow(self: Stub) -> Said:
    time.sleep(1.5)
    return Stub.off_chain(self)


OBJECT = {"dtype": "double", "values": [1.0]}
KEYS = dict.fromkeys(FIVE_KEYS, "")

MISBEHAVIOURS: list[tuple[str, Stub, str, str, str]] = [
    # what, the stub, the check that finds it, what is found, a word of the remedy
    (
        "plain text",
        stub(off_chain=lambda _: Said(200, b"1.0", "text/plain")),
        *("off-chain", "content type text/plain", "application/json"),
    ),
    (
        "errors in HTML",
        stub(refused=lambda _: Said(422, {"code": "422"}, "text/html")),
        *("garbage hex", "content type text/html", "application/json"),
    ),
    (
        "a list",
        stub(off_chain=lambda _: Said(200, [1.0])),
        *("off-chain", "no object at the top level", "blocks the subscription"),
    ),
    (
        "a code that is a number",
        stub(refused=lambda _: Said(422, {"code": 422})),
        *("bad dtype", "the code of the error is no string", "deliver it on-chain"),
    ),
    (
        "an error without a code",
        stub(refused=lambda _: Said(500, {"error": "bad"})),
        *("garbage hex", "no error, where there must be one", "deliver it on-chain"),
    ),
    (
        "an error with the code of a success",
        stub(refused=lambda _: Said(422, {"code": "200"})),
        *("garbage hex", 'an error with the code "200"', "deliver it on-chain"),
    ),
    (
        "a result with a code",
        stub(off_chain=lambda _: Said(200, {"code": 200, **OBJECT})),
        *("off-chain", "a result with a key code", "name the key otherwise"),
    ),
    (
        "four keys",
        stub(on_chain=lambda _: Said(200, {k: v for k, v in KEYS.items() if k != "proof"})),
        *("on-chain", "not exactly the five keys", "proof"),
    ),
    (
        "0x",
        stub(on_chain=lambda _: Said(200, {**KEYS, "raw_output": "0x00"})),
        *("delegated", "raw_output is no hex", "without 0x"),
    ),
    (
        "an answer on-chain as off-chain",
        stub(on_chain=Stub.off_chain),
        *("chained to itself", "not exactly the five keys", "raw_output"),
    ),
    (
        "NaN",
        stub(off_chain=lambda _: Said(200, b'{"values": [NaN]}')),
        *("off-chain", "NaN or Infinity, which is not JSON", "as strings"),
    ),
    (
        "a byte order mark",
        stub(off_chain=lambda _: Said(200, b"\xef\xbb\xbf{}")),
        *("off-chain", "a byte order mark", "UTF-8 without"),
    ),
    (
        "latin-1",
        stub(stream=lambda _: Said(200, b'{"a": "\xe9"}')),
        *("stream", "not UTF-8", "UTF-8"),
    ),
    (
        "no JSON",
        stub(off_chain=lambda _: Said(200, b"1.0,")),
        *("off-chain", "not JSON", "answer JSON"),
    ),
    (
        "a stream that fails",
        stub(stream=lambda self: self.error(500)),
        *("stream", "status 500", "failed job"),
    ),
    (
        "redirects",
        stub(answer=redirecting),
        *("double slash", "a redirect (307)", "never redirect"),
    ),
    (
        "two slashes are another path",
        stub(answer=lambda self, path, *r: Stub.answer(self, path + "x" * path.count("//"), *r)),
        *("double slash", "error 404", "log"),
    ),
    (
        "an open door",
        stub(is_known=lambda *_: True),
        *("wrong bearer", "answered all the same", "anybody may call"),
    ),
    (
        "an open door for the tokenless",
        stub(is_known=lambda _, token: token is None or TOKEN in token),
        *("missing bearer", "answered all the same", "anybody may call"),
    ),
    (
        "too slow",
        stub(off_chain=slow),
        *("off-chain", "no answer within 1 s", "gives the job up"),
    ),
    (
        "one at a time",
        stub(answer=one_at_a_time),
        *("8 in parallel", "AWS itself answered 429", "reserved concurrency"),
    ),
    (
        "a URL that needs a signature",
        stub(answer=lambda *_: Said(403, {"Message": "Forbidden"})),
        *("off-chain", "AWS itself answered 403", "lambda:InvokeFunctionUrl"),
    ),
    (
        "a function that ends",
        stub(off_chain=lambda _: Said(502, b"Internal Server Error", "text/plain")),
        *("off-chain", "AWS itself answered 502", "log group"),
    ),
    (
        "a model that is not loaded",
        stub(off_chain=lambda self: self.error(503)),
        *("off-chain", "error 503: y", "settings"),
    ),
    (
        "an input that does not fit",
        stub(off_chain=lambda self: self.error(422)),
        *("off-chain", "error 422: y", "--data"),
    ),
    (
        "another token",
        stub(is_known=lambda *_: False),
        *("off-chain", "error 401: y", "--bearer"),
    ),
]


@pytest.mark.parametrize(
    ("what", "misbehaving", "check", "found", "remedy"),
    MISBEHAVIOURS,
    ids=[what for what, *_ in MISBEHAVIOURS],
)
def test_each_misbehaviour_is_found(
    what: str, misbehaving: Stub, check: str, found: str, remedy: str
) -> None:
    patience = 1 if misbehaving.off_chain.__func__ is slow else 20  # type: ignore[attr-defined]
    seen = failures(misbehaving, seconds=patience)
    assert check in seen, seen
    assert found in seen[check][0] and remedy in seen[check][1], seen[check]
    if what != "too slow":
        assert len(seen) < 13 or "AWS" in found or "401" in found, "not everything is wrong"


def test_a_closed_door_is_found_when_something_else_answers() -> None:
    seen = failures(stub(is_known=lambda *_: True), bearer=None)
    assert seen == {}, "without a token to check, an open service is as it should be"


def test_a_large_body_may_be_refused_by_lambda_itself() -> None:
    def answer(self: Stub, path: str, token: str | None, body: bytes) -> Said:
        if len(body) > 6 * 1024 * 1024:
            return Said(413, {"message": "Request Entity Too Large"})
        return Stub.answer(self, path, token, body)

    assert failures(stub(answer=answer)) == {}


def test_nobody_there() -> None:
    with Node("http://127.0.0.1:9", None, 5) as node:
        result = run(checks(Requests(DATA))[0], node)
    assert result.ok is False
    assert "no answer: ConnectError" in result.found and "URL" in result.remedy


def test_data_that_is_no_tensor_has_no_form_on_chain() -> None:
    behaving = stub(answer=lambda self, *r: self.off_chain())
    with serving(behaving) as url, Node(url, None, 20) as node:
        results = {c.name: run(c, node) for c in checks(Requests({"text": "hello"}))}
    assert results["off-chain"].ok is True
    assert results["on-chain"].ok is None and "no tensor" in results["on-chain"].found
    assert results["delegated"].ok is False, "an object is what a delegated job sends as well"


def test_the_table_and_the_exit_status() -> None:
    with serving(Stub()) as url:
        well = CliRunner().invoke(app, ["doctor", "--url", f"{url}/", "--bearer", TOKEN])
        ill = CliRunner().invoke(app, ["doctor", "--url", url, "--bearer", "another-token"])
    assert well.exit_code == 0, well.output
    lines = well.stdout.splitlines()
    assert len(lines) == 14 and all(line.startswith("ok ") for line in lines[:13])
    assert lines[13] == "13 passed, 0 failed, 0 skipped"
    assert ill.exit_code == ill.stdout.count("\nFAIL") + ill.stdout.startswith("FAIL") > 0
    for output in (well.output, ill.output):
        assert TOKEN not in output and "another-token" not in output


def test_json_for_scripts(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"source": 1, "data": DATA}))
    arguments = ["--bearer", TOKEN, "--data", str(file), "--json"]
    with serving(stub(stream=lambda self: self.error(500))) as url:
        result = CliRunner().invoke(app, ["doctor", "--url", url, *arguments])
    report = json.loads(result.stdout)
    assert result.exit_code == report["failures"] == 1
    (failed,) = [row for row in report["checks"] if row["ok"] is False]
    assert failed["check"] == "stream" and failed["remedy"] and failed["seconds"] > 0


@pytest.mark.parametrize("content", ["", "[1]", "nonsense"])
def test_a_file_that_is_no_data_is_wrong_usage(tmp_path: Path, content: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(content)
    for path in (file, tmp_path / "missing"):
        result = CliRunner().invoke(app, ["doctor", "--url", "http://x", "--data", str(path)])
        assert result.exit_code == 2 and "--data" in result.output


def test_a_stack_knows_where_its_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with serving(Stub()) as url, mock_aws():
        arn = boto3.client("secretsmanager").create_secret(Name="s", SecretString=TOKEN)["ARN"]
        outputs = {"ServiceUrl": {"Value": url}, "BearerSecretArn": {"Value": arn}}
        resources = {"Bucket": {"Type": "AWS::S3::Bucket"}}
        boto3.client("cloudformation").create_stack(
            StackName="iris",
            TemplateBody=json.dumps({"Resources": resources, "Outputs": outputs}),
        )
        result = CliRunner().invoke(app, ["doctor", "--stack", "iris", "--json"])
        assert result.exit_code == 0 and json.loads(result.stdout)["url"] == url
        missing = CliRunner().invoke(app, ["doctor", "--stack", "another"])
    assert missing.exit_code == 1 and "does not exist" in missing.stderr
    for wrong in ([], ["--stack", "iris", "--url", "http://127.0.0.1"]):
        assert CliRunner().invoke(app, ["doctor", *wrong]).exit_code == 2
