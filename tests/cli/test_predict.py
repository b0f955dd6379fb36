"""``infernet-lambda predict`` against a service that runs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from handler.cli.commands import app
from handler.testing import free_port, wait_for_port
from tests.processes import running

TOKEN = "a-token-of-the-tests"
DATA = {"dtype": "double", "values": [[5.1, 3.5, 1.4, 0.2]]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "handler.cli", "serve", f"--bind=127.0.0.1:{port}"]
    environment = {"INFERNET_BEARER_TOKENS": TOKEN, "INFERNET_LOAD": "init"}
    with running(command, tmp_path_factory.mktemp("predict") / "log", environment):
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"


def predict(*arguments: str, given: Any = None, **environment: str) -> Result:
    text = None if given is None else json.dumps(given)
    runner = CliRunner(env={"COLUMNS": "300", **environment})
    return runner.invoke(app, ["predict", *arguments], input=text)


@pytest.mark.parametrize("given", [DATA, {"source": 1, "data": DATA}])
def test_data_or_a_request_on_standard_input(url: str, given: Any) -> None:
    done = predict("--url", url, "--bearer", TOKEN, "--data", "-", "--json", given=given)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["shape"] == [1, 3] and sum(answer["values"][0]) == pytest.approx(1)
    assert done.stdout.count("\n") == 1


def test_a_file_and_a_token_in_the_environment(url: str, tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(DATA))
    done = predict("--url", url, "--data", str(path), INFERNET_BEARER_TOKEN=TOKEN)
    assert done.exit_code == 0 and json.loads(done.stdout)["dtype"] == "double"


@pytest.mark.parametrize(
    ("token", "given", "message"),
    [
        ("x", DATA, "give --bearer"),
        (TOKEN, {**DATA, "values": [[1]]}, "the model refuses it"),
        (TOKEN, {**DATA, "values": [["a"]]}, "data.values[0][0]"),
    ],
)
def test_what_the_service_refuses_is_one_line(
    url: str, token: str, given: Any, message: str
) -> None:
    done = predict("--url", url, "--bearer", token, "--data", "-", given=given)
    assert done.exit_code == 1 and message in done.stderr
    assert done.stderr.startswith("infernet-lambda predict: ") and done.stderr.count("\n") == 1


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    done = predict("--url", address, "--data", "-", given=DATA)
    assert done.exit_code == 1 and "does the service run?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["--data", "-"], DATA, "one of --url and --stack"),
        (["--url", "http://x", "--data", "/nowhere"], None, "No such file"),
        (["--url", "http://x", "--data", "-"], [1], "expected a JSON object"),
        (["--url", "http://x"], None, "--data"),
    ],
)
def test_a_mistake_is_status_2(arguments: list[str], given: Any, message: str) -> None:
    done = predict(*arguments, given=given)
    assert done.exit_code == 2 and message in done.stderr
