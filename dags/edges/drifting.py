"""References and reports of drift on disk, and how they are made. An edge: it reads the lake and writes files.

drift/references/<version>.json   bins and counts; drift/reference names the one in use
drift/samples/<version>.parquet   some rows of it, for people and for Evidently
drift/reports/<run>/report.json   one report; beside it index.html and what Evidently drew
drift/alert.json                  what stayed moved; not there while nothing did
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dags import io
from dags.core.findings import MOST_WORDS, Alert, Counted, Drift, Reference, Terms, Window, compared, persistent
from dags.core.findings import reference as made_reference
from dags.edges import embedded, workshop
from dags.edges.counting import Key, count
from dags.edges.embedded import Embed
from dags.edges.flat import Flat, flat
from dags.edges.pages import index
from dags.edges.sorting import MEMORY
from tokenledger.drift import Bins, quantile_bins, word_bins

_REFERENCE: Final = "reference"
_REPORT: Final = "report.json"
_ALERT: Final = "alert.json"
SAMPLE_ROWS: Final = 2_000
"""Rows of each tenant's feature that are kept to be looked at."""


class DriftError(ValueError):
    """What is missing, and what would make it."""


class NoCallsError(DriftError):
    """A reference of nothing."""


def make_reference(drift: Path, lake: Path, *, window: io.Window, embed: Embed | None = None) -> Reference:
    """What later windows are compared with, from now on."""
    with workshop.workshop(drift) as own, flat(own, lake, window=window, memory=MEMORY) as calls:
        if not calls.rows:
            raise NoCallsError(f"there are no calls in {lake} in that time; a reference needs some")
        columns = count(calls.batches(), _bins(calls))
        made = made_reference(_window(window), calls.rows, columns=columns)
        sample = (
            pa.concat_tables(
                calls.sample(tenant, feature, most=SAMPLE_ROWS)
                for tenant, feature in sorted({(one.tenant_id, one.feature or "") for one in columns if one.feature})
            )
            if any(one.feature for one in columns)
            else None
        )
        if sample is not None:
            (drift / "samples").mkdir(exist_ok=True)
            pq.write_table(sample, own / "sample.parquet", compression="zstd")
            workshop.sync(own / "sample.parquet")
            (own / "sample.parquet").replace(drift / "samples" / f"{made.version}.parquet")
        if embed is not None:
            (drift / "samples").mkdir(exist_ok=True)
            embedded.save(own / "vectors.npz", embedded.embedded(lake, window=window, embed=embed))
            (own / "vectors.npz").replace(_vectors(drift, made.version))
    workshop.replace(drift / "references" / f"{made.version}.json", msgspec.json.encode(made))
    workshop.replace(drift / _REFERENCE, f"{made.version}\n".encode())
    return made


def _vectors(drift: Path, version: str) -> Path:
    return drift / "samples" / f"{version}.npz"


def _bins(calls: Flat) -> dict[Key, Bins]:
    """Deciles for numbers, the commonest words for words."""
    bins: dict[Key, Bins] = {
        (tenant, feature, name): quantile_bins(cuts) for tenant, feature, name, cuts in calls.cuts()
    }
    counts: dict[Key, dict[str, int]] = {}
    for tenant, feature, name, word, number in calls.words():
        counts.setdefault((tenant, feature, name), {})[word] = number
    return bins | {key: word_bins(words, most=MOST_WORDS) for key, words in counts.items()}


def _window(window: io.Window) -> Window:
    return Window(since_us=window.since_us, until_us=window.until_us)


def reference(drift: Path, version: str | None = None) -> Reference:
    """The reference in use, or that one."""
    try:
        wanted = version or (drift / _REFERENCE).read_text(encoding="utf-8").strip()
        return msgspec.json.decode((drift / "references" / f"{wanted}.json").read_bytes(), type=Reference)
    except FileNotFoundError:
        raise DriftError(
            f"{drift} has no reference{f' {version}' if version else ''}; make one: tokenledger drift reference"
        ) from None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to report on."""

    drift: Path
    """Where references and reports are."""
    lake: Path
    """The lake."""
    window: io.Window
    """Which calls."""
    terms: Terms
    """When a difference counts."""
    pages: int = 1
    """For so many of the groups that moved most Evidently draws a page."""


def report(asked: Asked, embed: Embed | None = None) -> Drift:
    """Compare the window with the reference, and keep the report. The same window again replaces it by the same."""
    base = reference(asked.drift)
    bins = {(one.tenant_id, one.feature, one.column): one.bins for one in base.columns}
    with workshop.workshop(asked.drift / "reports") as own:
        with flat(own, asked.lake, window=asked.window, memory=MEMORY) as calls:
            now = [*count(calls.batches(), bins), *_strangers(calls, bins)]
            found = compared(base, now, window=_window(asked.window), rows=calls.rows, terms=asked.terms)
            found = _with_spoken(found, asked, embed=embed)
            made = own / "made"
            made.mkdir()
            pages = _draw(asked, found, base=base, calls=calls, made=made)
        (made / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        (made / "index.html").write_text(index(found, pages), encoding="utf-8")
        place = asked.drift / "reports" / found.run
        if not workshop.publish(made, place):
            _exchange(made, place, own=own)
    _keep_alert(asked, base)
    return found


def _with_spoken(found: Drift, asked: Asked, *, embed: Embed | None) -> Drift:
    """With what prompts speak of, where the reference has that too."""
    stored = _vectors(asked.drift, found.reference)
    if embed is None or not stored.is_file():
        return found
    now = embedded.embedded(asked.lake, window=asked.window, embed=embed)
    return msgspec.structs.replace(found, spoken=embedded.spoken(embedded.load(stored), now))


def _strangers(calls: Flat, bins: dict[Key, Bins]) -> Iterator[Counted]:
    """Groups the reference does not know, with nothing to compare."""
    known = {key[:2] for key in bins}
    found = {(tenant, feature) for tenant, feature, *_ in calls.words()} - known
    for tenant, feature in sorted(found, key=str):
        yield Counted(tenant_id=tenant, feature=feature, column="", bins=Bins(), counts=(0, 0))


def _exchange(made: Path, place: Path, *, own: Path) -> None:
    """Put a report into the place of an older one of the same run."""
    place.rename(own / "before")
    made.rename(place)


def _draw(asked: Asked, found: Drift, *, base: Reference, calls: Flat, made: Path) -> list[tuple[str, str]]:
    """(what, file) of each page that Evidently drew."""
    sample = asked.drift / "samples" / f"{base.version}.parquet"
    groups = list(dict.fromkeys((one.tenant_id, one.feature) for one in found.findings if one.psi and one.feature))
    if not asked.pages or not sample.is_file() or not groups:
        return []
    from dags.edges.evidently_page import draw  # seven seconds of imports, for those who look

    before, pages = pq.read_table(sample), []
    for number, (tenant, feature) in enumerate(groups[: asked.pages], 1):
        now = calls.sample(tenant, feature, most=SAMPLE_ROWS)
        columns = {one.column: one.bins for one in base.columns if (one.tenant_id, one.feature) == (tenant, feature)}
        old = before.filter((pa.compute.field("tenant_id") == tenant) & (pa.compute.field("feature") == feature))
        if old.num_rows and now.num_rows:
            name = f"evidently-{number}.html"
            draw(made / name, old, now=now, columns=columns)
            pages.append((f"{tenant} / {feature}", name))
    return pages


def reports(drift: Path) -> Iterator[Drift]:
    """Every report, in no order."""
    for path in (drift / "reports").glob(f"[!.]*/{_REPORT}"):
        yield msgspec.json.decode(path.read_bytes(), type=Drift)


def _keep_alert(asked: Asked, base: Reference) -> None:
    found = persistent(reports(asked.drift), base=base.version, terms=asked.terms)
    if found is None:
        (asked.drift / _ALERT).unlink(missing_ok=True)
    elif found != alert(asked.drift):
        workshop.replace(asked.drift / _ALERT, msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def alert(drift: Path) -> Alert | None:
    """What stayed moved; None while nothing did."""
    try:
        return msgspec.json.decode((drift / _ALERT).read_bytes(), type=Alert)
    except FileNotFoundError:
        return None
