"""Kafka Connect with Debezium: what it reads from Postgres and writes to which topics. Pure.

Every row that is committed to the ledger's configuration becomes a record of `cfg.public.TABLE`. The records wake
whoever follows; what they follow with is read from Postgres, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.local.layout import DATABASE, HOST
from tokenledger.records.topics import CONFIGURATION, HEARTBEAT

if TYPE_CHECKING:
    from infra.local.layout import Layout

CONNECTOR = "configuration"
"""The connector's name in Connect."""
ROLE = "capture"
"""Who reads the log of changes; its password lies with the stack's secrets, for Java speaks only TCP."""
SLOT = "tokenledger_configuration"
PUBLICATION = "tokenledger_configuration"
_PREFIX = "cfg"
_HEARTBEAT_EVERY_MS = 5_000


def worker(layout: Layout) -> dict[str, object]:
    """Connect's own settings, standalone: its offsets are a file."""
    json = "org.apache.kafka.connect.json.JsonConverter"
    return {
        "bootstrap.servers": layout.kafka_bootstrap,
        "listeners": f"http://{HOST}:{layout.ports.connect}",
        "plugin.path": layout.lib / "plugins",
        # Every plugin says what it is; looking into all classes of all jars takes seconds.
        "plugin.discovery": "service_load",
        "offset.storage.file.filename": layout.data / "connect" / "offsets",
        "offset.flush.interval.ms": 1000,
        "key.converter": json,
        "key.converter.schemas.enable": "false",
        "value.converter": json,
        "value.converter.schemas.enable": "false",
        # A misspelt topic must be an error, not a new topic.
        "topic.creation.enable": "false",
        "config.providers": "secret",
        "config.providers.secret.class": "org.apache.kafka.common.config.provider.DirectoryConfigProvider",
        "config.providers.secret.param.allowed.paths": layout.secrets,
        "producer.acks": "all",
        "producer.linger.ms": 0,
    }


def connector(layout: Layout) -> dict[str, object]:
    """What Debezium is told."""
    return {
        "name": CONNECTOR,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": 1,
        "database.hostname": HOST,
        "database.port": layout.ports.postgres,
        "database.dbname": DATABASE,
        "database.user": ROLE,
        "database.password": f"${{secret:{layout.secrets}:postgres-{ROLE}}}",
        "plugin.name": "pgoutput",
        "slot.name": SLOT,
        "publication.name": PUBLICATION,
        # A migration made it: the role may read, not publish.
        "publication.autocreate.mode": "disabled",
        "table.include.list": ",".join(topic.name.removeprefix(f"{_PREFIX}.") for topic in CONFIGURATION),
        "topic.prefix": _PREFIX,
        # Anew where the log of changes no longer reaches back to what was read last.
        "snapshot.mode": "when_needed",
        "transforms": "row",
        "transforms.row.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.row.delete.tombstone.handling.mode": "tombstone",
        "transforms.row.add.fields": "op,lsn,source.ts_ms",
        "tombstones.on.delete": "false",
        # Without them the slot would stand still while other tables write, and Postgres would keep all of that.
        "heartbeat.interval.ms": _HEARTBEAT_EVERY_MS,
        "heartbeat.action.query": "SELECT pg_logical_emit_message(false, 'heartbeat', '')",
        "topic.heartbeat.prefix": HEARTBEAT.name.removesuffix(f".{_PREFIX}"),
        # Anybody's messages in the log of changes: there is no topic for them, and one would stop all that follows.
        "message.prefix.exclude.list": ".*",
        "poll.interval.ms": 100,
        "slot.retry.delay.ms": 500,
        "retriable.restart.connector.wait.ms": 500,
    }
