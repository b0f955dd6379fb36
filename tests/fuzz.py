"""Bodies for ``POST /service_output`` that nobody should ever send, and some that anybody may.

Arbitrary bytes, arbitrary JSON, and valid requests of every format with something changed: a seeded
generator, so that a case can be had again, and nothing is remembered between cases.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RECORDED = json.loads((Path(__file__).parent / "vectors" / "infernet.json").read_text())
REQUESTS = [case["request_hex"] for case in RECORDED["vectors"]]
LEGACY = [case["hex"] for case in RECORDED["legacy_int256"]]
ROW = {"dtype": "double", "values": [[5.1, 3.5, 1.4, 0.2]]}
VECTOR = {"dtype": 2, "shape": [1, 4], "values": [5.1, 3.5, 1.4, 0.2]}
# One row of the demo model in the ABI, so that some of the cases on-chain reach the model.
FOUR = (
    "0" * 62 + "40" + "0" * 62 + "60" + "0" * 64 + f"{0x160:064x}" + "0" * 64 + f"{18:064x}"
    f"{2:064x}{0xA0:064x}{0x100:064x}{2:064x}{1:064x}{4:064x}{4:064x}"
    + "".join(f"{0x3FF0000000000000 + i:064x}" for i in range(4))
)
OBJECTS = [
    ROW,
    {"dtype": "long", "values": [[1, 2, 3, 4]]},
    VECTOR,
    {"input": VECTOR, "model_id": None},
    {"input": VECTOR, "model_id": "huggingface/o/n:f", "output_arithmetic": "fixed_point"},
    {"input": VECTOR, "output_arithmetic": "fixed_point", "output_num_decimals": 6},
]
WORDS = [0, 1, 2, 3, 15, 16, 18, 31, 32, 64, 96, 128, 160, 255, 256, 65535, 65536]
WORDS += [2**31, 2**32, 2**40, 2**63, 2**64, 2**127, 2**255, 2**256 - 32, 2**256 - 1]
SCALARS: list[Any] = [None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e308, 2**63, 2**64 - 1, -(2**63)]
SCALARS += ["", "NaN", "Infinity", "double", "bool", "cfloat", "x" * 100, "\u0000", "0x00", "é"]
KEYS = ["source", "destination", "data", "requires_proof", "dtype", "values", "shape", "input"]
KEYS += ["model_id", "output_arithmetic", "output_num_decimals", "re", "im", "code", ""]


def cases(seed: int, count: int) -> Iterator[bytes]:
    """``count`` request bodies; the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield rng.choice(KINDS)(rng)


def _bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice([0, 1, 10, 1000]))


def _json(rng: random.Random) -> bytes:
    return json.dumps(_value(rng, 4)).encode()


def _envelope(rng: random.Random) -> bytes:
    return _body(rng, _value(rng, 4))


def _hex(rng: random.Random) -> bytes:
    return _body(rng, _changed_hex(rng, rng.choice([*REQUESTS, *LEGACY, *[FOUR] * 20])), source=0)


def _object(rng: random.Random) -> bytes:
    data = json.loads(json.dumps(rng.choice(OBJECTS)))
    for _ in range(rng.randrange(3)):
        data = _changed(rng, data)
    return _body(rng, data)


def _damaged(rng: random.Random) -> bytes:
    """A valid body with one byte changed, added or missing."""
    body = bytearray(rng.choice([_object, _hex])(rng))
    position = rng.randrange(len(body))
    body[position : position + rng.randrange(2)] = rng.randbytes(rng.randrange(2))
    return bytes(body)


KINDS: list[Callable[[random.Random], bytes]] = [_bytes, _json, _envelope, _hex, _hex, _object]
KINDS += [_object, _damaged]


def _body(rng: random.Random, data: Any, source: int | None = None) -> bytes:
    if source is None:
        source = rng.choice([0, 2, 3, *[1] * 17])
    body = {"source": source, "data": data}
    if rng.random() < 0.8:
        body["destination"] = rng.choice([3, *[0, 1, 2, None] * 5])
    if rng.random() < 0.1:
        body["requires_proof"] = rng.choice([False, False, True, "no"])
    return json.dumps(body).encode()


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return rng.choice(SCALARS)
    if kind < 0.75:
        return [_value(rng, depth - 1) for _ in range(rng.randrange(5))]
    return {rng.choice(KEYS): _value(rng, depth - 1) for _ in range(rng.randrange(5))}


def _changed(rng: random.Random, value: Any) -> Any:
    """The value with something in it replaced, or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = rng.randrange(len(value))
        return [*value[:index], _changed(rng, value[index]), *value[index + rng.randrange(2) :]]
    return _value(rng, 2)


def _changed_hex(rng: random.Random, text: str) -> str:
    for _ in range(rng.randrange(4)):
        word = rng.randrange(max(len(text) // 64, 1)) * 64
        position = rng.randrange(len(text) + 1)
        match rng.randrange(8):
            case 0:
                text = text[:position]
            case 1:
                text = text[:word] + text[word + 64 :]
            case 2:
                text = text[:position] + rng.choice("0fF xg") + text[position + 1 :]
            case 3:
                text += "0" * rng.choice([1, 2, 64, 640])
            case _:
                text = text[:word] + f"{rng.choice(WORDS):064x}" + text[word + 64 :]
    return text
