"""From a lake to a report and an alert, and from an alert to a router that somebody promotes."""

import csv
import json
import random
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dags import io
from dags.core.findings import Terms
from dags.edges import drifting
from dags.edges.drifting import Asked
from dags.edges.embedded import Vectors
from dags.edges.flat import flat
from ledger.lake import files, schema
from ledger.lake.layout import CALLS, Place, Span, file_name, place
from ledger.lake.reading import write_texts
from serving.router.versions import promoted
from tests.dags.captured import DAY_US, START_US, text
from tests.serving.router.made import pairs
from tokenledger.cli import main
from tokenledger.drift import histogram, psi
from tokenledger.records import Call, Latency, PricedCall

pytestmark = pytest.mark.slow


def day(lake: Path, number: int, *, calls: int = 600, small: float = 0.8, longer: float = 0.0) -> None:
    """One day of two tenants' calls; the share of the small tier, and how much longer prompts are."""
    draw = random.Random(number)  # noqa: S311  (a workload, not a secret)
    rows = []
    for n in range(calls):
        at_us = START_US + number * DAY_US + n * 1_000_000
        call = Call(
            tenant_id=f"t{n % 2}",
            event_id=f"{number}-{n}",
            event_key=f"s#{number}-{n}",
            provider="openai",
            usage={},
            started_at_us=at_us,
            event_time_source="started_at",
            feature="chat" if n % 3 else "mail",
            response_model="m",
            route_tier="small" if draw.random() < small else "large",
            input_tokens=int(draw.lognormvariate(5 + longer, 1)),
            finish_reason="stop",
        )
        latency = Latency(total_us=int(draw.lognormvariate(13, 0.5)))
        priced = PricedCall(call=call, price_status="priced", latency=latency)
        rows.append(schema.PlacedCall(priced, None, at_us, 0, number * 10_000 + n))
    rows.sort(key=_place)
    for where, group in groupby(rows, key=_place):
        path = where.path / file_name(Span("llm.priced.v1", 0, number * 10_000, number * 10_000 + calls))
        files.stage(lake, path, table=schema.calls_table(list(group)))
        files.publish(lake, [path])


def _place(row: schema.PlacedCall) -> Place:
    return place(CALLS, row.priced.call.tenant_id, charged_at_us=row.charged_at_us)


def window(number: int) -> io.Window:
    """That day."""
    return io.Window(since_us=START_US + number * DAY_US, until_us=START_US + (number + 1) * DAY_US)


def asked(folder: Path, number: int, *, pages: int = 0, runs: int = 2) -> Asked:
    """A report on that day."""
    terms = Terms(threshold=0.2, least_rows=50, runs=runs)
    return Asked(drift=folder / "drift", lake=folder / "lake", window=window(number), terms=terms, pages=pages)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A lake of four days, the last two of which have moved, and a reference of the first."""
    lake = tmp_path / "lake"
    for number in range(4):
        day(lake, number, small=0.8 if number < 2 else 0.3, longer=0.0 if number < 2 else 1.0)
    drifting.make_reference(tmp_path / "drift", lake, window=window(0))
    return tmp_path


def test_a_quiet_day_has_not_moved_and_another_has(folder: Path) -> None:
    quiet, loud = (drifting.report(asked(folder, number)) for number in (1, 2))

    assert [one.place for one in quiet.findings if one.moved] == []
    moved = {one.place for one in loud.findings if one.moved}
    assert moved == {
        (tenant, feature, column)
        for tenant in ("t0", "t1")
        for feature in ("", "chat", "mail")
        for column in ("input_tokens", "route_tier")
    }


def test_the_figures_are_those_of_the_pure_function_on_the_calls(folder: Path) -> None:
    """Counted again without NumPy, by the function that a stream would call."""
    found = drifting.report(asked(folder, 2))
    base = drifting.reference(folder / "drift")
    column = next(
        one for one in base.columns if (one.tenant_id, one.feature, one.column) == ("t0", "chat", "input_tokens")
    )
    batches = io.calls(folder / "lake", window=window(2))
    values = [
        row["input_tokens"]
        for batch in batches
        for row in batch.to_pylist()
        if (row["tenant_id"], row["feature"]) == ("t0", "chat")
    ]

    [said] = [one.psi for one in found.findings if one.place == ("t0", "chat", "input_tokens")]

    assert said == psi(column.counts, histogram(column.bins, values))


def test_the_same_window_again_is_the_same_report_and_counts_once(folder: Path) -> None:
    first = drifting.report(asked(folder, 2))
    second = drifting.report(asked(folder, 2))

    assert first == second
    assert drifting.alert(folder / "drift") is None
    assert len(list((folder / "drift" / "reports").iterdir())) == 1


def test_what_stays_moved_is_an_alert_until_it_does_not(folder: Path) -> None:
    drifting.report(asked(folder, 2))
    drifting.report(asked(folder, 3))
    alert = drifting.alert(folder / "drift")
    assert alert is not None
    assert {one.column for one in alert.findings} == {"input_tokens", "route_tier"}

    day(folder / "lake", 4)
    drifting.report(asked(folder, 4))

    assert drifting.alert(folder / "drift") is None


def test_too_few_rows_say_nothing(folder: Path) -> None:
    day(folder / "lake", 5, calls=60, small=0.0)

    found = drifting.report(asked(folder, 5))

    assert all(one.psi is None for one in found.findings if one.feature)
    assert not any(one.moved for one in found.findings)


def test_a_report_on_no_calls_is_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["drift", "report", "--drift", str(folder / "drift"), "--lake", str(folder / "lake"), "--pages", "0"]

    assert main([*words, "--since", "2031-01-01"]) == 3
    assert main(["drift", "alert", "--drift", str(folder / "drift")]) == 3
    assert main(["drift", "report", "--drift", str(folder / "none"), "--lake", str(folder / "lake")]) == 2
    assert "make one: tokenledger drift reference" in capsys.readouterr().err


def test_the_shape_of_texts_is_looked_at_where_there_are_texts(folder: Path, tmp_path: Path) -> None:
    said = [text(0, asked="x" * 50, tenant_id="t0", event_key="s#0-0", started_at_us=START_US)]
    write_texts(folder / "lake", said)
    (tmp_path / "own").mkdir()

    with flat(tmp_path / "own", folder / "lake", window=window(0), memory="1GB") as calls:
        rows = [row for batch in calls.batches() for row in batch.to_pylist()]

    assert len(rows) == 600
    [shaped] = [row for row in rows if row["prompt_chars"] is not None]
    assert (shaped["event_key"], shaped["prompt_chars"], shaped["turns"]) == ("s#0-0", 50.0, 1.0)


def test_evidently_draws_the_group_that_moved_most_with_the_same_figures(folder: Path) -> None:
    from dags.edges.evidently_page import draw

    found = drifting.report(asked(folder, 2, pages=1))
    base = drifting.reference(folder / "drift")
    page = folder / "drift" / "reports" / found.run / "evidently-1.html"
    assert page.stat().st_size > 100_000
    assert "evidently-1.html" in (page.parent / "index.html").read_text()

    old = pq.read_table(folder / "drift" / "samples" / f"{base.version}.parquet")
    (folder / "own").mkdir()
    with flat(folder / "own", folder / "lake", window=window(2), memory="1GB") as calls:
        now = calls.sample("t0", "chat", most=2_000)
    columns = {one.column: one.bins for one in base.columns if (one.tenant_id, one.feature) == ("t0", "chat")}
    rows = [row for row in old.to_pylist() if (row["tenant_id"], row["feature"]) == ("t0", "chat")]
    theirs = draw(
        folder / "page.html", old.schema.empty_table().from_pylist(rows, schema=old.schema), now=now, columns=columns
    )

    ours = {one.column: one.psi for one in found.findings if one.place[:2] == ("t0", "chat")}
    assert theirs["route_tier"] == pytest.approx(ours["route_tier"], rel=1e-6)
    assert theirs["input_tokens"] == pytest.approx(ours["input_tokens"], rel=1e-6)


def by_letters(prompts: list[str]) -> Vectors:
    """An embedding that a test can follow: how often each letter occurs, as a unit vector."""
    counted = np.array(
        [[said.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for said in prompts], np.float32
    )
    vectors: Vectors = (counted + 0.01) / np.linalg.norm(counted + 0.01, axis=1, keepdims=True)
    return vectors


def test_prompts_that_speak_of_something_else_are_told_apart_and_others_not(folder: Path) -> None:
    draw = random.Random(9)  # noqa: S311  (a workload, not a secret)
    letters = {0: "abcdefgh", 1: "abcdefgh", 2: "stuvwxyz"}
    for number, own in letters.items():
        said = [
            text(n, asked=" ".join(draw.choices(own, k=40)), tenant_id="t0", event_key=f"p#{number}-{n}",
                 started_at_us=START_US + number * DAY_US + n)
            for n in range(120)
        ]  # fmt: skip
        write_texts(folder / "lake", said, first_offset=1_000 * number)
    drifting.make_reference(folder / "drift", folder / "lake", window=window(0), embed=by_letters)

    [quiet] = drifting.report(asked(folder, 1), by_letters).spoken
    [loud] = drifting.report(asked(folder, 2), by_letters).spoken

    assert quiet.distance < 0.02
    assert 0.3 < quiet.told_apart < 0.7
    assert loud.distance > 0.5
    assert loud.told_apart > 0.95
    assert drifting.report(asked(folder, 1)).spoken == ()


# From an alert to a router


def csv_of(path: Path, *, count: int, seed: int, signal: float = 0.9) -> Path:
    """Labelled pairs."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "small", "large"])
        writer.writerows(
            [f"{one.prompt.text} {path.stem}", *one.qualities] for one in pairs(count, seed=seed, signal=signal)
        )
    return path


def retrain(folder: Path, *words: str) -> int:
    """`tokenledger retrain`."""
    return main(["retrain", *words, "--models", str(folder / "models")])


def trained(folder: Path, learned: Path, golden: Path, *, draws: int = 50) -> int:
    """`tokenledger retrain run` with two tiers."""
    files = "--pairs", str(learned), "--golden", str(golden)
    return retrain(folder, "run", *files, "--tier", "small", "--tier", "large", "--draws", str(draws), "--json")


def test_a_candidate_is_registered_and_serves_only_when_somebody_promotes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = csv_of(tmp_path / "learned.csv", count=300, seed=1)
    golden = csv_of(tmp_path / "golden.csv", count=200, seed=2)

    status = trained(tmp_path, learned, golden)

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    version = told["candidate"]["version"]
    assert (status, told["fit"], told["golden_pairs"]) == (0, True, 200)
    assert promoted(tmp_path / "models") is None
    assert retrain(tmp_path, "promote", version, "--by", "ann", "--why", "better") == 0
    assert promoted(tmp_path / "models") == version
    [entry] = [json.loads(line) for line in (tmp_path / "models" / "promotions.jsonl").read_text().splitlines()]
    assert (entry["by"], entry["why"], entry["version"], entry["before"]) == ("ann", "better", version, None)
    assert trained(tmp_path, learned, golden) == 0
    assert retrain(tmp_path, "promote", version, "--by", "ann", "--why", "again") == 0
    assert len((tmp_path / "models" / "promotions.jsonl").read_text().splitlines()) == 1


def test_a_candidate_that_is_wrong_on_golden_pairs_is_not_promoted_unless_somebody_insists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = csv_of(tmp_path / "learned.csv", count=120, seed=3)
    golden = csv_of(tmp_path / "golden.csv", count=150, seed=4, signal=-0.9)

    assert trained(tmp_path, learned, golden) == 3
    version = json.loads(capsys.readouterr().out.splitlines()[-1])["candidate"]["version"]

    assert retrain(tmp_path, "promote", version, "--by", "ann", "--why", "hope") == 3
    assert promoted(tmp_path / "models") is None
    assert retrain(tmp_path, "promote", version, "--by", "ann", "--why", "hope", "--unfit") == 0
    assert promoted(tmp_path / "models") == version


def test_golden_prompts_are_never_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = csv_of(tmp_path / "both.csv", count=200, seed=1)
    lines = both.read_text().splitlines(keepends=True)
    golden = tmp_path / "golden.csv"
    golden.write_text("".join(lines[:121]))

    trained(tmp_path, both, golden, draws=20)

    assert "trained on 80 pairs, judged on 120" in capsys.readouterr().out


def test_what_is_no_set_of_pairs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = csv_of(tmp_path / "golden.csv", count=120, seed=1)

    assert retrain(tmp_path, "run", "--pairs", "nothing", "--golden", str(golden), "--tier", "a", "--tier", "b") == 2
    assert retrain(tmp_path, "run", "--pairs", str(golden), "--golden", str(golden), "--tier", "small") == 2
    assert retrain(tmp_path, "promote", "nothing", "--by", "ann", "--why", "x") == 2
    assert "is no candidate" in capsys.readouterr().err
