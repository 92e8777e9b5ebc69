"""What is asked of the router over gRPC and what it answers: the contract of `Decide`."""

from typing import Final

import msgspec

PACKAGE: Final = "tokenledger.router.v1"
SERVICE: Final = "Router"
METHOD: Final = "Decide"


class DecideRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request that needs a tier."""

    route: str
    """Route of the router's policy."""
    operation_id: str
    """What the caller wants done. The same operation gets the same decision while nothing it stands on has changed."""
    text: str
    """The last user message. It is read for its features and is neither logged nor kept."""
    context_chars: int = 0
    """Length of everything else that is sent: system prompt, earlier messages, tools."""
    tools: int = 0
    """Tools offered to the model."""
    turns: int = 0
    """Messages of the conversation; 0 counts as 1."""
    format: str = ""
    """Answer format asked for: empty, `json_object`, `json_schema`."""
    tenant_id: str = ""
    """The tenant, for its spending and its features; empty where a policy without ceilings needs neither."""
    feature: str = ""
    """Product feature of the tenant."""


class DecideResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The tier that was chosen."""

    decision_id: str
    """Id of the decision; to be said of the call, so that the ledger can judge it."""
    tier: str
    """The tier."""
    provider: str
    """Provider of the tier's model, by the policy."""
    model: str
    """The tier's model, by the policy."""
    reason: str
    """Why: a member of the router's closed set; `deadline` where there was no time and the static tier serves."""
    ttl_us: int
    """How long the answer holds for requests of this kind; 0 is for this one only."""
    expected_cost_usd_pico: int
    """What the call is expected to cost, by the policy's prices, 10⁻¹² USD."""
    confidence: float | None = None
    """Probability that the answer is not worse than the strongest tier's; absent without a model."""
    decision: str = ""
    """The whole decision as JSON, for the field `decision` of the call's envelope; it holds no text."""
