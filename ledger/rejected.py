"""Rejected records: what there is, what would become of it by today's code and prices, and sending it again.

The table `rejected` is the index, Kafka keeps the bytes. A replay is a new record of the raw topic with the old bytes,
key, headers and ids, so a call that is known by then is a duplicate like any other: nothing can be charged twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from psycopg import sql

from ledger.database import Connection
from ledger.fetching import Fetcher, Kept, Place
from ledger.keys import event_key, response_key
from tokenledger.process import Context, process
from tokenledger.records import PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.topics import RAW, REJECTED
from tokenledger.records.wire import rejected_headers

_DELIVERED_WITHIN_S: Final = 60.0
_OURS: Final = frozenset({*rejected_headers(Rejected(reason=Reason.EMPTY)), "value_bytes"})
"""Headers that a rejected record has beside the producer's."""


class Entry(NamedTuple):
    """A rejected record as the index has it."""

    kept: Place
    """Where its bytes are kept."""
    origin: Place
    """Where it was first read."""
    reason: str
    """What was wrong."""
    field: str
    """Where in the record."""
    detail: str
    """What was found and what would be right."""
    stage: str
    """The stage that refused it."""
    tenant_id: str | None
    """Tenant, where it is known."""
    event_id: str | None
    """CloudEvents id, where it is known."""
    ce_source: str | None
    """Who produced it, where it is known."""
    append_at_us: int
    """When the log took it, µs UTC."""
    attempt_no: int
    """How often it was tried."""
    code_version: str
    """Version of the code that refused it."""
    replayed: bool
    """Whether it was sent again since."""
    parked: str | None = None
    """Why it is set aside at present, if it is."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rejected records; None is any."""

    reason: str | None = None
    """Their reason."""
    tenant_id: str | None = None
    """Their tenant."""
    ce_source: str | None = None
    """Their producer."""
    since_us: int | None = None
    """Appended from then on, µs UTC."""
    until_us: int | None = None
    """Appended before then, µs UTC."""
    parked: bool | None = None
    """Whether they are set aside at present."""
    kept: tuple[Place, ...] = ()
    """These and no others."""


MATCHES: Final = sql.SQL("""
FROM rejected r LEFT JOIN replays p USING (kept_topic, kept_partition, kept_offset)
LEFT JOIN (
    SELECT kept_topic, kept_partition, kept_offset, reason AS parked_for FROM parked
    WHERE coalesce(until_us, 9223372036854775807) > extract(epoch FROM clock_timestamp()) * 1000000
) AS k USING (kept_topic, kept_partition, kept_offset)
WHERE (%(reason)s::text IS NULL OR r.reason = %(reason)s)
    AND (%(tenant_id)s::text IS NULL OR r.tenant_id = %(tenant_id)s)
    AND (%(ce_source)s::text IS NULL OR r.ce_source = %(ce_source)s)
    AND (%(since_us)s::bigint IS NULL OR r.append_at_us >= %(since_us)s)
    AND (%(until_us)s::bigint IS NULL OR r.append_at_us < %(until_us)s)
    AND (%(parked)s::boolean IS NULL OR (parked_for IS NOT NULL) = %(parked)s)
    AND (cardinality(%(topics)s::text[]) = 0 OR (kept_topic, kept_partition, kept_offset) IN
        (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])))
""")
_ENTRIES: Final = sql.SQL("""
SELECT kept_topic, kept_partition, kept_offset, r.topic, r.partition, r."offset", reason, field, detail, stage,
    tenant_id, event_id, ce_source, append_at_us, r.attempt_no, code_version, p.replayed_at IS NOT NULL,
    parked_for
{} ORDER BY append_at_us, kept_topic, kept_partition, kept_offset LIMIT %(most)s
""").format(MATCHES)
_GROUPS: Final[dict[str, sql.SQL]] = {
    "reason": sql.SQL("reason"),
    "tenant": sql.SQL("coalesce(tenant_id, '')"),
    "producer": sql.SQL("coalesce(ce_source, '')"),
    "field": sql.SQL("field"),
    "stage": sql.SQL("stage"),
    "attempt": sql.SQL("r.attempt_no::text"),
    "code": sql.SQL("code_version"),
    "month": sql.SQL("to_char(to_timestamp(append_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM')"),
    "day": sql.SQL("to_char(to_timestamp(append_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"),
    "hour": sql.SQL("to_char(to_timestamp(append_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')"),
    "minute": sql.SQL("to_char(to_timestamp(append_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')"),
}
GROUPS: Final = tuple(_GROUPS)
"""What rejected records can be counted by; times are UTC."""


_TIMES: Final = {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%d %H:00", "minute": "%Y-%m-%d %H:%M"}


def group_of(entry: Entry, by: Sequence[str]) -> tuple[str, ...]:
    """The group it is of, as `groups` names it. Raises ValueError for a group there is not."""
    check_groups(by)
    at = datetime.fromtimestamp(entry.append_at_us // 1_000_000, UTC)
    values = {
        "reason": entry.reason,
        "tenant": entry.tenant_id or "",
        "producer": entry.ce_source or "",
        "field": entry.field,
        "stage": entry.stage,
        "attempt": str(entry.attempt_no),
        "code": entry.code_version,
    } | {name: f"{at:{form}}" for name, form in _TIMES.items()}
    return tuple(values[name] for name in by)


def check_groups(by: Sequence[str]) -> None:
    """Raises ValueError for a group there is not."""
    unknown = [name for name in by if name not in _GROUPS]
    if unknown or not by:
        message = f"no group {', '.join(unknown) or '(none given)'}; there are {', '.join(GROUPS)}"
        raise ValueError(message)


def bound(wanted: Wanted) -> dict[str, Any]:
    """The parameters of `MATCHES`."""
    topics, partitions, offsets = zip(*wanted.kept, strict=True) if wanted.kept else ((), (), ())
    return {
        "reason": wanted.reason,
        "tenant_id": wanted.tenant_id,
        "ce_source": wanted.ce_source,
        "since_us": wanted.since_us,
        "until_us": wanted.until_us,
        "parked": wanted.parked,
        "topics": list(topics),
        "partitions": list(partitions),
        "offsets": list(offsets),
    }


def entries(connection: Connection, wanted: Wanted, *, most: int) -> list[Entry]:
    """The first so many of them, oldest first."""
    rows = connection.execute(_ENTRIES, bound(wanted) | {"most": most})
    return [Entry(Place(*row[:3]), Place(*row[3:6]), *row[6:]) for row in rows]


class Group(NamedTuple):
    """Rejected records that have something in common."""

    values: tuple[str, ...]
    """What they have."""
    records: int
    """How many there are."""
    replayed: int
    """Of these, how many were sent again."""
    parked: int
    """Of these, how many are set aside."""


def groups(connection: Connection, wanted: Wanted, *, by: Sequence[str]) -> list[Group]:
    """Most first. Raises ValueError for a group there is not."""
    check_groups(by)
    chosen = sql.SQL(", ").join(_GROUPS[name] for name in by)
    statement = sql.SQL("SELECT {}, count(*), count(p.replayed_at), count(parked_for) {} GROUP BY {}")
    rows = connection.execute(statement.format(chosen, MATCHES, chosen), bound(wanted)).fetchall()
    found = [Group(tuple(row[:-3]), *row[-3:]) for row in rows]
    return sorted(found, key=lambda group: (-group.records, group.values))


def originals(fetcher: Fetcher, found: Iterable[Entry]) -> dict[Place, Kept]:
    """The producer's records by the place where they are kept; those that no log has any more are missing.

    The raw topic has them whole. The rejected topic keeps them longer, with our headers beside theirs, and a record
    that was too large only in part.
    """
    listed = [entry for entry in found if entry.origin.topic == RAW.name]
    first = dict(fetcher.fetch(entry.origin for entry in listed))
    whole = {entry.kept: kept for entry in listed if (kept := first[entry.origin]) is not None}
    left = [entry.kept for entry in listed if entry.kept not in whole and entry.kept.topic == REJECTED.name]
    for place, kept in fetcher.fetch(left):
        if kept is not None and "value_bytes" not in dict(kept.headers):
            whole[place] = Kept(kept.key, kept.value, tuple(one for one in kept.headers if one[0] not in _OURS))
    return whole


class Verdict(StrEnum):
    """What a replay would do."""

    PRICED = "would be priced"
    REJECTED = "would be rejected again"
    KNOWN = "its call is in the ledger"
    REPEATED = "repeats another one of these"
    REPLAYED = "was replayed before"
    PARKED = "is parked"
    TRIED_OUT = "was tried often enough"
    GONE = "is no longer in the log"
    NOT_RAW = "was refused behind the raw topic"


class Judged(NamedTuple):
    """A rejected record under today's code and prices."""

    entry: Entry
    verdict: Verdict
    original: Kept | None = None
    priced: PricedCall | None = None
    why: str = ""
    """The reason, field and detail of today, where it would be rejected again."""

    def call_keys(self) -> tuple[bytes, ...]:
        """The keys of its call, if it would be one."""
        if self.priced is None:
            return ()
        call = self.priced.call
        event = event_key(call.tenant_id, call.event_key)
        return (event,) if call.response_key is None else (event, response_key(call.tenant_id, call.response_key))


def judge(entry: Entry, original: Kept | None, *, context: Context, most_attempts: int) -> Judged:
    """What would become of it, as far as the record itself tells."""
    left_alone = {
        Verdict.NOT_RAW: entry.origin.topic != RAW.name,
        Verdict.REPLAYED: entry.replayed,
        Verdict.PARKED: entry.parked is not None,
        Verdict.TRIED_OUT: entry.attempt_no >= most_attempts,
        Verdict.GONE: original is None,
    }
    if original is None or any(left_alone.values()):
        return Judged(entry, next(verdict for verdict, holds in left_alone.items() if holds))
    made = process(_raw(entry, original), context)
    if isinstance(made, Rejected):
        return Judged(entry, Verdict.REJECTED, original, why=f"{made.reason} {made.field}: {made.detail}")
    return Judged(entry, Verdict.PRICED, original, made)


def _raw(entry: Entry, original: Kept) -> RawEvent:
    return RawEvent(
        value=original.value,
        headers=dict(original.headers),
        key=original.key,
        topic=entry.origin.topic,
        partition=entry.origin.partition,
        offset=entry.origin.offset,
        append_at_us=entry.append_at_us,
    )


def plan(connection: Connection, judged: Iterable[Judged]) -> list[Judged]:
    """The same, with those told apart whose call is known: to the ledger, or by another one of them."""
    listed = list(judged)
    known = _known(connection, {key for one in listed for key in one.call_keys()})
    taken: set[bytes] = set()
    planned = []
    for one in listed:
        keys = set(one.call_keys())
        if keys & known:
            planned.append(one._replace(verdict=Verdict.KNOWN))
        elif keys & taken:
            planned.append(one._replace(verdict=Verdict.REPEATED))
        else:
            planned.append(one)
        taken |= keys
    return planned


def _known(connection: Connection, keys: set[bytes]) -> set[bytes]:
    rows = connection.execute(
        "SELECT uuid_send(key) FROM call_keys WHERE key = ANY(%s::text[]::uuid[])", ([key.hex() for key in keys],)
    )
    return {bytes(key) for (key,) in rows}


class Expected(NamedTuple):
    """What a replay would add to the ledger."""

    verdicts: dict[Verdict, int]
    """How many of which."""
    incomplete_calls: int
    """Of those that would be priced, how many not wholly."""
    known_cost_usd_pico: int
    """Sum of their known costs, 10⁻¹² USD."""


def expected(planned: Iterable[Judged]) -> Expected:
    """Sums of a plan."""
    listed = list(planned)
    priced = [one.priced for one in listed if one.verdict is Verdict.PRICED and one.priced is not None]
    return Expected(
        dict(Counter(one.verdict for one in listed)),
        sum(call.cost_usd_pico is None for call in priced),
        sum(call.known_cost_usd_pico for call in priced),
    )


def replay(connection: Connection, bootstrap: str, planned: Iterable[Judged]) -> Iterator[Entry]:
    """Send those that would be priced; each is noted once the log has it. Raises KafkaException.

    Cut off between the two, it sends the record again next time: then it is a duplicate, which costs nothing.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "message.max.bytes": 8 * 1024 * 1024,
            "log_level": 3,
        }
    )
    for one in planned:
        if one.verdict is Verdict.PRICED and one.original is not None:
            _send(producer, one.original, attempt_no=one.entry.attempt_no)
            connection.execute(
                "INSERT INTO replays (kept_topic, kept_partition, kept_offset, attempt_no) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT DO NOTHING",
                (*one.entry.kept, one.entry.attempt_no + 1),
            )
            yield one.entry


def _send(producer: Producer, original: Kept, *, attempt_no: int) -> None:
    failed: list[KafkaError] = []
    delivered: list[Message] = []

    def answered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            delivered.append(message)
        else:
            failed.append(error)

    headers: list[tuple[str, str | bytes | None]] = [one for one in original.headers if one[0] != "attempt_no"]
    headers.append(("attempt_no", str(attempt_no).encode()))
    producer.produce(RAW.name, original.value, original.key, headers=headers, on_delivery=answered)
    producer.flush(_DELIVERED_WITHIN_S)
    if not delivered:
        error = failed[0] if failed else KafkaError(KafkaError._MSG_TIMED_OUT, "the log did not answer")  # noqa: SLF001
        raise KafkaException(error)
