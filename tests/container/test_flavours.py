"""An image without torch, and weights that are baked into an image of the user's own."""

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from handler.testing import function_url_event
from handler.testing.hub import Repository, hub_server
from tests.container.conftest import Run, answers, docker, eventually
from tests.container.test_image import READ_ONLY, SERVER, _invoked
from tests.processes import ROOT, emulator

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

NAME = "infernet-lambda-test-onnx"
REF = "hf://owner/name/model.onnx"
ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
REQUEST = {"source": 1, "data": {"values": ROWS[:2].tolist()}}


@pytest.fixture(scope="module")
def baked(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The flavour for ONNX with a model fetched into it, as the README says."""
    folder = tmp_path_factory.mktemp("baked")
    docker(
        *("build", "--quiet", "--file", str(ROOT / "Dockerfile.lambda"), "--tag", NAME),
        *("--build-arg", "EXTRAS=onnx", str(ROOT)),
        timeout=600,
    )
    model = to_onnx(LogisticRegression().fit(ROWS, ROWS[:, 0] > 0), ROWS[:1])
    with hub_server() as hub:
        hub.repositories["owner/name"] = Repository({"model.onnx": model.SerializeToString()})
        command = [
            sys.executable,
            "-m",
            "handler.cli",
            "fetch",
            REF,
            "--into",
            str(folder / "models"),
        ]
        subprocess.run(command, env={"HF_ENDPOINT": hub.url}, check=True, capture_output=True)
    (folder / "Dockerfile").write_text(f"FROM {NAME}\nCOPY models/ /opt/models/\n")
    docker("build", "--quiet", "--tag", f"{NAME}-baked", str(folder))
    yield f"{NAME}-baked"
    docker("rmi", "--force", f"{NAME}-baked", NAME)


# Without any network, as any user, on a read-only root: what is baked in needs nothing else.
OPTIONS = [
    *READ_ONLY,
    *("--user", "12345:12345", "--env", "INFERNET_AUTH=none"),
    *("--env", f'CLASSIC_INF_WORKFLOW_KW_ARGS={{"model": "{REF}"}}', "--env", "HF_HUB_OFFLINE=1"),
]


def test_a_baked_model_is_served_without_torch(run: Run, baked: str) -> None:
    container = run(OPTIONS, SERVER, name=baked)
    eventually(lambda: answers(container.url))
    response = container.post("/service_output", REQUEST)
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    assert outputs["output_label"]["shape"] == [2]
    assert "sha256=" in response.headers["x-model-digest"]
    listed = docker(
        "exec",
        container.id,
        "python",
        "-c",
        "import importlib.util as u; "
        "print([n for n in ('torch', 'sklearn', 'onnx') if u.find_spec(n)])",
    )
    assert listed == "[]"


def test_so_it_is_on_lambda_and_what_needs_torch_says_so(run: Run, baked: str) -> None:
    entry = ["--volume", f"{emulator()}:/aws-lambda-rie:ro", "--entrypoint", "/aws-lambda-rie"]
    command = ["/bin/sh", "/opt/infernet-lambda/entrypoint.sh"]
    event = function_url_event(body=json.dumps(REQUEST))
    container = run([*OPTIONS, *entry], command, name=baked, port=8080)
    response = eventually(lambda: _invoked(container, event))
    assert response["statusCode"] == 200, response
    demo = [*READ_ONLY, "--env", "INFERNET_AUTH=none", *entry]
    container = run(demo, command, name=baked, port=8080)
    response = eventually(lambda: _invoked(container, event))
    assert response["statusCode"] == 503
    assert "infernet-lambda[torch]" in json.loads(response["body"])["description"]
