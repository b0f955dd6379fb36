"""The servers that are compared: how each is installed, started and asked.

In commands, environments and files, ``$port``, ``$port2`` and ``$port3`` are free ports, ``$root``
is this repository, ``$folder`` the folder that the server starts in, ``$model`` and ``$compiled``
the files of the model.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from handler import __version__

TOKEN = "a-token-for-the-benchmark"
TORCH = "torch==2.13.0"
NOTHING: Mapping[str, str] = MappingProxyType({})

Rows = list[list[float]]


class Peer(NamedTuple):
    """One server."""

    name: str
    # From PyPI, beside torch, the server itself first; none when it is in this environment.
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    # The body of a request with these rows, and the values in the body of an answer.
    body: Callable[[Rows], Any]
    values: Callable[[Any], Any]
    environment: Mapping[str, str] = NOTHING
    headers: Mapping[str, str] = NOTHING
    # What the server finds in its folder, by name.
    files: Mapping[str, str] = NOTHING
    # Runs in the folder before the server starts, and does not count.
    prepare: tuple[str, ...] = ()
    # What no package has, and the machine must.
    program: str | None = None

    @property
    def version(self) -> str:
        return self.packages[0].partition("==")[2] if self.packages else __version__

    @property
    def package(self) -> str:
        """Its name at PyPI."""
        return re.split(r"[\[=]", self.packages[0])[0]


def _infernet(rows: Rows) -> Any:
    return {"source": 1, "data": {"dtype": "double", "values": rows}}


def _ours(name: str, model: str) -> Peer:
    return Peer(
        name=name,
        packages=(),
        command=(
            *("python", "-m", "handler.cli", "serve"),
            *("--bind=127.0.0.1:$port", "--workers=1"),
        ),
        path="/service_output",
        body=_infernet,
        values=lambda answer: answer["values"],
        environment={
            "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": model}),
            "INFERNET_BEARER_TOKENS": TOKEN,
        },
        headers={"Authorization": f"Bearer {TOKEN}"},
    )


OURS = (_ours("ours", "$model"), _ours("ours, compiled", "$compiled"))


def _mlserver(name: str, workers: int) -> Peer:
    settings = {
        "host": "127.0.0.1",
        "http_port": "$port",
        "grpc_port": "$port2",
        "metrics_port": "$port3",
        "parallel_workers": workers,
        "debug": False,
    }
    model = {
        "name": "model",
        "implementation": "bench.peers.mlserver.Model",
        "parameters": {"uri": "$model"},
    }
    return Peer(
        name=name,
        # Its workers do not start with later releases of uvloop.
        packages=("mlserver==1.7.1", "uvloop==0.21.0"),
        command=("mlserver", "start", "$folder"),
        path="/v2/models/model/infer",
        body=_v2,
        values=lambda answer: answer["outputs"][0]["data"],
        files={
            "settings.json": json.dumps(settings),
            "model-settings.json": json.dumps(model),
        },
    )


def _v2(rows: Rows) -> Any:
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "input", "shape": shape, "datatype": "FP64", "data": rows}]}


def _ritual_vector(rows: Rows) -> Any:
    numbers = [number for row in rows for number in row]
    vector = {"dtype": 2, "shape": [len(rows), len(rows[0])], "values": numbers}  # 2: float64
    return {"source": 1, "destination": 1, "data": {"input": vector}}


PEERS = (
    _mlserver("MLServer", workers=1),
    # The model runs between the requests, in the one process that reads them.
    _mlserver("MLServer, no pool", workers=0),
    Peer(
        name="LitServe",
        packages=("litserve==0.2.19",),
        command=("python", "-m", "bench.peers.litserve", "$port", "$model"),
        path="/predict",
        body=lambda rows: {"values": rows},
        values=lambda answer: answer["values"],
    ),
    Peer(
        name="TorchServe",
        # It imports yaml, which it does not require.
        packages=("torchserve==0.12.0", "torch-model-archiver==0.12.0", "pyyaml==6.0.4"),
        prepare=(
            *("torch-model-archiver", "--model-name=model", "--version=1.0", "--export-path=."),
            *("--serialized-file=$model", "--handler=$root/bench/peers/torchserve.py"),
        ),
        command=(
            *("torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth"),
            *("--ts-config=config.properties", "--model-store=.", "--models=model=model.mar"),
        ),
        path="/predictions/model",
        body=lambda rows: {"values": rows},
        values=lambda answer: answer,
        environment={"PEER_MODEL": "$model"},
        files={
            "config.properties": "\n".join(
                (
                    "inference_address=http://127.0.0.1:$port",
                    "management_address=http://127.0.0.1:$port2",
                    "metrics_address=http://127.0.0.1:$port3",
                    "default_workers_per_model=1",
                )
            )
        },
        program="java",
    ),
    Peer(
        name="infernet-ml",
        packages=(
            "infernet-ml[service-utils,torch-inference]==2.0.0",
            *("quart==0.20.0", "hypercorn==0.18.0"),
        ),
        command=(
            *("hypercorn", "bench.peers.infernet_ml:app"),
            *("--bind=127.0.0.1:$port", "--workers=1"),
        ),
        path="/service_output",
        body=_ritual_vector,
        values=lambda answer: answer["values"],
        environment={
            "TORCH_CACHE_DIR": "$folder",
            "TORCH_DEFAULT_MODEL_ID": "huggingface/bench/model:model.torch",
            # The workflow leaves it to torch whether a model may be saved whole.
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
        },
        # As if the model had been fetched from the hub.
        files={
            "huggingface/bench/model/default/ritual_manifest.json": json.dumps(
                {"artifact_type": "ModelArtifact", "files": ["$model"], "metadata": {}}
            )
        },
    ),
    Peer(
        name="BentoML",
        packages=("bentoml==1.4.40",),
        command=(
            *("bentoml", "serve", "bench.peers.bentoml:Model"),
            *("--host=127.0.0.1", "--port=$port"),
        ),
        path="/predict",
        body=lambda rows: {"values": rows},
        values=lambda answer: answer,
        environment={"PEER_MODEL": "$model", "BENTOML_DO_NOT_TRACK": "True"},
    ),
)
