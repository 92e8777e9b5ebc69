"""The recordings, fetched by the product's own command, and what the product makes of each of their interactions."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.oracle import Opinion, opinion_of
from tokenledger.commands import samples as samples_command
from tokenledger.process import default_context, process
from tokenledger.readers import Options, Unreadable, expand, read
from tokenledger.records import PricedCall, Rejected

ROOT = Path(__file__).parents[2]


class Recorded(NamedTuple):
    """One recorded interaction."""

    place: str
    """File and ordinal."""
    envelope: dict[str, Any]
    """What the reader made of it."""
    result: PricedCall | Rejected
    """What the product makes of it."""
    redacted: PricedCall | Rejected
    """The same without texts, as it is sent into the stream."""
    opinion: Opinion | None
    """What genai-prices makes of it."""


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the recordings; fetched once, then kept. An index that cannot be reached is a failure."""
    folder = ROOT / samples_command.DEFAULT_FOLDER
    try:
        samples_command.run(argparse.Namespace(into=folder))
    except (ValueError, OSError) as error:
        pytest.fail(f"the recordings that this test is about could not be fetched: {error}", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def recorded(samples: Path) -> Sequence[Recorded]:
    """Every interaction of every recording, in order."""
    problems: list[Unreadable] = []
    paths = expand([str(samples)], problems.append)
    whole = read(paths, Options(tenant_id="acme"), on_problem=problems.append)
    redacted = read(paths, Options(tenant_id="acme", redact=True), on_problem=problems.append)
    found = []
    for one, other in zip(whole, redacted, strict=True):
        envelope = json.loads(one.raw.value or b"")
        place = f"{Path(one.source_file).relative_to(samples)}:{one.line}"
        results = process(one.raw, default_context()), process(other.raw, default_context())
        found.append(Recorded(place, envelope, *results, opinion_of(envelope)))
    assert problems == []
    return found
