"""Tables for README.md and plots of samples: of each size, what every run took, in ms."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PLOTS = Path(__file__).parent / "plots"

Samples = Mapping[int, Sequence[float]]


def figure(number: float) -> str:
    """With three significant digits."""
    digits = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{round(number, digits):,.{max(digits, 0)}f}"


def summary(samples: Sequence[float]) -> str:
    """Median, minimum and maximum."""
    middle, low, high = statistics.median(samples), min(samples), max(samples)
    return f"{figure(middle)} ({figure(low)} to {figure(high)})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints it in Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(row), "|", flush=True)
    print(flush=True)


def plot(path: Path, axis: str, curves: Mapping[str, Samples]) -> None:
    """Writes a PNG of 800 x 500 pixels: the medians, with bars from minimum to maximum.

    The first curve is the one that is judged, by a thin line through its last point on which the
    time is proportional to the size.
    """
    # Without pyplot, so that no window system is asked for: a bare figure is drawn by Agg.
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    canvas = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = canvas.subplots()
    for name, samples in curves.items():
        middles = [statistics.median(x) for x in samples.values()]
        below = [m - min(x) for m, x in zip(middles, samples.values(), strict=True)]
        above = [max(x) - m for m, x in zip(middles, samples.values(), strict=True)]
        axes.errorbar(list(samples), middles, [below, above], marker="o", capsize=4, label=name)
    judged = next(iter(curves.values()))
    sizes = list(judged)
    per_size = statistics.median(judged[sizes[-1]]) / sizes[-1]
    ideal = [per_size * size for size in sizes]
    axes.plot(sizes, ideal, color="grey", linewidth=0.8, label="proportional")
    axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms, median (bars: min to max)")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=9)
    every = [x for samples in curves.values() for runs in samples.values() for x in runs]
    axes.set_ylim(min(every) / 1.5, max(every) * 1.5)
    subs = (1, 2, 5) if max(every) < 100 * min(every) else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(exist_ok=True)
    canvas.savefig(path, pil_kwargs={"optimize": True})
