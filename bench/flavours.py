"""Size, memory and cold start of each flavour of the image: ``python -m bench.flavours RIE``.

Each serves a model of the irises, in its own format, through the Runtime Interface Emulator in a
container of its own. The cold start is from the first request to its answer: interpreter, imports,
model, first inference; the container itself runs by then, as on Lambda.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import skops.io
import torch
import xgboost
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from handler.testing import INVOCATION_PATH, function_url_event, wait_for_port

ROOT = Path(__file__).parent.parent
BASELINE = ROOT / "bench" / "baseline.py"
SERVICE = ("/bin/sh", "/opt/infernet-lambda/entrypoint.sh")
BY_HAND = ("python", "-m", "awslambdaric", "baseline.handler")
RUNS = 7
DATA = load_iris()


def _onnx(path: Path) -> None:
    fitted = LogisticRegression(max_iter=1000).fit(DATA.data, DATA.target)
    path.write_bytes(to_onnx(fitted, DATA.data[:1].astype(np.float32)).SerializeToString())


def _sklearn(path: Path) -> None:
    skops.io.dump(LogisticRegression(max_iter=1000).fit(DATA.data, DATA.target), path)


def _xgboost(path: Path) -> None:
    xgboost.XGBClassifier(n_estimators=20).fit(DATA.data, DATA.target).save_model(path)


def _lightgbm(path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(DATA.data, DATA.target)
    model.booster_.save_model(path)


def _torch(path: Path) -> None:
    torch.save(torch.load(ROOT / "handler/demo/model.torch", weights_only=False), path)


FLAVOURS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "torch": ("model.torch", _torch),
    "onnx": ("model.onnx", _onnx),
    "sklearn": ("model.skops", _sklearn),
    "xgboost": ("model.ubj", _xgboost),
    "lightgbm": ("model.txt", _lightgbm),
}


def docker(*arguments: str) -> str:
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cold(
    image: str, model: Path, rie: Path, command: Sequence[str] = SERVICE
) -> tuple[float, float]:
    """Milliseconds to the first answer, and peak memory of the process in MB."""
    kwargs = json.dumps({"model": f"/opt/{model.name}"})
    identifier = docker(
        *("run", "--detach", "--publish", "127.0.0.1:0:8080", "--read-only", "--tmpfs", "/tmp"),
        *("--volume", f"{rie}:/rie:ro", "--volume", f"{model}:/opt/{model.name}:ro"),
        *("--env", f"CLASSIC_INF_WORKFLOW_KW_ARGS={kwargs}", "--env", "INFERNET_AUTH=none"),
        *("--volume", f"{BASELINE}:/opt/baseline/baseline.py:ro"),
        *("--env", "PYTHONPATH=/opt/baseline", "--env", f"BASELINE_MODEL=/opt/{model.name}"),
        *("--entrypoint", "/rie", image, *command),
    )
    try:
        port = int(docker("port", identifier, "8080").splitlines()[0].rpartition(":")[2])
        wait_for_port(port)
        time.sleep(1)  # until the emulator in the container is what listens
        request = {"source": 1, "data": {"dtype": "float", "values": DATA.data[:1].tolist()}}
        if "torch" in model.name:
            request["data"] = {"dtype": "double", "values": DATA.data[:1].tolist()}
        started = time.perf_counter()
        answer = invoke(port, function_url_event(body=json.dumps(request)))
        elapsed = time.perf_counter() - started
        assert answer["statusCode"] == 200, answer
        return elapsed * 1e3, peak_memory(identifier)
    finally:
        docker("rm", "--force", identifier)


def invoke(port: int, event: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", INVOCATION_PATH, json.dumps(event))
    return json.loads(connection.getresponse().read())


def peak_memory(identifier: str) -> float:
    rows = docker("top", identifier, "-eo", "pid,args").splitlines()[1:]
    pid = next(row.split()[0] for row in rows if "awslambdaric" in row and "rie" not in row)
    status = Path("/proc", pid, "status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    rie = parser.parse_args().emulator.resolve()
    base = int(docker("image", "inspect", "--format", "{{.Size}}", "python:3.11-slim"))
    print(f"| `EXTRAS` | image, on top of its base | peak memory | cold start, median of {RUNS} |")
    print("|---|---|---|---|")
    medians: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for extras, (name, save) in FLAVOURS.items():
            image = f"infernet-lambda-{extras}"
            docker(
                *("build", "--quiet", "--file", str(ROOT / "Dockerfile.lambda")),
                *("--build-arg", f"EXTRAS={extras}", "--tag", image, str(ROOT)),
            )
            model = Path(folder, name)
            save(model)
            times, memory = zip(*(cold(image, model, rie) for _ in range(RUNS)), strict=True)
            medians[extras] = statistics.median(times)
            size = int(docker("image", "inspect", "--format", "{{.Size}}", image)) - base
            middle, low, high = statistics.median(times), min(times), max(times)
            print(
                f"| `{extras}` | {size / 1e6:.0f} MB | {statistics.median(memory):.0f} MB | "
                f"{middle:.0f} ms ({low:.0f} to {high:.0f}) |",
                flush=True,
            )
        torch_model = Path(folder, FLAVOURS["torch"][0])
        by_hand = [cold("infernet-lambda-torch", torch_model, rie, BY_HAND) for _ in range(RUNS)]
        baseline = statistics.median(time for time, _ in by_hand)
    print(f"\nten lines with torch, in the same image: {baseline:.0f} ms; beside it")
    for extras in ("torch", "onnx"):
        print(f"{extras}: {medians[extras] / baseline:.2f}")


if __name__ == "__main__":
    main()
