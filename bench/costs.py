"""What a month of each profile costs, by AWS's list prices: ``python -m bench.costs --help``."""

import argparse
from collections.abc import Mapping
from typing import NamedTuple

MONTH_SECONDS = 730 * 3600


class Price(NamedTuple):
    """A list price of us-east-1 in USD, by the unit that AWS bills."""

    usd: float
    unit: str
    source: str
    date: str


_LAMBDA, _VPC = "aws.amazon.com/lambda/pricing", "aws.amazon.com/vpc/pricing"
_CLOUDWATCH = "aws.amazon.com/cloudwatch/pricing"
PRICES = {
    "request": Price(0.20e-6, "request", _LAMBDA, "2026-09-19"),
    "duration": Price(0.0000166667, "GB-second, x86_64, init included", _LAMBDA, "2026-09-19"),
    "duration arm64": Price(0.0000133334, "GB-second, init included", _LAMBDA, "2026-09-19"),
    "disk": Price(0.0000000309, "GB-second above 512 MB", _LAMBDA, "2026-09-19"),
    "provisioned": Price(0.0000041667, "GB-second kept ready, x86_64", _LAMBDA, "2026-09-19"),
    "provisioned duration": Price(0.0000097222, "GB-second of work", _LAMBDA, "2026-09-19"),
    "snapshot": Price(0.0000015046, "GB-second of a cached version", _LAMBDA, "2026-09-19"),
    "restore": Price(0.0001397998, "GB restored", _LAMBDA, "2026-09-19"),
    "efs": Price(0.30, "GB-month", "aws.amazon.com/efs/pricing", "2026-08-31"),
    "efs read": Price(0.03, "GB read, elastic", "aws.amazon.com/efs/pricing", "2026-08-31"),
    "efs write": Price(0.06, "GB written, elastic", "aws.amazon.com/efs/pricing", "2026-08-31"),
    "endpoint": Price(0.01, "hour and zone", "aws.amazon.com/privatelink/pricing", "2026-06-13"),
    "nat": Price(0.045, "hour", _VPC, "2026-08-31"),
    "nat data": Price(0.045, "GB through it", _VPC, "2026-08-31"),
    "address": Price(0.005, "hour of a public address", _VPC, "2026-08-31"),
    "secret": Price(0.40, "secret-month", "aws.amazon.com/secrets-manager/pricing", "2026-08-31"),
    "log": Price(0.50, "GB written", _CLOUDWATCH, "2026-08-31"),
    "metric": Price(0.30, "metric-month, 10 free", _CLOUDWATCH, "2026-08-31"),
    "alarm": Price(0.10, "metric of an alarm and month, 10 free", _CLOUDWATCH, "2026-08-31"),
    "dashboard": Price(3.00, "month, 3 free", _CLOUDWATCH, "2026-08-12"),
    "image": Price(0.10, "GB-month", "aws.amazon.com/ecr/pricing", "2026-03-15"),
}
# What the template makes: infra/observability.yaml, and the line of a request in the log.
METRICS, ALARM_METRICS, LINE_BYTES = 5, 8, 800
# What infra/registry.yaml keeps, of images with torch.
IMAGES, IMAGE_GB = 5, 0.9


class Load(NamedTuple):
    """A month of a service."""

    requests: float = 100_000
    seconds: float = 0.02
    """Of a warm request."""
    cold_starts: float = 1_000
    init_seconds: float = 1.2
    """Of a cold start; with EFS and tmp, the model's transfer included."""
    memory_gb: float = 1769 / 1024
    model_gb: float = 0.1
    disk_gb: float = 0.5
    provisioned: float = 1
    """Environments that the profile provisioned keeps ready."""


def always(load: Load) -> float:
    """What every profile costs, in USD a month: log, secret, alarms, dashboard, images."""
    return (
        load.requests * LINE_BYTES / 1e9 * usd("log")
        + usd("secret")
        + METRICS * usd("metric")
        + ALARM_METRICS * usd("alarm")
        + usd("dashboard")
        + IMAGES * IMAGE_GB * usd("image")
    )


def on_demand(load: Load) -> float:
    """Requests, their time, and the init of cold starts, which is billed for images."""
    busy = load.requests * load.seconds + load.cold_starts * load.init_seconds
    disk = busy * max(0.0, load.disk_gb - 0.5) * usd("disk")
    return load.requests * usd("request") + busy * load.memory_gb * usd("duration") + disk


def snapstart(load: Load) -> float:
    """Requests and their time; the snapshot of one version, and its restores instead of inits."""
    return (
        load.requests * usd("request")
        + load.requests * load.seconds * load.memory_gb * usd("duration")
        + load.memory_gb * MONTH_SECONDS * usd("snapshot")
        + load.cold_starts * load.memory_gb * usd("restore")
    )


def provisioned(load: Load) -> float:
    """Requests, their cheaper time, and the environments that are kept ready all month."""
    return (
        load.requests * usd("request")
        + load.requests * load.seconds * load.memory_gb * usd("provisioned duration")
        + load.provisioned * load.memory_gb * MONTH_SECONDS * usd("provisioned")
    )


def efs(load: Load, *, nat: bool = False) -> float:
    """On-demand, and the file system: each cold start reads the model; two zones of endpoints."""
    storage = load.model_gb * (usd("efs") + load.cold_starts * usd("efs read") + usd("efs write"))
    hours = MONTH_SECONDS / 3600
    gateway = hours * (usd("nat") + usd("address")) + load.model_gb * usd("nat data")
    return on_demand(load) + storage + (gateway if nat else 2 * hours * usd("endpoint"))


def usd(name: str) -> float:
    return PRICES[name].usd


def profiles(load: Load) -> Mapping[str, float]:
    """USD a month by profile, without what every profile costs."""
    return {
        "image or tmp, on-demand": on_demand(load),
        "image or tmp, snapstart": snapstart(load),
        "image or tmp, provisioned": provisioned(load),
        "efs, on-demand": efs(load),
        "efs with NAT, on-demand": efs(load, nat=True),
    }


def price_table() -> str:
    """The prices as Markdown."""
    rows = [
        f"| {name} | {price.usd:.10f}".rstrip("0").rstrip(".")
        + f" | {price.unit} | {price.source} | {price.date} |"
        for name, price in PRICES.items()
    ]
    return "\n".join(["| item | USD | per | source | as of |", "|---|---|---|---|---|", *rows])


def cost_table(loads: Mapping[str, Load]) -> str:
    """A month of every profile under every load as Markdown."""
    head = "| USD a month | " + " | ".join(loads) + " |"
    columns = [profiles(load) for load in loads.values()]
    rows = [
        f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |"
        for name in columns[0]
    ]
    beside = " | ".join(f"{always(load):.2f}" for load in loads.values())
    return "\n".join(
        [head, "|---|" + "---|" * len(loads), *rows, f"| beside each of them | {beside} |"]
    )


LOADS = {
    "10,000 requests, 500 cold": Load(10_000, cold_starts=500),
    "1 million, 2,000 cold": Load(1_000_000, cold_starts=2_000),
    "10 million, 5,000 cold": Load(10_000_000, cold_starts=5_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in Load()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    given = Load(**vars(parser.parse_args()))
    print(price_table(), cost_table(LOADS if given == Load() else {"yours": given}), sep="\n\n")


if __name__ == "__main__":
    main()
