"""A router's choice, as it is logged with the call it chose for: enough to judge the choice, and another, later."""

from typing import Annotated, Final, TypeAlias

import msgspec

MAX_TEXT_CHARS: Final = 256
"""Longest text of a decision: what a Postgres text column and its index can hold."""
MAX_TIERS: Final = 16
"""Most tiers of a route."""
MAX_FEATURES: Final = 256
"""Most features of a decision."""

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
ByTier: TypeAlias = Annotated[dict[Text, float], msgspec.Meta(max_length=MAX_TIERS)]


class RouteDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One choice of a tier. It holds no text and nothing a text could be made of."""

    decision_id: Text
    """Hash of the operation, the route, the versions and the features."""
    route: Text
    """Route of the policy."""
    tier: Text
    """The tier that was chosen."""
    reason: Text
    """Why: a member of the router's closed set, such as `good_enough` or `far_from_training`."""
    best_tier: Text
    """The tier without exploration; differs from `tier` only where it was explored."""
    best_reason: Text
    """Why that one."""
    expected_cost_usd_pico: Amount
    """What the call was expected to cost, by the policy's prices, 10⁻¹² USD."""
    strongest_cost_usd_pico: Amount
    """What it was expected to cost on the route's strongest tier, 10⁻¹² USD."""
    confidence: float | None = None
    """Probability that the answer is not worse than the strongest tier's; None without a model."""
    expected_loss: float | None = None
    """Quality that the strongest tier would add, 0 to 1; None without a model."""
    familiarity: float | None = None
    """Share of held-out training prompts at least as strange; 0 is unlike any. None without a model."""
    propensity: float = 1.0
    """Probability with which this tier was chosen for this request."""
    propensities: ByTier = {}
    """The same for every tier of the route; they add up to 1."""
    left_out: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_TIERS)] = ()
    """Tiers that were not eligible: failing, too slow, too dear."""
    features_hash: Text = ""
    """Hash of everything the choice was made from."""
    features: Annotated[dict[Text, float | None], msgspec.Meta(max_length=MAX_FEATURES)] = {}
    """What the choice was made from, by name: the prompt's sizes, what the stream and the ledger knew; no n-grams."""
    features_age_us: Amount | None = None
    """Age of the oldest of these, µs."""
    model_version: Text | None = None
    """Version of the router's model."""
    policy_version: Text = ""
    """Version of the router's policy."""
    mode: Text = ""
    """`shadow` (logged only), `stream-now` or `verify-first`."""
    experiment: Text | None = None
    """Experiment the request took part in."""
    arm: Text | None = None
    """Its arm there."""
    losses: ByTier = {}
    """Quality that the strongest tier would add to each tier's answer, 0 to 1; empty without a model."""
    risks: ByTier = {}
    """Probability that each tier's answer is worse than the strongest tier's; empty without a model."""
