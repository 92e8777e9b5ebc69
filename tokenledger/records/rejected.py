"""A record that could not be understood: why, where in it, and where its bytes are."""

import msgspec

from tokenledger.records.reasons import Reason


class Rejected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Expected bad data as a value. The original bytes travel beside it, never inside it."""

    reason: Reason
    """Closed enum: what was wrong."""
    field: str = ""
    """Path of the offending field in the producer's record, such as `response.usage.prompt_tokens`."""
    detail: str = ""
    """What was found and what would be right; bounded, without texts of the call."""
    stage: str = "normalise"
    """The stage that refused it: `decode`, `normalise`, `price` or `store`."""
    tenant_id: str | None = None
    """Tenant by credential, where it is known."""
    event_id: str | None = None
    """The CloudEvents id, where it is known."""
    topic: str = ""
    """Origin topic."""
    partition: int = 0
    """Origin partition."""
    offset: int = 0
    """Origin offset."""
    append_at_us: int = 0
    """When the log took the record (µs UTC)."""
    attempt_no: int = 1
    """How often this record was tried: 1 on first sight, raised by each replay."""
    code_version: str = ""
    """Version of the code that refused it."""
    ce_source: str | None = None
    """CloudEvents source: who produced it, where it says so. Travels in the producer's own header."""
