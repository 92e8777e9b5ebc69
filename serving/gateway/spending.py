"""What the gateway asks the ledger: keys and budgets, what was charged, and which of its attempts are charged by now.

All of one look comes from one snapshot, so a sum and the attempts it contains are never seen apart.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ledger.api_keys import ApiKey, Budget, budgets, keys
from ledger.database import Connection
from ledger.keys import event_key as ledger_key
from serving.gateway.budgets import Spent

_BUCKET_US: Final = 900_000_000
_BUCKETS_A_DAY: Final = 96

Pending = Sequence[tuple[str, str]]
"""Event key and tenant of attempts."""


class Access(NamedTuple):
    """Who may, and how much."""

    keys: list[ApiKey]
    budgets: list[Budget]
    version: tuple[object, ...]


class Charges(NamedTuple):
    """What the ledger has charged."""

    whole: bool
    """Whether these are the sums since the month began, or the changes since the last look."""
    spent: list[Spent]
    final: list[tuple[str, bool]]
    """Of the attempts asked about, those with a final record, and whether their cost is known."""
    posted_at_us: int
    """The newest batch in the snapshot."""


# Whatever wrote a row, its transaction's number is in it.
_VERSION: Final = """
SELECT (SELECT count(*) FROM api_keys), (SELECT max(xmin::text::bigint) FROM api_keys),
    (SELECT count(*) FROM budgets), (SELECT max(xmin::text::bigint) FROM budgets)
"""

_WHOLE: Final = """
SELECT tenant_id, feature, day_no, sum(amount_usd_pico)::bigint
FROM (
    SELECT dim_no, bucket_no / 96 AS day_no, amount_usd_pico FROM rollups_15m
    WHERE bucket_no >= %(first)s AND amount_usd_pico <> 0
    UNION ALL
    SELECT dim_no, bucket_no / 96, amount_usd_pico FROM lines
    WHERE posted_at_us > (SELECT posted_at_us FROM compaction) AND bucket_no >= %(first)s
) AS charged JOIN dimensions USING (dim_no)
WHERE tenant_id = ANY(%(tenants)s) GROUP BY 1, 2, 3
"""

_CHANGES: Final = """
SELECT tenant_id, feature, bucket_no / 96, sum(amount_usd_pico)::bigint
FROM lines JOIN dimensions USING (dim_no)
WHERE posted_at_us > %(since)s AND tenant_id = ANY(%(tenants)s) GROUP BY 1, 2, 3
"""

# A key leads to where its call is; a call in progress has been charged nothing yet. Keys come and go as one text each:
# the client makes an object of every element else, which costs several times what a key costs here.
_FINAL: Final = """
SELECT c.cost_usd_pico IS NOT NULL, string_agg(replace(k.key::text, '-', ''), ' ')
FROM call_keys k JOIN calls c ON c.call_id = k.call_id AND c.charged_at_us = k.charged_at_us
WHERE k.key = ANY(string_to_array(%s, ' ')::uuid[]) AND c.status <> 'in_progress' GROUP BY 1
"""


def access(connection: Connection, known: tuple[object, ...] | None) -> Access | None:
    """Keys and budgets; None where they are those of the version that is known."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        version = connection.execute(_VERSION).fetchone()
        if version is not None and version == known:
            return None
        return Access(keys(connection), budgets(connection), version or ())


def charges(
    connection: Connection, pending: Pending, *, since_us: int | None, tenants: list[str], now_us: int
) -> Charges:
    """The changes since a batch, or everything since the month began; and what became of the pending attempts."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT coalesce(max(posted_at_us), 0) FROM batches").fetchone()
        values = {"first": _month_bucket(now_us), "since": since_us, "tenants": tenants}
        rows = connection.execute(_WHOLE if since_us is None else _CHANGES, values).fetchall()
        return Charges(
            whole=since_us is None,
            spent=[Spent(t, f, day * _BUCKETS_A_DAY * _BUCKET_US, int(amount)) for t, f, day, amount in rows],
            final=_final(connection, pending),
            posted_at_us=int(row[0]) if row else 0,
        )


def _final(connection: Connection, pending: Pending) -> list[tuple[str, bool]]:
    if not pending:
        return []
    by_key = {ledger_key(tenant_id, key).hex(): key for key, tenant_id in pending}
    rows = connection.execute(_FINAL, (" ".join(by_key),)).fetchall()
    return [(by_key[found], known) for known, keys in rows for found in keys.split(" ")]


def _month_bucket(now_us: int) -> int:
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp()) // 900
