"""Operations that several tiers answered → rows of the CSV that `tokenledger router train` takes."""

import csv
import io
from collections.abc import Sequence
from typing import Final

from dags.core import words
from dags.core.attempts import Attempt, refused, served
from dags.core.left_out import Reason
from dags.core.recipe import Router

_FIXED: Final = ("prompt", "tools", "turns", "group")


def header(router: Router) -> bytes:
    """Names of the columns; a tier's quality is in the column of its name."""
    return _row([*_FIXED, *router.tiers])


def router_row(attempts: Sequence[Attempt], router: Router) -> bytes | Reason:
    """One prompt and the quality of each tier's answer, 0 to 1."""
    found = [quality(attempts, tier, router=router) for tier in router.tiers]
    best = served(attempts)
    if best is None or any(one is None for one in found):
        return Reason.QUALITY_UNKNOWN
    asked = next((one for one in reversed(best.messages) if one.get("role") == "user"), best.messages[-1])
    rated = [f"{one:g}" for one in found if one is not None]
    turns = sum(one.get("role") != "system" for one in best.messages)
    shape = [str(len(best.tools or ())), str(max(turns, 1)), best.text.feature or "-"]
    return _row([words.spoken(asked), *shape, *rated])


def quality(attempts: Sequence[Attempt], tier: str, *, router: Router) -> float | None:
    """By the judge where it was asked; else 0 for what failed a check or was replaced, 1 for what was served. None
    where neither says anything: an answer that nobody judged is not a good one.
    """
    own = [one for one in attempts if one.text.route_tier == tier and one.answer is not None]
    if not own:
        return None
    last = max(own, key=lambda one: (one.text.attempt_no or 0, one.text.started_at_us, one.text.event_key))
    if last.score is not None and last.score.judge is not None:
        scaled = (last.score.judge - router.least_judge) / (router.most_judge - router.least_judge)
        return min(max(scaled, 0.0), 1.0)
    if (last.score is not None and last.score.failed) or last is refused(attempts):
        return 0.0
    return 1.0 if last is served(attempts) else None


def _row(values: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(value.replace("\0", "") for value in values)
    return line.getvalue().encode(errors="replace")
