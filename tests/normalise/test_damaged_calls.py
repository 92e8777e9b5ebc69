"""Golden records, damaged in one place: each gives a Call whose leaves add up, or a refusal, never an exception."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent, Rejected
from tokenledger.records.meters import METERS

FILES = sorted((Path(__file__).parent.parent / "golden" / "calls").glob("*/*.json"))
DAMAGE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    7,
    2.5,
    2**53 + 1,
    2**70,
    "",
    "x",
    "\x00",
    "7",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
)


def places(value: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in pairs:
        yield (*where, name)
        yield from places(inner, (*where, name))


def damaged(envelope: Any, place: tuple[str | int, ...], damage: Any) -> bytes:
    """The envelope with another value in that place."""
    copy = json.loads(json.dumps(envelope))
    holder = copy
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = damage
    return json.dumps(copy).encode()


def without(envelope: Any, place: tuple[str | int, ...]) -> bytes:
    """The envelope without that place."""
    copy = json.loads(json.dumps(envelope))
    holder = copy
    for name in place[:-1]:
        holder = holder[name]
    del holder[place[-1]]
    return json.dumps(copy).encode()


def check(value: bytes, headers: dict[str, bytes]) -> None:
    """The record gives a value, and a Call's leaves are sound."""
    found = normalise(RawEvent(value=value, headers=headers))
    if isinstance(found, Rejected):
        assert found.detail
        return
    assert isinstance(found, Call)
    assert found.usage.keys() <= METERS.keys(), value
    for direction, total in (("input.", found.input_tokens), ("output.", found.output_tokens)):
        leaves = [tokens for meter, tokens in found.usage.items() if meter.startswith(direction)]
        assert all(tokens >= 0 for tokens in leaves), value
        assert sum(leaves) == (total or 0), value


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_damaged_record_is_a_value(path: Path) -> None:
    case = json.loads(path.read_text())
    stated = {name: value.encode() for name, value in case.get("headers", {}).items()}
    headers = {"ce_id": b"1", "ce_source": b"golden", "ce_tenantid": b"acme"} | stated

    for place in places(case["envelope"]):
        check(without(case["envelope"], place), headers)
        for damage in DAMAGE:
            check(damaged(case["envelope"], place, damage), headers)
