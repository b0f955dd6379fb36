"""The short cut for large bodies gives what the general way gives, or leaves the body to it."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from handler import formats, protocol, tensors, typed_buffers
from handler.errors import HandlerError
from handler.limits import Elements
from handler.protocol import InfernetInput
from handler.tensors import DTYPES
from handler.vectors import KINDS

NO_LIMIT = Elements(2**31)
CASES = int(os.environ.get("TYPED_CASES", "5000"))
SEED = int(os.environ.get("TYPED_SEED", "20261125"))
SPACES = ["", "", "", " ", "\n", "\t ", "\r\n"]
# What JSON says of numbers, and a few things that it does not.
NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "1e0",
    "1E+2",
    "1.5e-3",
    "5e-324",
    "2.2250738585072011e-308",
    "1e-400",
]
NUMBERS += [
    "1.7976931348623157e308",
    "9007199254740993",
    "0.1",
    "255",
    "256",
    "-128",
    "-129",
    "127",
]
NUMBERS += ["65504", "65520", "3.4028235677973366e38", "3.4e38", "2147483647", "2147483648", "1e22"]
NUMBERS += [
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "-1",
    "3.0",
    "1e3",
]
NUMBERS += ["0.30000000000000004", "123456789012345678e-10", "1" * 30 + ".5", "0." + "3" * 40]
ODD = ["1e999", "-1e999", "18446744073709551616", "1" * 400, "01", "1.", ".5", "+1", "0x10", "NaN"]
ODD += [
    "true",
    "false",
    "null",
    '"NaN"',
    '"Infinity"',
    '"x"',
    '{"re": 1, "im": 2}',
    "[]",
    "[1]",
    "",
]
ODD += ["[[1, 2]]", "{}", '{"values": [1]}', "1 2", "]", "[", "\\", "é", "\x00", "-"]
DTYPE_NAMES = [*DTYPES, "double", "float", "long", "float64", "object"]


def body_of(rng: random.Random) -> bytes:
    """A request, most often one that is served, with now and then something odd in it."""
    strange = rng.random() < 0.3
    shape = [rng.choice([1, 2, 3, 5, 20, 0] if strange else [1, 2, 3, 5, 20]) for _ in range(3)]
    shape = shape[: rng.choice([1, 2, 2, 3])]
    wide = rng.random() < 0.2
    if wide:
        shape[-1] *= 40
    pool = rng.choice([NUMBERS, ["1", "2", "3"], ["0.5", "1.25", "-7e2"], ["0", "1"], ["200", "3"]])
    odd_in = 1.0 / (20 * max(1, int(np.prod(shape)))) if strange else 0.0

    def space() -> str:
        return rng.choice(SPACES) if rng.random() < 0.1 else ""

    def number() -> str:
        if rng.random() < 10 * odd_in:
            return rng.choice(ODD)
        return rng.choice(pool) if rng.random() < 0.9 else repr(rng.gauss(0, 1e3))

    def nested(axes: list[int]) -> str:
        count = axes[0] + (rng.choice([-1, 1]) if rng.random() < odd_in else 0)
        deeper = len(axes) > 1 and rng.random() >= odd_in
        inner: Callable[[], str] = partial(nested, axes[1:]) if deeper else number
        return f"[{space()}" + f",{space()}".join(inner() for _ in range(count)) + f"{space()}]"

    parts = {
        "values": nested(shape),
        "dtype": json.dumps(rng.choice(DTYPE_NAMES)),
    }
    if rng.random() < 0.3:
        parts["dtype"] = str(rng.randrange(len(KINDS) + 1))
        parts["shape"] = json.dumps(rng.choice([shape, [int(np.prod(shape))], [1, *shape], [-1]]))
        if rng.random() < 0.7:
            parts["values"] = nested([int(np.prod(shape))])
    if strange:
        extra = rng.choice(['"values"', '"x"', '"v\\u0061lues"', '"\\"values\\": [1]"', '"input"'])
        parts[rng.choice(["zz", "dtype", "model_id", "inputs"])] = rng.choice(
            [extra, "[1, [2]]", '{"values": [[1, 2]]}', "null", "-0.0"]
        )
    pairs = [f"{space()}{json.dumps(k)}{space()}:{space()}{v}" for k, v in parts.items()]
    if strange and rng.random() < 0.2:
        pairs.append(rng.choice(pairs))
    rng.shuffle(pairs)
    data = "{" + ",".join(pairs) + "}"
    if rng.random() < 0.2:
        data = f'{{"input": {data}, "output_arithmetic": "ieee"}}'
    source = rng.choice([1, 1, 1, 1, 1, 0, 2, 3]) if strange else 1
    outer = [f'"source": {source}', f'"data": {data}']
    rng.shuffle(outer)
    text = f"{space()}{{{','.join(outer)}}}{space()}"
    if strange and rng.random() < 0.2:
        place = rng.randrange(len(text))
        text = (
            text[:place]
            + rng.choice(["", "]", "[", ",", "}", '"', "\\", "1", " "])
            + text[place + 1 :]
        )
    return text.encode()


def outcome(read: Callable[[], tuple[InfernetInput, Any]]) -> Any:
    """What a body means, to the bit, or what is wrong with it."""
    try:
        request, call = read()
        tensor = tensors.parse(call.data)
    except HandlerError as error:
        return type(error), str(error)
    array = tensor.array
    rest = {key: value for key, value in call.data.items() if key != "values"}
    return (
        request.source,
        call._replace(data=None),
        str(rest),
        tensor.dtype,
        array.dtype,
        array.shape,
        array.tobytes(),
    )


def generally(body: bytes) -> tuple[InfernetInput, Any]:
    request = protocol.parse(body)
    return request, formats.read(request)[1]


def test_both_ways_give_the_same_of_every_body(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(SEED)
    taken: Counter[str] = Counter()
    for case in range(CASES):
        body = body_of(rng)
        # These bodies are short: what comes behind their values is now much, and now not.
        monkeypatch.setattr(typed_buffers, "MUCH_BEHIND", (1000, 0, 20, 100)[case % 4])
        request = typed_buffers.parse(body, NO_LIMIT)
        expected = outcome(lambda body=body: generally(body))  # type: ignore[misc]
        served = len(expected) > 2
        if request is None:
            taken["left, served" if served else "left, refused"] += 1
            continue
        taken["taken"] += 1
        found = outcome(lambda r=request: (r, formats.read(r, arrays=True)[1]))  # type: ignore[misc]
        assert found == expected, body
    # Of bodies that are served, most take the short cut, or else this test says little.
    assert taken["taken"] > taken["left, served"] > 0, taken
    assert taken["left, refused"] > CASES / 20, taken


@pytest.mark.parametrize(
    "values",
    [
        "[[1,2],3]",
        "[3,[1,2]]",
        "[[1,[2]],[3,4]]",
        "[[1,2],[3,4,5]]",
        "[[[1,2]],[[3],[4]]]",
        "[[1,2,3],[4]]",
        "[[1],[2,3],[]]",
        "[[[1]],[2]]",
        "[]",
        "[[],[]]",
        "[" + "1," * 40 + "[2]]",
        "[[" + "1," * 40 + "2],[" + "1," * 39 + "2, [3]]]",
        "[[" + "1," * 40 + "2],[" + "1," * 41 + "2]]",
        "[[" + "1," * 40 + "2],3]",
        "[" * 65 + "1" + "]" * 65,
        "[1,true]",
        '[1,"NaN"]',
        "[1,null]",
        "[1]}]",
        "[01]",
    ],
)
def test_what_is_no_array_is_left_alone(values: str) -> None:
    body = f'{{"source": 1, "data": {{"dtype": "double", "values": {values}}}}}'.encode()
    assert typed_buffers.parse(body, NO_LIMIT) is None


@pytest.mark.parametrize(
    "shape", [(3,), (1, 500), (69, 70), (400, 2), (2, 3, 4), (5, 1, 90), (9, 1, 1)]
)
def test_rows_keep_their_shape(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(size=shape)
    data = {"dtype": "double", "values": array.tolist()}
    found = typed_buffers.parse(json.dumps({"source": 1, "data": data}).encode(), NO_LIMIT)
    assert found is not None and found.data["values"].shape == shape
    assert np.array_equal(found.data["values"], array)


@pytest.mark.parametrize("numbers", [1, 10, 200, 2000])
def test_what_comes_behind_the_values_is_none_of_them(numbers: int) -> None:
    data = {"dtype": "double", "values": [[0.5] * 3000], "more": [7] * numbers}
    found = typed_buffers.parse(json.dumps({"source": 1, "data": data}).encode(), NO_LIMIT)
    if numbers < 500:
        assert found is not None and found.data["values"].tolist() == data["values"]
        assert found.data["more"] == data["more"]
    else:
        assert found is None


@pytest.mark.parametrize("number", ["1", "0.125"])
def test_many_times_too_many_elements_are_never_parsed(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """The parser would keep the memory that they take, 24 bytes each."""
    parsed: list[int] = []
    array = typed_buffers._array

    def counted(*args: Any) -> Any:
        parsed.append(1)
        return array(*args)

    monkeypatch.setattr(typed_buffers, "_array", counted)
    elements = Elements(2000)

    def taken(numbers: list[str]) -> bool:
        values = ",".join(numbers)
        body = f'{{"source": 1, "data": {{"dtype": "double", "values": [{values}]}}}}'
        return typed_buffers.parse(body.encode(), elements) is not None

    assert taken([number] * 1000) and len(parsed) == 1
    assert not taken([number] * 4100) and len(parsed) == 1
    # A long body may be one of few numbers.
    assert taken(["0.1234567890123"] * 1500) and len(parsed) == 2


@pytest.mark.parametrize("row", [1, 3, 60])
@pytest.mark.parametrize("others", [[], [0] * 50])
def test_close_to_the_limit_of_elements_a_body_is_left_alone(row: int, others: list[int]) -> None:
    """There the general way counts them one by one: no sooner, and no later."""
    limit = 600
    taken = []
    for rows in range(1, 3 * limit // row):
        data = {"dtype": "double", "values": [[0.5] * row] * rows}
        body = json.dumps({"source": 1, "data": data, "more": others}).encode()
        taken.append(typed_buffers.parse(body, Elements(limit)) is not None)
        general = body.count(b",") < limit
        assert taken[-1] == general, rows
    assert {True, False} == set(taken)
