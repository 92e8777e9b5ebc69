"""Logged decisions and what came of them → what another policy would have been worth. Pure; see `offpolicy`."""

from collections.abc import Callable, Sequence

import msgspec

from ledger.decisions import Decided
from serving.router import again
from serving.router.offpolicy import Served, Value, value
from serving.router.policy import Policy


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome, as it was and as it would have been."""

    name: str
    """What is valued."""
    calls: int
    """Operations of which it is known."""
    was: float
    """Its mean."""
    would_be: Value | None
    """Its mean under the other policy; None where that never chooses what was chosen."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    decisions: int
    """Decisions that were judged by."""
    shares: dict[str, tuple[float, float]]
    """Tier → share of operations it was chosen for, and would have been."""
    untried: float
    """Share of the other policy's choices that had no chance in the log: nothing is known of what they would bring."""
    verdicts: tuple[Verdict, ...]
    """Cost, escalations, time."""


def judged(decided: Sequence[Decided], policy: Policy) -> Judgement:
    """What `policy` would have been worth on these. Raises ValueError for a tier that was not there."""
    others = [again.propensities(one.decision, policy) for one in decided]
    count = len(decided)
    tiers = dict.fromkeys(tier for other in others for tier in other)
    tiers |= dict.fromkeys(one.decision.tier for one in decided)
    return Judgement(
        decisions=count,
        shares={
            tier: (
                sum(one.decision.tier == tier for one in decided) / count,
                sum(other.get(tier, 0.0) for other in others) / count,
            )
            for tier in tiers
        },
        untried=sum(_untried(one, other) for one, other in zip(decided, others, strict=True)) / count,
        verdicts=(
            _verdict("cost of an operation, USD", decided, others, of=_cost_usd),
            _verdict("escalated", decided, others, of=lambda one: float(one.escalated)),
            _verdict("time of an operation, s", decided, others, of=_seconds),
        ),
    )


def _untried(one: Decided, other: dict[str, float]) -> float:
    return sum(chance for tier, chance in other.items() if not one.decision.propensities.get(tier))


def _verdict(
    name: str,
    decided: Sequence[Decided],
    others: Sequence[dict[str, float]],
    *,
    of: Callable[[Decided], float | None],
) -> Verdict:
    served, outcomes = [], []
    for one, other in zip(decided, others, strict=True):
        if (outcome := of(one)) is not None:
            outcomes.append(outcome)
            chance = other.get(one.decision.tier, 0.0)
            served.append(Served(propensity=one.decision.propensity, outcome=outcome, other=chance))
    mean = sum(outcomes) / len(outcomes) if outcomes else 0.0
    return Verdict(name=name, calls=len(outcomes), was=mean, would_be=value(served) if served else None)


def _cost_usd(one: Decided) -> float | None:
    return None if one.incomplete_calls else one.incurred_cost_usd_pico / 1e12


def _seconds(one: Decided) -> float | None:
    return None if one.total_us is None else one.total_us / 1e6
