"""Golden calls: an input and the Call (or the refusal) expected of it, side by side in one file a case.

A file holds `name`, `why`, `envelope` (the record's value), `expected` and, where they matter, `headers`. `expected`
names only the fields of the Call that the case is about, or `{"rejected": {"reason": …, "field": …}}`.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent, Rejected
from tokenledger.records.meters import METERS

GOLDEN = Path(__file__).parent.parent / "golden" / "calls"
FILES = sorted(GOLDEN.glob("*/*.json"))
FIELDS = {field.name for field in msgspec.structs.fields(Call)}


def read_case(path: Path) -> tuple[dict[str, Any], Call | Rejected]:
    """A case, and what its record is read as."""
    case = json.loads(path.read_text())
    stated = {name: value.encode() for name, value in case.get("headers", {}).items()}
    headers = {"ce_id": path.stem.encode(), "ce_source": b"golden", "ce_tenantid": b"acme"} | stated
    return case, normalise(RawEvent(value=json.dumps(case["envelope"]).encode(), headers=headers))


def plain(value: object) -> Any:
    """A field as JSON has it."""
    return json.loads(msgspec.json.Encoder(decimal_format="number").encode(value))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_record_is_read_as_written_beside_it(path: Path) -> None:
    case, found = read_case(path)

    expected = case["expected"]
    if "rejected" in expected:
        assert isinstance(found, Rejected), found
        assert {name: plain(getattr(found, name)) for name in expected["rejected"]} == expected["rejected"]
        return
    assert isinstance(found, Call), found
    assert expected.keys() <= FIELDS
    assert {name: plain(getattr(found, name)) for name in expected} == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_leaves_of_a_golden_call_are_known_meters_and_add_up_to_its_totals(path: Path) -> None:
    _, found = read_case(path)
    if isinstance(found, Rejected):
        return

    assert found.usage.keys() <= METERS.keys()
    for direction, total in (("input.", found.input_tokens), ("output.", found.output_tokens)):
        leaves = [tokens for meter, tokens in found.usage.items() if meter.startswith(direction)]
        assert sum(leaves) == (total or 0)
        assert all(tokens >= 0 for tokens in leaves)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_case_says_its_name_and_why_it_is_there(path: Path) -> None:
    case = json.loads(path.read_text())

    assert case["name"] == path.stem
    assert len(case["why"]) > 20
    assert case["expected"]
    assert case.keys() <= {"name", "why", "headers", "envelope", "expected"}
