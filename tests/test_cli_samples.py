"""`tokenledger samples`: only what was pinned is used, only recordings are unpacked, nothing is fetched twice."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.readers.recordings import read_all
from tokenledger import cli
from tokenledger.commands import samples
from tokenledger.commands.samples import DISTRIBUTIONS, Distribution, check_hash, unpack


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "d.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("p-1/tests/cassettes/link.yaml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    return path


def test_only_recordings_are_unpacked_and_nothing_leaves_the_folder(tmp_path: Path) -> None:
    files = {
        "p-1/tests/traces/cassettes/test_chat/one.yaml": b"interactions: []",
        "p-1/tests/test_chat.py": b"import os",
        "p-1/src/cassettes/two.yaml": b"not a test",
        "p-1/tests/cassettes/../../../../escaped.yaml": b"out",
        "/tests/cassettes/absolute.yaml": b"out",
    }
    into = tmp_path / "samples" / "p"
    into.parent.mkdir()

    unpack(archive(tmp_path, files), into)

    assert [path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()] == [
        "traces/cassettes/test_chat/one.yaml"
    ]
    assert sorted(path.name for path in tmp_path.rglob("*.yaml")) == ["one.yaml"]


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, {})
    right = hashlib.sha256(path.read_bytes()).hexdigest()

    check_hash(path, Distribution("p", "1", right))
    with pytest.raises(ValueError, match="was pinned, so it is not used"):
        check_hash(path, Distribution("p", "1", "0" * 64))


def test_what_is_there_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for one in DISTRIBUTIONS:
        (tmp_path / one.folder).mkdir()
        (tmp_path / one.folder / ".complete").write_text(one.sha256)
    monkeypatch.setenv("PATH", str(tmp_path))  # neither uv nor pip is found

    assert cli.main(["samples", "--into", str(tmp_path)]) == 0
    assert "already there" in capsys.readouterr().err


def test_every_distribution_is_pinned_once_by_version_and_hash() -> None:
    assert len({one.name for one in DISTRIBUTIONS}) == len(DISTRIBUTIONS)
    assert {len(one.sha256) for one in DISTRIBUTIONS} == {64}
    assert {one.version for one in DISTRIBUTIONS} == {"0.62.4", "2.4b0"}


@pytest.mark.slow
@pytest.mark.slow
def test_every_recording_that_was_fetched_is_read_and_loses_only_texts() -> None:
    folder = samples.DEFAULT_FOLDER
    if not any(folder.glob("*/.complete")):
        pytest.skip("no samples here; `tokenledger samples` fetches them")

    whole, problems = read_all(str(folder))
    redacted, _ = read_all(str(folder), redact=True)

    assert problems == []
    assert len(whole) == len(redacted) > 1000
    assert sum(len(one.raw.value or b"") for one in redacted) * 5 < sum(len(one.raw.value or b"") for one in whole)
