"""Fixtures for tests of a workflow: name it in ``conftest.py``.

    pytest_plugins = ["handler.testing.plugin"]

``lambda_client`` serves a workflow through the whole Lambda path, in process; ``hub`` is a server
that speaks the Hugging Face hub's protocol, and is what the service fetches models from.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler.adapter import EventLoop
from handler.settings import get_settings
from handler.testing import LambdaClient
from handler.testing.hub import Hub, hub_server
from handler.workflows import Workflow


@pytest.fixture
def lambda_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LambdaClient]]:
    """Makes a client of a workflow: ``lambda_client(Workflow())``, or of what settings say.

    Keyword arguments are variables of the environment, as ``lambda_client(USE_JIT="true")``.
    """
    loop = EventLoop()
    asyncio.set_event_loop(loop)

    def make(workflow: Workflow | None = None, **environment: str) -> LambdaClient:
        defaults = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "INFERNET_AUTH": "none"}
        for name, value in (defaults | environment).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return LambdaClient(workflow)

    yield make
    asyncio.set_event_loop(None)
    loop.close()
    get_settings.cache_clear()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub without repositories, and an empty cache of models.

    ``hub.repositories["owner/name"] = Repository({"model.onnx": content})`` adds one.
    """
    # The client reads its address once, when it is imported.
    from huggingface_hub import constants

    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "models"))
        get_settings.cache_clear()
        yield server
    get_settings.cache_clear()
