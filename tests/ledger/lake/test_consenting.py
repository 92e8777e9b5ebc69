"""The file of consent follows the ledger's tenants, and stays as it is while the ledger is away."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import tenants, wakeups
from ledger.database import connect
from ledger.lake.consent import ConsentFile, parse_consent, rendered
from ledger.lake.consenting import Consenting
from ledger.private_postgres import Server
from ledger.tenants import Tenant


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.mark.slow
def test_consent_that_is_given_and_withdrawn_is_soon_in_the_file(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_EVERY_S", 0.05)
    path = tmp_path / "consent.toml"
    path.write_text("[tenants.typed_by_hand]\ncapture_texts = true\n")
    file = ConsentFile(path)
    following = Consenting(server.settings(database, user="archive"), path, say=lambda _: None)
    following.start(first_within_s=10)
    assert file.now().tenants == {}, "what the ledger does not say goes"
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        tenants.state(keeper, [Tenant(tenant_id="acme", capture_consent=True)], reason="agreed")
        _until(lambda: file.now().allows("acme"))
        tenants.state(keeper, [Tenant(tenant_id="acme")], reason="withdrawn")
        _until(lambda: not file.now().allows("acme"))
    following.close()


def test_without_a_ledger_the_file_stays_as_it_is(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(rendered(["acme"]))
    said: list[str] = []
    following = Consenting(server.settings("no_such_ledger", user="archive"), path, say=said.append)
    following.start(first_within_s=0.3)
    following.close()
    assert ConsentFile(path).now().allows("acme")
    assert said[-1] == f"{path} stays as it is until the ledger is there"


@pytest.mark.parametrize("name", ["acme", 'a"b\\c', "ä.b c", "[x]", "日本", "'"])
def test_a_tenant_of_any_name_is_read_as_it_was_written(name: str) -> None:
    assert parse_consent(rendered([name, "other"]), name="c").allows(name)
