"""Every captured answer is checked once; a judge is asked about those it has not judged. Incremental and idempotent."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from dags import io
from dags.core.attempts import Attempt, Score, read
from dags.core.checks import Rules, check, unreadable, version
from dags.core.rubric import version as judge_version
from dags.edges import scores as stored
from dags.edges import workshop
from dags.edges.judging import Judge, grades
from dags.edges.scores import Current, Part
from dags.edges.sorting import Sorter, sorter
from tokenledger.records.texts import CapturedText

_GIVE_UP_AFTER: Final = 20


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to score, and how."""

    lake: Path
    """The lake."""
    scores: Path
    """Where scores are kept."""
    window: io.Window
    """Which calls."""
    rules: Rules
    """What answers must be."""
    judge: Judge | None = None
    """Whom to ask; None asks nobody."""
    most: int | None = None
    """Ask about at most so many; they are drawn by hash, the same ones each time."""


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to."""

    checks_version: str
    """Version of the checks."""
    judge_version: str | None
    """Version of the judge."""
    captured: int
    """Captured calls of the window."""
    new: int
    """Those checked now."""
    checked: int
    """Those checked, now or before."""
    failed: dict[str, int]
    """Check → calls that failed it, of those checked now."""
    judged_new: int
    """Those judged now."""
    judged: int
    """Those judged, now or before."""
    unjudged: dict[str, int]
    """Why no verdict came → calls."""


def score(asked: Asked) -> Scored:
    """Check what was not checked, ask about what was not judged, say how much of all that is."""
    checks_version = version(asked.rules)
    judging = None if asked.judge is None else judge_version(asked.judge.rubric, asked.judge.model)
    with workshop.workshop(asked.scores) as own, sorter(own) as sorted_:
        sorted_.keep_captured(io.captured(io.texts(asked.lake, tenants=None, window=asked.window)))
        failed = _check(asked, sorted_, own=own, checks_version=checks_version)
        judged_new, unjudged = _judge(asked, sorted_, own=own, judging=judging)
        before = stored.current(asked.scores)
        stored.point(asked.scores, Current(checks=checks_version, judge=judging or before.judge))
        coverage = _coverage(asked, sorted_, checks_version=checks_version, judging=judging or before.judge)
    total = {name: sum(one[name] for one in coverage.values()) for name in ("captured", "checked", "judged")}
    return Scored(
        checks_version=checks_version,
        judge_version=judging,
        captured=total["captured"],
        new=failed.pop("", 0),
        checked=total["checked"],
        failed=dict(failed),
        judged_new=judged_new,
        judged=total["judged"],
        unjudged=unjudged,
    )


def _check(asked: Asked, sorted_: Sorter, *, own: Path, checks_version: str) -> Counter[str]:
    """Calls that failed, by check; under "" those checked."""
    sorted_.keep_known(stored.checks(asked.scores, checks_version))
    part, failed = Part(own, stored.CHECKS), Counter[str]()
    for tenant_id, event_key, raw in sorted_.unknown():
        text = io.text_of(raw)
        found = _checked(text, asked.rules)
        part.add((tenant_id, event_key, text.user_hash, list(found.failed), list(found.checked)))
        failed.update((*found.failed, ""))
    part.publish(stored.checks_folder(asked.scores, checks_version))
    return failed


def _checked(text: CapturedText, rules: Rules) -> Score:
    attempt = read(text)
    return check(attempt, rules) if isinstance(attempt, Attempt) else unreadable()


def _judge(asked: Asked, sorted_: Sorter, *, own: Path, judging: str | None) -> tuple[int, dict[str, int]]:
    """(verdicts, why others did not come)."""
    if asked.judge is None or judging is None:
        return 0, {}
    sorted_.keep_known(stored.judged(asked.scores, judging))
    part, why = Part(own, stored.JUDGE), Counter[str]()
    for one in grades(asked.judge, _answers(sorted_, asked.most), give_up_after=_GIVE_UP_AFTER):
        if one.grade is None:
            why[one.why] += 1
        else:
            text = one.attempt.text
            part.add((text.tenant_id, text.event_key, text.user_hash, one.grade))
    part.publish(stored.judge_folder(asked.scores, judging))
    return part.rows, dict(why.most_common(5))


def _answers(sorted_: Sorter, most: int | None) -> Iterator[Attempt]:
    """Answers without a verdict, by hash of their key."""
    for number, (_, _, raw) in enumerate(sorted_.unknown_by_lot()):
        if most is not None and number >= most:
            return
        attempt = read(io.text_of(raw))
        if isinstance(attempt, Attempt) and attempt.answer is not None:
            yield attempt


def _coverage(asked: Asked, sorted_: Sorter, *, checks_version: str, judging: str | None) -> dict[str, dict[str, int]]:
    """Tenant → captured, checked, judged calls of the window; published beside the scores."""
    found: dict[str, dict[str, int]] = {}
    for name, reader in (
        ("checked", stored.checks(asked.scores, checks_version)),
        ("judged", stored.judged(asked.scores, judging)),
    ):
        sorted_.keep_known(reader)
        for tenant_id, captured, known in sorted_.covered():
            found.setdefault(tenant_id, {})["captured"] = captured
            found[tenant_id][name] = known
    told = {
        "since_us": asked.window.since_us,
        "until_us": asked.window.until_us,
        "checks_version": checks_version,
        "judge_version": judging,
        "tenants": found,
    }
    workshop.replace(asked.scores / stored.COVERAGE, msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    return found
