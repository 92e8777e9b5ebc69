"""Versions on disk: what comes back is what was stored, and what was tampered with is refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from serving.router.features import Prompt, features
from serving.router.model import estimate
from serving.router.versions import VersionError, load, promote, promoted, report, save, versions
from tests.serving.router.made import pairs, trained


def test_a_version_that_is_loaded_estimates_as_the_one_that_was_saved(tmp_path: Path) -> None:
    save(tmp_path, trained(), {"lines": []})
    loaded = load(tmp_path, trained().version)
    for pair in pairs(20, seed=12, signal=0.9):
        assert estimate(loaded, features(pair.prompt)) == estimate(trained(), features(pair.prompt))
    assert report(tmp_path, trained().version) == {"lines": []}


def test_saving_again_leaves_what_is_there(tmp_path: Path) -> None:
    first = save(tmp_path, trained(), {"lines": []})
    told = (first / "report.json").stat().st_mtime_ns
    assert save(tmp_path, trained(), {"lines": ["other"]}) == first
    assert (first / "report.json").stat().st_mtime_ns == told
    assert [place.name for place in tmp_path.iterdir()] == [trained().version]


def test_versions_are_listed_the_newest_last(tmp_path: Path) -> None:
    for age, seed in enumerate((1, 2)):
        os.utime(save(tmp_path, trained(seed), {}), ns=(age, age))
    assert versions(tmp_path) == [trained(1).version, trained(2).version]
    assert versions(tmp_path / "nowhere") == []


def test_promoting_moves_the_pointer_and_back(tmp_path: Path) -> None:
    assert promoted(tmp_path) is None
    for seed in (1, 2, 1):
        save(tmp_path, trained(seed), {})
        promote(tmp_path, trained(seed).version)
        assert promoted(tmp_path) == trained(seed).version
    assert not list(tmp_path.glob(".*"))


def test_what_is_not_there_is_not_promoted(tmp_path: Path) -> None:
    save(tmp_path, trained(), {})
    promote(tmp_path, trained().version)
    with pytest.raises(VersionError, match=f"no version 'beef'; versions are: {trained().version}"):
        promote(tmp_path, "beef")
    assert promoted(tmp_path) == trained().version


def test_a_version_that_was_changed_is_refused(tmp_path: Path) -> None:
    place = save(tmp_path, trained(), {})
    card = place / "card.json"
    card.write_text(card.read_text().replace('"pairs": 400', '"pairs": 401'))
    with pytest.raises(VersionError, match="it was changed after training"):
        load(tmp_path, trained().version)


@pytest.mark.parametrize("broken", [b"", b"PK\x03\x04 cut off", b"not an archive at all"])
def test_arrays_that_cannot_be_read_are_refused(tmp_path: Path, broken: bytes) -> None:
    place = save(tmp_path, trained(), {})
    (place / "arrays.npz").write_bytes(broken)
    with pytest.raises(VersionError, match=r"cannot be read"):
        load(tmp_path, trained().version)


def test_a_pickle_among_the_arrays_is_refused(tmp_path: Path) -> None:
    """Unpickling runs whatever code it names."""
    place = save(tmp_path, trained(), {})
    np.savez(place / "arrays.npz", buckets=np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(VersionError, match=r"cannot be read"):
        load(tmp_path, trained().version)


def test_a_model_fits_into_a_few_megabytes(tmp_path: Path) -> None:
    place = save(tmp_path, trained(), {})
    assert sum(file.stat().st_size for file in place.iterdir()) < 4_000_000
    assert estimate(load(tmp_path, trained().version), features(Prompt(text="x"))).familiarity == 0
