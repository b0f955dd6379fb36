"""A benchmark is a row: the samples of ours and of its baseline, taken in turns, and a bar."""

from collections.abc import Callable
from statistics import median
from typing import NamedTuple


class Samples(NamedTuple):
    """Measurements in the row's unit; those at the same place were taken one after the other."""

    ours: list[float]
    baseline: list[float]

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.baseline)

    @property
    def paired_ratio(self) -> float:
        return median(a / b for a, b in zip(self.ours, self.baseline, strict=True))


class Row(NamedTuple):
    """``measure`` takes the number of runs; ``bar`` is the ratio of medians that is good enough."""

    what: str
    unit: str
    bar: float
    measure: Callable[[int], Samples]


def in_turns(ours: Callable[[], float], baseline: Callable[[], float], runs: int) -> Samples:
    """A B A B, so that a drift of the machine meets both; the first of each is not counted."""
    ours(), baseline()
    pairs = [(ours(), baseline()) for _ in range(runs)]
    return Samples([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def report(rows: list[Row], runs: int) -> bool:
    """Measures and prints each row; whether all of them keep their bar."""
    line = "{:<38} {:>26} {:>26} {:>6} {:>7} {:>6}  {}".format
    print(f"medians of {runs} runs (least - most), and the ratio of the medians and of the pairs")
    print(line("", "ours", "baseline", "ratio", "paired", "bar", ""))
    kept = True
    for what, unit, bar, measure in rows:
        samples = measure(runs)
        fits = samples.ratio <= bar
        kept &= fits
        ratios = f"{samples.ratio:.2f}", f"{samples.paired_ratio:.2f}", f"{bar:.2f}"
        ours, baseline = (_spread(side) for side in samples)
        print(
            line(f"{what}, {unit}", ours, baseline, *ratios, "ok" if fits else "OVER"), flush=True
        )
    return kept


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} - {max(values):.1f})"
