"""Why something is not in a dataset: one reason each, the first that holds, so that reasons add up with what is in."""

import enum
from collections.abc import Container, Sequence
from typing import NamedTuple

from dags.core import words
from dags.core.attempts import Attempt
from dags.core.recipe import Consent, Filters
from tokenledger.records.texts import CapturedText


class Reason(enum.StrEnum):
    """The closed set; the card counts each."""

    NO_CONSENT = "no_consent"
    """Its tenant, or its tenant for that feature, did not agree."""
    USER_REFUSED = "user_refused"
    """Its user did not agree."""
    ERASED = "erased"
    """Its user asked to be erased."""
    UNREADABLE = "unreadable"
    """Its texts are not the JSON they promise to be."""
    NO_ANSWER = "no_answer"
    """Nothing usable came back."""
    OTHER_FEATURE = "other_feature"
    """Not one of the recipe's features."""
    OTHER_TIER = "other_tier"
    """Not one of the recipe's tiers."""
    OTHER_MODEL = "other_model"
    """Not one of the recipe's models."""
    CUT_OFF = "cut_off"
    """The answer did not end as it should."""
    TOO_SHORT = "too_short"
    """The answer says too little."""
    TOO_LONG = "too_long"
    """The conversation is longer than the recipe takes."""
    NOT_SCORED = "not_scored"
    """The recipe asks for a score that it has not."""
    FAILED_CHECK = "failed_check"
    """It failed a check the recipe asks for."""
    LOW_SCORE = "low_score"
    """The judge thought less of it than the recipe asks."""
    NOT_ESCALATED = "not_escalated"
    """For a preference pair: no cheap answer was replaced by a strong one."""
    SAME_ANSWER = "same_answer"
    """For a preference pair: both said the same."""
    CHEAP_NOT_WORSE = "cheap_not_worse"
    """For a preference pair: the judge thought no less of the cheap answer."""
    QUALITY_UNKNOWN = "quality_unknown"
    """For router pairs: the quality of a tier is not known."""
    LEAKED = "leaked"
    """Its prompt is, or nearly is, one of a dataset it must not touch."""
    DUPLICATE = "duplicate"
    """Another row says the same."""
    NEAR_DUPLICATE = "near_duplicate"
    """Another row nearly says the same."""
    OVER_LIMIT = "over_limit"
    """Its group or stratum is full."""


class Whose(NamedTuple):
    """What consent depends on."""

    tenant_id: str
    """Tenant."""
    feature: str | None
    """Product feature."""
    user_hash: str | None
    """Data subject."""


def without_consent(whose: Whose, consent: Consent, *, erased: Container[tuple[str, str]] = ()) -> Reason | None:
    """Why it may not be used at all; None where everybody agreed."""
    if whose.user_hash is not None and (whose.tenant_id, whose.user_hash) in erased:
        return Reason.ERASED
    features = consent.features.get(whose.tenant_id)
    if whose.tenant_id not in consent.tenants or (features is not None and whose.feature not in features):
        return Reason.NO_CONSENT
    if whose.user_hash is not None and whose.user_hash in consent.refused_users:
        return Reason.USER_REFUSED
    return None


def out_of_scope(text: CapturedText, filters: Filters) -> Reason | None:
    """Why it is not what the recipe is about."""
    if filters.features and text.feature not in filters.features:
        return Reason.OTHER_FEATURE
    if filters.tiers and text.route_tier not in filters.tiers:
        return Reason.OTHER_TIER
    if filters.models and text.model not in filters.models:
        return Reason.OTHER_MODEL
    return None


def not_good_enough(attempt: Attempt, filters: Filters) -> Reason | None:
    """Why its answer is not to be learned from."""
    if attempt.answer is None:
        return Reason.NO_ANSWER
    if filters.finish_reasons and attempt.text.finish_reason not in filters.finish_reasons:
        return Reason.CUT_OFF
    said = len(words.spoken(attempt.answer))
    if said < filters.least_chars:
        return Reason.TOO_SHORT
    return too_long(attempt, filters) or _scored_too_low(attempt, filters)


def too_long(attempt: Attempt, filters: Filters) -> Reason | None:
    """By the length of what was captured, as the words of it would be counted."""
    said = sum(len(words.spoken(message)) for message in (*attempt.messages, attempt.answer or {}))
    return Reason.TOO_LONG if said > filters.most_chars else None


def _scored_too_low(attempt: Attempt, filters: Filters) -> Reason | None:
    score = attempt.score
    if filters.checks:
        if score is None:
            return Reason.NOT_SCORED
        # A check that does not apply was not made: a chat without tools has no tool call to fail.
        if set(filters.checks) & set(score.failed):
            return Reason.FAILED_CHECK
    if filters.least_judge is not None:
        if score is None or score.judge is None:
            return Reason.NOT_SCORED
        if score.judge < filters.least_judge:
            return Reason.LOW_SCORE
    return None


def whole(attempts: Sequence[Attempt]) -> bool:
    """Whether there is anything to judge."""
    return any(attempt.answer is not None for attempt in attempts)
