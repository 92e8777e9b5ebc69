"""A job goes on from the newest complete state, and what is older goes away."""

import os
from pathlib import Path

from infra.local import savepoint


def _state(folder: Path, *, at_s: int, complete: bool = True) -> Path:
    folder.mkdir(parents=True)
    written = folder / ("_metadata" if complete else "some-state")
    written.touch()
    os.utime(written, (at_s, at_s))
    return folder


def test_nothing_is_there_before_the_first_checkpoint(tmp_path: Path) -> None:
    assert savepoint.newest(tmp_path / "never made") is None
    savepoint.tidy(tmp_path / "never made", None)


def test_the_newest_complete_state_wins_be_it_checkpoint_or_savepoint(tmp_path: Path) -> None:
    _state(tmp_path / "job1" / "chk-9", at_s=100)
    newest = _state(tmp_path / "job2" / "chk-1", at_s=200)
    _state(tmp_path / "job2" / "chk-2", at_s=300, complete=False)
    assert savepoint.newest(tmp_path) == newest

    saved = _state(tmp_path / "savepoint-job2-abc", at_s=250)
    assert savepoint.newest(tmp_path) == saved


def test_what_earlier_submissions_left_is_removed_except_savepoints_and_the_state_that_is_kept(tmp_path: Path) -> None:
    _state(tmp_path / "job1" / "chk-9", at_s=100)
    kept = _state(tmp_path / "job2" / "chk-1", at_s=200)
    _state(tmp_path / "savepoint-job0-abc", at_s=50)

    savepoint.tidy(tmp_path, kept)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["job2", "savepoint-job0-abc"]
    assert savepoint.newest(tmp_path) == kept
