"""Every test starts from an environment without settings."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handler.adapter import EventLoop
from handler.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    prefixes = (
        "CLASSIC_INF_",
        "INFERNET_",
        "TORCH_",
        "HF_",
        "HUGGING_FACE_",
        "AWS_LAMBDA_",
        "AWS_SAM_",
    )
    for name in os.environ:
        if name.startswith(prefixes) and name != "AWS_LAMBDA_RIE":
            monkeypatch.delenv(name)
    for name in ("USE_JIT", "MODEL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def event_loop() -> Iterator[None]:
    """The one that Mangum runs in, closed at the end."""
    loop = EventLoop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings as an environment with the given variables makes them."""

    def read(**environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return get_settings()

    return read


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a module, whole or as TorchScript, and gives the file."""

    def save(module: nn.Module, *, script: bool = False) -> Path:
        path = tmp_path / "model.torch"
        if script:
            scripted: Any = torch.jit.script(module)
            scripted.save(str(path))
        else:
            torch.save(module, path)
        return path

    return save
