"""Keys: found by HMAC, refused when unknown, expired, revoked or out of scope; made and revoked by command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ledger import api_keys
from ledger.api_keys import ApiKey, WeakSecretError, digest
from ledger.database import connect
from ledger.migrate import migrate
from ledger.private_postgres import FAST, Server, running
from serving.gateway import spending
from serving.gateway.records import Admitted, Refusal
from tests.serving.admissions import KEY, NOW_US, SECRET, Clock, admission, bearer, key
from tests.serving.attempts import intent

pytestmark = pytest.mark.slow

# HMAC-SHA256 of `tl-a-key-for-tests` by `openssl dgst -sha256 -hmac 0123456789abcdefghijklmnopqrstuv`.
_BY_OPENSSL = subprocess.run(
    ["openssl", "dgst", "-sha256", "-hmac", SECRET.decode(), "-r"], input=KEY.encode(), capture_output=True, check=True
).stdout.split()[0]


def test_what_is_stored_of_a_key_is_its_hmac_and_not_the_key() -> None:
    assert digest(SECRET, KEY.encode()).hex().encode() == _BY_OPENSSL
    assert KEY not in repr(key())


@pytest.mark.parametrize(
    "authorization",
    [None, b"", b"Bearer", b"Bearer ", b"Basic dDp0", b"Bearer tl-another", b"Bearer sk-abc", KEY.encode(),
     b"Bearer tl-" + b"x" * 100_000, b"Bearer tl-\xff\x00'; DROP TABLE api_keys --",
     bearer(KEY + "x"), bearer(KEY[:-1])],
)  # fmt: skip
def test_whoever_does_not_have_the_key_is_refused_and_hears_nothing_about_it(authorization: bytes | None) -> None:
    refused = admission([key()]).admit(authorization=authorization, api="chat", model="m", feature=None)
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.code) == (401, "invalid_api_key")
    assert KEY not in refused.message


@pytest.mark.parametrize("authorization", [bearer(), b"bearer " + KEY.encode(), b"BEARER  " + KEY.encode() + b" "])
def test_the_key_decides_tenant_project_and_environment(authorization: bytes) -> None:
    one = key(project="p", environment="staging", feature="search")
    admitted = admission([one]).admit(authorization=authorization, api="chat", model="m", feature=None)
    assert admitted == Admitted(
        tenant_id="acme", api_key_id="key_1", project="p", environment="staging", feature="search"
    )


def test_a_key_is_refused_from_the_instant_it_expires_and_from_the_snapshot_that_revokes_it() -> None:
    clock = Clock()
    door = admission([key(expires_at_us=NOW_US + 1)], clock=clock)
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="m", feature=None), Admitted)
    clock.now_us += 1
    expired = door.admit(authorization=bearer(), api="chat", model="m", feature=None)
    assert isinstance(expired, Refusal)
    assert (expired.http_status, expired.code) == (401, "expired_api_key")
    door.set_keys([key(revoked_at_us=1)])
    revoked = door.admit(authorization=bearer(), api="chat", model="m", feature=None)
    assert isinstance(revoked, Refusal)
    assert revoked.code == "invalid_api_key"
    assert isinstance(door.reserve(intent()), Refusal)


def test_a_scope_is_kept_by_api_and_by_model() -> None:
    door = admission([key(apis=("chat",), models=("small", "gpt-4o*"))])

    def code(api: str, model: str) -> str | None:
        found = door.admit(authorization=bearer(), api=api, model=model, feature=None)
        return found.code if isinstance(found, Refusal) else None

    assert [code("chat", model) for model in ("small", "gpt-4o", "gpt-4o-mini")] == [None] * 3
    assert [code("chat", model) for model in ("smaller", "gpt-4", "")] == ["model_not_allowed"] * 3
    assert code("embeddings", "small") == "api_not_allowed"


@pytest.mark.parametrize(
    ("features", "named", "charged"),
    [((), "other", "search"), (("other",), "other", "other"), (("other",), "third", "search"), (("*",), "any", "any"),
     (("*",), None, "search"), (("*",), "", "search"), (("*",), "x" * 257, "search")],
)  # fmt: skip
def test_a_request_names_its_feature_only_where_the_key_lets_it(
    features: tuple[str, ...], named: str | None, charged: str
) -> None:
    door = admission([key(feature="search", features=features)])
    admitted = door.admit(authorization=bearer(), api="chat", model="m", feature=named)
    assert isinstance(admitted, Admitted)
    assert admitted.feature == charged


def test_nobody_is_admitted_before_keys_and_spending_are_loaded() -> None:
    door = admission([key()])
    door.open = False
    refused = door.admit(authorization=bearer(), api="chat", model="m", feature=None)
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.code) == (503, "not_ready")


@pytest.mark.parametrize(
    ("secret", "mode"),
    [(None, 0o600), (b"", 0o600), (b"changeme", 0o600), (b"x" * 31, 0o600), (b"a" * 64, 0o600), (SECRET, 0o644)],
)
def test_a_secret_that_is_missing_short_guessable_or_readable_by_others_is_refused(
    tmp_path: Path, secret: bytes | None, mode: int
) -> None:
    file = tmp_path / "secret"
    if secret is not None:
        file.write_bytes(secret)
        file.chmod(mode)
    with pytest.raises(WeakSecretError, match="secret"):
        api_keys.read_secret(file)


# With Postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(FAST) as started:
        started.create("keys")
        with psycopg.connect(started.dsn("postgres", "keys"), autocommit=True) as admin:
            migrate(admin)
        yield started


def _command(server: Server, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    secret = folder / "api-keys"
    if not secret.exists():
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
    settings = {
        "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
        "TOKENLEDGER_POSTGRES_PORT": str(server.port),
        "TOKENLEDGER_POSTGRES_DATABASE": "keys",
        "TOKENLEDGER_SECRETS": str(folder),
        "TOKENLEDGER_STACK_ROOT": str(folder),
    }
    command = [sys.executable, "-m", "tokenledger.cli", *arguments]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)


def test_a_key_made_by_command_is_shown_once_admits_until_revoked_and_is_nowhere_in_the_ledger(
    server: Server, tmp_path: Path
) -> None:
    made = _command(
        server, tmp_path, "keys", "create", "acme", "--name", "ci", "--models", "small,gpt-4o*", "--features", "*",
        "--requests-per-min", "60", "--days", "1",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    text = made.stdout.strip()
    assert text.startswith("tl-")
    assert len(text) > 40
    with connect(server.settings("keys", user="gateway"), application="test") as connection:
        access = spending.access(connection, None)
        assert access is not None
        assert spending.access(connection, access.version) is None
        [stored] = access.keys
        assert (stored.tenant_id, stored.models, stored.requests_per_min) == ("acme", ("small", "gpt-4o*"), 60)
        door = admission(access.keys, clock=Clock(stored.created_at_us))
        assert isinstance(door.admit(authorization=bearer(text), api="chat", model="small", feature="f"), Admitted)
        revoked = _command(server, tmp_path, "keys", "revoke", stored.key_id)
        assert revoked.returncode == 0, revoked.stderr
        again = _command(server, tmp_path, "keys", "revoke", stored.key_id)
        assert again.returncode == 1
        later = spending.access(connection, access.version)
        assert later is not None
        door.set_keys(later.keys)
        assert isinstance(door.admit(authorization=bearer(text), api="chat", model="small", feature="f"), Refusal)
    listed = _command(server, tmp_path, "keys", "list")
    assert stored.key_id in listed.stdout
    assert text not in listed.stdout
    with psycopg.connect(server.dsn("postgres", "keys")) as admin:
        dump = [str(row) for table in (b"api_keys", b"audit_log") for row in admin.execute(b"SELECT * FROM " + table)]
    assert len(dump) == 3
    assert not any(text in row or text[3:] in row for row in dump)


def test_a_budget_is_set_changed_and_removed_by_command(server: Server, tmp_path: Path) -> None:
    for arguments in (("acme", "250"), ("acme", "0.5", "--feature", "search", "--period", "day"), ("acme", "300")):
        done = _command(server, tmp_path, "budgets", "set", *arguments)
        assert done.returncode == 0, done.stderr
    with connect(server.settings("keys", user="gateway"), application="test") as connection:
        assert [(one.feature, one.period, one.limit_usd_pico) for one in api_keys.budgets(connection)] == [
            (None, "month", 300 * 10**12),
            ("search", "day", 5 * 10**11),
        ]
    assert "0.5" in _command(server, tmp_path, "budgets", "list").stdout
    assert _command(server, tmp_path, "budgets", "remove", "acme").returncode == 0
    assert _command(server, tmp_path, "budgets", "remove", "acme").returncode == 1
    assert _command(server, tmp_path, "budgets", "set", "acme", "NaN").returncode == 2
    assert _command(server, tmp_path, "budgets", "set", "acme", "-1").returncode == 2


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("gateway", "INSERT INTO budgets VALUES ('acme', NULL, 'day', 1, 1)"),
        ("gateway", "UPDATE api_keys SET revoked_at_us = NULL"),
        ("gateway", "SELECT raw_usage FROM calls"),
        ("gateway", "SELECT user_id FROM calls"),
        ("keeper", "UPDATE api_keys SET tenant_id = 'umbrella'"),
        ("keeper", "DELETE FROM api_keys"),
        ("keeper", "SELECT * FROM calls"),
        ("analyst", "SELECT hmac FROM api_keys"),
        ("app", "SELECT hmac FROM api_keys"),
        ("writer", "SELECT * FROM api_keys"),
    ],
)
def test_each_role_may_do_what_its_work_needs_and_no_more(server: Server, role: str, statement: str) -> None:
    with (
        connect(server.settings("keys", user=role), application="test") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_a_tenant_sees_its_own_keys_and_budgets(server: Server) -> None:
    now_us = 1
    with connect(server.settings("keys", user="keeper"), application="test") as keeper:
        for tenant in ("mine", "theirs"):
            api_keys.add(keeper, ApiKey(key_id=tenant, hmac=digest(SECRET, tenant.encode()), tenant_id=tenant))
            budget = api_keys.Budget(tenant_id=tenant, period="day", limit_usd_pico=1)
            api_keys.set_budget(keeper, budget, now_us=now_us)
    with connect(server.settings("keys", user="app"), application="test") as app, app.transaction():
        app.execute("SELECT set_config('app.tenant', 'mine', true)")
        assert app.execute("SELECT key_id FROM api_keys").fetchall() == [("mine",)]
        assert app.execute("SELECT tenant_id FROM budgets").fetchall() == [("mine",)]
