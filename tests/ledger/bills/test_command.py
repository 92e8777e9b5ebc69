"""`tokenledger reconcile` against a real ledger: what it prints, writes and keeps, and whom it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, line, priced
from tokenledger.cli import main

DAY_S = 1_759_968_000  # 2025-10-09T00:00:00Z, the day of NOW_US, by `date -u -d @1759968000`


Kept = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def kept(server: Server, database: str) -> Kept:
    """Reads as one who may read everything."""

    def rows(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(server.dsn("postgres", database)) as admin:
            return admin.execute(statement.encode()).fetchall()

    return rows


@pytest.fixture
def ledger(books: Books, server: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> Books:
    """A ledger with one day of one model: 1,000 calls of 100 tokens in and 10 out at 2,000 pico-USD a token."""
    for start in range(0, 1_000, 250):
        books.write(
            *(
                priced(
                    call(event_id=f"e{n}", event_key=f"app/e{n}", response_model="gpt-4o-2024-08-06"),
                    offset=n,
                    priced_model="gpt-4o",
                )
                for n in range(start, start + 250)
            )
        )
    settings = server.settings(database)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", settings.postgres_host)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(settings.postgres_port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)
    return books


def bill(folder: Path, *results: tuple[str, str]) -> str:
    made = [
        {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, "line_item": item}
        for item, value in results
    ]
    usage = {
        "object": "organization.usage.completions.result",
        "model": "gpt-4o-2024-08-06",
        "input_tokens": 100_000,
        "output_tokens": 10_000,
    }
    bucket = {"object": "bucket", "start_time": DAY_S, "end_time": DAY_S + 86_400, "results": [*made, usage]}
    path = folder / "costs.json"
    path.write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False}), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_bill_that_agrees_matches_to_the_pico(
    ledger: Books, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ledger.all("SELECT sum(known_cost_usd_pico)::bigint FROM calls") == [(220_000_000,)]
    path = bill(tmp_path, ("gpt-4o-2024-08-06, input", "0.0002"), ("gpt-4o-2024-08-06, output", "0.00002"))
    assert main(["reconcile", path]) == 0
    printed = capsys.readouterr().out
    assert "difference 0.00 USD" in printed
    assert "2 of 2 cells match" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("ledger")
def test_a_dearer_output_is_a_price_difference_written_kept_and_listed(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bill(tmp_path, ("gpt-4o-2024-08-06, input", "0.0002"), ("gpt-4o-2024-08-06, output", "0.00003"))
    page, table = tmp_path / "report.html", tmp_path / "report.csv"
    assert main(["reconcile", path, "--html", str(page), "--csv", str(table)]) == 0
    # 0.00003 billed for 10,000 tokens, 0.00002 in the ledger.
    assert "price" in capsys.readouterr().out
    rows = [row.split(",") for row in table.read_text(encoding="utf-8").splitlines()]
    assert rows[1][:3] + rows[1][8:11] == ["2025-10-09", "openai", "gpt-4o", "0.00", "matched", "0.00"]
    assert rows[2][8:11] == ["0.00001", "price", "0.00001"]
    assert "the same quantity at another price" in page.read_text(encoding="utf-8")
    assert kept("SELECT billed_usd_pico::bigint, our_usd_pico::bigint, causes FROM reconciliations") == [
        (230_000_000, 220_000_000, {"price": "10000000"})
    ]
    assert main(["reconcile", "--history"]) == 0
    assert "2025-10-09 to 2025-10-09" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("ledger")
def test_without_quantities_the_difference_is_unexplained_and_the_exit_status_says_so(
    kept: Kept, tmp_path: Path
) -> None:
    path = Path(bill(tmp_path, ("", "0.0003")))
    document = json.loads(path.read_text(encoding="utf-8"))
    document["data"][0]["results"].pop()
    path.write_text(json.dumps(document), encoding="utf-8")
    assert main(["reconcile", str(path)]) == 1
    assert kept("SELECT causes FROM reconciliations") == [({"unexplained": "80000000"},)]


@pytest.mark.slow
@pytest.mark.usefixtures("ledger")
def test_a_login_that_sees_one_tenant_is_refused(
    kept: Kept, server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("CREATE ROLE erin LOGIN IN ROLE analyst")
        admin.execute("INSERT INTO tenant_grants (grantee, tenant_id) VALUES ('erin', 'acme')")
    try:
        monkeypatch.setenv("TOKENLEDGER_POSTGRES_USER", "erin")
        assert main(["reconcile", bill(tmp_path, ("gpt-4o, input", "1"))]) == 2
        assert "may not read every tenant" in capsys.readouterr().err
        assert kept("SELECT count(*) FROM reconciliations") == [(0,)]
    finally:
        with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
            admin.execute("DROP OWNED BY erin")
            admin.execute("DROP ROLE erin")


@pytest.mark.slow
def test_calls_without_a_price_are_named_as_the_reason(ledger: Books, kept: Kept, tmp_path: Path) -> None:
    unpriced = call(event_id="u", event_key="app/u", response_model="gpt-4o-2024-08-06", started_at_us=NOW_US)
    ledger.write(
        priced(
            unpriced, offset=1_000, priced_model="gpt-4o", lines=(line("output.text", 10),), cost_usd_pico=None,
            known_cost_usd_pico=20_000, price_status="partly_priced", unpriced_meters=("input.text",),
        )
    )  # fmt: skip
    path = bill(tmp_path, ("gpt-4o-2024-08-06, input", "0.0003"), ("gpt-4o-2024-08-06, output", "0.00002002"))
    main(["reconcile", path])
    [(causes,)] = kept("SELECT causes FROM reconciliations")
    assert "unpriced" in causes


def test_neither_files_nor_history_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconcile"]) == 2
    assert "give report files, or --history" in capsys.readouterr().err
