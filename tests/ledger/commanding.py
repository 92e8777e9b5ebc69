"""Commands run against a ledger under test."""

from collections.abc import Callable

import pytest

from ledger.private_postgres import Server
from tokenledger.cli import main

Command = Callable[..., tuple[int, str]]


def against(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`tokenledger …`: status and output."""
    settings = server.settings(database)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", settings.postgres_host)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(settings.postgres_port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)

    def run(*arguments: str, login: str | None = None) -> tuple[int, str]:
        if login is None:
            monkeypatch.delenv("TOKENLEDGER_POSTGRES_USER", raising=False)
        else:
            monkeypatch.setenv("TOKENLEDGER_POSTGRES_USER", login)
        capsys.readouterr()
        status = main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run
