"""Keys of the gateway and budgets of its tenants: the records, the SQL, and how a key becomes what is stored of it.

A key exists in clear only where it is made and where it is used. What is stored is its HMAC, which is worth nothing
without the installation's secret; what is looked up is the HMAC too, so no comparison can be timed.
"""

import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ledger.database import Connection

KEY_PREFIX: Final = "tl-"
SECRET_BYTES: Final = 32
_KNOWN_WEAK: Final = frozenset({b"secret", b"changeme", b"password", b"default", b"test"})
_FEWEST_DISTINCT_BYTES: Final = 12


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may do, and on whose account."""

    key_id: str
    """Id of the key, which calls carry."""
    hmac: bytes
    """HMAC-SHA256 of the key."""
    tenant_id: str
    """The tenant its calls are charged to."""
    name: str = ""
    """Name for people."""
    project: str | None = None
    """Project of its calls."""
    environment: str | None = None
    """Environment of its calls."""
    feature: str | None = None
    """Feature of its calls, unless the request names one it may."""
    features: tuple[str, ...] = ()
    """Features a request may name; `*` for any."""
    apis: tuple[str, ...] | None = None
    """APIs it may use; None for all."""
    models: tuple[str, ...] | None = None
    """Routes it may use; one that ends in `*` is a prefix; None for all."""
    requests_per_min: int | None = None
    """Requests a minute; None for no limit."""
    tokens_per_min: int | None = None
    """Input and output tokens a minute; None for no limit."""
    created_at_us: int = 0
    """When it was made, µs UTC."""
    expires_at_us: int | None = None
    """From when it is refused, µs UTC."""
    revoked_at_us: int | None = None
    """When it was revoked, µs UTC."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The most a tenant, or one feature of it, may spend in a UTC day or month."""

    tenant_id: str
    """The tenant."""
    feature: str | None = None
    """The feature; None for all of the tenant's calls together."""
    period: str
    """`day` or `month`, UTC."""
    limit_usd_pico: int
    """The limit, 10⁻¹² USD."""


class WeakSecretError(Exception):
    """The secret that keys are hashed with is missing, short, known or readable by others."""


def secret_file(environment: Mapping[str, str]) -> Path:
    """Where the installation keeps its secret."""
    named = environment.get("TOKENLEDGER_KEY_SECRET_FILE")
    return Path(named) if named else Path(environment.get("TOKENLEDGER_SECRETS", ".local/stack/secrets")) / "api-keys"


def read_secret(path: Path) -> bytes:
    """The secret of the installation. Raises WeakSecretError."""
    try:
        secret, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        message = f"key secret {path}: {error.strerror}; `make up` makes one"
        raise WeakSecretError(message) from None
    if mode & 0o077:
        message = f"key secret {path}: mode {mode & 0o777:o}; 600 would be right"
        raise WeakSecretError(message)
    bare = secret.strip()
    if len(bare) < SECRET_BYTES or len(set(bare)) < _FEWEST_DISTINCT_BYTES or bare.lower() in _KNOWN_WEAK:
        message = f"key secret {path}: {len(bare)} bytes that can be guessed; {SECRET_BYTES} random ones would be right"
        raise WeakSecretError(message)
    return bare


def digest(secret: bytes, key: bytes) -> bytes:
    """What is stored of a key, and what it is found by."""
    return hmac.digest(secret, key, "sha256")


def new_key() -> tuple[str, str]:
    """The id of a key and the key itself."""
    return f"key_{secrets.token_hex(6)}", KEY_PREFIX + secrets.token_urlsafe(32)


_ADD: Final = """
INSERT INTO api_keys (key_id, hmac, tenant_id, name, project, environment, feature, features, apis, models,
    requests_per_min, tokens_per_min, created_at_us, expires_at_us)
VALUES (%(key_id)s, %(hmac)s, %(tenant_id)s, %(name)s, %(project)s, %(environment)s, %(feature)s, %(features)s,
    %(apis)s, %(models)s, %(requests_per_min)s, %(tokens_per_min)s, %(created_at_us)s, %(expires_at_us)s)
"""
_KEYS: Final = """
SELECT key_id, hmac, tenant_id, name, project, environment, feature, features, apis, models, requests_per_min,
    tokens_per_min, created_at_us, expires_at_us, revoked_at_us
FROM api_keys ORDER BY created_at_us, key_id
"""
_BUDGETS: Final = """
SELECT tenant_id, feature, period, limit_usd_pico FROM budgets ORDER BY tenant_id, feature NULLS FIRST, period
"""


def add(connection: Connection, key: ApiKey) -> None:
    """Store a key, and note that it was made."""
    values = msgspec.structs.asdict(key)
    for name in ("features", "apis", "models"):
        values[name] = None if values[name] is None else list(values[name])
    with connection.transaction():
        connection.execute(_ADD, values)
        shown = {name: value for name, value in values.items() if name != "hmac" and value is not None}
        _note(connection, "key created", detail=shown)


def keys(connection: Connection) -> list[ApiKey]:
    """Every key, revoked and expired ones too."""
    return [_api_key(row) for row in connection.execute(_KEYS)]


def _api_key(row: tuple[Any, ...]) -> ApiKey:
    values = dict(zip(ApiKey.__struct_fields__, row, strict=True))
    for name in ("features", "apis", "models"):
        values[name] = None if values[name] is None else tuple(values[name])
    return ApiKey(**values | {"hmac": bytes(values["hmac"])})


def revoke(connection: Connection, key_id: str, *, now_us: int) -> bool:
    """Refuse a key from now on; whether there was one that was not revoked yet."""
    with connection.transaction():
        changed = connection.execute(
            "UPDATE api_keys SET revoked_at_us = %s WHERE key_id = %s AND revoked_at_us IS NULL", (now_us, key_id)
        )
        if changed.rowcount:
            _note(connection, "key revoked", detail={"key_id": key_id})
    return bool(changed.rowcount)


def budgets(connection: Connection) -> list[Budget]:
    """Every budget."""
    return [Budget(tenant_id=t, feature=f, period=p, limit_usd_pico=u) for t, f, p, u in connection.execute(_BUDGETS)]


def set_budget(connection: Connection, budget: Budget, *, now_us: int) -> None:
    """This limit holds from now on."""
    with connection.transaction():
        connection.execute(
            """
            INSERT INTO budgets (tenant_id, feature, period, limit_usd_pico, set_at_us) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (tenant_id, feature, period)
            DO UPDATE SET limit_usd_pico = excluded.limit_usd_pico, set_at_us = excluded.set_at_us
            """,
            (budget.tenant_id, budget.feature, budget.period, budget.limit_usd_pico, now_us),
        )
        _note(connection, "budget set", detail=msgspec.structs.asdict(budget))


def remove_budget(connection: Connection, tenant_id: str, *, feature: str | None, period: str) -> bool:
    """No limit holds any more; whether there was one."""
    with connection.transaction():
        removed = connection.execute(
            "DELETE FROM budgets WHERE tenant_id = %s AND feature IS NOT DISTINCT FROM %s AND period = %s",
            (tenant_id, feature, period),
        )
        if removed.rowcount:
            _note(connection, "budget removed", detail={"tenant_id": tenant_id, "feature": feature, "period": period})
    return bool(removed.rowcount)


def _note(connection: Connection, action: str, *, detail: dict[str, Any]) -> None:
    connection.execute("INSERT INTO audit_log (action, detail) VALUES (%s, %s)", (action, Jsonb(detail)))
