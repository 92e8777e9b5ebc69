"""Every topic: its name, partitions and settings, in one place."""

from typing import Final

import msgspec

_DAY_MS: Final = 24 * 3600 * 1000
# Above the record limit of `process`: what exceeds that is rejected with its bytes, not lost at the door. A rejected
# record is the raw one with our headers beside it, so its topic takes more.
_RAW_MAX_BYTES: Final = 6 * 1024 * 1024
_MAX_BYTES: Final = 8 * 1024 * 1024


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A Kafka topic as it is created."""

    name: str
    """Name with version."""
    meaning: str
    """What one record of it is."""
    partitions: int = 4
    """Partition count."""
    key: str = "tenant_id/event_id"
    """What the key of a record says."""
    config: dict[str, str]
    """Topic settings as Kafka spells them."""


def _config(retention_days: int, max_bytes: int = _MAX_BYTES) -> dict[str, str]:
    return {
        # The record timestamp is the log's, never the producer's: an old event must not be deletable on arrival.
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(retention_days * _DAY_MS),
        "max.message.bytes": str(max_bytes),
    }


RAW: Final = Topic(
    name="llm.raw.v1", meaning="the producer's record, texts removed", config=_config(14, _RAW_MAX_BYTES)
)
PRICED: Final = Topic(name="llm.priced.v1", meaning="PricedCall as JSON", config=_config(30))
REJECTED: Final = Topic(name="llm.rejected.v1", meaning="the original bytes and, in headers, why", config=_config(14))
# Kept for whoever must fill a view of an hour again, and a day to be away. Not compacted: the key is the entity, which
# keeps an entity's windows in order, and compaction would leave only the last of them.
FEATURES: Final = Topic(
    name="llm.features.v1",
    meaning="FeatureWindow as JSON, one minute of one model or feature; of several of one window the greatest revision",
    key='["model", provider, model] or ["feature", tenant_id, feature] as JSON',
    config=_config(2),
)

# Whoever follows has the whole table from Postgres; the records say that there is something new, and are kept for who
# wants to look.
_COMPACTED: Final = {"cleanup.policy": "compact", "max.message.bytes": str(_MAX_BYTES)}
CONFIGURATION: Final = tuple(
    Topic(
        name=f"cfg.public.{table}",
        meaning=f"a row of the ledger's `{table}`, as it was committed",
        partitions=1,
        key="primary key, as JSON",
        config=_COMPACTED,
    )
    for table in ("tenants", "contracts", "prices", "aliases")
)
HEARTBEAT: Final = Topic(
    name="__debezium-heartbeat.cfg",
    meaning="a sign of life of what reads Postgres's log of changes",
    partitions=1,
    key="the connector, as JSON",
    config=_COMPACTED,
)

TOPICS: Final = (RAW, PRICED, REJECTED, FEATURES)
"""Topics of our own records."""
CAPTURED: Final = (*CONFIGURATION, HEARTBEAT)
"""Topics that Debezium writes."""
