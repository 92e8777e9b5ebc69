"""What is kept outlives a kill, is shared by the processes of a machine, stays within bounds, and goes when purged."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from serving.cache.exact import Exact, Kept, Purge
from serving.cache.learning import Checked
from serving.cache.store import FILE, News, Pair, Said, Store
from serving.cache.vectors import Shelf
from tokenledger.cli import main

AT_US = 1_795_000_000_000_000


def kept(name: str = "a1", *, tenant_id: str = "acme", at_us: int = AT_US, knowledge: str = "v1\n") -> Kept:
    """An answer."""
    return Kept(name, tenant_id, "chat", name.encode(), knowledge, b'"x":1}', "openai", "gpt-4o", at_us)


def said(name: str = "q1", answer_id: str = "a1", *, tenant_id: str = "acme") -> Said:
    """A question."""
    return Said(name, tenant_id, b"partition", answer_id, "What?", np.ones(384, dtype=np.float32).tobytes(), AT_US)


def pair(name: str = "p1", *, correct: bool = True, drawn: bool = False) -> Pair:
    """A checked pair."""
    return Pair(name, "acme", "chat", "a1", Checked((1.0, 0.5), -0.25, correct), drawn, AT_US)


def read(folder: Path) -> News:
    """All there is."""
    with closing(Store(folder)) as store:
        return store.news()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store."""
    with closing(Store(tmp_path)) as made:
        yield made


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """The same, as another process has it."""
    with closing(Store(tmp_path)) as made:
        yield made


def test_what_was_written_is_read_again_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([kept(), said(), pair()])
    store.close()

    news = read(tmp_path)

    assert news.answers == [kept()]
    assert news.phrasings == [said()]
    assert news.pairs == [pair()]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "made")) as made:
        made.write([kept()])

    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    assert (tmp_path / "made" / FILE).stat().st_mode & 0o077 == 0


def test_a_process_learns_what_another_one_wrote_and_each_thing_once(store: Store, other: Store) -> None:
    store.write([kept("a1")])
    assert [answer.answer_id for answer in other.news().answers] == ["a1"]

    other.write([kept("a2"), kept("a1")])

    assert [answer.answer_id for answer in store.news().answers] == ["a2"]
    assert not any(other.news().purges)
    assert store.news().answers == []


_WRITER = """
import sys
from pathlib import Path
from serving.cache.store import Store
from tests.serving.cache.test_store import kept, said
store = Store(Path(sys.argv[1]))
for number in range(10**9):
    name = f"{sys.argv[2]}-{number}"
    store.write([kept(name), said(f"q {name}", name)])
    print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_writers_leave_a_store_that_opens_with_all_they_had_said(tmp_path: Path) -> None:
    """Two processes write as fast as they can and are killed; what a batch had returned for is there."""
    for round_no in range(2):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(tmp_path), f"{round_no}{which}"], stdout=subprocess.PIPE
            )
            for which in "ab"
        ]
        done = []
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(30):
                writer.stdout.readline()
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            rest = writer.stdout.read().split()
            done.append(int(rest[-1]) if rest else 29)
            writer.stdout.close()
            writer.wait()

        store = Store(tmp_path)
        news = store.news()
        store.close()

        found = {answer.answer_id for answer in news.answers}
        for which, last in zip("ab", done, strict=True):
            assert {f"{round_no}{which}-{number}" for number in range(last + 1)} <= found
        assert {phrasing.answer_id for phrasing in news.phrasings} == found


def test_a_purge_reaches_what_is_kept_what_is_read_and_what_is_still_to_be_written(
    tmp_path: Path, store: Store, other: Store
) -> None:
    """An answer whose question was asked before the purge does not come back when it is written after it."""
    store.write([kept("a1"), said("q1", "a1"), kept("a2"), kept("b1", tenant_id="umbrella")])
    store.news()

    gone = other.purge(Purge("acme", None, None, AT_US + 5))
    store.write([kept("a3", at_us=AT_US + 4), said("q3", "a3"), kept("a4", at_us=AT_US + 6)])

    assert gone == 2
    news = store.news()
    assert news.purges == [Purge("acme", None, None, AT_US + 5)]
    assert news.answers == []
    assert [answer.answer_id for answer in other.news().answers] == ["b1", "a4"]
    left = read(tmp_path)
    assert {answer.answer_id for answer in left.answers} == {"b1", "a4"}
    assert left.phrasings == []


def test_a_purge_names_one_answer_or_one_version_of_the_knowledge(tmp_path: Path, store: Store) -> None:
    store.write(
        [kept("a1"), kept("a2", knowledge="v1\nindex-7"), kept("a3", knowledge="v2\n"), kept("a4", knowledge="v11\n")]
    )

    assert store.purge(Purge("acme", "a1", None, AT_US)) == 1
    assert store.purge(Purge("acme", None, "index-7", AT_US)) == 1
    assert store.purge(Purge("acme", None, "v1", AT_US)) == 0
    assert store.purge(Purge("umbrella", None, None, AT_US)) == 0
    assert {answer.answer_id for answer in read(tmp_path).answers} == {"a3", "a4"}


def test_a_tenant_keeps_so_many_and_the_oldest_go(tmp_path: Path, store: Store) -> None:
    store.write([kept(f"a{number}", at_us=AT_US + number) for number in range(10)])
    store.write([kept(f"b{number}", tenant_id="umbrella", at_us=AT_US + number) for number in range(2)])

    store.prune(tenant_entries=3, oldest_us=AT_US + 1)

    assert {answer.answer_id for answer in read(tmp_path).answers} == {"a7", "a8", "a9", "b1"}


def test_a_file_that_is_none_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, and longer than a header of one would be" * 20)

    with closing(Store(tmp_path)) as store:
        store.write([kept()])

    assert len(read(tmp_path).answers) == 1
    assert (tmp_path / f"{FILE}.broken").exists()


def test_a_locked_file_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.cache.store._BUSY_S", 0.1)
    Store(tmp_path).close()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(sqlite3.OperationalError):
        Store(tmp_path)
    assert not (tmp_path / f"{FILE}.broken").exists()
    other.close()


# In memory


def test_the_answer_used_longest_ago_makes_room() -> None:
    exact = Exact(tenant_entries=2, total_bytes=10**6)
    for name in ("a1", "a2"):
        exact.put(kept(name))
    assert exact.get("acme", b"a1", oldest_us=0) is not None
    exact.put(kept("a3"))

    assert [exact.get("acme", name, oldest_us=0) is not None for name in (b"a1", b"a2", b"a3")] == [True, False, True]
    assert exact.get("umbrella", b"a1", oldest_us=0) is None
    assert exact.get("acme", b"a1", oldest_us=AT_US + 1) is None


def test_memory_is_bounded_in_bytes() -> None:
    exact = Exact(tenant_entries=10**6, total_bytes=10 * kept().size_bytes())
    for number in range(100):
        exact.put(kept(f"a{number:02}", tenant_id=f"t{number % 3}"))

    assert len(exact) == 10
    assert exact.bytes <= 10 * kept().size_bytes()


def test_the_nearest_rows_are_those_of_a_full_sort() -> None:
    draw = np.random.default_rng(5)
    rows = draw.normal(size=(300, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shelf = Shelf(24)
    for number, row in enumerate(rows):
        shelf.add(str(number), row)
    for number in range(0, 300, 3):
        shelf.remove(str(number))
    left = {str(number): row for number, row in enumerate(rows) if number % 3}
    query = rows[0]

    found = shelf.nearest(query, 8)

    expected = sorted(((float(row @ query), name) for name, row in left.items()), reverse=True)[:8]
    assert [name for name, _ in found] == [name for _, name in expected]
    assert len(shelf) == 200


# The command


def test_the_command_shows_what_is_kept_and_forgets_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.write([kept(at_us=time.time_ns() // 1_000 - 10**6), said()])
    store.write([pair(f"p{number}", correct=number != 3, drawn=True) for number in range(100)])
    store.close()

    assert main(["cache", "stats", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    # One wrong of a hundred: Clopper and Pearson's 95 % bound is 4.7 %.
    assert "acme" in shown
    assert "4.7%" in shown

    assert main(["cache", "purge", "--tenant", "acme", "--folder", str(tmp_path)]) == 0
    assert "1 answers of acme are gone" in capsys.readouterr().out
    assert read(tmp_path).answers == []


def test_the_command_says_where_there_is_no_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats", "--folder", str(tmp_path)]) == 2
    assert "--folder" in capsys.readouterr().err
