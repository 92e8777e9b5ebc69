"""Every captured answer is scored once, whatever dies in between; a judge is a real HTTP server here."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dags import io
from dags.core.checks import FeatureRules, Rules
from dags.core.rubric import USUAL
from dags.edges import building
from dags.edges.building import Places
from dags.edges.judging import Judge
from dags.edges.scoring import Asked, Scored, score
from ledger.lake.reading import write_texts
from tests.dags.captured import lake_of, rules, talk, text
from tokenledger.cli import main

pytestmark = pytest.mark.slow


def scored(folder: Path, **facts: Any) -> Scored:
    """The lake beside it."""
    usual: dict[str, Any] = {"window": io.Window(), "rules": Rules()}
    return score(Asked(lake=folder / "lake", scores=folder / "scores", **(usual | facts)))


def parts(folder: Path) -> dict[str, bytes]:
    """Every file of scores."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "scores").rglob("*.parquet"))}


@contextmanager
def judging(reply: str, *, status: int = 200) -> Iterator[tuple[Judge, list[dict[str, Any]]]]:
    """A judge that always says this, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(json.loads(body) | {"path": self.path, "key": self.headers.get("Authorization")})
            said = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        yield Judge(url=url, model="strong", rubric=USUAL, key="secret", timeout_s=10), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_every_captured_call_is_scored_and_a_second_run_writes_nothing(tmp_path: Path) -> None:
    texts = [*talk(40), text(90, said=None), text(91, messages="{"), text(92, tenant_id="globex", said="I can't help.")]
    lake_of(tmp_path / "lake", texts)

    first = scored(tmp_path)
    files = parts(tmp_path)
    second = scored(tmp_path)

    assert (first.captured, first.checked, first.new) == (43, 43, 43)
    assert (second.captured, second.checked, second.new) == (43, 43, 0)
    assert first.failed["answered"] == 1
    assert first.failed["readable"] == 1
    assert parts(tmp_path) == files


def test_only_what_is_new_is_scored(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(10)))
    scored(tmp_path)
    before = parts(tmp_path)
    write_texts(tmp_path / "lake", list(talk(5, first=10)), first_offset=100)

    second = scored(tmp_path)

    assert (second.checked, second.new) == (15, 5)
    assert before.items() < parts(tmp_path).items()


def test_other_rules_score_everything_again(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(10)))
    first = scored(tmp_path)

    second = scored(tmp_path, rules=Rules(default=FeatureRules(most_chars=3)))

    assert second.new == 10
    assert second.failed == {"length": 10}
    assert second.checks_version != first.checks_version


def test_coverage_is_published_by_tenant(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", [*talk(3), text(9, tenant_id="globex")])
    with judging('{"score": 4}') as (judge, _):
        scored(tmp_path, judge=judge, most=2)

    told = json.loads((tmp_path / "scores" / "coverage.json").read_text())

    assert {name: one["captured"] for name, one in told["tenants"].items()} == {"acme": 3, "globex": 1}
    assert {name: one["checked"] for name, one in told["tenants"].items()} == {"acme": 3, "globex": 1}
    assert sum(one["judged"] for one in told["tenants"].values()) == 2


def test_a_judge_is_asked_about_each_answer_once(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", [*talk(12), text(90, said=None)])

    with judging('{"score": 4}') as (judge, asked):
        first = scored(tmp_path, judge=judge)
        again = scored(tmp_path, judge=judge)

    assert (first.judged, first.judged_new, again.judged_new) == (12, 12, 0)
    assert len(asked) == 12
    assert {one["path"] for one in asked} == {"/v1/chat/completions"}
    assert {one["key"] for one in asked} == {"Bearer secret"}
    assert {one["temperature"] for one in asked} == {0}


def test_a_budget_draws_the_same_answers_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(9)))

    with judging('{"score": 4}') as (judge, asked):
        judged = [scored(tmp_path, judge=judge, most=4).judged for _ in range(3)]

    assert judged == [4, 8, 9]
    assert len(asked) == 9


@pytest.mark.parametrize(("reply", "status"), [("Rather good.", 200), ('{"score": 4}', 500)])
def test_an_answer_without_a_verdict_stays_without_one_and_is_asked_about_again(
    tmp_path: Path, reply: str, status: int
) -> None:
    lake_of(tmp_path / "lake", list(talk(5)))
    with judging(reply, status=status) as (judge, _):
        failed = scored(tmp_path, judge=judge)

    with judging('{"score": 2}') as (judge, _):
        mended = scored(tmp_path, judge=judge)

    assert (failed.judged, sum(failed.unjudged.values())) == (0, 5)
    assert (mended.judged, mended.unjudged) == (5, {})


def test_nobody_is_asked_for_ever_when_there_is_no_judge(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(60)))
    judge = Judge(url="http://127.0.0.1:9/v1", model="strong", rubric=USUAL, timeout_s=2)

    found = scored(tmp_path, judge=judge)

    assert sum(found.unjudged.values()) == 20
    assert found.checked == 60


def test_scores_hold_no_texts(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(5)))
    with judging('{"score": 4, "reason": "river1 is well told"}') as (judge, _):
        scored(tmp_path, judge=judge)

    columns = {name for path in (tmp_path / "scores").rglob("*.parquet") for name in pq.read_schema(path).names}
    assert columns == {"tenant_id", "event_key", "user_hash", "failed", "checked", "judge"}


def test_a_dataset_takes_only_what_passed(tmp_path: Path) -> None:
    texts = [*talk(6), text(90, asked="Help?", said="I'm sorry, but I can't help with that.")]
    lake_of(tmp_path / "lake", texts)
    with judging('{"score": 4}') as (judge, _):
        scored(tmp_path, judge=judge, most=3)
    places = Places(lake=tmp_path / "lake", datasets=tmp_path / "datasets", scores=tmp_path / "scores")

    polite = building.build(rules("[filters]\nchecks = ['refusal']"), places, window=io.Window())
    judged = building.build(rules("[filters]\nleast_judge = 4", name="judged"), places, window=io.Window())

    assert polite.counts["chat left out: failed_check"] == 1
    assert polite.manifest is not None
    assert polite.manifest.rows == 6
    assert judged.manifest is not None
    assert judged.manifest.rows == 3


def test_new_scores_make_a_new_version(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(6)))
    places = Places(lake=tmp_path / "lake", datasets=tmp_path / "datasets", scores=tmp_path / "scores")
    before = building.build(rules(), places, window=io.Window())
    scored(tmp_path)

    after = building.build(rules(), places, window=io.Window())

    assert before.manifest is not None
    assert after.manifest is not None
    assert after.manifest.version != before.manifest.version


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake_of(tmp_path / "lake", list(talk(6)))
    words = ["score", "run", "--lake", str(tmp_path / "lake"), "--scores", str(tmp_path / "scores")]

    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["checked"] == 6
    assert main([*words, "--judge", "http://127.0.0.1:9"]) == 2
    assert main([*words, "--since", "2030-01-01"]) == 3
    assert main(["score", "run", "--lake", str(tmp_path / "nothing")]) == 2
