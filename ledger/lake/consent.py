"""Which tenants allow their prompts and answers to be kept: a file with the ledger's tenants; nobody by default.

The archive writes it anew when a tenant's consent changes (`following`); gateways and `tokenledger send` read it too. A
file that says something else than it should stops whoever reads it: nothing is kept by mistake, and nothing that may be
kept is lost meanwhile.
"""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec


class TenantConsent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tenant allows."""

    capture_texts: bool = False
    """Prompts and answers, redacted, in the lake."""


class Consent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every tenant allows; one that is not named allows nothing."""

    tenants: dict[str, TenantConsent] = {}
    """Tenant → what it allows."""

    def allows(self, tenant_id: str) -> bool:
        """Whether texts of this tenant may be kept."""
        stated = self.tenants.get(tenant_id)
        return stated is not None and stated.capture_texts


NOBODY = Consent()
_HEAD: Final = """\
# Tenants that allow prompts and answers to be kept in the lake, redacted. A tenant that is not named allows nothing.
# Written from the ledger, over whatever is typed here: `tokenledger tenants set acme --capture-consent yes`.
"""
EXAMPLE: Final = _HEAD
"""What a new stack begins with."""


def rendered(allowing: Iterable[str]) -> str:
    """The file for these tenants."""
    # A printable text is quoted alike in JSON and TOML.
    tables = (f"\n[tenants.{json.dumps(one, ensure_ascii=False)}]\ncapture_texts = true\n" for one in sorted(allowing))
    return _HEAD + "".join(tables)


def parse_consent(text: str, *, name: str) -> Consent:
    """The file's content. Raises ValueError that says what would be right."""
    try:
        return msgspec.convert(tomllib.loads(text), Consent)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"{name}: {error}; a table [tenants.NAME] with `capture_texts = true` or `false` would be right"
        raise ValueError(message) from None


class ConsentFile:
    """The file as it is now."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._consent = NOBODY

    def now(self) -> Consent:
        """Read again if it changed; nobody where there is no file. Raises ValueError for one that is wrong."""
        if self._path is None:
            return NOBODY
        try:
            status = self._path.stat()
            seen = status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._consent = parse_consent(self._path.read_text(encoding="utf-8"), name=str(self._path))
                self._seen = seen
        except FileNotFoundError:
            self._consent, self._seen = NOBODY, None
        return self._consent
