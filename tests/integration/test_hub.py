"""A model fetched by the real hub client, from a server that speaks the hub's protocol."""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handler import onchain
from handler.models.model_id import ModelId
from handler.testing import free_port, function_url_event
from handler.testing.hub import COMMIT, Hub, Repository, hub_server
from tests.integration.conftest import START
from tests.processes import ROOT

pytestmark = pytest.mark.integration

SEED = (ROOT / "tests" / "vectors" / "seed_request.json").read_text()
TOKEN = "hf_a_token_that_must_not_be_seen"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8)).double().eval()


@pytest.fixture
def hub(model: nn.Module) -> Iterator[Hub]:
    whole, script = io.BytesIO(), io.BytesIO()
    torch.save(model, whole)
    program: Any = torch.jit.script(model)
    torch.jit.save(program, script)
    files = {"model.torch": whole.getvalue(), "sub/script.torch": script.getvalue()}
    with hub_server() as hub:
        hub.repositories["owner/public"] = Repository(files)
        hub.repositories["owner/private"] = Repository(files, token=TOKEN)
        hub.repositories["owner/gated"] = Repository(files, gated=True)
        yield hub


def asked(service: Any) -> tuple[int, Any]:
    response = service.invoke(function_url_event(body=SEED), timeout=120)
    return response["statusCode"], json.loads(response["body"])


def environment(hub: Hub, cache: Path, **kwargs: Any) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",  # as in the image
        "MODEL_CACHE_DIR": str(cache),
        "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps(kwargs),
    }


@pytest.mark.parametrize(
    ("kwargs", "file"),
    [
        ({"model_name": "owner/public"}, "model.torch"),
        ({"model_name": "owner/public"}, "sub/script.torch"),
        ({"model": "hf://owner/public@main/model.torch"}, ""),
        (
            {
                "model_source": "HUGGINGFACE_HUB",
                "model_args": {"repo_id": "owner/public", "filename": "model.torch"},
            },
            "",
        ),
    ],
)
def test_the_seed_s_request_is_answered(
    emulated: START, hub: Hub, model: nn.Module, tmp_path: Path, kwargs: Any, file: str
) -> None:
    with emulated(
        **environment(hub, tmp_path / "cache", **kwargs), TORCH_MODEL_FILE_NAME=file
    ) as service:
        status, answer = asked(service)
    assert status == 200, answer
    assert (answer["dtype"], answer["shape"]) == ("double", [1, 8])
    values = torch.tensor(json.loads(SEED)["data"]["values"], dtype=torch.double)
    torch.testing.assert_close(torch.tensor(answer["values"]).double(), model(values).detach())
    assert [method for method, *_ in hub.requests] == ["HEAD", "GET"]


@pytest.mark.parametrize("name", ["HUGGING_FACE_HUB_TOKEN", "HF_TOKEN"])
def test_a_private_repository_takes_the_token(
    emulated: START, hub: Hub, tmp_path: Path, log: Path, name: str
) -> None:
    tokens = {"HUGGING_FACE_HUB_TOKEN": "hf_outranked", name: TOKEN}
    variables = environment(hub, tmp_path / "cache", model_name="owner/private")
    with emulated(**variables, **tokens) as service:
        status, answer = asked(service)
    assert status == 200, answer
    assert {authorization for *_, authorization in hub.requests} == {f"Bearer {TOKEN}"}
    written = log.read_text()
    assert TOKEN not in written
    content = hub.repositories["owner/private"].files["model.torch"]
    digest = hashlib.sha256(content).hexdigest()
    loaded = f"hf://owner/private@{COMMIT}/model.torch#sha256={digest}: {len(content)} bytes"
    assert loaded in written


@pytest.mark.parametrize(
    ("kwargs", "token", "reason"),
    [
        ({"model_name": "owner/private"}, "", "needs a token in HUGGING_FACE_HUB_TOKEN"),
        ({"model_name": "owner/private"}, "hf_wrong_token", "must be allowed to read it"),
        ({"model_name": "owner/missing"}, "", "no such repository"),
        ({"model_name": "owner/gated"}, TOKEN, "the repository is gated"),
        ({"model": "hf://owner/public/missing.torch"}, "", "no such file"),
        ({"model": "hf://owner/public@v9/model.torch"}, "", "no such revision"),
    ],
)
def test_what_the_hub_refuses_is_a_503_that_says_why(
    emulated: START, hub: Hub, tmp_path: Path, log: Path, kwargs: Any, token: str, reason: str
) -> None:
    variables = environment(hub, tmp_path / "cache", **kwargs)
    with emulated(**variables, HUGGING_FACE_HUB_TOKEN=token) as service:
        status, answer = asked(service)
        again, _ = asked(service)
    assert (status, again, answer["code"]) == (503, 503, "503")
    assert reason in answer["description"]
    assert len(hub.requests) == 1, "the second request costs the hub nothing"
    assert not token or token not in log.read_text() + json.dumps(answer)


def test_a_busy_hub_is_asked_again(emulated: START, hub: Hub, tmp_path: Path) -> None:
    hub.next_statuses = [429, 429]
    variables = environment(hub, tmp_path / "cache", model_name="owner/public")
    with emulated(**variables) as service:
        status, answer = asked(service)
    assert status == 200, answer
    assert [method for method, *_ in hub.requests] == ["HEAD", "HEAD", "HEAD", "GET"]


def test_a_hub_that_is_down_is_a_503_until_it_is_back(
    emulated: START, model: nn.Module, tmp_path: Path
) -> None:
    whole, port = io.BytesIO(), free_port()
    torch.save(model, whole)
    variables = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "MODEL_CACHE_DIR": str(tmp_path / "cache"),
        "CLASSIC_INF_WORKFLOW_KW_ARGS": '{"model_name": "owner/public"}',
        "INFERNET_RETRY_SECONDS": "0.1",
    }
    with emulated(**variables) as service:
        status, answer = asked(service)
        assert status == 503 and "MODEL_CACHE_DIR" in answer["description"], answer
        with hub_server(port) as hub:
            hub.repositories["owner/public"] = Repository({"model.torch": whole.getvalue()})
            time.sleep(0.2)
            status, answer = asked(service)
            assert status == 200, answer
    with emulated(**variables) as service:
        status, answer = asked(service)
    assert status == 200, "a file in the cache needs no hub"


def test_a_request_may_name_the_allowed_models_and_no_other(
    emulated: START, hub: Hub, model: nn.Module, tmp_path: Path
) -> None:
    identity = io.BytesIO()
    torch.save(nn.Identity(), identity)
    for name in ("owner/identity", "owner/secret"):
        hub.repositories[name] = Repository({"model.torch": identity.getvalue()})
    allowed = ["hf://owner/identity/model.torch"]
    values = torch.randn(1, 69, dtype=torch.double)
    vector = {"dtype": 2, "shape": [1, 69], "values": values.flatten().tolist()}
    abi = onchain.encode_vector(onchain.vector_of(values.numpy()))

    def ask(service: Any, model_id: str) -> tuple[int, Any, int, Any]:
        """The same request off-chain and on-chain."""
        data = {"model_id": model_id, "input": vector}
        named = onchain.encode_request(abi, ModelId.parse(model_id)).hex()
        answers = [
            service.invoke(function_url_event(body=json.dumps(body)), timeout=120)
            for body in ({"source": 1, "data": data}, {"source": 0, "data": named})
        ]
        off, on = ((answer["statusCode"], json.loads(answer["body"])) for answer in answers)
        return *off, *on

    with emulated(
        **environment(hub, tmp_path / "cache", model_name="owner/public"),
        CLASSIC_INF_ALLOWED_MODELS=json.dumps(allowed),
    ) as service:
        status, answer, _, on_chain = ask(service, "huggingface/owner/public:model.torch")
        assert status == 200 and answer["values"] == model(values).flatten().tolist()
        expected = onchain.encode_vector(onchain.vector_of(model(values).detach().numpy()))
        assert on_chain["raw_output"] == expected.hex()
        assert not any("identity" in path for _, path, _ in hub.requests), (
            "not before somebody asks"
        )

        status, answer, _, on_chain = ask(service, "huggingface/owner/identity")
        assert status == 200 and answer == vector
        assert on_chain["raw_output"] == abi.hex()

        for other in ("huggingface/owner/secret:model.torch", "local/opt/models:x"):
            status, answer, on_status, on_chain = ask(service, other)
            assert status == on_status == 422 and answer == on_chain
            assert "huggingface/owner/public:model.torch" in answer["description"]
        assert not any("secret" in path for _, path, _ in hub.requests)


def test_the_model_is_fetched_while_torch_is_imported(
    emulated: START, hub: Hub, tmp_path: Path
) -> None:
    hub.pause = 0.3  # after the one block that the file is
    with emulated(**environment(hub, tmp_path / "cache", model_name="owner/public")) as service:
        ledger = service.invoke({"warmer": True, "load": True}, timeout=120)["cold_start"]
    assert ledger["download_ms"] > 300 and ledger["download_bytes"] > 0
    assert ledger["fetch_wait_ms"] < ledger["download_ms"], "some of it was hidden by the import"
    phases = ("import_workflow_ms", "fetch_wait_ms", "load_ms", "verify_ms")
    assert sum(ledger[name] for name in phases) == pytest.approx(ledger["total_ms"], abs=100)
