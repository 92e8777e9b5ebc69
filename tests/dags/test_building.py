"""A recipe and a lake give one version: the same bytes every time, whole or not at all, whatever the data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dags import io
from dags.core import words
from dags.core.checks import Rules
from dags.core.recipe import Recipe
from dags.edges import building, scoring, versions
from dags.edges.building import Built, Places
from dags.edges.scoring import Asked
from ledger.lake.reading import write_texts
from tests.dags.captured import DAY_US, START_US, escalated, lake_of, rules, talk, text
from tokenledger.cli import main
from tokenledger.records.texts import CapturedText

pytestmark = pytest.mark.slow

ALL = io.Window()


def build(folder: Path, recipe: Recipe, *, datasets: str = "datasets", window: io.Window = ALL) -> Built:
    """From the lake beside it."""
    return building.build(recipe, Places(lake=folder / "lake", datasets=folder / datasets), window=window)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def lines(
    folder: Path, built: Built, file: str = "train.jsonl", *, datasets: str = "datasets"
) -> list[dict[str, object]]:
    """The rows of a file."""
    assert built.manifest is not None
    place = versions.folder(folder / datasets, built.manifest)
    return [json.loads(line) for line in (place / file).read_text().splitlines()]


def rows_and_sides(folder: Path, built: Built, *, datasets: str = "datasets") -> dict[str, str]:
    """Row → its file."""
    assert built.manifest is not None
    return {row["row_id"]: row["file"] for row in versions.index(folder / datasets, built.manifest)}


def scored(folder: Path) -> Path:
    """Scores of the lake beside it."""
    scoring.score(Asked(lake=folder / "lake", scores=folder / "scores", window=ALL, rules=Rules()))
    return folder / "scores"


GOOD = rules("[filters]\nchecks = ['refusal', 'tool_calls']")


def test_filters_on_checks_go_by_what_was_scored(tmp_path: Path) -> None:
    refused = text(900, asked="How old is the bridge?", said="I'm sorry, but I can't help with that.")
    lake_of(tmp_path / "lake", [*talk(10), refused])
    places = Places(lake=tmp_path / "lake", datasets=tmp_path / "datasets", scores=scored(tmp_path))
    lake_of(tmp_path / "lake", [text(901, asked="Is it new?", said="It is not.")], first_offset=100)

    built = building.build(GOOD, places, window=ALL)

    found = {name: count for name, count in built.counts.items() if "left out" in name or "scores" in name}
    assert found == {"chat left out: failed_check": 1, "chat left out: not_scored": 1, "seen: calls without scores": 1}
    assert len(rows_and_sides(tmp_path, built)) == 10


@pytest.mark.parametrize("named", [True, False])
def test_a_recipe_that_asks_for_scores_is_refused_while_nothing_was_scored(tmp_path: Path, *, named: bool) -> None:
    lake_of(tmp_path / "lake", list(talk(3)))
    scores = tmp_path / "scores" if named else None
    places = Places(lake=tmp_path / "lake", datasets=tmp_path / "datasets", scores=scores)

    with pytest.raises(ValueError, match=r"made: filters\.checks asks for scores, .*`tokenledger score run`"):
        building.build(GOOD, places, window=ALL)


MIXED = rules("[preferences]\n[balance]\nmost_rows = 100")


def mixed() -> list[CapturedText]:
    """Talk, escalations, repeats."""
    found = list(talk(60))
    for number in range(100, 110):
        pair = escalated(
            number, asked=f"Is {number} hard {'word ' * number}?", cheap="No idea.", strong=f"It is {number}."
        )
        found.extend(pair)
    return [*found, text(500, asked="Again", said="Same"), text(501, asked=" again ", said="SAME")]


# The same bytes


def test_the_same_recipe_and_calls_give_the_same_bytes_however_the_lake_is_cut(tmp_path: Path) -> None:
    texts = mixed()
    lake_of(tmp_path / "lake", texts)
    texts = texts[1::2] + texts[::2][::-1]
    for first in range(0, len(texts), 7):
        write_texts(tmp_path / "other" / "lake", texts[first : first + 7], first_offset=first)

    one, two = build(tmp_path, MIXED), build(tmp_path / "other", MIXED)

    assert one.manifest is not None
    assert two.manifest is not None
    assert one.manifest == two.manifest
    places = [versions.folder(folder / "datasets", one.manifest) for folder in (tmp_path, tmp_path / "other")]
    assert bytes_of(places[0]) == bytes_of(places[1])
    assert list(versions.damage(tmp_path / "datasets", one.manifest)) == []


def test_building_again_makes_nothing_new(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", mixed())

    first, second = build(tmp_path, MIXED), build(tmp_path, MIXED)

    assert first.new
    assert not second.new
    assert second.manifest == first.manifest


def test_one_call_more_is_another_version(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", mixed())
    first = build(tmp_path, MIXED)
    write_texts(tmp_path / "lake", [text(900, asked="More?", said="More.")], first_offset=1_000)

    second = build(tmp_path, MIXED)

    assert first.manifest is not None
    assert second.manifest is not None
    assert second.manifest.version != first.manifest.version
    assert versions.versions(tmp_path / "datasets", "made") == [first.manifest.version, second.manifest.version]


def test_two_builds_at_once_make_one_version(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", mixed())
    (tmp_path / "recipe.toml").write_text('name = "made"\n[consent]\ntenants = ["acme"]\n')
    command = [sys.executable, "-m", "tokenledger.cli", "datasets", "build", str(tmp_path / "recipe.toml"), "--json"]
    places = ["--lake", str(tmp_path / "lake"), "--datasets", str(tmp_path / "datasets")]

    both = [subprocess.Popen([*command, *places], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [json.loads(process.communicate()[0].splitlines()[-1]) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert told[0]["version"] == told[1]["version"]
    assert len(versions.versions(tmp_path / "datasets", "made")) == 1
    assert list((tmp_path / "datasets").glob(".unfinished-*")) == []


# What is in, and on which side


def test_no_row_changes_sides_when_the_lake_grows(tmp_path: Path) -> None:
    recipe = rules("[split]\nparts = {train = 60, test = 40}")
    lake_of(tmp_path / "lake", list(talk(60)))
    before = rows_and_sides(tmp_path, build(tmp_path, recipe))
    write_texts(tmp_path / "lake", list(talk(200, first=60)), first_offset=1_000)

    after = rows_and_sides(tmp_path, build(tmp_path, recipe))

    assert before.items() <= after.items()
    assert len(after) == 260
    assert set(before.values()) == {"train.jsonl", "test.jsonl"}


def test_a_conversation_has_rows_on_one_side_only(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(150)))
    built = build(tmp_path, rules("[split]\nparts = {train = 50, test = 50}"))
    assert built.manifest is not None

    sides: dict[str, set[str]] = {}
    for row in versions.index(tmp_path / "datasets", built.manifest):
        number = int(row["event_keys"][0].removeprefix("app#"))
        sides.setdefault(f"conversation-{number // 3}", set()).add(row["file"])

    assert len(sides) == 50
    assert all(len(one) == 1 for one in sides.values())


def test_every_operation_is_a_row_or_counted_with_its_reason(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", mixed())

    counts = build(tmp_path, MIXED).counts

    rows = sum(number for name, number in counts.items() if name.startswith("rows written: ") and "prefer" not in name)
    left = sum(number for name, number in counts.items() if name.startswith("chat left out: "))
    assert rows + left == counts["operations read"] == 72
    assert counts["chat left out: duplicate"] == 1
    pairs = sum(number for name, number in counts.items() if name.startswith("rows written: preferences"))
    assert pairs + counts["preference left out: not_escalated"] == 72


def test_the_earliest_of_near_duplicates_stays(tmp_path: Path) -> None:
    said = " ".join(f"word{number}" for number in range(80))
    texts = [text(number, asked=f"{said} {'x' * number}", said=f"Answer to {said}") for number in (5, 3, 9)]
    lake_of(tmp_path / "lake", texts)

    built = build(tmp_path, rules("[split]\nparts = {train = 1}"))

    assert [row["messages"][0]["content"] for row in lines(tmp_path, built)] == [f"{said} xxx"]  # type: ignore[index]
    assert built.counts["chat left out: near_duplicate"] == 2


def test_a_threshold_of_one_keeps_near_duplicates(tmp_path: Path) -> None:
    said = " ".join(f"word{number}" for number in range(80))
    lake_of(tmp_path / "lake", [text(number, asked=f"{said} {number}", said=said) for number in range(3)])

    built = build(tmp_path, rules("[duplicates]\nthreshold = 1.0\n[split]\nparts = {train = 1}"))

    assert len(lines(tmp_path, built)) == 3


def test_no_row_asks_what_an_evaluation_set_asks(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(40)))
    exam = build(tmp_path, rules("[strata]\nrows = 10", name="exam", kind="eval"))
    assert exam.manifest is not None

    built = build(tmp_path, rules('[leakage]\nagainst = ["exam"]'))

    asked = {words.normal(words.prompt(row["messages"])) for row in lines(tmp_path, exam, "eval.jsonl")}  # type: ignore[arg-type]
    learned = {
        words.normal(words.prompt(row["messages"]))  # type: ignore[arg-type]
        for side in ("train", "validation", "test")
        for row in lines(tmp_path, built, f"{side}.jsonl")
    }
    assert len(asked) == 10
    assert len(learned) == 30
    assert not asked & learned
    assert built.counts["chat left out: leaked"] == 10
    assert built.manifest is not None
    assert built.manifest.against == {"exam": exam.manifest.version}


def test_a_prompt_that_was_changed_a_little_still_leaks(tmp_path: Path) -> None:
    said = " ".join(f"word{number}" for number in range(60))
    lake_of(tmp_path / "lake", [text(1, asked=said)])
    build(tmp_path, rules(name="exam", kind="eval"))
    write_texts(tmp_path / "lake", [text(2, asked=f"{said} please", said="Other")], first_offset=10)

    built = build(tmp_path, rules('[leakage]\nagainst = ["exam"]\nthreshold = 0.7'))

    assert built.manifest is None
    assert built.counts["chat left out: leaked"] == 2


def test_an_evaluation_set_has_of_every_stratum(tmp_path: Path) -> None:
    texts = [
        *talk(50),
        *(text(800 + n, asked=f"Rare {n}?", feature="rare", started_at_us=START_US + 9 * DAY_US) for n in range(4)),
    ]
    lake_of(tmp_path / "lake", texts)

    built = build(tmp_path, rules("[strata]\nrows = 12", kind="eval"))

    features = [str(row["feature"]) for row in lines(tmp_path, built, "eval.jsonl")]
    assert {name: features.count(name) for name in set(features)} == {"rare": 4, "chat": 4, "mail": 4}


def test_a_drawn_question_stays_drawn_while_its_stratum_has_room(tmp_path: Path) -> None:
    recipe = rules("[strata]\nrows = 30\nby = ['feature']", kind="eval")
    lake_of(tmp_path / "lake", list(talk(10)))
    before = set(rows_and_sides(tmp_path, build(tmp_path, recipe)))
    write_texts(tmp_path / "lake", list(talk(10, first=10)), first_offset=100)

    after = set(rows_and_sides(tmp_path, build(tmp_path, recipe)))

    assert before < after


def test_texts_of_others_and_of_those_who_refused_are_not_used(tmp_path: Path) -> None:
    texts = [
        text(1, asked="mine"),
        text(2, asked="others", tenant_id="globex"),
        text(3, asked="ann's", user_hash="ann"),
        text(4, asked="mail", feature="mail"),
    ]
    lake_of(tmp_path / "lake", texts)
    recipe = rules('refused_users = ["ann"]\nfeatures = {acme = ["chat"]}\n[split]\nparts = {train = 1}')

    built = build(tmp_path, recipe)

    assert [row["messages"][0]["content"] for row in lines(tmp_path, built)] == ["mine"]  # type: ignore[index]
    assert built.counts["seen: no_consent"] == 1
    assert built.counts["seen: user_refused"] == 1


def test_only_calls_of_the_window_are_read(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", [text(n, asked=f"{n}?", started_at_us=START_US + n * DAY_US) for n in range(4)])

    built = build(tmp_path, rules(), window=io.Window(since_us=START_US + DAY_US, until_us=START_US + 3 * DAY_US))

    assert built.counts["seen: all calls"] == 2


# Bad input


@pytest.mark.parametrize(
    "texts", [[], [text(1, said=None)], [text(1, messages="{")], [text(1, finish_reason="length")]]
)
def test_an_empty_day_and_one_of_rejects_only_make_no_version(
    tmp_path: Path, texts: list[CapturedText], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake").mkdir()
    lake_of(tmp_path / "lake", texts)
    (tmp_path / "recipe.toml").write_text('name = "made"\n[consent]\ntenants = ["acme"]\n')

    status = main(
        ["datasets", "build", str(tmp_path / "recipe.toml"), "--lake", str(tmp_path / "lake"), "--datasets",
         str(tmp_path / "datasets"), "--json"]
    )  # fmt: skip

    assert status == 3
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["version"] is None
    assert versions.names(tmp_path / "datasets") == []


def test_a_conversation_of_five_megabytes_is_left_out_or_taken_as_the_recipe_says(tmp_path: Path) -> None:
    long = "palaver " * 700_000
    lake_of(tmp_path / "lake", [text(1, asked=long, said="Short."), *talk(5, first=10)])

    usual = build(tmp_path, rules("[split]\nparts = {train = 1}"))
    patient = build(tmp_path, rules("[filters]\nmost_chars = 10_000_000\n[split]\nparts = {train = 1}"))

    assert usual.counts["chat left out: too_long"] == 1
    assert len(lines(tmp_path, usual)) == 5
    taken = lines(tmp_path, patient)
    assert max(len(row["messages"][0]["content"]) for row in taken) == len(long)  # type: ignore[index]


def test_strange_texts_are_written_as_they_are(tmp_path: Path) -> None:
    said = 'a\u2028b "c" \\ \x00 \U0001f600 é'
    lake_of(tmp_path / "lake", [text(1, asked=said, said=said)])

    built = build(tmp_path, rules("[split]\nparts = {train = 1}"))

    assert [row["messages"] for row in lines(tmp_path, built)] == [
        [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
    ]


_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from tokenledger.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""A process whose files may not grow beyond a size: what it meets is what a full disk gives."""


@pytest.mark.parametrize("most_bytes", [0, 4_096, 100_000, 400_000])
def test_a_full_disk_leaves_nothing_half_visible(tmp_path: Path, most_bytes: int) -> None:
    lake_of(tmp_path / "lake", list(talk(3_000)))
    (tmp_path / "recipe.toml").write_text('name = "made"\n[consent]\ntenants = ["acme"]\n')
    words_ = ["datasets", "build", "recipe.toml", "--lake", "lake", "--datasets", "datasets"]
    environment = os.environ | {"PYTHONPATH": str(Path(building.__file__).parents[2])}

    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(most_bytes), *words_],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert ended.stderr.startswith("tokenledger datasets: ")
    assert versions.names(tmp_path / "datasets") == []
    assert [path.name for path in (tmp_path / "datasets").glob("*/*")] == []


def test_what_a_killed_build_left_is_taken_away_by_the_next(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(30)))
    left = tmp_path / "datasets" / ".unfinished-dead"
    left.mkdir(parents=True)
    (left / "lock").touch()
    (left / "made.parquet").write_bytes(b"half")

    build(tmp_path, rules())

    assert not left.exists()
    assert versions.names(tmp_path / "datasets") == ["made"]
