"""Keeps the file of consent at what the ledger's tenants say. While Postgres is away it stays as it is."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger import tenants
from ledger.database import Connection
from ledger.lake.consent import rendered
from ledger.settings import Settings
from ledger.wakeups import follow

_APPLICATION: Final = "tokenledger-consent"


class Consenting:
    """A thread that writes the file; the same content is not written again."""

    def __init__(self, settings: Settings, path: Path, *, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._path = path
        self._say = say
        self._stop = threading.Event()
        self._looked = threading.Event()

    def start(self, *, first_within_s: float) -> None:
        """Follow; returns when the file says what the ledger says, or after so long if the ledger is away."""
        threading.Thread(target=self._follow, name="consent", daemon=True).start()
        if not self._looked.wait(first_within_s):
            self._say(f"{self._path} stays as it is until the ledger is there")

    def close(self) -> None:
        """Follow no longer."""
        self._stop.set()

    def _follow(self) -> None:
        failed = self._say
        follow(self._settings, self._look, application=_APPLICATION, stopped=self._stop.is_set, failed=failed)

    def _look(self, connection: Connection) -> None:
        known = tenants.tenants(connection)
        text = rendered(one.tenant_id for one in known.values() if one.capture_consent)
        if not self._path.exists() or self._path.read_text(encoding="utf-8") != text:
            fresh = self._path.with_name(f"{self._path.name}.new")
            fresh.write_text(text, encoding="utf-8")
            fresh.rename(self._path)
            self._say(f"{self._path} says what the ledger's tenants say")
        self._looked.set()
