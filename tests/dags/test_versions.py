"""Versions on disk: damage is found, a manifest that disagrees is refused, a recipe that makes no sense too."""

import json
from pathlib import Path

import pytest

from dags import io
from dags.core.recipe import Recipe
from dags.edges import building, versions
from dags.edges.building import Built, Places
from ledger.lake.reading import write_texts
from tests.dags.captured import lake_of, rules, talk
from tokenledger.cli import main

pytestmark = pytest.mark.slow


def build(folder: Path, recipe: Recipe) -> Built:
    """From the lake beside it."""
    places = Places(lake=folder / "lake", datasets=folder / "datasets")
    return building.build(recipe, places, window=io.Window())


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """With one version of `made`."""
    lake_of(tmp_path / "lake", list(talk(30)))
    build(tmp_path, rules())
    return tmp_path / "datasets"


@pytest.mark.parametrize("harm", ["changed", "missing", "more", "card"])
def test_a_version_that_was_touched_is_found(datasets: Path, harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = versions.folder(datasets, versions.load(datasets, "made"))
    match harm:
        case "changed":
            (place / "train.jsonl").write_bytes((place / "train.jsonl").read_bytes().replace(b"river1", b"rivet1"))
        case "missing":
            (place / "test.jsonl").unlink()
        case "more":
            (place / "notes.txt").touch()
        case _:
            (place / "card.md").write_text("# Another\n")

    status = main(["datasets", "verify", "--datasets", str(datasets)])

    assert status == 1
    assert "1 differences" in capsys.readouterr().out


def test_a_whole_version_is_found_whole(datasets: Path) -> None:
    assert main(["datasets", "verify", "made", "--datasets", str(datasets)]) == 0


@pytest.mark.parametrize("harm", ["another version", "no JSON"])
def test_a_manifest_that_disagrees_with_its_place_is_refused(
    datasets: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = versions.load(datasets, "made")
    path = versions.folder(datasets, manifest) / versions.MANIFEST
    said = path.read_bytes()
    path.write_bytes(
        said[: len(said) // 2] if harm == "no JSON" else said.replace(manifest.version.encode(), b"f" * 16)
    )

    status = main(["datasets", "show", "made", "--datasets", str(datasets)])

    assert status == 2
    assert "manifest.json" in capsys.readouterr().err


def test_an_unknown_version_is_told_with_those_that_are_there(
    datasets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = versions.load(datasets, "made").version

    assert main(["datasets", "show", "made@nothing", "--datasets", str(datasets)]) == 2
    assert known in capsys.readouterr().err


def test_a_difference_names_what_came_and_went_and_nothing_changed_sides(
    datasets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = versions.load(datasets, "made")
    write_texts(datasets.parent / "lake", list(talk(6, first=300)), first_offset=1_000)
    after = build(datasets.parent, rules())
    assert after.manifest is not None

    main(["datasets", "diff", before.id, after.manifest.id, "--datasets", str(datasets), "--json"])

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["came"], told["went"], told["stayed"], told["changed_sides"]) == (6, 0, 30, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        "name = 'A'\n[consent]\ntenants=['a']",
        "name = 'a'",
        "name = 'a'\n[consent]\ntenants=[]",
        "name = 'a'\nsurprise = 1\n[consent]\ntenants=['a']",
        "name = 'a'\n[consent]\ntenants=['a']\n[split]\nparts={train=0}",
        "name = 'a'\n[consent]\ntenants=['a']\n[split.parts]\n'../x' = 1",
        "name = 'a'\nkind = 'router_pairs'\n[consent]\ntenants=['a']",
        "name = 'a'\n[consent]\ntenants=['a']\n[duplicates]\nthreshold = 0",
        "name = ",
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text(wrong)

    status = main(["datasets", "build", str(tmp_path / "recipe.toml"), "--datasets", str(tmp_path)])

    assert status == 2
    assert "recipe.toml: " in capsys.readouterr().err
