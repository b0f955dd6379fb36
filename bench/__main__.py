"""Measures the service beside a bare handler: ``python -m bench PATH_OF_AWS_LAMBDA_RIE``."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from bench.rows import FEATURES, all_rows
from bench.table import report

# Fewer runs show that the benchmarks work; they say nothing about a bar.
ENOUGH_RUNS = 7


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    parser.add_argument("--runs", type=int, default=9, help=f"bars count from {ENOUGH_RUNS} on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.torch"
        torch.manual_seed(0)
        torch.save(
            nn.Sequential(nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 8)).double(), model
        )
        environment = {
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "CLASSIC_INF_WORKFLOW_KW_ARGS": json.dumps({"model": str(model)}),
            "BENCH_MODEL": str(model),
        }
        rows = all_rows(options.emulator, environment)
        # In this process too, nothing but these settings; the first of them means Lambda's mode.
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        os.environ.clear()
        os.environ.update({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"} | inherited | environment)
        kept = report(rows, options.runs)
    return 0 if kept or options.runs < ENOUGH_RUNS else 1


if __name__ == "__main__":
    sys.exit(main())
