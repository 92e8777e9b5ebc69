"""A record as it came: the producer's bytes, its headers and where Kafka put it."""

import msgspec


class RawEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record of `llm.raw.v1`, or the same thing made by a file reader."""

    value: bytes | None
    """The producer's record; None is a Kafka tombstone."""
    headers: dict[str, bytes]
    """CloudEvents attributes as Kafka headers: `ce_id`, `ce_source`, `ce_type`, `ce_time`, `ce_tenantid`, …"""
    key: bytes | None = None
    """The Kafka key, `tenant_id/event_id`."""
    topic: str = ""
    """Topic the record was read from; empty for a file."""
    partition: int = 0
    """Partition of that topic."""
    offset: int = 0
    """Offset in that partition; the record's ordinal for a file."""
    append_at_us: int = 0
    """When the log took the record (µs UTC); the file's modification time for a file."""
