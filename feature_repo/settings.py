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
