"""Where the feature store is and who asks: read once from the environment, then passed down."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = "tokenledger"
"""The feature store's project: every key of ours in Redis ends with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """One login at one Redis."""

    user: str
    """Name in Redis's ACL."""
    password_file: Path | None = None
    """File that holds the password; None where the user has none."""
    socket: str | None = None
    """Unix socket; outranks host and port."""
    host: str = "127.0.0.1"
    """Host, where there is no socket."""
    port: int = 6379
    """Port, where there is no socket."""

    @property
    def address(self) -> str:
        """For messages."""
        return self.socket or f"{self.host}:{self.port}"

    def password(self) -> str:
        """The password as it now stands in its file."""
        return self.password_file.read_text("utf-8").strip() if self.password_file else ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, user: str) -> "RedisSettings":
        """Read `TOKENLEDGER_*` for this user; passwords lie in the folder of secrets as `redis-USER`."""
        secrets = environment.get("TOKENLEDGER_SECRETS")
        return cls(
            user=user,
            password_file=Path(secrets) / f"redis-{user}" if secrets else None,
            socket=environment.get("TOKENLEDGER_REDIS_SOCKET"),
            host=environment.get("TOKENLEDGER_REDIS_HOST", "127.0.0.1"),
            port=int(environment.get("TOKENLEDGER_REDIS_PORT", "6379")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PusherSettings:
    """Settings of the process that brings features from the stream and the ledger into the store."""

    kafka_bootstrap: str
    """Kafka brokers."""
    redis: RedisSettings
    """Where features are written."""
    folder: Path
    """Where the registry and the history lie."""
    metrics_port: int | None
    """Port of /metrics and /healthz on 127.0.0.1; None for neither."""
    most_entities: int
    """Entities whose last hour is held, of each about 130 KB when it is busy."""
    history_every_s: float
    """Pause between two files of history."""
    history_keep_days: int
    """History older than this is removed."""
    spend_every_s: float
    """Pause between two questions to the ledger."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "PusherSettings":
        """Read `TOKENLEDGER_*`."""
        port = environment.get("TOKENLEDGER_METRICS_PORT")
        return cls(
            kafka_bootstrap=environment.get("TOKENLEDGER_KAFKA_BOOTSTRAP", "127.0.0.1:29092"),
            redis=RedisSettings.from_environment(environment, user="pusher"),
            folder=features_folder(environment),
            metrics_port=int(port) if port else None,
            most_entities=int(environment.get("TOKENLEDGER_PUSHER_MOST_ENTITIES", "5000")),
            history_every_s=float(environment.get("TOKENLEDGER_PUSHER_HISTORY_EVERY_S", "30")),
            history_keep_days=int(environment.get("TOKENLEDGER_PUSHER_HISTORY_KEEP_DAYS", "400")),
            spend_every_s=float(environment.get("TOKENLEDGER_PUSHER_SPEND_EVERY_S", "15")),
        )


def features_folder(environment: Mapping[str, str]) -> Path:
    """Where the registry and the history lie."""
    return Path(environment.get("TOKENLEDGER_FEATURES", ".local/stack/data/features"))
