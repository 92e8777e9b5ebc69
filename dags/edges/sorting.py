"""Sorting more than fits into memory: DuckDB, with a limit and a folder to spill into. Its statements are fixed."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

MEMORY: Final = "1GB"
_ROWS: Final = 512
_NUMBER: Final = pa.schema([("n", pa.int64()), ("reason", pa.string())])
_PAIR: Final = pa.schema([("head", pa.int64()), ("other", pa.int64())])

_KEEP_CHECKS: Final = "CREATE TABLE checks AS SELECT tenant_id, event_key, failed, checked FROM incoming"
_KEEP_JUDGED: Final = "CREATE TABLE judged AS SELECT tenant_id, event_key, judge FROM incoming"
_KEEP_KNOWN: Final = "CREATE OR REPLACE TABLE known AS SELECT DISTINCT tenant_id, event_key FROM incoming"
_UNKNOWN: Final = """
SELECT c.tenant_id, c.event_key, any_value(c.raw)
FROM captured c ANTI JOIN known k ON k.tenant_id = c.tenant_id AND k.event_key = c.event_key
GROUP BY c.tenant_id, c.event_key ORDER BY c.tenant_id, c.event_key
"""
_UNKNOWN_BY_LOT: Final = """
SELECT c.tenant_id, c.event_key, any_value(c.raw)
FROM captured c ANTI JOIN known k ON k.tenant_id = c.tenant_id AND k.event_key = c.event_key
GROUP BY c.tenant_id, c.event_key ORDER BY md5(c.tenant_id || '/' || c.event_key)
"""
_COVERED: Final = """
SELECT c.tenant_id, count(*), count(k.event_key)
FROM (SELECT DISTINCT tenant_id, event_key FROM captured) c
LEFT JOIN known k ON k.tenant_id = c.tenant_id AND k.event_key = c.event_key
GROUP BY c.tenant_id ORDER BY c.tenant_id
"""
_OPERATIONS: Final = """
SELECT c.tenant_id, c.operation, c.event_key, c.feature, c.user_hash, c.raw, s.failed, s.checked, j.judge
FROM captured c
LEFT JOIN checks s ON s.tenant_id = c.tenant_id AND s.event_key = c.event_key
LEFT JOIN judged j ON j.tenant_id = c.tenant_id AND j.event_key = c.event_key
ORDER BY c.tenant_id, c.operation, c.event_key, c.digest
"""
_CALLS: Final = """
SELECT c.tenant_id, c.event_key, c.feature, c.user_hash, c.digest, s.failed, s.checked, j.judge
FROM captured c
LEFT JOIN checks s ON s.tenant_id = c.tenant_id AND s.event_key = c.event_key
LEFT JOIN judged j ON j.tenant_id = c.tenant_id AND j.event_key = c.event_key
ORDER BY c.tenant_id, c.event_key, c.digest
"""
_EXACT: Final = "SELECT kind, exact, n FROM made ORDER BY kind, exact, at_us, row_id"
_BANDS: Final = """
SELECT b.kind, b.bucket, b.n FROM bands b WHERE b.n NOT IN (SELECT n FROM dropped)
ORDER BY b.kind, b.bucket, b.at_us, b.row_id
"""
_SIGNATURES: Final = """
SELECT DISTINCT p.head, p.other, h.signature, o.signature
FROM pairs p JOIN made h ON h.n = p.head JOIN made o ON o.n = p.other
ORDER BY p.other, p.head
"""
_COUNTS: Final = """
SELECT kind, grp, count(*) FROM made WHERE n NOT IN (SELECT n FROM dropped) GROUP BY kind, grp ORDER BY kind, grp
"""
_GROUPS: Final = """
SELECT grp, n FROM made WHERE kind = ? AND n NOT IN (SELECT n FROM dropped) ORDER BY grp, row_id
"""
_REASONS: Final = "SELECT m.kind, d.reason, count(*) FROM dropped d JOIN made m USING (n) GROUP BY ALL ORDER BY ALL"
_LINES: Final = """
SELECT kind, side, line, about FROM made WHERE n NOT IN (SELECT n FROM dropped) ORDER BY kind, side, row_id
"""


class Sorter:
    """One database file that lives as long as one build."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def keep_captured(self, incoming: pa.RecordBatchReader) -> None:
        """Take in the captured texts."""
        with self._taking(incoming):
            self._connection.execute("CREATE TABLE captured AS SELECT * FROM incoming")

    def keep_scores(self, checks: pa.RecordBatchReader, judged: pa.RecordBatchReader) -> None:
        """Take in their scores."""
        with self._taking(checks):
            self._connection.execute(_KEEP_CHECKS)
        with self._taking(judged):
            self._connection.execute(_KEEP_JUDGED)

    def keep_known(self, known: pa.RecordBatchReader) -> None:
        """From now on these calls are known."""
        with self._taking(known):
            self._connection.execute(_KEEP_KNOWN)

    def unknown(self) -> Iterator[tuple[str, str, bytes]]:
        """(tenant, event key, text) of those not known, by key."""
        return self._rows(_UNKNOWN)

    def unknown_by_lot(self) -> Iterator[tuple[str, str, bytes]]:
        """The same, by hash of the key."""
        return self._rows(_UNKNOWN_BY_LOT)

    def covered(self) -> list[tuple[str, int, int]]:
        """(tenant, captured, known)."""
        return self._connection.execute(_COVERED).fetchall()

    def keep_made(self, made: Path, bands: Path) -> None:
        """Look at the candidates, and begin to drop."""
        self._connection.from_parquet(str(made)).create_view("made")
        self._connection.from_parquet(str(bands)).create_view("bands")
        self._connection.execute("CREATE TABLE dropped (n BIGINT, reason VARCHAR)")

    def calls(self) -> Iterator[tuple[Any, ...]]:
        """(tenant, event key, feature, user, hash of the text, failed, checked, judge), by key."""
        return self._rows(_CALLS)

    def operations(self) -> Iterator[tuple[Any, ...]]:
        """(tenant, operation, event key, feature, user, text, failed, checked, judge), by operation."""
        return self._rows(_OPERATIONS)

    def exact(self) -> Iterator[tuple[tuple[str, bytes], int]]:
        """(what it says, row), as rows win."""
        return (((kind, exact), n) for kind, exact, n in self._rows(_EXACT))

    def bands(self) -> Iterator[tuple[tuple[str, int], int]]:
        """(bucket, row) of those not dropped, as rows win."""
        return (((kind, bucket), n) for kind, bucket, n in self._rows(_BANDS))

    def signatures(self, pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, bytes, bytes]]:
        """(head, other, their signatures) of each pair, once."""
        found = array("q", (number for pair in pairs for number in pair))
        columns = [pa.array(found[start::2], pa.int64()) for start in (0, 1)]
        with self._taking(pa.table(columns, schema=_PAIR).to_reader()):
            self._connection.execute("CREATE TABLE pairs AS SELECT * FROM incoming")
        yield from self._rows(_SIGNATURES)
        self._connection.execute("DROP TABLE pairs")

    def counts(self) -> list[tuple[str, str, int]]:
        """(kind, group, rows) of those not dropped."""
        return self._connection.execute(_COUNTS).fetchall()

    def groups(self, kind: str) -> Iterator[tuple[str, int]]:
        """(group, row) of those not dropped, by id within a group."""
        return self._rows(_GROUPS, (kind,))

    def drop(self, numbers: Iterable[int], reason: str) -> None:
        """These rows are not written."""
        found = pa.array(array("q", numbers), pa.int64())
        table = pa.table([found, pa.array([reason] * len(found), pa.string())], schema=_NUMBER)
        with self._taking(table.to_reader()):
            self._connection.execute("INSERT INTO dropped SELECT DISTINCT * FROM incoming")

    def reasons(self) -> list[tuple[str, str, int]]:
        """(kind, reason, rows) of those dropped."""
        return self._connection.execute(_REASONS).fetchall()

    def lines(self) -> Iterator[tuple[str, str, bytes, bytes]]:
        """(kind, side, line, about) of those not dropped, in the order of the files."""
        return self._rows(_LINES)

    @contextmanager
    def _taking(self, incoming: pa.RecordBatchReader) -> Iterator[None]:
        """Within, the rows are the table `incoming`, to be read once."""
        self._connection.register("incoming", incoming)
        try:
            yield
        finally:
            self._connection.unregister("incoming")

    def _rows(self, statement: str, given: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """A cursor of its own, so that rows may be dropped while others are read."""
        with self._connection.cursor() as cursor:
            for batch in cursor.sql(statement, params=list(given)).to_arrow_reader(_ROWS):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


@contextmanager
def sorter(folder: Path, *, memory: str = MEMORY) -> Iterator[Sorter]:
    """One that keeps its files in the folder."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "threads": "2",
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    try:
        with duckdb.connect(str(folder / "sorting.duckdb"), config=config) as connection:
            yield Sorter(connection)
    except duckdb.Error as error:
        raise OSError(f"sorting in {folder}: {error}") from error
