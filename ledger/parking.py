"""Setting rejected records aside: no replay sends them and no alert counts them, and nothing is ever deleted."""

from typing import Any, Final

import msgspec
from psycopg import sql

from ledger.database import Connection
from ledger.rejected import MATCHES, Wanted, bound

_PARK: Final = sql.SQL(
    "INSERT INTO parked AS a (kept_topic, kept_partition, kept_offset, append_at_us, reason, until_us, parked_by) "
    "SELECT kept_topic, kept_partition, kept_offset, append_at_us, %(why)s, %(parked_until_us)s, %(who)s {} "
    "ON CONFLICT (kept_topic, kept_partition, kept_offset) DO UPDATE SET reason = excluded.reason, "
    "until_us = excluded.until_us, parked_at = clock_timestamp(), parked_by = excluded.parked_by "
    "WHERE (a.reason, a.until_us) IS DISTINCT FROM (excluded.reason, excluded.until_us)"
).format(MATCHES)
_UNPARK: Final = sql.SQL(
    "DELETE FROM parked USING (SELECT kept_topic, kept_partition, kept_offset {}) AS chosen "
    "WHERE (parked.kept_topic, parked.kept_partition, parked.kept_offset) = "
    "(chosen.kept_topic, chosen.kept_partition, chosen.kept_offset)"
).format(MATCHES)


def park(connection: Connection, wanted: Wanted, *, reason: str, who: str, until_us: int | None) -> int:
    """Set them aside, for good or until then; how many that changes. Doing it again changes nothing."""
    given = bound(wanted) | {"why": reason, "parked_until_us": until_us, "who": who}
    with connection.transaction():
        count = connection.execute(_PARK, given).rowcount
        _note(connection, "park rejected", wanted=wanted, records=count, reason=reason, who=who, until_us=until_us)
    return count


def unpark(connection: Connection, wanted: Wanted, *, reason: str, who: str) -> int:
    """Take them back; how many were set aside."""
    with connection.transaction():
        count = connection.execute(_UNPARK, bound(wanted)).rowcount
        _note(connection, "unpark rejected", wanted=wanted, records=count, reason=reason, who=who)
    return count


def _note(connection: Connection, action: str, *, wanted: Wanted, **facts: Any) -> None:
    if not facts["records"]:
        return
    chosen = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value not in {None, ()}}
    chosen |= {"kept": [str(place) for place in wanted.kept]} if wanted.kept else {}
    detail = msgspec.json.encode({"which": chosen} | facts).decode()
    connection.execute("INSERT INTO audit_log (action, detail) VALUES (%s, %s::jsonb)", (action, detail))
