"""Any order and any batching of the same records give the same ledger; the merge law is the oracle for who wins."""

import random
from collections import Counter
from typing import Any

import psycopg
import pytest

from ledger.database import connect
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.samples import call, priced
from tokenledger.merge import candidate, resolve
from tokenledger.records import PricedCall

pytestmark = pytest.mark.slow

_TABLES = (
    "calls, call_keys, postings, lines, witnesses, dimensions, rates, book_versions, rollups_15m, latency_15m, "
    "batches, offsets, origins, origin_ranges, rejected"
)


def _records(source: random.Random, count: int) -> list[PricedCall]:
    """Few keys and few facts, so that joins, reuse, superseding, losers and duplicates all happen."""
    made = []
    for offset in range(count):
        one = call(
            tenant_id=source.choice(["acme", "umbrella"]),
            event_key=source.choice(["e1", "e2", "e3"]),
            response_key=source.choice([None, None, "r1", "r2", "r3"]),
            revision=source.choice([0, 0, 1]),
            feature=source.choice(["chat", "search"]),
            usage={source.choice(["input.text", "input.audio", "output.text", "page"]): source.choice([100, 200])},
            started_at_us=source.choice([1_760_000_000_000_000, 1_757_000_000_000_000]),
        )
        made.append(priced(one, offset=offset, partition=offset % 3))
    return made


def _batches(source: random.Random, records: list[PricedCall]) -> list[list[PricedCall]]:
    shuffled = source.sample(records, len(records))
    batches = []
    while shuffled:
        size = source.choice([1, 1, 2, 3, 30])
        batches.append(shuffled[:size])
        shuffled = shuffled[size:]
    return batches


def _expected(records: list[PricedCall]) -> dict[str, Any]:
    calls = resolve([candidate(record) for record in records])
    lines = Counter[tuple[str, str]]()
    for one in calls:
        for line in one.winner.record.lines:
            lines[one.winner.tenant_id, line.meter] += line.quantity
    return {
        "lines": sorted((*key, quantity, quantity * 2_000) for key, quantity in lines.items()),
        "calls": sorted(
            (one.winner.tenant_id, one.winner.fingerprint, one.id_reuse, one.winner.record.known_cost_usd_pico)
            for one in calls
        ),
        "witnesses": sorted((one.winner.fingerprint, loser.fingerprint) for one in calls for loser in one.losers),
        "outcomes": [(len(calls), sum(len(one.losers) for one in calls), sum(len(one.duplicates) for one in calls), 0)],
    }


@pytest.mark.parametrize("seed", range(24))
def test_any_order_and_batching_give_the_same_ledger(server: Server, database: str, seed: int) -> None:
    source = random.Random(seed)  # noqa: S311  (a seed must repeat)
    records = _records(source, source.choice([4, 8, 16, 32]))
    contents = []
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        for _ in range(3):
            admin.execute(f"TRUNCATE {_TABLES}".encode())
            with connect(server.settings(database), application="test") as connection:
                books = Books(connection)
                for batch in _batches(source, records):
                    books.write(*batch, part_records=source.choice([1, 2, 5, 1_000]))
                before = books.contents()
                books.write(*records)
                assert books.contents() == before, "replay changed the ledger"
                contents.append(before)
    assert {key: contents[0][key] for key in ("calls", "lines", "witnesses", "outcomes")} == _expected(records)
    assert contents[1] == contents[0]
    assert contents[2] == contents[0]
