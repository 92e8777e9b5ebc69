"""What a day of the lake holds, written down: counts and sums a tenant, and the hash of every file.

The counts are of calls that count, so they equal the ledger's of the same day and tenant. A manifest is made from the
files and compared with them, with another, and with the ledger; the same files give the same manifest, byte for byte.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.parquet as pq

from ledger.lake import files
from ledger.lake.layout import MANIFESTS, TABLES, day_named, day_of, day_start_us
from ledger.lake.locking import LakeError, reading
from ledger.lake.reading import calls
from ledger.verify import Difference

_CHUNK_BYTES: Final = 1 << 20
_DAY_US: Final = 24 * 3600 * 1_000_000
COLUMNS: Final = ("tenant_id", "charged_at_us", "cost_usd_pico", "known_cost_usd_pico", "input_tokens", "output_tokens")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's calls of one day. Sums may pass int64, so they are whole numbers of any size."""

    calls: int = 0
    """Calls, each once."""
    incomplete_calls: int = 0
    """Calls whose cost is not wholly known."""
    known_cost_usd_pico: int = 0
    """Σ of what is known, 10⁻¹² USD."""
    input_tokens: int = 0
    """Σ, where reported."""
    output_tokens: int = 0
    """Σ, where reported."""


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    path: str
    """From the lake's root."""
    rows: int
    """Rows in it, counted or not."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Of its bytes."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One day."""

    day: str
    """UTC day."""
    tenants: dict[str, Figures]
    """Tenant → its calls."""
    files: list[FileFacts]
    """Files of both tables, by path."""


def days(lake: Path) -> list[date]:
    """Days of which there is anything."""
    return sorted({where.day for table in TABLES for where in files.places(lake, table)})


def make(lake: Path, day: date) -> Manifest:
    """The day as its files have it; a day without any is an empty one."""
    return next(iter(make_all(lake, [day]).values()))


def make_all(lake: Path, wanted: Collection[date]) -> dict[date, Manifest]:
    """Several days; what counts is found once for all of them."""
    if not wanted:
        return {}
    with reading(lake):
        tenants = figures(lake, since=min(wanted), until=max(wanted))
        return {
            day: Manifest(day=day.isoformat(), tenants=tenants.get(day, {}), files=_file_facts(lake, day))
            for day in sorted(wanted)
        }


def figures(lake: Path, *, since: date, until: date) -> dict[date, dict[str, Figures]]:
    """Counts and sums of these days, both included, by day and tenant."""
    totals: dict[tuple[date, str], list[int]] = {}
    period_us = day_start_us(since), day_start_us(until) + _DAY_US
    for batch in calls(lake, since_us=period_us[0], until_us=period_us[1], columns=COLUMNS):
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        for tenant_id, at_us, cost, known, asked, answered in zip(*columns, strict=True):
            total = totals.setdefault((day_of(at_us), tenant_id), [0] * 5)
            for index, number in enumerate((1, int(cost is None), known, asked or 0, answered or 0)):
                total[index] += number
    found: dict[date, dict[str, Figures]] = {}
    for day, tenant_id in sorted(totals):
        found.setdefault(day, {})[tenant_id] = _figures(totals[day, tenant_id])
    return found


def _figures(numbers: Iterable[int]) -> Figures:
    return Figures(**dict(zip(Figures.__struct_fields__, map(int, numbers), strict=True)))


def _file_facts(lake: Path, day: date) -> list[FileFacts]:
    places = [where for table in TABLES for where in files.places(lake, table) if where.day == day]
    return [facts(lake, path) for where in places for path in files.files_in(lake, where)]


def facts(lake: Path, path: Path) -> FileFacts:
    """One file as it is."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return FileFacts(
        path=path.relative_to(lake).as_posix(),
        rows=pq.read_metadata(path).num_rows,
        size_bytes=path.stat().st_size,
        sha256=digest.hexdigest(),
    )


def path_of(lake: Path, day: date) -> Path:
    """Where the day's manifest is."""
    return lake / MANIFESTS / f"{day.isoformat()}.json"


def write(lake: Path, manifest: Manifest) -> Path:
    """Put it into the lake, whole or not at all."""
    path = path_of(lake, day_named(manifest.day))
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1).decode()
    files.replace_text(path, text + "\n")
    return path


def read(path: Path) -> Manifest:
    """A manifest from a file. Raises LakeError for one that is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{path}: no manifest: {error}; `tokenledger lake manifest` makes one"
        raise LakeError(message) from None


def written(lake: Path) -> dict[date, Manifest]:
    """Every manifest there is."""
    found = (read(path) for path in sorted((lake / MANIFESTS).glob("*.json")))
    return {day_named(manifest.day): manifest for manifest in found}


def compare(expected: Manifest, found: Manifest, *, what: str) -> list[Difference]:
    """Every difference of two manifests of one day. Raises LakeError for two of different days."""
    if expected.day != found.day:
        message = f"manifests of {expected.day} and {found.day} cannot be compared; two of one day would be right"
        raise LakeError(message)
    return [
        *compare_figures(expected.tenants, found.tenants, what=what, day=expected.day),
        *_compare_files(expected, found, what=what),
    ]


def compare_figures(
    expected: Mapping[str, Figures], found: Mapping[str, Figures], *, what: str, day: str
) -> list[Difference]:
    """Every tenant and figure that differs."""
    none = Figures()
    return [
        Difference(what, f"{day} {tenant} {name}", one, other)
        for tenant in sorted(expected.keys() | found.keys())
        for name in Figures.__struct_fields__
        if (one := getattr(expected.get(tenant, none), name)) != (other := getattr(found.get(tenant, none), name))
    ]


def _compare_files(expected: Manifest, found: Manifest, *, what: str) -> list[Difference]:
    one, other = ({file.path: file for file in manifest.files} for manifest in (expected, found))
    differing = [path for path in sorted(one.keys() & other.keys()) if one[path] != other[path]]
    gone, new = sorted(one.keys() - other.keys()), sorted(other.keys() - one.keys())
    return [
        *(Difference(f"{what}: a file is gone", path, one[path].rows, 0) for path in gone),
        *(Difference(f"{what}: a file is new", path, 0, other[path].rows) for path in new),
        *(Difference(f"{what}: a file differs", path, one[path].rows, other[path].rows) for path in differing),
    ]
