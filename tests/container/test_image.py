"""The image as a server, as a Lambda function, and as the base of a user's own."""

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from handler.cli.commands import app
from handler.testing import INVOCATION_PATH, function_url_event
from tests.container.conftest import Run, answers, docker, eventually
from tests.processes import emulator

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

READ_ONLY = ["--read-only", "--tmpfs", "/tmp"]
SERVER = ["--bind=0.0.0.0:3000", "--workers=2"]
TOKEN = "token-of-the-container-tests"
Demo = tuple[Any, Any]


def check(response: Any, expected: Any) -> None:
    assert response["dtype"] == "double" and response["shape"] == [3, 3]
    for row, expected_row in zip(response["values"], expected, strict=True):
        assert row == pytest.approx(expected_row, rel=1e-9)


@pytest.mark.parametrize("options", [[], READ_ONLY, [*READ_ONLY, "--user", "12345:12345"]])
def test_a_server_answers(run: Run, demo: Demo, tmp_path: Path, options: list[str]) -> None:
    environment = tmp_path / "classic_inference_service.env"
    environment.write_text(
        'CLASSIC_INF_WORKFLOW_CLASS="infernet_ml.workflows.inference.torch_inference_workflow.'
        'TorchInferenceWorkflow"\n'
        "CLASSIC_INF_WORKFLOW_POSITIONAL_ARGS='[]'\n"
        'CLASSIC_INF_WORKFLOW_KW_ARGS=\'{"model_source": "LOCAL", "model_args": {"model_path": '
        '"/opt/venv/lib/python3.11/site-packages/handler/demo/model.torch"}}\'\n'
        "HUGGING_FACE_HUB_TOKEN=\nUSE_JIT=False\n"
    )
    container = run([*options, "--env-file", str(environment)], SERVER)
    eventually(lambda: answers(container.url))
    response = container.post("/service_output", demo[0])
    assert response.status_code == 200, response.text
    check(response.json(), demo[1])
    rows = docker("top", container.id, "-eo", "pid,uid").splitlines()[1:]
    users = {row.split()[1] for row in rows}
    assert len(rows) >= 3 and "0" not in users, "root is given up"


@pytest.mark.parametrize("options", [READ_ONLY, [*READ_ONLY, "--user", "12345:12345"]])
def test_the_lambda_runtime_answers(run: Run, demo: Demo, options: list[str]) -> None:
    rie = emulator()
    token = ["--env", f"INFERNET_BEARER_TOKENS={TOKEN}"]
    entry = ["--volume", f"{rie}:/aws-lambda-rie:ro", "--entrypoint", "/aws-lambda-rie"]
    command = ["/bin/sh", "/opt/infernet-lambda/entrypoint.sh"]
    container = run([*options, *token, *entry], command, port=8080)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    event = function_url_event(body=json.dumps(demo[0]), headers=headers)
    response = eventually(lambda: _invoked(container, event))
    assert response["statusCode"] == 200, response
    check(json.loads(response["body"]), demo[1])
    assert _invoked(container, function_url_event())["statusCode"] == 401
    assert TOKEN not in container.logs()


def _invoked(container: Any, event: Any) -> Any:
    try:
        return container.post(INVOCATION_PATH, event).json()
    except httpx.TransportError:
        return None


def test_sigterm_answers_what_is_in_flight(run: Run, slow_image: str) -> None:
    container = run(READ_ONLY, SERVER, name=slow_image)
    eventually(lambda: answers(container.url))
    request = {"source": 1, "data": {"seconds": 2}}
    responses: list[Any] = []
    caller = threading.Thread(
        target=lambda: responses.append(container.post("/service_output", request))
    )
    caller.start()
    time.sleep(0.5)
    docker("stop", "--time", "30", container.id)
    caller.join(30)
    assert responses and responses[0].json() == {"slept": 2}
    assert container.state() == {"Running": False, "ExitCode": 0, "OOMKilled": False}


def test_a_killed_worker_ends_the_server_with_a_failure(run: Run, slow_image: str) -> None:
    container = run([], SERVER, name=slow_image)
    eventually(lambda: answers(container.url))
    rows = docker("top", container.id, "-eo", "pid,args").splitlines()[1:]
    worker = next(row.split()[0] for row in rows if "spawn_main" in row)
    subprocess.run(["kill", "-KILL", worker], check=True)
    eventually(lambda: not container.state()["Running"])
    assert container.state()["ExitCode"] != 0


def test_what_the_image_says_of_itself(image: str) -> None:
    (description,) = json.loads(docker("image", "inspect", image))
    config = description["Config"]
    assert config["Labels"]["com.amazonaws.lambda.feature.snapstart"] == "Allow"
    assert not config["User"], "sam local fails with a USER"
    environment = dict(pair.split("=", 1) for pair in config["Env"])
    for name in ("HOME", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        assert environment[name].startswith("/tmp"), name
    assert not any("TOKEN" in name or "SECRET" in name for name in environment)


def test_nothing_sensitive_is_in_its_layers(image: str) -> None:
    """Neither in what the layers were made with nor in the files that they bring."""
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert "hf_" not in history and "AKIA" not in history
    assert "BEARER" not in history and "SECRET" not in history
    names = [".env", "*.env", ".git", ".aws", ".netrc", ".pypirc", ".docker", "id_rsa", ".ssh"]
    tests = [word for name in names for word in ("-o", "-name", name)][1:]
    command = ["find", "/", "-xdev", "-not", "-path", "/proc/*", "(", *tests, ")"]
    # The host's name of the container, and the like, are mounted; only what the image has counts.
    found = docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])
    assert found == ""


def test_the_folder_of_the_storage_profile_image_is_in_the_image(image: str) -> None:
    listed = docker("run", "--rm", "--entrypoint", "ls", image, "/opt/models")
    assert "README.md" in listed.splitlines()


def test_a_cold_start_compiles_nothing(image: str) -> None:
    code = (
        "import importlib.util, pathlib, sys, torch, handler.main, handler.workflows.torch\n"
        "files = {m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)}\n"
        "sources = [f for f in files if f[0] == '/' and f.endswith('.py')]\n"
        "missing = [f for f in sources\n"
        "           if not pathlib.Path(importlib.util.cache_from_source(f)).exists()]\n"
        "print(len(sources), *missing)"
    )
    output = docker("run", "--rm", *READ_ONLY, "--entrypoint", "python", image, "-c", code)
    listed = output.splitlines()[-1].split()  # behind what the service itself says
    assert int(listed[0]) > 1000 and listed[1:] == []


def test_the_project_of_new_is_built_on_the_image_and_serves(
    run: Run, image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    assert CliRunner().invoke(app, ["new", str(folder)]).exit_code == 0
    name = "infernet-lambda-test-new"
    docker("build", "--quiet", "--build-arg", f"IMAGE={image}", "--tag", name, str(folder))
    try:
        options = ["--env-file", str(folder / "service.env")]
        container = run(options, ["--bind=0.0.0.0:3000"], name=name)
        eventually(lambda: answers(container.url))
        data = {"dtype": "double", "values": [[1, 2, 3, 4]]}
        response = container.post("/service_output", {"source": 1, "data": data})
        assert response.status_code == 200, response.text
        assert response.json()["values"] == [[2.0, 4.0, 6.0, 8.0]]
    finally:
        docker("rmi", "--force", name)
