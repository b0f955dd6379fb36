"""Threads of a model where a Lambda's memory buys one CPU of two: ``python -m bench.threads``.

A container of the image with one CPU's worth of time, as 1769 MB buy, in which two are seen. For a
small and a large model, the time of an inference with one thread, which is what the service takes
there, and with one for each CPU that is seen.
"""

import subprocess

IMAGE = "servicefunction:latest"  # of ``make image``
MEASURE = """
import statistics, time, torch
from torch import nn

def inference(model, width, threads):
    torch.set_num_threads(threads)
    rows, times = torch.randn(64 if width > 100 else 1, width), []
    with torch.inference_mode():
        for _ in range(3):
            model(rows)
        for _ in range(40):
            started = time.perf_counter()
            model(rows)
            times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]

small = nn.Sequential(nn.Linear(69, 128), nn.ReLU(), nn.Linear(128, 8))
large = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(4)])
models = [("small, 69-128-8, 1 row", small, 69), ("large, 4 of 2048-2048, 64 rows", large, 2048)]
for name, model, width in models:
    for threads in (1, 2):
        median, slow = inference(model, width, threads)
        print(f"{name:32} {threads} threads: median {median:8.0f} us, 95% {slow:8.0f} us")
"""


def main() -> None:
    options = ["--rm", "--cpus", "1", "--network", "none", "--entrypoint", "python"]
    command = ["docker", "run", *options, IMAGE, "-c", MEASURE]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")


if __name__ == "__main__":
    main()
