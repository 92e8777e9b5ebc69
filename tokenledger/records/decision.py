"""A router's choice, as it is logged with the call it chose for: enough to judge the choice, and another, later."""

import msgspec


class RouteDecision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One choice of a tier. It holds no text and nothing a text could be made of."""

    decision_id: str
    """Hash of the operation, the route, the versions and the features."""
    route: str
    """Route of the policy."""
    tier: str
    """The tier that was chosen."""
    reason: str
    """Why: a member of the router's closed set, such as `good_enough` or `far_from_training`."""
    best_tier: str
    """The tier without exploration; differs from `tier` only where it was explored."""
    best_reason: str
    """Why that one."""
    expected_cost_usd_pico: int
    """What the call was expected to cost, by the policy's prices, 10⁻¹² USD."""
    strongest_cost_usd_pico: int
    """What it was expected to cost on the route's strongest tier, 10⁻¹² USD."""
    confidence: float | None = None
    """Probability that the answer is not worse than the strongest tier's; None without a model."""
    expected_loss: float | None = None
    """Quality that the strongest tier would add, 0 to 1; None without a model."""
    familiarity: float | None = None
    """Share of held-out training prompts at least as strange; 0 is unlike any. None without a model."""
    propensity: float = 1.0
    """Probability with which this tier was chosen for this request."""
    propensities: dict[str, float] = {}
    """The same for every tier of the route; they add up to 1."""
    left_out: tuple[str, ...] = ()
    """Tiers that were not eligible: failing, too slow, too dear."""
    features_hash: str = ""
    """Hash of everything the choice was made from."""
    features: dict[str, float | None] = {}
    """What the stream and the ledger knew, by name: `small.error_ratio`, `feature.escalation_ratio`, `spend.…`."""
    features_age_us: int | None = None
    """Age of the oldest of these, µs."""
    model_version: str | None = None
    """Version of the router's model."""
    policy_version: str = ""
    """Version of the router's policy."""
    mode: str = ""
    """`shadow` (logged only), `stream-now` or `verify-first`."""
    experiment: str | None = None
    """Experiment the request took part in."""
    arm: str | None = None
    """Its arm there."""
