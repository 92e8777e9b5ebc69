"""The price book in a real Postgres: what goes in comes out, prices as before, and cannot be spoilt by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.types.range import Int8Range

from ledger.database import Connection, connect
from ledger.prices import store, upgrading
from ledger.prices.changes import RATE, Plan, entries
from ledger.prices.writing import as_yaml
from ledger.private_postgres import Server
from tests.ledger.samples import NOW_US, call
from tokenledger.cli import main
from tokenledger.pricing import packaged_book, read_overlay
from tokenledger.pricing.catalogue import Catalogue, packaged_catalogue
from tokenledger.pricing.cost import price_call

pytestmark = pytest.mark.slow

OWN = """
prices:
  - {provider: acme-ai, model: acme-large, to: 2026-11-01, usd_per_million: {input.text: 2, output.text: 8}}
  - {provider: acme-ai, model: acme-large, from: 2026-11-01, usd_per_million: {input.text: 1.5, output.text: 6}}
  - provider: acme-ai
    model: acme-large
    processing: batch
    usd_per_million: {input.text: "0.75"}
    note: half
  - {provider: acme-ai, model: acme-long, upto_input_tokens: 200000, usd_per_million: {input.text: 1}}
  - {provider: acme-ai, model: acme-long, above_input_tokens: 200000, usd_per_million: {input.text: 2}}
  - provider: acme-ai
    model: acme-night
    windows: [{days: mon-fri, from: "22:00", to: "06:00"}]
    usd_per_million: {input.text: 1}
  - {provider: acme-ai, model: acme-audio, usd_per_hour: {audio_ms: 0.36}}
  - {tenant: acme, provider: openai, model: gpt-4o, usd_per_million: {input.text: 2}}
surcharges:
  - {provider: acme-ai, model: router, usd_per_million: {input.text: 0.1}}
contracts:
  - {tenant: acme, provider: openai, discount_ppm: 150000, from: 2026-01-01, to: 2027-01-01}
aliases:
  - {provider: acme-ai, name: acme-latest, model: acme-large, from: 2026-01-01}
"""


@pytest.fixture
def keeper(server: Server, database: str) -> Any:
    """A connection that may change the book."""
    with connect(server.settings(database, user="keeper"), application="test") as connection:
        yield connection


@pytest.fixture
def command(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`tokenledger prices …` against this ledger: status, output, errors."""
    settings = server.settings(database)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", settings.postgres_host)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(settings.postgres_port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["prices", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def imported(keeper: Connection, catalogue: Catalogue) -> list[upgrading.ModelChange]:
    """Bring a catalogue in, as the command does; what was held back."""
    with keeper.transaction():
        at_us = store.begin(keeper)
        listed = [one for one in store.believed(store.load(keeper)) if store.is_catalogue(one)]
        plan, held = upgrading.plan(
            upgrading.upgrade(listed, catalogue),
            known_from_us=at_us if listed else catalogue.known_from_us,
            confirmed={},
        )
        if plan.changes_anything:
            store.apply(keeper, plan, at_us=at_us, action="import", reason=catalogue.name)
    return held


def test_the_catalogue_in_the_ledger_is_the_packaged_book(keeper: Connection) -> None:
    imported(keeper, packaged_catalogue())
    book = store.book_of(store.load(keeper))
    assert book.version == packaged_book().version
    assert {model: set(rows) for model, rows in book.catalogue_rows.items()} == {
        model: set(rows) for model, rows in packaged_book().catalogue_rows.items()
    }
    one = call(provider="openai", request_model="gpt-4o", response_model="gpt-4o-2024-08-06")
    assert price_call(one, book) == price_call(one, packaged_book())
    assert imported(keeper, packaged_catalogue()) == []
    assert len(store.history(keeper, most=10)) == 1


def test_a_newer_catalogue_changes_what_it_says_and_the_past_stays(keeper: Connection) -> None:
    packaged = packaged_catalogue()
    model = ("openai", "gpt-4o")
    cheaper = tuple(replace(row, list_pico=row.list_pico * 9 // 10) for row in packaged.rows[model])
    imported(keeper, packaged)
    assert imported(keeper, replace(packaged, rows={**packaged.rows, model: cheaper})) == []
    kept = store.load(keeper)
    one = call(provider="openai", request_model="gpt-4o", response_model="gpt-4o-2024-08-06")
    full = price_call(one, packaged_book()).cost_usd_pico
    assert full is not None
    assert price_call(one, store.book_of(kept)).cost_usd_pico == full * 9 // 10
    imported_at_us = store.history(keeper, most=1)[0].made_at_us
    assert price_call(one, store.book_of(kept, imported_at_us - 1)).cost_usd_pico == full


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ((3, 2), "+50 %"),
        ((1, 2), "-50 %"),
        ((1_000, 1), "a unit slip?"),
        ((1, 100), "a unit slip?"),
        ((0, 1), "becomes free"),
    ],
)
def test_a_jump_is_held_back_and_nothing_of_that_model_changes(
    keeper: Connection, times: tuple[int, int], says: str
) -> None:
    packaged = packaged_catalogue()
    model = ("openai", "gpt-4o")
    other = tuple(replace(row, list_pico=row.list_pico * times[0] // times[1]) for row in packaged.rows[model])
    imported(keeper, packaged)
    [held] = imported(keeper, replace(packaged, rows={**packaged.rows, model: other}))
    assert held.model == model
    assert any(says in doubt for doubt in held.held)
    assert store.book_of(store.load(keeper)).version == packaged_book().version


def test_a_model_that_is_gone_from_the_catalogue_keeps_its_price(keeper: Connection) -> None:
    packaged = packaged_catalogue()
    imported(keeper, packaged)
    without = {model: rows for model, rows in packaged.rows.items() if model != ("openai", "gpt-4o")}
    assert imported(keeper, replace(packaged, rows=without)) == []
    assert store.book_of(store.load(keeper)).version == packaged_book().version


def test_own_prices_come_back_as_they_were_stated(keeper: Connection) -> None:
    import yaml

    stated = entries(read_overlay(yaml.safe_load(OWN)))
    with keeper.transaction():
        store.apply(keeper, Plan(added=tuple(stated)), at_us=store.begin(keeper), action="add", reason="a test")
    kept = store.load(keeper)
    assert [(one.kind, one.entry) for one in kept] == stated
    again = entries(read_overlay(yaml.safe_load(as_yaml(kept))))
    noteless = [(kind, replace(entry, note="") if hasattr(entry, "note") else entry) for kind, entry in stated]
    assert [(kind, replace(entry, note="") if hasattr(entry, "note") else entry) for kind, entry in again] == noteless


def test_postgres_itself_refuses_two_rates_for_one_call(keeper: Connection) -> None:
    import yaml

    stated = entries(read_overlay(yaml.safe_load(OWN)))
    with keeper.transaction():
        store.apply(keeper, Plan(added=tuple(stated)), at_us=store.begin(keeper), action="add", reason="a test")
    rates = [
        (kind, replace(entry, list_pico=1)) for kind, entry in stated if kind == RATE and hasattr(entry, "list_pico")
    ]
    with pytest.raises(psycopg.errors.ExclusionViolation), keeper.transaction():
        store.apply(keeper, Plan(added=(rates[0],)), at_us=store.begin(keeper), action="add", reason="a slip")


def test_a_row_cannot_be_edited_or_deleted_by_those_who_keep_the_book(keeper: Connection) -> None:
    imported(keeper, packaged_catalogue())
    for statement in (b"UPDATE prices SET pico = 1", b"DELETE FROM prices", b"DELETE FROM price_changes"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), keeper.transaction():
            keeper.execute(statement)


def test_a_tenants_contract_is_seen_by_nobody_else(keeper: Connection, server: Server, database: str) -> None:
    import yaml

    stated = entries(read_overlay(yaml.safe_load(OWN)))
    with keeper.transaction():
        store.apply(keeper, Plan(added=tuple(stated)), at_us=store.begin(keeper), action="add", reason="a test")
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("CREATE ROLE fay LOGIN IN ROLE analyst")
        admin.execute("INSERT INTO tenant_grants (grantee, tenant_id) VALUES ('fay', 'umbrella')")
    try:
        with psycopg.connect(server.dsn("fay", database)) as reader:
            assert reader.execute("SELECT count(*) FROM contracts").fetchone() == (0,)
            assert reader.execute("SELECT count(*) FROM prices WHERE tenant_id <> ''").fetchone() == (0,)
            assert reader.execute("SELECT count(*) > 0 FROM prices").fetchone() == (True,)
    finally:
        with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
            admin.execute("DELETE FROM tenant_grants WHERE grantee = 'fay'")
            admin.execute("DROP ROLE fay")


def test_the_life_of_a_price_by_command(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("prices:\n  - {provider: acme-ai, model: m, usd_per_million: {input.text: 2}}\n", encoding="utf-8")
    assert command("check", str(file))[0] == 0
    assert "+ acme-ai/m input.text" in command("add", str(file), "--reason", "agreed", "--dry-run")[1]
    assert command("history")[1].count("agreed") == 0
    assert command("add", str(file), "--reason", "agreed")[0] == 0
    assert "1 entries are believed already" in command("add", str(file), "--reason", "again")[1]
    file.write_text(
        "prices:\n  - {provider: acme-ai, model: m, from: 2027-01-01, usd_per_million: {input.text: 3}}\n",
        encoding="utf-8",
    )
    status, _, error = command("add", str(file), "--reason", "announced")
    assert (status, "--correct" in error) == (2, True)
    status, printed, _ = command("add", str(file), "--reason", "announced", "--correct")
    assert printed.splitlines()[-1] == "change 2: 1 withdrawn, 2 added"
    assert "3" in command("list", "acme-ai/m")[1]
    assert command("undo", "2", "--reason", "cancelled")[1].splitlines()[-1] == "change 3: 2 withdrawn, 1 added"
    listed = command("list", "acme-ai/m")[1]
    assert "1 rates, book" in listed
    price_id = next(word for word in listed.split() if len(word) == 16 and all(c in "0123456789abcdef" for c in word))
    assert command("end", price_id, "--at", "2027-06-01", "--reason", "left")[0] == 0
    assert "to: '2027-06-01'" in command("export")[1]
    assert "undo 2" in command("history")[1]
    assert "3 added" not in command("diff", "--from", "2020-01-01")[1]


def test_a_catalogue_that_was_taken_back_can_be_imported_again(
    command: Callable[..., tuple[int, str, str]], keeper: Connection
) -> None:
    for arguments in (("import",), ("undo", "1", "--reason", "too soon"), ("import",)):
        status, _, error = command(*arguments)
        assert (status, error) == (0, "")
    kept = store.load(keeper)
    again, undone, first = (one.made_at_us for one in store.history(keeper, most=10))
    one = call(provider="openai", request_model="gpt-4o", response_model="gpt-4o-2024-08-06")
    price = price_call(one, packaged_book()).cost_usd_pico
    assert price_call(one, store.book_of(kept)).cost_usd_pico == price is not None
    assert [price_call(one, store.book_of(kept, at_us)).cost_usd_pico for at_us in (first, undone, again)] == [
        price, None, price,
    ]  # fmt: skip


def test_a_bad_file_is_told_by_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(
        "prices:\n  - {provider: acme-ai, model: m, usd_per_million: {input.text: 2}}\n"
        "  - provider: acme-ai\n    model: n\n    usd_per_million: {input.words: 2}\n",
        encoding="utf-8",
    )
    status, _, error = command("check", str(file))
    assert status == 2
    assert "prices.yaml, line 5: prices[1].usd_per_million.input.words: no such meter" in error
    file.write_text(
        "prices:\n  - {provider: a, model: m, known_from: 2020-01-01, usd_per_million: {input.text: 2}}\n",
        encoding="utf-8",
    )
    assert "known_from and known_to are not stated here" in command("add", str(file), "--reason", "x")[2]
    assert "'ffff' names 0 own rates" in command("end", "ffff", "--at", "2027-01-01", "--reason", "x")[2]


def test_an_instant_of_knowledge_has_bounds_in_postgres(keeper: Connection) -> None:
    imported(keeper, packaged_catalogue())
    row = keeper.execute("SELECT known_us FROM prices LIMIT 1").fetchone()
    assert row == (Int8Range(packaged_catalogue().known_from_us, None),)
    assert packaged_catalogue().known_from_us > NOW_US
