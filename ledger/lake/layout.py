"""Where a row lies in the lake: table, tenant, day, and a file named by the records it was made from. Pure.

`calls/tenant=<16 hex>/day=2026-11-21/llm.priced.v1-3-000000000000-000000000480.parquet`: the rows of that tenant and
day among the records [0, 480) of partition 3. Reading the same records again writes the same file again. Of two
files of one place where one's records are among the other's, the larger counts: that is how files are put together.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final, NamedTuple

CALLS: Final = "calls"
TEXTS: Final = "texts"
TABLES: Final = (CALLS, TEXTS)
PROGRESS: Final = "_progress"
MANIFESTS: Final = "_manifests"
ERASURES: Final = "_erasures.jsonl"
PARTIAL: Final = ".partial"
"""End of the name of a file that is being written. Readers look at `*.parquet` only."""

_DAY_US: Final = 24 * 3600 * 1_000_000
_EPOCH: Final = date(1970, 1, 1)
_FILE: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)-(?P<first>\d{12,})-(?P<end>\d{12,})\.parquet")


class Span(NamedTuple):
    """Records [first, end) of a partition."""

    topic: str
    """Topic."""
    partition: int
    """Partition of it."""
    first: int
    """First offset."""
    end: int
    """Offset after the last."""

    def covers(self, other: "Span") -> bool:
        """Whether the other's records are among these."""
        return self[:2] == other[:2] and self.first <= other.first and other.end <= self.end


class Place(NamedTuple):
    """A folder of the lake."""

    table: str
    """`calls` or `texts`."""
    tenant: str
    """Hash of the tenant."""
    day: date
    """UTC day the calls were charged to."""

    @property
    def path(self) -> PurePosixPath:
        """The folder, from the lake's root."""
        return PurePosixPath(self.table, f"tenant={self.tenant}", f"day={self.day.isoformat()}")


@lru_cache(maxsize=4096)
def tenant_hash(tenant_id: str) -> str:
    """The tenant as a folder's name: any text makes a name of 16 letters."""
    return sha256(tenant_id.encode()).hexdigest()[:16]


def day_of(instant_us: int) -> date:
    """The UTC day of an instant."""
    return _EPOCH + timedelta(days=instant_us // _DAY_US)


def day_start_us(day: date) -> int:
    """Midnight UTC at which the day begins."""
    return (day - _EPOCH).days * _DAY_US


def day_named(text: str) -> date:
    """`2026-11-21` as a day. Raises ValueError."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        message = f"{text!r} is no day; 2026-11-21 would be right"
        raise ValueError(message) from None


def place(table: str, tenant_id: str, *, charged_at_us: int) -> Place:
    """Where a row belongs."""
    return _place(table, tenant_id, charged_at_us // _DAY_US)


@lru_cache(maxsize=4096)
def _place(table: str, tenant_id: str, day_no: int) -> Place:
    """The same object again for nearly every row."""
    return Place(table, tenant_hash(tenant_id), _EPOCH + timedelta(days=day_no))


def place_of(path: PurePosixPath) -> Place | None:
    """The reverse of `Place.path`; None for a folder of another kind."""
    if len(path.parts) != 3 or path.parts[0] not in TABLES:  # noqa: PLR2004  (table, tenant, day)
        return None
    table, tenant, day = path.parts
    if not tenant.startswith("tenant=") or not day.startswith("day="):
        return None
    try:
        return Place(table, tenant.removeprefix("tenant="), day_named(day.removeprefix("day=")))
    except ValueError:
        return None


def file_name(span: Span) -> str:
    """The file that holds what these records gave."""
    return f"{span.topic}-{span.partition}-{span.first:012d}-{span.end:012d}.parquet"


def span_of(name: str) -> Span | None:
    """The records a file was made from; None for a file that is none of the lake's."""
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    return Span(found["topic"], int(found["partition"]), int(found["first"]), int(found["end"]))


def standing(names: Iterable[str]) -> list[str]:
    """The files of one folder that count, in the order of their records."""
    spans = {name: span for name in names if (span := span_of(name)) is not None}
    ordered = sorted(spans.items(), key=lambda item: (*item[1][:3], -item[1].end))
    counted: list[tuple[str, Span]] = []
    for name, span in ordered:
        # Of files that begin at one record the longest came first, so only the one before can cover.
        if not counted or not any(other.covers(span) for _, other in counted[-1:]):
            counted.append((name, span))
    return [name for name, _ in counted]
