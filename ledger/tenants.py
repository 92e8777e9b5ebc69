"""Tenants as they stand and as they stood: time zone, charge policy, consent, status. All SQL of it.

Nothing is edited: a new statement ends what was known before. Whoever was never stated is `UNSTATED`.
"""

from collections.abc import Iterable
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from ledger.database import Connection

ChargePolicy = Literal["served", "incurred"]
Status = Literal["active", "suspended", "closed"]


class TenantError(ValueError):
    """A statement that cannot be made: of which tenant, what is wrong, what would be right."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a tenant."""

    tenant_id: str
    """The tenant, by credential."""
    name: str = ""
    """Name for people."""
    time_zone: str = "UTC"
    """IANA time zone its accounting months begin and end in."""
    charge_policy: ChargePolicy = "served"
    """What the customer is charged: `served` for the answer that served, `incurred` for everything."""
    capture_consent: bool = False
    """Whether prompts and answers may be kept."""
    status: Status = "active"
    """Told, not enforced: keys and budgets decide who may call."""

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return ZoneInfo(self.time_zone)


UNSTATED: Final = Tenant(tenant_id="")
"""What holds for a tenant that nobody stated."""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What was stated of a tenant, when, by whom and why."""

    tenant: Tenant
    """What was stated."""
    known_from_us: int
    """From when we knew it, µs UTC."""
    known_to_us: int | None
    """From when something else holds; None while it holds."""
    made_by: str
    """Who stated it."""
    reason: str
    """Why, in their words."""


_FIELDS: Final = ("tenant_id", "name", "time_zone", "charge_policy", "capture_consent", "status")
_STATED: Final = """
    SELECT tenant_id, name, time_zone, charge_policy, capture_consent, status, lower(known_us), upper(known_us),
        made_by, reason
    FROM tenants WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s ORDER BY row_no
"""
_KNOWN: Final = """
    SELECT tenant_id, name, time_zone, charge_policy, capture_consent, status
    FROM tenants
    WHERE CASE WHEN %(at)s::bigint IS NULL THEN upper_inf(known_us) ELSE known_us @> %(at)s::bigint END
        AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    ORDER BY tenant_id
"""
_NEWEST: Final = "SELECT coalesce(max(row_no), 0) FROM tenants"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('tokenledger tenants'))"
_NOW: Final = """
    SELECT greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        coalesce((SELECT max(lower(known_us)) + 1 FROM tenants), 0))
"""
_END: Final = """
    UPDATE tenants SET known_us = int8range(lower(known_us), %s) WHERE tenant_id = %s AND upper_inf(known_us)
"""
_STATE: Final = """
    INSERT INTO tenants (tenant_id, name, time_zone, charge_policy, capture_consent, status, known_us, reason)
    VALUES (%s, %s, %s, %s, %s, %s, int8range(%s, NULL), %s)
"""


def tenants(connection: Connection, *, known_at_us: int | None = None) -> dict[str, Tenant]:
    """Every tenant that was stated, as known at an instant (now, if none is given)."""
    rows = connection.execute(_KNOWN, {"at": known_at_us, "tenant": None})
    return {row[0]: _tenant(row) for row in rows}


def tenant(connection: Connection, tenant_id: str, *, known_at_us: int | None = None) -> Tenant:
    """One tenant; one that nobody stated has what holds for all of those."""
    row = connection.execute(_KNOWN, {"at": known_at_us, "tenant": tenant_id}).fetchone()
    return _tenant(row) if row else msgspec.structs.replace(UNSTATED, tenant_id=tenant_id)


def _tenant(row: tuple[object, ...]) -> Tenant:
    return msgspec.convert(dict(zip(_FIELDS, row, strict=True)), Tenant)


def history(connection: Connection, tenant_id: str | None = None) -> list[Statement]:
    """Every statement, the oldest first."""
    return [
        Statement(
            tenant=_tenant(row[: len(_FIELDS)]), known_from_us=row[-4], known_to_us=row[-3], made_by=row[-2],
            reason=row[-1],
        )
        for row in connection.execute(_STATED, {"tenant": tenant_id})
    ]  # fmt: skip


def newest(connection: Connection) -> int:
    """Number of the newest statement; 0 before the first."""
    row = connection.execute(_NEWEST).fetchone()
    return int(row[0]) if row else 0


def state(connection: Connection, stated: Iterable[Tenant], *, reason: str) -> list[Tenant]:
    """What holds from now on; those of them that are new or differ from what is known. Raises TenantError."""
    wanted = [_checked(one) for one in stated]
    if not reason.strip():
        raise TenantError("a statement has no reason; --reason says why, for those who read the history")
    with connection.transaction():
        connection.execute(_LOCK)
        known = tenants(connection)
        changed = [one for one in wanted if known.get(one.tenant_id) != one]
        row = connection.execute(_NOW).fetchone()
        assert row is not None  # noqa: S101  (a SELECT without FROM gives one row)
        for one in changed:
            connection.execute(_END, (row[0], one.tenant_id))
            connection.execute(_STATE, (*msgspec.structs.astuple(one), row[0], reason))
    return changed


def _checked(one: Tenant) -> Tenant:
    if not one.tenant_id.strip():
        raise TenantError("a tenant has no id; its credential's tenant id would be right")
    if not one.tenant_id.isprintable():
        raise TenantError(f"tenant {one.tenant_id!a}: control characters; a printable id would be right")
    if one.time_zone not in available_timezones():
        raise TenantError(f"tenant {one.tenant_id}: no time zone {one.time_zone!r}; an IANA name such as Europe/Berlin")
    return one


assert Tenant.__struct_fields__ == _FIELDS  # noqa: S101  (a statement's columns in their order)
