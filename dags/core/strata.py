"""What kind of a question an operation was: how hard, when, and what went wrong. The strata of an evaluation set."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from dags.core.attempts import Attempt, last, refused, served
from dags.core.left_out import Reason, too_long
from dags.core.recipe import Recipe, Strata

_CUT_OFF: Final = frozenset({"length", "max_tokens", "MAX_TOKENS"})
_US: Final = 1_000_000


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One row of an evaluation set, and where it counts."""

    line: dict[str, Any]
    """What is written."""
    feature: str
    """Product feature."""
    difficulty: str
    """`hard`, `easy` or `unknown`."""
    period: str
    """Time, as finely as the recipe divides it."""
    failure: str
    """`none`, `no_answer`, `cut_off`, or the first check that failed."""


def question(attempts: Sequence[Attempt], recipe: Recipe) -> Question | Reason:
    """The prompt, with the served answer as a reference where nothing was wrong with it."""
    best = served(attempts)
    asked = best or last(attempts)
    if too_long(asked, recipe.filters):
        return Reason.TOO_LONG
    failed = failure(best)
    strata = recipe.strata
    found = {
        "feature": asked.text.feature or "-",
        "difficulty": difficulty(attempts, strata),
        "period": period(asked.text.started_at_us, strata.period),
        "failure": failed,
    }
    line: dict[str, Any] = {"messages": asked.messages}
    if asked.tools:
        line["tools"] = asked.tools
    if best is not None and failed == "none":
        line["reference"] = best.answer
    return Question(line=line | found, **found)


def difficulty(attempts: Sequence[Attempt], strata: Strata) -> str:
    """Hard where a cheap answer did not do; easy where a cheap tier's answer was served."""
    best = served(attempts)
    if refused(attempts) is not None or (best is not None and best.text.attempt_role == "escalation"):
        return "hard"
    if best is not None and best.text.route_tier in strata.cheap_tiers:
        return "easy"
    return "unknown"


def failure(attempt: Attempt | None) -> str:
    """What was wrong with the answer that was served."""
    if attempt is None or attempt.answer is None:
        return "no_answer"
    if attempt.score is not None and attempt.score.failed:
        return min(attempt.score.failed)
    return "cut_off" if attempt.text.finish_reason in _CUT_OFF else "none"


def period(instant_us: int, finely: str) -> str:
    """The UTC day, ISO week or month."""
    return _PERIODS[finely](datetime.fromtimestamp(instant_us // _US, UTC))


_PERIODS: Final[dict[str, Callable[[datetime], str]]] = {
    "day": lambda moment: f"{moment:%Y-%m-%d}",
    "week": lambda moment: f"{moment:%G-W%V}",
    "month": lambda moment: f"{moment:%Y-%m}",
}


def stratum(asked: Question, strata: Strata) -> str:
    """The stratum, as one word a field."""
    return "/".join(getattr(asked, name) for name in strata.by)
