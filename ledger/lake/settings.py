"""Where the lake is and how its archive works: read once from the environment, then passed down."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.settings import Settings

_STACK: Final = ".local/stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeSettings:
    """Settings of one process."""

    kafka_bootstrap: str
    """Kafka brokers."""
    lake: Path
    """The lake's root."""
    consent: Path
    """Which tenants allow capture."""
    tenants: Settings | None
    """Where the ledger's tenants are, as role `archive`; None leaves the file to whoever keeps it."""
    user_key: Path
    """The key that stands behind users' hashes."""
    metrics_port: int | None
    """Port of /metrics and /healthz on 127.0.0.1; None for neither."""
    flush_ms: int
    """What was read is in the lake after this long at most; a shorter time makes more and smaller files."""
    flush_records: int
    """Or after so many records of all partitions."""
    flush_bytes: int
    """Or after so many bytes of rows: what the process holds."""
    recognisers: tuple[str, ...]
    """Further recognisers as `module:factory`; a factory makes a `ledger.lake.redaction.Recogniser`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "LakeSettings":
        """Read `TOKENLEDGER_*`."""
        root = Path(environment.get("TOKENLEDGER_STACK_ROOT") or _STACK)
        secrets = Path(environment.get("TOKENLEDGER_SECRETS") or root / "secrets")
        port = environment.get("TOKENLEDGER_METRICS_PORT")
        named = environment.get("TOKENLEDGER_LAKE_RECOGNISERS", "")
        return cls(
            kafka_bootstrap=environment.get("TOKENLEDGER_KAFKA_BOOTSTRAP", "127.0.0.1:29092"),
            lake=Path(environment.get("TOKENLEDGER_LAKE") or root / "data" / "lake"),
            consent=Path(environment.get("TOKENLEDGER_CONSENT") or root / "consent.toml"),
            tenants=_tenants(environment),
            user_key=Path(environment.get("TOKENLEDGER_LAKE_USER_KEY") or secrets / "lake-user-key"),
            metrics_port=int(port) if port else None,
            flush_ms=int(environment.get("TOKENLEDGER_LAKE_FLUSH_MS", "30000")),
            flush_records=int(environment.get("TOKENLEDGER_LAKE_FLUSH_RECORDS", "100000")),
            flush_bytes=int(environment.get("TOKENLEDGER_LAKE_FLUSH_BYTES", str(64 << 20))),
            recognisers=tuple(name.strip() for name in named.split(",") if name.strip()),
        )


def _tenants(environment: Mapping[str, str]) -> Settings | None:
    if environment.get("TOKENLEDGER_CONSENT_OF", "file") != "ledger":
        return None
    return Settings.from_environment(environment, user="archive")
