"""Tenants: what holds, what held, why, and who may read it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ledger import tenants
from ledger.database import Connection, connect
from ledger.private_postgres import Server
from ledger.tenants import Tenant, TenantError
from tests.ledger.books import Books
from tests.ledger.samples import call, priced
from tokenledger.cli import main

pytestmark = pytest.mark.slow

BERLIN = Tenant(tenant_id="acme", name="Acme", time_zone="Europe/Berlin")
TOKYO = Tenant(tenant_id="umbrella", time_zone="Asia/Tokyo", charge_policy="incurred", capture_consent=True)


@pytest.fixture
def keeper(server: Server, database: str) -> Iterator[Connection]:
    with connect(server.settings(database, user="keeper"), application="test") as connection:
        yield connection


def test_a_tenant_that_nobody_stated_has_utc_and_no_consent(keeper: Connection) -> None:
    found = tenants.tenant(keeper, "new")
    assert (found.tenant_id, found.time_zone, found.charge_policy, found.capture_consent, found.status) == (
        "new", "UTC", "served", False, "active",
    )  # fmt: skip
    assert tenants.tenants(keeper) == {}


def test_what_was_stated_before_can_be_asked_for_and_keeps_its_reason(keeper: Connection) -> None:
    tenants.state(keeper, [BERLIN, TOKYO], reason="signed")
    moved = Tenant(tenant_id="acme", name="Acme", time_zone="America/New_York")
    assert tenants.state(keeper, [moved, TOKYO], reason="moved") == [moved], "the other one is known already"

    assert tenants.tenants(keeper) == {"acme": moved, "umbrella": TOKYO}
    first, _, second = tenants.history(keeper)
    assert (first.reason, second.reason, second.made_by) == ("signed", "moved", "keeper")
    assert first.known_to_us == second.known_from_us
    assert second.known_to_us is None
    assert tenants.tenant(keeper, "acme", known_at_us=first.known_from_us) == BERLIN
    assert tenants.tenant(keeper, "acme", known_at_us=first.known_from_us - 1).time_zone == "UTC"
    assert [one.tenant for one in tenants.history(keeper, "umbrella")] == [TOKYO]


def test_every_statement_has_a_number_that_grows(keeper: Connection) -> None:
    assert tenants.newest(keeper) == 0
    tenants.state(keeper, [BERLIN], reason="signed")
    before = tenants.newest(keeper)
    tenants.state(keeper, [TOKYO], reason="signed")
    assert tenants.newest(keeper) > before > 0


def test_the_customer_pays_by_the_policy_of_the_time(books: Books, keeper: Connection) -> None:
    """An answer that did not serve is on the house, until it is agreed that all that was incurred is charged."""
    tenants.state(keeper, [Tenant(tenant_id="acme", charge_policy="incurred")], reason="contract 2027")
    [stated] = tenants.history(keeper)
    before_us, after_us = stated.known_from_us - 1, stated.known_from_us
    for offset, (tenant_id, at_us) in enumerate((("acme", before_us), ("acme", after_us), ("umbrella", after_us))):
        lost = call(event_key=f"app/{offset}", tenant_id=tenant_id, started_at_us=at_us, attempt_role="hedge")
        books.write(priced(lost, offset=offset, append_at_us=at_us, chargeable_usd_pico=0))
    unknown = call(event_key="app/9", started_at_us=after_us)
    books.write(
        priced(
            unknown,
            offset=9,
            append_at_us=after_us,
            price_status="unpriced",
            lines=(),
            cost_usd_pico=None,
            known_cost_usd_pico=0,
            computed_usd_pico=None,
            unpriced_meters=("input.text", "output.text"),
        )
    )
    rows = books.all(
        "SELECT tenant_id, charge_policy, calls, incomplete_calls, incurred_usd_pico, charged_usd_pico FROM charges"
    )
    assert sorted(rows) == [
        ("acme", "incurred", 2, 1, 220_000, 220_000),
        ("acme", "served", 1, 0, 220_000, 0),
        ("umbrella", "served", 1, 0, 220_000, 0),
    ]


@pytest.mark.parametrize(
    ("stated", "reason", "message"),
    [
        (Tenant(tenant_id="acme", time_zone="Europe/Berln"), "why", "no time zone 'Europe/Berln'; an IANA name"),
        (Tenant(tenant_id=" "), "why", "has no id"),
        (Tenant(tenant_id="acme\x7f"), "why", "control characters"),
        (BERLIN, " ", "has no reason"),
    ],
)
def test_a_statement_that_cannot_be_right_changes_nothing(
    keeper: Connection, stated: Tenant, reason: str, message: str
) -> None:
    with pytest.raises(TenantError, match=message):
        tenants.state(keeper, [TOKYO, stated], reason=reason)
    assert tenants.tenants(keeper) == {}


def test_what_was_stated_cannot_be_edited_or_deleted(keeper: Connection) -> None:
    tenants.state(keeper, [BERLIN], reason="signed")
    for statement in ("UPDATE tenants SET time_zone = 'UTC'", "DELETE FROM tenants"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            keeper.execute(statement)


def test_two_statements_of_one_tenant_cannot_hold_at_once(keeper: Connection) -> None:
    tenants.state(keeper, [BERLIN], reason="signed")
    with pytest.raises(psycopg.errors.ExclusionViolation):
        keeper.execute(
            "INSERT INTO tenants (tenant_id, name, time_zone, charge_policy, capture_consent, status, known_us, "
            "reason) VALUES ('acme', '', 'UTC', 'served', false, 'active', int8range(0, NULL), 'by hand')"
        )


def test_a_tenant_sees_itself_and_the_archive_sees_all(server: Server, database: str, keeper: Connection) -> None:
    tenants.state(keeper, [BERLIN, TOKYO], reason="signed")
    with connect(server.settings(database, user="app"), application="test") as app:
        assert tenants.tenants(app) == {}
        with app.transaction():
            app.execute("SELECT set_config('app.tenant', 'acme', true)")
            assert list(tenants.tenants(app)) == ["acme"]
    for role in ("archive", "pricing", "analyst", "writer"):
        with connect(server.settings(database, user=role), application="test") as reader:
            assert list(tenants.tenants(reader)) == ["acme", "umbrella"], role


@pytest.fixture
def ledger_is_here(server: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the test's database."""
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", str(server.folder))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(server.port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)


@pytest.mark.usefixtures("ledger_is_here")
def test_an_option_that_is_not_given_leaves_what_holds(keeper: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tenants", "set", "acme", "--time-zone", "Europe/Berlin", "--name", "Acme", "--reason", "r"]) == 0
    assert main(["tenants", "set", "acme", "--capture-consent", "yes", "--reason", "agreed"]) == 0
    assert tenants.tenant(keeper, "acme") == Tenant(
        tenant_id="acme", name="Acme", time_zone="Europe/Berlin", capture_consent=True
    )
    assert main(["tenants", "set", "acme", "--capture-consent", "no", "--reason", "withdrawn"]) == 0
    assert not tenants.tenant(keeper, "acme").capture_consent
    capsys.readouterr()
    assert main(["tenants", "history", "acme"]) == 0
    told = capsys.readouterr().out
    assert [word for word in told.split() if word in {"r", "agreed", "withdrawn"}] == ["r", "agreed", "withdrawn"]


@pytest.mark.usefixtures("ledger_is_here")
def test_what_list_shows_is_a_file_that_set_reads(
    keeper: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tenants.state(keeper, [BERLIN, TOKYO], reason="signed")
    assert main(["tenants", "list", "--yaml"]) == 0
    listed = capsys.readouterr().out
    (tmp_path / "tenants.yaml").write_text(listed)
    assert main(["tenants", "set", "--file", str(tmp_path / "tenants.yaml"), "--reason", "again"]) == 0
    assert capsys.readouterr().out == "0 stated, 2 known already\n"
    (tmp_path / "tenants.yaml").write_text(listed.replace("Asia/Tokyo", "Asia/Seoul"))
    assert main(["tenants", "set", "--file", str(tmp_path / "tenants.yaml"), "--reason", "moved"]) == 0
    assert tenants.tenant(keeper, "umbrella").time_zone == "Asia/Seoul"


@pytest.mark.usefixtures("ledger_is_here")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["acme", "--time-zone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        ([], "either TENANT or --file"),
        (["--file", "FILE"], "tenant acme: Invalid enum value 'free'"),
    ],
)
def test_the_command_says_what_is_wrong(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.yaml").write_text("tenants: {acme: {charge_policy: free}}")
    arguments = [str(tmp_path / "t.yaml") if one == "FILE" else one for one in given]
    assert main(["tenants", "set", *arguments, "--reason", "r"]) == 2
    assert message in capsys.readouterr().err
