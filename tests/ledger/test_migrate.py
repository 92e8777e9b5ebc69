"""The migrations: from empty they arrive at the records, and applied ones may not change."""

import ast
import inspect

import psycopg
import pytest

from ledger.columns import CALL_COLUMNS, CALL_TYPES
from ledger.migrate import MigrationChangedError, migrate, migrations
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tokenledger.records import call as call_module
from tokenledger.records import priced as priced_module

_LEDGERS_OWN = {"call_id", "charged_at_us", "posting_id", "dim_no", "id_reuse"}
_SHOWN = {"int8": "bigint", "bool": "boolean", "int8[]": "bigint[]"}


def test_migrating_again_changes_nothing(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        assert migrate(admin) == []


def test_a_migration_that_was_applied_may_not_change(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("UPDATE migrations SET sha256 = 'other' WHERE name = %s", (migrations()[0][0],))
        with pytest.raises(MigrationChangedError, match="add a new migration"):
            migrate(admin)


def _meanings() -> dict[str, str]:
    """Docstring of every field of the records that are columns."""
    found: dict[str, str] = {}
    for module, name in ((call_module, "Call"), (priced_module, "PricedCall"), (priced_module, "Latency")):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                found |= _of_class(node, rename=name == "Call")
    return {column: meaning for column, meaning in found.items() if column in CALL_COLUMNS}


def _of_class(node: ast.ClassDef, *, rename: bool) -> dict[str, str]:
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            column = "reading_anomalies" if rename and field.target.id == "anomalies" else field.target.id
            found[column] = str(text.value.value)
    return found


def test_calls_has_the_columns_types_and_meanings_of_the_records(books: Books) -> None:
    rows = books.all(
        """
        SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
        FROM pg_attribute WHERE attrelid = 'calls'::regclass AND attnum > 0 AND NOT attisdropped
        """
    )
    found = {name: (kind, comment) for name, kind, comment in rows if name not in _LEDGERS_OWN}
    meanings = _meanings()
    assert found == {
        column: (_SHOWN.get(kind, kind), meanings[column])
        for column, kind in zip(CALL_COLUMNS, CALL_TYPES, strict=True)
    }


def test_every_table_view_and_column_says_what_it_means(books: Books) -> None:
    silent = books.all(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
            AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'migrations'
            AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
        """
    )
    assert silent == []
