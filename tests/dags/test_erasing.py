"""Sets that grow by review, and users who leave: what stays keeps its bytes, what goes is gone everywhere."""

import json
import subprocess
from pathlib import Path

import pytest

from dags import io
from dags.core.checks import Rules
from dags.edges import building, erasing, versions
from dags.edges.building import Places
from dags.edges.erasures import Erasure
from dags.edges.golden import FILE
from dags.edges.scoring import Asked, score
from ledger.lake.reading import write_texts
from tests.dags.captured import START_US, escalated, lake_of, rules, talk, text
from tokenledger.cli import main

pytestmark = pytest.mark.slow

CANARY = "heliotrope"
"""What only the user who leaves has said."""


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """Chats, pairs and questions of 30 operations, some of user `ann`; two versions of the chats."""
    texts = [
        *talk(30),
        *escalated(50, asked=f"Is {CANARY} a colour?", cheap="No.", strong=f"Yes, {CANARY} is.", user_hash="ann"),
        *escalated(60, asked="Is it a colour?", cheap="Maybe.", strong="It is not."),
        text(70, asked=f"More {CANARY}!", said="No more.", user_hash="ann", conversation_id="conversation-1"),
    ]
    lake_of(tmp_path / "lake", texts)
    places = Places(lake=tmp_path / "lake", datasets=tmp_path / "datasets")
    for recipe in (
        rules("[preferences]", name="chats"),
        rules("[strata]\nrows = 100", name="exam", kind="eval"),
        rules("[router]\ntiers = ['small', 'large']", name="pairs", kind="router_pairs"),
    ):
        building.build(recipe, places, window=io.Window())
    write_texts(tmp_path / "lake", [text(90, asked="Later?", said="Later.")], first_offset=1_000)
    building.build(rules("[preferences]", name="chats"), places, window=io.Window())
    return tmp_path / "datasets"


def golden(datasets: Path, *words: str) -> int:
    """A review."""
    return main(["datasets", "golden", "golden", "--by", "bea", "--why", "seen", "--datasets", str(datasets), *words])


def text_of(datasets: Path, file: str = FILE) -> bytes:
    """A file of the golden set as it is now."""
    return (versions.folder(datasets, versions.load(datasets, "golden")) / file).read_bytes()


def rows(datasets: Path, name: str) -> list[str]:
    """Ids of its rows."""
    return [row["row_id"] for row in versions.index(datasets, versions.load(datasets, name))]


def test_a_review_only_ever_adds_at_the_end(datasets: Path) -> None:
    ids = rows(datasets, "exam")

    golden(datasets, "--from", "exam", "--row", ids[5], "--row", ids[3])
    first = text_of(datasets)
    golden(datasets, "--from", "exam", "--row", ids[0], "--row", ids[3])
    second = text_of(datasets)

    assert first.count(b"\n") == 2
    assert second.startswith(first)
    assert second.count(b"\n") == 3
    assert text_of(datasets, "reviews.jsonl").count(b"\n") == 2
    assert versions.load(datasets, "golden").growth is not None
    assert main(["datasets", "verify", "--datasets", str(datasets)]) == 0


def test_what_is_in_is_not_added_again(datasets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden(datasets, "--from", "exam", "--all")
    before = versions.load(datasets, "golden")

    golden(datasets, "--from", "exam", "--all", "--json")

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["new"] is False
    assert versions.load(datasets, "golden") == before


def test_a_reviewer_may_write_the_right_answer(datasets: Path) -> None:
    golden(datasets, "--from", "exam", "--row", rows(datasets, "exam")[0], "--answer", "Forty-two.")

    [line] = text_of(datasets).splitlines()
    assert json.loads(line)["reference"] == {"role": "assistant", "content": "Forty-two."}
    assert json.loads(line)["reviewed_by"] == "bea"


def test_of_a_chat_the_answer_becomes_the_reference(datasets: Path) -> None:
    golden(datasets, "--from", "chats", "--row", rows(datasets, "chats")[0])

    [line] = text_of(datasets).splitlines()
    assert [message["role"] for message in json.loads(line)["messages"]] == ["user"]
    assert json.loads(line)["reference"]["role"] == "assistant"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from", "exam", "--row", "nothing"], "has no row 'nothing'"),
        (["--from", "exam"], "name the rows"),
        (["--from", "exam", "--all", "--answer", "x"], "--answer is for one row"),
        (["--from", "nothing", "--all"], "has no dataset 'nothing'"),
    ],
)
def test_a_review_that_names_nothing_useful_is_refused(
    datasets: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert golden(datasets, *words) == 2
    assert told in capsys.readouterr().err
    assert "golden" not in versions.names(datasets)


def holders(folder: Path, said: str) -> list[str]:
    """Files below a folder in which it stands, by grep."""
    found = subprocess.run(["grep", "-rl", said, str(folder)], capture_output=True, text=True, check=False)
    return sorted(Path(path).name for path in found.stdout.splitlines())


def test_a_user_who_leaves_is_gone_from_every_version_and_nothing_else_changes(datasets: Path) -> None:
    golden(datasets, "--from", "exam", "--all")
    assert len(holders(datasets, CANARY)) >= 6
    before = {name: versions.load(datasets, name) for name in versions.names(datasets)}
    kept = {
        (name, line)
        for name, manifest in before.items()
        for file in manifest.files
        if file.path not in {"index.jsonl", "reviews.jsonl"}
        for line in (versions.folder(datasets, manifest) / file.path).read_bytes().splitlines()
        if CANARY.encode() not in line
    }

    status = main(["datasets", "erase", "--tenant", "acme", "--user-hash", "ann", "--datasets", str(datasets)])

    assert status == 0
    assert holders(datasets, CANARY) == []
    assert holders(datasets, '"ann"') == ["erasures.jsonl"]
    after = {name: versions.load(datasets, name) for name in versions.names(datasets)}
    left = {
        (name, line)
        for name, manifest in after.items()
        for file in manifest.files
        if file.path not in {"index.jsonl", "reviews.jsonl"}
        for line in (versions.folder(datasets, manifest) / file.path).read_bytes().splitlines()
    }
    assert left == kept
    assert main(["datasets", "verify", "--datasets", str(datasets)]) == 0
    assert {name: one.growth.parent for name, one in after.items() if one.growth} == {
        name: one.version for name, one in before.items()
    }


def test_every_row_of_the_index_still_names_its_line(datasets: Path) -> None:
    before = {
        row["row_id"]: (row["file"], row["row"]) for row in versions.index(datasets, versions.load(datasets, "exam"))
    }
    erasing.erase(datasets, Erasure(tenant_id="acme", user_hash="ann"))
    manifest = versions.load(datasets, "exam")

    for row in versions.index(datasets, manifest):
        lines = (versions.folder(datasets, manifest) / row["file"]).read_bytes().split(b"\n")
        assert json.loads(lines[row["row"] - 1])["id"] == row["row_id"]
    assert len(before) > manifest.rows


def test_erasing_again_finds_nothing_and_no_build_reads_the_user_again(datasets: Path) -> None:
    erasure = Erasure(tenant_id="acme", user_hash="ann")
    assert len(erasing.erase(datasets, erasure)) == 4

    assert erasing.erase(datasets, erasure) == []
    places = Places(lake=datasets.parent / "lake", datasets=datasets)
    built = building.build(rules("[preferences]", name="chats"), places, window=io.Window())

    assert built.counts["seen: erased"] == 3
    assert holders(datasets, CANARY) == []


def test_an_interrupted_erasure_is_finished_by_the_next(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    erasure = Erasure(tenant_id="acme", user_hash="ann")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(versions, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            erasing.erase(datasets, erasure)
    erasing.erase(datasets, erasure)

    assert holders(datasets, CANARY) == []
    assert main(["datasets", "verify", "--datasets", str(datasets)]) == 0


def test_a_version_of_nothing_but_that_user_is_removed(datasets: Path) -> None:
    second = io.Window(since_us=START_US + 70_000_000, until_us=START_US + 71_000_000)
    building.build(rules(name="late"), Places(lake=datasets.parent / "lake", datasets=datasets), window=second)

    found = erasing.erase(datasets, Erasure(tenant_id="acme", user_hash="ann"))

    assert [one.after for one in found if one.before.startswith("late@")] == [None]
    assert "late" not in versions.names(datasets)


def test_the_same_user_hash_of_another_tenant_stays(datasets: Path) -> None:
    assert erasing.erase(datasets, Erasure(tenant_id="globex", user_hash="ann")) == []
    assert holders(datasets, CANARY) != []


def test_scores_of_the_user_go_too(datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores"
    score(Asked(lake=tmp_path / "lake", scores=scores, window=io.Window(), rules=Rules()))

    main(["datasets", "erase", "--tenant", "acme", "--user-hash", "ann", "--datasets", str(datasets), "--scores",
          str(scores), "--json"])  # fmt: skip

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["scores"] == 3
