"""The gateway's accounting and admission, opened together: one outbox, one price book, one set of keys and budgets.

`async with opened(settings) as books:` in the process's wiring; `books.accounting` and `books.admission` are what the
hot path calls, on the event loop that opened them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.settings import Settings as LedgerSettings
from serving.gateway.records import Accounting, Admission

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksSettings:
    """What accounting and admission of one gateway process need to know."""

    outbox_folder: Path
    """Where intents and outcomes are kept until they are shipped; one folder for all gateway processes of a machine."""
    outbox_capacity_bytes: int
    """The most the outbox may take of the disk, all processes together."""
    outbox_segment_bytes: int
    """Size of one segment file."""
    key_secret_file: Path
    """The secret that keys are hashed with, 32 bytes or more, readable by its owner alone."""
    refuse_unpriced: bool
    """Whether a tenant with a budget may not call models the book has no price for."""
    refresh_interval_ms: int
    """Pause between two looks at keys, budgets and spending."""
    ledger: LedgerSettings
    """Where Postgres is; logs in as role `gateway`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "BooksSettings":
        """Read `TOKENLEDGER_…`."""
        root = Path(environment.get("TOKENLEDGER_STACK_ROOT", ".local/stack"))
        secret = environment.get("TOKENLEDGER_KEY_SECRET_FILE")
        folder = environment.get("TOKENLEDGER_OUTBOX_FOLDER")
        return cls(
            outbox_folder=Path(folder) if folder else root / "data" / "outbox",
            outbox_capacity_bytes=int(environment.get("TOKENLEDGER_OUTBOX_CAPACITY_BYTES", str(1024 * MIB))),
            outbox_segment_bytes=int(environment.get("TOKENLEDGER_OUTBOX_SEGMENT_BYTES", str(8 * MIB))),
            key_secret_file=Path(secret) if secret else root / "data" / "secrets" / "api_keys",
            refuse_unpriced=environment.get("TOKENLEDGER_UNPRICED", "allow") == "refuse",
            refresh_interval_ms=int(environment.get("TOKENLEDGER_KEYS_REFRESH_MS", "2000")),
            ledger=LedgerSettings.from_environment(environment, user="gateway"),
        )


class Books:
    """What `opened` gives."""

    def __init__(self, accounting: Accounting, admission: Admission) -> None:
        self.accounting = accounting
        self.admission = admission

    def ready(self) -> bool:
        """Whether keys, budgets and spending were loaded once and the outbox takes intents: `/readyz`."""
        raise NotImplementedError


@asynccontextmanager
async def opened(settings: BooksSettings) -> AsyncIterator[Books]:
    """Everything loaded and running until the block ends; Postgres may be away, then `ready` says so."""
    raise NotImplementedError
    yield
