"""The 128-bit keys by which the ledger knows a call. Pure."""

from hashlib import sha256


def event_key(tenant_id: str, key: str) -> bytes:
    """The key of an event."""
    return sha256(f"{tenant_id}\x1fe\x1f{key}".encode()).digest()[:16]


def response_key(tenant_id: str, key: str) -> bytes:
    """The key of a provider's response."""
    return sha256(f"{tenant_id}\x1fr\x1f{key}".encode()).digest()[:16]
