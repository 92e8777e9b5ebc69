"""Where the ledger's processes find Kafka and Postgres: read once from the environment, then passed down."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one process."""

    kafka_bootstrap: str
    """Kafka brokers."""
    postgres_host: str
    """Host, or the folder of a Unix socket."""
    postgres_port: int
    """Port."""
    postgres_database: str
    """Database."""
    postgres_user: str
    """Role to log in as."""
    metrics_port: int | None
    """Port of /metrics and /healthz on 127.0.0.1; None for neither."""
    batch_records: int
    """A transaction takes at most this many records."""
    batch_wait_ms: int
    """And waits at most this long for them."""
    synchronous_commit: str
    """Postgres `synchronous_commit` of the writer's session."""
    compact_interval_ms: int
    """Pause between two compactions. Views add what is not yet folded, so a long one costs readers little, while a
    short one writes nearly as many roll-up rows as there are lines."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, user: str) -> "Settings":
        """Read `TOKENLEDGER_*`; `user` is the role this process logs in as unless another is set."""
        port = environment.get("TOKENLEDGER_METRICS_PORT")
        return cls(
            kafka_bootstrap=environment.get("TOKENLEDGER_KAFKA_BOOTSTRAP", "127.0.0.1:29092"),
            postgres_host=environment.get("TOKENLEDGER_POSTGRES_SOCKET")
            or environment.get("TOKENLEDGER_POSTGRES_HOST", "127.0.0.1"),
            postgres_port=int(environment.get("TOKENLEDGER_POSTGRES_PORT", "25432")),
            postgres_database=environment.get("TOKENLEDGER_POSTGRES_DATABASE", "tokenledger"),
            postgres_user=environment.get("TOKENLEDGER_POSTGRES_USER", user),
            metrics_port=int(port) if port else None,
            batch_records=int(environment.get("TOKENLEDGER_WRITER_BATCH_RECORDS", "8000")),
            batch_wait_ms=int(environment.get("TOKENLEDGER_WRITER_BATCH_WAIT_MS", "200")),
            synchronous_commit=environment.get("TOKENLEDGER_WRITER_SYNCHRONOUS_COMMIT", "on"),
            compact_interval_ms=int(environment.get("TOKENLEDGER_COMPACT_INTERVAL_MS", "120000")),
        )
