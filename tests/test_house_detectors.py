"""The rules of the house find what they look for: each detector meets code that breaks its rule."""

import ast

import pytest

from tests.house.pages import commands
from tests.house.statements import built_statements
from tests.house.tree import Source, catches_all, functions, imports, parameters


def source(text: str) -> Source:
    return Source("made_up.py", text)


@pytest.mark.parametrize(
    "text",
    [
        "c.execute(f'SELECT {x}')",
        "c.execute('SELECT ' + x)",
        "c.execute('SELECT {}'.format(x))",
        "def f(c, statement):\n    c.execute(statement)",
        "Q = 'a' + b\nc.executemany(Q, rows)",
        "Q = 'a'\nQ = f'{b}'\nc.execute(Q)",
        "for q in ('a', f'{b}'):\n    c.execute(q)",
        "c.execute(sql.SQL(f'{x}'))",
        "c.copy(statement_of(x))",
    ],
)
def test_a_statement_built_from_text_is_found(text: str) -> None:
    assert list(built_statements(source(text)))


@pytest.mark.parametrize(
    "text",
    [
        "c.execute('SELECT %s', (x,))",
        "c.execute('SELECT 1 ' 'UNION SELECT 2')",
        "Q = 'SELECT 1'\nc.execute(Q)",
        "from ledger.store import QUERY\nc.execute(QUERY)",
        "for q, rows in (('a', 1), ('b', 2)):\n    c.executemany(q, rows)",
        "c.execute(sql.SQL('SELECT {}').format(sql.Identifier(x)))",
        "Q = sql.SQL('SELECT {}').format(sql.Identifier(x))\nwith c.copy(Q) as copy:\n    pass",
        "c.execute('a' if x else 'b')",
    ],
)
def test_a_fixed_statement_is_let_through(text: str) -> None:
    assert not list(built_statements(source(text)))


@pytest.mark.parametrize("caught", ["", " Exception", " BaseException as e", " (ValueError, Exception)"])
def test_a_broad_catch_is_found_in_every_form(caught: str) -> None:
    tree = ast.parse(f"try:\n    pass\nexcept{caught}:\n    pass")
    assert [catches_all(node) for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)] == [True]


def test_an_import_is_found_under_every_spelling() -> None:
    found = {
        name for _, name in imports(source("import os.path\nfrom urllib import request\nfrom time import time as t"))
    }
    assert {"os.path", "urllib.request", "time"} <= found


def test_parameters_are_counted_without_self() -> None:
    node = next(functions(source("class A:\n    def f(self, a, /, b, *rest, c, d=1, **more): ...")))
    assert parameters(node) == (["a", "b"], ["c", "d"])


def test_commands_are_found_behind_a_prompt() -> None:
    text = "$ make demo\nuv run tokenledger price x\n  tokenledger verify\nmakes no sense\n"
    assert list(commands(text)) == ["make demo", "uv run tokenledger price x", "tokenledger verify"]
