"""What the feature store knows of a route's tiers and of who asks, at this instant. An edge: it reads Redis."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from feature_repo.online import Entity, Features, FeatureVector, Status
from serving.router.choice import Online
from serving.router.policy import Policy
from tokenledger.records.choosing import DecideRequest
from tokenledger.records.features import TrafficFeatures

Read = Callable[[Mapping[str, Sequence[Entity]]], Awaitable[FeatureVector]]
"""Reads views of entities. Never raises, never long."""

TIERS: Final = "model_traffic_5m"
CALLERS: Final = "feature_traffic_1h"
SPEND: Final = "feature_spend"


async def known(read: Read, policy: Policy, asked: DecideRequest) -> Online:
    """The features of the route's tiers, and the caller's where its policy looks at them."""
    rules = policy.routes[asked.route]
    models = [(policy.tiers[tier].provider, policy.tiers[tier].model) for tier in rules.tiers]
    wanted: dict[str, Sequence[Entity]] = {TIERS: models}
    caller = (asked.tenant_id, asked.feature)
    if rules.escalation_ratio is not None:
        wanted[CALLERS] = [caller]
    if rules.month_ceiling_usd_pico is not None:
        wanted[SPEND] = [caller]
    vector = await read(wanted)
    found = dict(zip(rules.tiers, vector.traffic(TIERS), strict=True))
    present = [one for view in vector.views.values() for one in view if one.status is Status.PRESENT]
    return Online(
        tiers={tier: one.values for tier, one in found.items() if one.status is Status.PRESENT},
        feature=_values(vector.traffic(CALLERS)[0]) if CALLERS in wanted else None,
        spend=vector.spend(SPEND)[0].values if SPEND in wanted and _is_there(vector.spend(SPEND)[0].status) else None,
        age_us=max((_age_us(one.event_at_us) for one in present), default=0),
    )


def _values(one: Features[TrafficFeatures]) -> TrafficFeatures | None:
    return one.values if _is_there(one.status) else None


def _is_there(status: Status) -> bool:
    return status is Status.PRESENT


def _age_us(event_at_us: int | None) -> int:
    return max(time.time_ns() // 1_000 - (event_at_us or 0), 0)
