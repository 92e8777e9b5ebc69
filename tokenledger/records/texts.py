"""What a call said, where its tenant allows it to be kept: redacted, apart from cost data, joined by the key."""

import msgspec


class CapturedText(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The texts of one call. Personal data and secrets were replaced before it was made."""

    tenant_id: str
    """The tenant."""
    event_key: str
    """Key by event of the call: `source#id`, as in the ledger."""
    started_at_us: int
    """Event time of the call, µs UTC."""
    operation_id: str | None = None
    """What the caller wanted done; its attempts share it."""
    attempt_no: int | None = None
    """Number of the attempt of the operation, from 1."""
    attempt_role: str | None = None
    """`primary`, `retry`, `escalation`, `verify`, …"""
    conversation_id: str | None = None
    """Conversation or session."""
    user_hash: str | None = None
    """Keyed hash of the end user, so that a data subject's rows can be found and removed."""
    feature: str | None = None
    """Product feature the call served."""
    provider: str
    """Provider."""
    model: str | None = None
    """Model that answered."""
    route_tier: str | None = None
    """Tier the router chose."""
    finish_reason: str | None = None
    """Why the answer ended."""
    messages: str
    """JSON: the prompt as chat messages `[{"role", "content", "tool_calls"?, "tool_call_id"?}, …]`."""
    tools: str | None = None
    """JSON: tools offered to the model, in OpenAI's shape."""
    answer: str | None = None
    """JSON: the assistant's message `{"role", "content", "tool_calls"?}`; None where nothing usable came back."""
    redactions: dict[str, int] = {}
    """Replacements made, by entity: `EMAIL_ADDRESS`, `CREDIT_CARD`, `SECRET`, …"""
    redaction_version: str = ""
    """Version of the rules that made them."""
