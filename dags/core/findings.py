"""What has moved, how far, and whether it stayed so long enough to be called drift. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from tokenledger.drift import Bins, kl, noise, psi

NUMBERS: Final = (
    *("input_tokens", "output_tokens", "ttft_us", "tpot_us", "total_us", "confidence", "familiarity"),
    *("prompt_chars", "answer_chars", "turns", "tools"),
)
"""Columns of numbers. The last four are of captured texts, where there are any."""
WORDS: Final = ("feature", "route_tier", "model", "finish_reason", "status")
"""Columns of words; `feature` is looked at for a tenant as a whole."""
DECILES: Final = tuple(number / 10 for number in range(1, 10))
"""Shares at which the reference's numbers are cut."""
MOST_WORDS: Final = 40


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """When a difference counts."""

    threshold: float = 0.2
    """PSI, beyond what chance gives, from which a column has moved."""
    least_rows: int = 200
    """Fewer rows, before or now, say nothing."""
    runs: int = 3
    """So many reports in a row must say it."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The calls looked at."""

    since_us: int | None
    """From then on, µs UTC."""
    until_us: int | None
    """Before then."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One column of one tenant's feature."""

    tenant_id: str
    """Tenant."""
    feature: str | None
    """Feature; None for all of the tenant's."""
    column: str
    """Column."""
    bins: Bins
    """How values are told apart."""
    counts: tuple[int, ...]
    """How many values each bin has."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What later windows are compared with."""

    version: str
    """Hash of everything below."""
    window: Window
    """The calls it was made from."""
    rows: int
    """How many."""
    columns: tuple[Counted, ...]
    """Every column that had values."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One column, before and now."""

    tenant_id: str
    """Tenant."""
    feature: str | None
    """Feature; None for all of the tenant's."""
    column: str
    """Column."""
    reference_rows: int
    """Rows before."""
    current_rows: int
    """Rows now."""
    psi: float | None
    """Population stability index; None with too few rows."""
    kl: float | None
    """Kullback-Leibler divergence, nats."""
    noise: float | None
    """PSI that chance alone would give."""
    moved: bool
    """Whether PSI beyond chance reached the threshold."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Which column of whom."""
        return self.tenant_id, self.feature or "", self.column


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant's prompts speak of, before and now, by their embeddings."""

    tenant_id: str
    """Tenant."""
    reference_rows: int
    """Prompts before."""
    current_rows: int
    """Prompts now."""
    distance: float
    """Cosine distance of the two means."""
    told_apart: float
    """How well a classifier tells them apart: ROC AUC, 0.5 is not at all."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One report."""

    run: str
    """Hash of reference, window and terms: the same run again is the same report."""
    reference: str
    """Version of the reference."""
    window: Window
    """The calls looked at."""
    rows: int
    """How many."""
    terms: Terms
    """When a difference counts."""
    findings: tuple[Finding, ...]
    """The greatest first; those with too few rows last."""
    unknown: tuple[tuple[str, str], ...]
    """(tenant, feature) that the reference does not know."""
    spoken: tuple[Spoken, ...] = ()
    """What prompts speak of; empty where none were embedded."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What stayed moved."""

    alert: str
    """Hash of what it says."""
    reference: str
    """Version of the reference."""
    runs: tuple[str, ...]
    """The reports that said so, the oldest first."""
    findings: tuple[Finding, ...]
    """As the newest has them."""


def reference(window: Window, rows: int, *, columns: Sequence[Counted]) -> Reference:
    """With its version."""
    ordered = tuple(sorted(columns, key=lambda one: (one.tenant_id, one.feature or "", one.column)))
    return Reference(version=_hash([window, rows, ordered]), window=window, rows=rows, columns=ordered)


def compared(base: Reference, now: Sequence[Counted], *, window: Window, rows: int, terms: Terms) -> Drift:
    """The report on one window. `now` has the bins of the reference."""
    before = {(one.tenant_id, one.feature, one.column): one for one in base.columns}
    found = [_finding(before[key], one, terms=terms) for one in now if (key := _key(one)) in before]
    known = {(one.tenant_id, one.feature) for one in base.columns}
    unknown = {(one.tenant_id, one.feature or "") for one in now if (one.tenant_id, one.feature) not in known}
    return Drift(
        run=_hash([base.version, window, terms]),
        reference=base.version,
        window=window,
        rows=rows,
        terms=terms,
        findings=tuple(sorted(found, key=lambda one: (-(-1.0 if one.psi is None else one.psi), *one.place))),
        unknown=tuple(sorted(unknown)),
    )


def _key(one: Counted) -> tuple[str, str | None, str]:
    return one.tenant_id, one.feature, one.column


def _finding(before: Counted, now: Counted, *, terms: Terms) -> Finding:
    rows = sum(before.counts), sum(now.counts)
    enough = min(rows) >= max(terms.least_rows, 1)
    moved_by = psi(before.counts, now.counts) if enough else None
    chance = noise(_used(before.counts, now.counts), reference=rows[0], current=rows[1]) if enough else None
    return Finding(
        tenant_id=now.tenant_id,
        feature=now.feature,
        column=now.column,
        reference_rows=rows[0],
        current_rows=rows[1],
        psi=moved_by,
        kl=kl(before.counts, now.counts) if enough else None,
        noise=chance,
        moved=moved_by is not None and chance is not None and moved_by - chance >= terms.threshold,
    )


def _used(before: Sequence[int], now: Sequence[int]) -> int:
    return sum(bool(one or other) for one, other in zip(before, now, strict=True))


def persistent(reports: Iterable[Drift], *, base: str, terms: Terms) -> Alert | None:
    """What every one of the newest `terms.runs` reports on this reference calls moved; None for nothing.

    Reports are taken by the end of their window, one a window, so that a run that is repeated counts once.
    """
    by_end = {(one.window.until_us or 0, one.window.since_us or 0): one for one in _of(reports, base=base, terms=terms)}
    last = [by_end[end] for end in sorted(by_end)][-terms.runs :]
    if len(last) < terms.runs:
        return None
    places = [frozenset(finding.place for finding in one.findings if finding.moved) for one in last]
    stayed = frozenset.intersection(*places)
    if not stayed:
        return None
    findings = tuple(one for one in last[-1].findings if one.place in stayed)
    runs = tuple(one.run for one in last)
    return Alert(alert=_hash([base, runs, findings]), reference=base, runs=runs, findings=findings)


def _of(reports: Iterable[Drift], *, base: str, terms: Terms) -> Iterator[Drift]:
    return (one for one in sorted(reports, key=lambda one: one.run) if one.reference == base and one.terms == terms)


def _hash(what: object) -> str:
    return hashlib.sha256(msgspec.json.encode(what, order="deterministic")).hexdigest()[:16]
