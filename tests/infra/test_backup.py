"""The archive of the database's log: what is kept is what was given, and one history never overwrites another."""

import gzip
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.backup import archive_command, bases, restore_command
from infra.local.layout import Layout
from infra.local.machine import inspect
from infra.local.place import layout_of
from infra.local.preparation import PreparationFailed, postgres_cluster


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A folder whose name every shell and Postgres would misread, were it not quoted."""
    return replace(layout_of(), root=tmp_path / "it's 100% a $(folder)")


def _run(command: str, path: Path) -> int:
    """As Postgres does: `%p` is the file, `%f` its name, `%%` a percent sign."""
    text = command.replace("%%", "\0").replace("%p", str(path)).replace("%f", "0000000100000000000000A1")
    return subprocess.run(["sh", "-c", text.replace("\0", "%")], check=False).returncode


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    path.write_bytes(b"log" * 1000)
    return path


def test_before_the_first_backup_nothing_is_archived_and_nothing_fails(layout: Layout, segment: Path) -> None:
    assert _run(archive_command(layout), segment) == 0
    assert not layout.backups.exists()


def test_what_was_archived_comes_back(layout: Layout, segment: Path, tmp_path: Path) -> None:
    (layout.backups / "wal").mkdir(parents=True)
    assert _run(archive_command(layout), segment) == 0
    assert [path.name for path in (layout.backups / "wal").iterdir()] == ["0000000100000000000000A1.gz"]
    assert _run(restore_command(layout), tmp_path / "again") == 0
    assert (tmp_path / "again").read_bytes() == segment.read_bytes()


def test_the_same_segment_may_come_twice_another_of_its_name_may_not(layout: Layout, segment: Path) -> None:
    (layout.backups / "wal").mkdir(parents=True)
    assert [_run(archive_command(layout), segment) for _ in range(2)] == [0, 0]
    segment.write_bytes(b"of another cluster")
    assert _run(archive_command(layout), segment) != 0
    kept = gzip.decompress((layout.backups / "wal" / "0000000100000000000000A1.gz").read_bytes())
    assert kept == b"log" * 1000


def test_a_segment_nobody_archived_is_said_to_be_missing(layout: Layout, tmp_path: Path) -> None:
    (layout.backups / "wal").mkdir(parents=True)
    assert _run(restore_command(layout), tmp_path / "again") != 0
    assert not (tmp_path / "again").exists()


def test_copies_are_listed_by_when_they_were_whole_and_an_unfinished_one_is_none(layout: Layout) -> None:
    for name in ("20261121T202124.379013Z", "20261120T000000.000000Z", "unfinished"):
        (layout.backups / "base" / name).mkdir(parents=True)
    assert [at.isoformat() for at in bases(layout)] == ["2026-11-20T00:00:00+00:00", "2026-11-21T20:21:24.379013+00:00"]


def test_no_empty_ledger_takes_the_place_of_one_there_is_a_copy_of(layout: Layout) -> None:
    (layout.backups / "base" / "20261121T202124.379013Z").mkdir(parents=True)
    with pytest.raises(
        PreparationFailed, match=r"copies of one up to 2026-11-21 20:21:24 UTC; .*restore` puts it back"
    ):
        postgres_cluster(layout, inspect(layout))
