"""The cache on disk: one SQLite file for all processes of a machine, written in batches, read again after a crash.

Every table is a log with ascending numbers, so a process asks for what is newer than what it has seen. What is lost in
a crash is the last batch: some answers are made once more.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from msgspec.structs import astuple

from ledger.observing import logger
from serving.cache.exact import Kept, Purge
from serving.cache.learning import Checked

log = logger("serving.cache.store")

FILE: Final = "cache.sqlite3"
_VERSION: Final = 1
_BUSY_S: Final = 5.0
_PURGES_KEPT_US: Final = 30 * 86_400 * 1_000_000
_PAIRS_KEPT: Final = 4_000

_SCHEMA: Final = """
CREATE TABLE answers (
    n INTEGER PRIMARY KEY AUTOINCREMENT, answer_id TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL, route TEXT NOT NULL,
    key BLOB NOT NULL, knowledge TEXT NOT NULL, reply BLOB NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    at_us INTEGER NOT NULL, origin TEXT NOT NULL
);
CREATE INDEX answers_by_tenant ON answers (tenant_id, n);
CREATE TABLE phrasings (
    n INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL, partition BLOB NOT NULL,
    answer_id TEXT NOT NULL, question TEXT NOT NULL, vector BLOB NOT NULL, at_us INTEGER NOT NULL,
    origin TEXT NOT NULL
);
CREATE INDEX phrasings_by_answer ON phrasings (answer_id);
CREATE INDEX phrasings_by_tenant ON phrasings (tenant_id, n);
CREATE TABLE pairs (
    n INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL, route TEXT NOT NULL,
    answer_id TEXT NOT NULL, features TEXT NOT NULL, offset REAL NOT NULL, correct INTEGER NOT NULL,
    drawn INTEGER NOT NULL, at_us INTEGER NOT NULL, origin TEXT NOT NULL
);
CREATE TABLE purges (
    n INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id TEXT NOT NULL, answer_id TEXT, knowledge TEXT,
    at_us INTEGER NOT NULL
);
"""


class Said(NamedTuple):
    """A kept question, as it is stored."""

    name: str
    tenant_id: str
    partition: bytes
    answer_id: str
    question: str
    vector: bytes
    at_us: int


class Pair(NamedTuple):
    """A checked pair, as it is stored."""

    name: str
    tenant_id: str
    route: str
    answer_id: str
    checked: Checked
    drawn: bool
    at_us: int


Change = Kept | Said | Pair


class News(NamedTuple):
    """What came since a process last looked."""

    answers: list[Kept]
    phrasings: list[Said]
    pairs: list[Pair]
    purges: list[Purge]


class Store:
    """One connection, used by one thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._origin = uuid4().hex
        self._seen = {"answers": 0, "phrasings": 0, "pairs": 0, "purges": 0}
        try:
            self._connection = _opened(folder / FILE)
        except sqlite3.OperationalError:
            raise  # locked, or no disk: the file itself may be sound
        except sqlite3.DatabaseError as error:
            _set_aside(folder / FILE, error)
            self._connection = _opened(folder / FILE)

    def close(self) -> None:
        """Nothing more is read or written."""
        self._connection.close()

    # Writing

    def write(self, changes: Iterable[Change]) -> None:
        """All of them or none. An answer that was purged after its question was asked does not come back."""
        with self._transaction() as connection:
            purged = bool(connection.execute("SELECT EXISTS (SELECT 1 FROM purges)").fetchone()[0])
            for change in changes:
                if isinstance(change, Kept):
                    if not purged or not _is_purged(connection, change):
                        connection.execute(_ADD_ANSWER, (*astuple(change), self._origin))
                elif isinstance(change, Said):
                    connection.execute(_ADD_PHRASING, (*change, self._origin, change.answer_id))
                else:
                    _write_pair(connection, change, origin=self._origin)

    def purge(self, purge: Purge) -> int:
        """Gone here at once, and in every process when it looks next; how many answers there were."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO purges (tenant_id, answer_id, knowledge, at_us) VALUES (?, ?, ?, ?)", tuple(purge)
            )
            gone = connection.execute(
                "DELETE FROM answers WHERE tenant_id = :tenant AND at_us <= :at"
                " AND (:answer IS NULL OR answer_id = :answer)"
                " AND (:knowledge IS NULL"
                " OR instr(char(10) || knowledge || char(10), char(10) || :knowledge || char(10)))",
                {"tenant": purge.tenant_id, "at": purge.at_us, "answer": purge.answer_id, "knowledge": purge.knowledge},
            ).rowcount
            _drop_orphans(connection)
        return gone

    def prune(self, *, tenant_entries: int, oldest_us: int) -> None:
        """No more than so many of a tenant, and none older; the oldest go."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM answers WHERE at_us < ?", (oldest_us,))
            for table in (_TOO_MANY_ANSWERS, _TOO_MANY_PHRASINGS):
                connection.execute(table, (tenant_entries,))
            _drop_orphans(connection)
            connection.execute(
                "DELETE FROM pairs WHERE n IN (SELECT n FROM (SELECT n, row_number() OVER"
                " (PARTITION BY tenant_id, route ORDER BY n DESC) AS place FROM pairs) WHERE place > ?)",
                (_PAIRS_KEPT,),
            )
            connection.execute("DELETE FROM purges WHERE at_us < ?", (oldest_us - _PURGES_KEPT_US,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # Reading

    def news(self) -> News:
        """What other processes wrote since this was last asked; at first, all there is. Purges are everybody's."""
        return News(
            [Kept(*row) for row in self._newer("answers", _LAST_ANSWER, query=_NEW_ANSWERS)],
            [Said(*row) for row in self._newer("phrasings", _LAST_PHRASING, query=_NEW_PHRASINGS)],
            [_pair(row) for row in self._newer("pairs", _LAST_PAIR, query=_NEW_PAIRS)],
            [Purge(*row) for row in self._newer("purges", _LAST_PURGE, query=_NEW_PURGES)],
        )

    def _newer(self, table: str, last: str, *, query: str) -> list[tuple[Any, ...]]:
        first, until = self._seen[table], self._connection.execute(last).fetchone()[0] or 0
        if until <= first:
            return []
        self._seen[table] = until
        return self._connection.execute(query, (first, until, self._origin)).fetchall()

    def counts(self) -> list[tuple[str, str, int, int, int, int]]:
        """Tenant, route, answers, phrasings, checked pairs, bytes of replies."""
        return self._connection.execute(_COUNTS).fetchall()

    def pairs(self) -> list[Pair]:
        """Every checked pair, oldest first."""
        return [_pair(row) for row in self._connection.execute(_NEW_PAIRS, (0, 2**62, "")).fetchall()]


_ADD_ANSWER: Final = (
    "INSERT OR IGNORE INTO answers (answer_id, tenant_id, route, key, knowledge, reply, provider, model, at_us, origin)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_PHRASING: Final = (
    "INSERT OR IGNORE INTO phrasings (name, tenant_id, partition, answer_id, question, vector, at_us, origin)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM answers WHERE answer_id = ?)"
)
_NEW_ANSWERS: Final = (
    "SELECT answer_id, tenant_id, route, key, knowledge, reply, provider, model, at_us FROM answers"
    " WHERE n > ? AND n <= ? AND origin <> ? ORDER BY n"
)
_NEW_PHRASINGS: Final = (
    "SELECT name, tenant_id, partition, answer_id, question, vector, at_us FROM phrasings"
    " WHERE n > ? AND n <= ? AND origin <> ? ORDER BY n"
)
_NEW_PAIRS: Final = (
    "SELECT name, tenant_id, route, answer_id, features, offset, correct, drawn, at_us FROM pairs"
    " WHERE n > ? AND n <= ? AND origin <> ? ORDER BY n"
)
_NEW_PURGES: Final = (
    "SELECT tenant_id, answer_id, knowledge, at_us FROM purges WHERE n > ? AND n <= ? AND ? IS NOT NULL ORDER BY n"
)
_LAST_ANSWER: Final = "SELECT max(n) FROM answers"
_LAST_PHRASING: Final = "SELECT max(n) FROM phrasings"
_LAST_PAIR: Final = "SELECT max(n) FROM pairs"
_LAST_PURGE: Final = "SELECT max(n) FROM purges"
_TOO_MANY_ANSWERS: Final = (
    "DELETE FROM answers WHERE n IN (SELECT n FROM (SELECT n, row_number() OVER (PARTITION BY tenant_id ORDER BY n"
    " DESC) AS place FROM answers) WHERE place > ?)"
)
_TOO_MANY_PHRASINGS: Final = (
    "DELETE FROM phrasings WHERE n IN (SELECT n FROM (SELECT n, row_number() OVER (PARTITION BY tenant_id ORDER BY n"
    " DESC) AS place FROM phrasings) WHERE place > ?)"
)
_COUNTS: Final = (
    "SELECT tenant_id, route, count(*), sum(said), (SELECT count(*) FROM pairs WHERE pairs.tenant_id = each.tenant_id"
    " AND pairs.route = each.route), sum(bytes) FROM (SELECT tenant_id, route, length(reply) AS bytes, (SELECT count(*)"
    " FROM phrasings WHERE phrasings.answer_id = answers.answer_id) AS said FROM answers) AS each"
    " GROUP BY tenant_id, route ORDER BY tenant_id, route"
)


def _opened(path: Path) -> sqlite3.Connection:
    # Made with the right mode before SQLite makes it with another: it holds questions and answers.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A batch that a power cut takes is made once more; waiting for the disk would buy nothing.
        connection.execute("PRAGMA synchronous = NORMAL")
        _make_tables(connection)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
    connection.execute("COMMIT")
    if version not in {0, _VERSION}:
        raise sqlite3.DatabaseError(f"the cache's file has version {version}; this program knows {_VERSION}")


def _set_aside(path: Path, error: sqlite3.DatabaseError) -> None:
    """A file that cannot be read is kept for whoever wants to look; the cache begins anew."""
    log.error("the cache's file cannot be used, a new one is begun", extra={"facts": {"error": str(error)}})
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{path}.broken{suffix}")


def _is_purged(connection: sqlite3.Connection, kept: Kept) -> bool:
    """Whether a purge that is younger than its question concerns it."""
    found = connection.execute(
        "SELECT 1 FROM purges WHERE tenant_id = ? AND at_us >= ? AND (answer_id IS NULL OR answer_id = ?)"
        " AND (knowledge IS NULL OR instr(char(10) || ? || char(10), char(10) || knowledge || char(10))) LIMIT 1",
        (kept.tenant_id, kept.at_us, kept.answer_id, kept.knowledge),
    ).fetchone()
    return found is not None


def _write_pair(connection: sqlite3.Connection, pair: Pair, *, origin: str) -> None:
    checked = pair.checked
    connection.execute(
        "INSERT OR IGNORE INTO pairs"
        " (name, tenant_id, route, answer_id, features, offset, correct, drawn, at_us, origin)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (pair.name, pair.tenant_id, pair.route, pair.answer_id, json.dumps(checked.features), checked.offset,
         checked.correct, pair.drawn, pair.at_us, origin),
    )  # fmt: skip


def _drop_orphans(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM phrasings WHERE answer_id NOT IN (SELECT answer_id FROM answers)")


def _pair(row: tuple[Any, ...]) -> Pair:
    name, tenant_id, route, answer_id, features, offset, correct, drawn, at_us = row
    checked = Checked(tuple(json.loads(features)), offset, bool(correct))
    return Pair(name, tenant_id, route, answer_id, checked, bool(drawn), at_us)
