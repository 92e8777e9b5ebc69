"""Bytes of strangers on a terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.commands.plain import json_line, plain, print_table

HOSTILE = "\x1b[2J\x9b31m[red]\u202egpj.exe\r\x07[/]\udcff"


@given(st.text())
def test_a_plain_text_holds_nothing_that_moves_a_cursor(text: str) -> None:
    assert plain(text).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_line_of_json_is_printable_and_reads_as_it_was(text: str) -> None:
    line = json_line({"event_id": text}).decode()
    assert line.removesuffix("\n").isprintable()
    assert json.loads(line) == {"event_id": text}


def test_a_table_shows_hostile_texts_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("event",), [(HOSTILE,), (None,)])
    shown = capsys.readouterr().out
    assert r"\x1b[2J\x9b31m[red]\u202egpj.exe\r\x07[/]\udcff" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
