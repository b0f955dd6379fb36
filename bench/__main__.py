"""Every figure, as a ratio to its baseline: ``python -m bench PATH_OF_AWS_LAMBDA_RIE``."""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.rows import Bench

MINIMUM_RUNS = 7


def summary(samples: Sequence[float]) -> str:
    digits = 0 if min(samples) >= 10 else 1
    middle, low, high = statistics.median(samples), min(samples), max(samples)
    return f"{middle:7.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emulator", type=Path, help="the aws-lambda-rie program")
    parser.add_argument("--only", default="", help="rows that have this in their name")
    parser.add_argument("--runs", type=int, default=MINIMUM_RUNS + 2)
    arguments = parser.parse_args()
    missed = False
    print(
        f"{'median (min-max) of ' + str(arguments.runs) + ' runs':44} "
        f"{'ours':>20} {'baseline':>20}  ratio   bar"
    )
    # With fewer runs, chance decides: they only show that everything works.
    judged = arguments.runs >= MINIMUM_RUNS
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.emulator, Path(folder), 3.0 if judged else 0.3)
        for row in bench.rows():
            if arguments.only not in row.what:
                continue
            if judged:
                row.measure()  # fills the page cache and writes bytecode: not counted
            ours, baseline = zip(*(row.measure() for _ in range(arguments.runs)), strict=True)
            if row.bar is None:
                print(f"{row.what:44} {summary(ours):>20} {'-':>20} {row.unit}")
                continue
            # Run by run, as a machine that others use too is now slower, now faster.
            ratio = statistics.median(a / b for a, b in zip(ours, baseline, strict=True))
            missed |= ratio > row.bar
            print(
                f"{row.what:44} {summary(ours):>20} {summary(baseline):>20} "
                f"{row.unit}  {ratio:4.2f}  {row.bar:4.2f} {'MISSED' if ratio > row.bar else ''}"
            )
    sys.exit(missed and judged)


if __name__ == "__main__":
    main()
