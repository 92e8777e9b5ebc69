"""Which alerts open, stay and close, given what was found. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Subject(NamedTuple):
    """What an alert is about; one is open at most for each."""

    state: str
    """Which kind of trouble."""
    about: str
    """Source, tenant, partition, …"""


class Finding(NamedTuple):
    """Something that is not as it should be."""

    subject: Subject
    """What it is about."""
    summary: str
    """Figures, in words."""
    opens: bool = True
    """Whether it is bad enough to open an alert; a lesser finding only keeps one open."""
    tenant_id: str | None = None
    """The tenant it concerns, where it is one."""


class Open(NamedTuple):
    """An alert that is open."""

    alert_no: int
    """Its number."""
    last_seen_at_us: int
    """When the trouble was last there, µs UTC."""


class Changes(NamedTuple):
    """What to write down."""

    opened: list[Finding]
    """New alerts."""
    seen: list[tuple[int, Finding]]
    """Alerts whose trouble is still there."""
    closed: list[int]
    """Alerts whose trouble is over."""


def changes(
    known: Mapping[Subject, Open], found: Iterable[Finding], *, judged: Mapping[str, int], now_us: int
) -> Changes:
    """An alert closes when its trouble was away for as long as its kind asks, µs.

    A kind that was not judged this time is not among these, and its alerts stay as they are.
    """
    by_subject = {finding.subject: finding for finding in found}
    opened = [finding for subject, finding in by_subject.items() if finding.opens and subject not in known]
    seen = [(known[subject].alert_no, finding) for subject, finding in by_subject.items() if subject in known]
    closed = [
        one.alert_no
        for subject, one in known.items()
        if subject.state in judged
        and subject not in by_subject
        and now_us - one.last_seen_at_us >= judged[subject.state]
    ]
    return Changes(opened, seen, closed)
