"""A cascade within its bounds: budgets, deadlines, attempts, a caller who leaves, upstreams that do as they like."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway import asking
from serving.gateway.attempt import TOO_LATE, Attempt
from serving.gateway.gathering import Gathered
from serving.gateway.relay import Failed
from serving.gateway.trial import Trial
from tests.serving.cascades import BUSY, SECOND, VERIFY, bill, content, later, play, says
from tests.serving.routes import EASY, HARD, POLICY, ask
from tests.serving.running import (
    Running,
    Upstream,
    event,
    hang,
    raw,
    reply,
    streamed,
)


def test_a_budget_that_is_used_up_refuses_the_first_and_spares_the_stronger(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        gateway.memory.no_budget_for = {"large"}
        answered = await gateway.post(ask(EASY))
        assert (answered.status, answered.headers["x-tokenledger-check"]) == (200, "disagreement")
        assert servers["large"].received == []
        gateway.memory.no_budget_for = {"small", "small_b"}
        assert (await gateway.post(ask(EASY))).error["code"] == "insufficient_quota"

    play(scene, tmp_path, cascade=SECOND, small=says("41"), small_b=says("43"), large=says("42"))


def test_after_its_deadline_an_operation_serves_the_best_it_has(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, content(answered)) == (200, "41")
        assert answered.headers["x-tokenledger-check"] == "no_second_opinion"
        assert sorted(bill(gateway)) == [
            ("primary", None, True, None),
            ("verify", "second_opinion", None, "operation_deadline"),
        ]

    cascade = SECOND + "deadline_ms = 300\n"
    play(scene, tmp_path, cascade=cascade, small=says("41"), small_b=hang(), large=says("42"))


def test_after_its_deadline_an_operation_without_an_answer_says_so(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, answered.error["code"]) == (504, "operation_deadline")

    play(scene, tmp_path, cascade=VERIFY + "deadline_ms = 300\n", small=hang(), large=says("42"))


def test_after_its_deadline_no_other_upstream_of_the_tier_is_asked(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, answered.error["code"]) == (504, "operation_deadline")
        assert servers["small_b"].received == []
        assert bill(gateway) == [("primary", None, None, "operation_deadline")]

    cascade = VERIFY + "deadline_ms = 300\n"
    play(scene, tmp_path, cascade=cascade, small=hang(), small_b=says("41"), large=says("42"))


def test_an_upstream_that_failed_as_its_trial_was_ended_is_the_last_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply was whole when the time was over, so nothing was left to be broken off."""
    trials: list[Trial] = []

    async def at_the_last_moment(attempt: Attempt, _policy: object, **_: object) -> Gathered | Failed:
        assert attempt.exchange is not None
        await attempt.exchange.whole(1_000)
        trials[-1].end(TOO_LATE)
        attempt.settle()
        return Failed(status=503)

    def intended(trial: Trial, attempt: Attempt) -> None:
        trials.append(trial)
        trial.attempts.append(attempt)

    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        await gateway.post(ask(EASY))
        assert (len(servers["small"].received), servers["small_b"].received) == (1, [])

    monkeypatch.setattr(asking, "gather", at_the_last_moment)
    monkeypatch.setattr(Trial, "intended", intended)
    play(scene, tmp_path, small=BUSY, small_b=says("41"), large=says("42"))


def test_a_stronger_tier_that_is_silent_does_not_keep_a_streaming_caller_beyond_the_deadline(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=True))
        assert answered.headers["x-tokenledger-check"] == "disagreement"
        assert answered.headers["x-tokenledger-tier"] == "small"
        assert [one["choices"][0]["delta"].get("content") for one in answered.events][1:-1] == ["41"]
        assert bill(gateway)[-1] == ("escalation", "disagreement", None, "upstream_first_byte_timeout")

    cascade = SECOND + "deadline_ms = 500\n"
    play(scene, tmp_path, cascade=cascade, small=says("41"), small_b=says("43"), large=hang())


def test_a_weaker_tier_answers_only_where_nothing_else_does_and_the_route_allows_it(tmp_path: Path) -> None:
    async def refused(gateway: Running, _servers: dict[str, Upstream]) -> None:
        assert (await gateway.post(ask(HARD))).status == 503

    async def answered(gateway: Running, _servers: dict[str, Upstream]) -> None:
        found = await gateway.post(ask(HARD))
        assert (found.status, found.headers["x-tokenledger-tier"]) == (200, "small")

    play(refused, tmp_path, small=says("small"), large=BUSY)
    play(answered, tmp_path, cascade=VERIFY + "weaker_fallback = true\n", small=says("small"), large=BUSY)


def test_attempts_are_bounded_and_one_is_left_for_the_strongest(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert content(answered) == "42"
        assert len(gateway.memory.intents) == 2

    cascade = SECOND + "attempts = 2\n"
    play(scene, tmp_path, cascade=cascade, small=BUSY, small_b=BUSY, large=says("42"))


def test_when_the_caller_goes_nothing_more_is_asked_and_all_is_accounted(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        _, writer = await gateway.send(_request(ask(EASY)))
        while not servers["small"].received or not servers["small_b"].received:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
        writer.close()
        await gateway.settled(2)
        assert servers["large"].received == []
        assert {role for role, *_ in bill(gateway)} == {"primary", "verify"}

    late = later(says("41"), 0.4)
    cascade = SECOND
    settings_of = "drain.abandoned_ms = 2_000\n"
    play(scene, tmp_path, cascade=cascade, more=settings_of, small=late, small_b=hang(), large=says("42"))


def _request(body: Any) -> bytes:
    data = msgspec.json.encode(body)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer good\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


ANSWERS = {
    "right": says("42"),
    "wrong": says("41"),
    "refusing": says("I'm sorry, but I can't help with that."),
    "empty": says(""),
    "late": later(says("42"), 0.05),
    "busy": BUSY,
    "failing": reply({"error": {"message": "x"}}, status=500),
    "closed": raw(close=True),
    "half": raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", close=True),
    "no_json": reply(b"<html>"),
    "broken_stream": streamed(event({"content": "4"}), end=False),
    "bad_request": reply({"error": {"message": "no such role"}}, status=400),
    "silent": hang(),
}
behaviours = st.sampled_from(sorted(ANSWERS))


@pytest.mark.slow
@given(
    doing=st.tuples(behaviours, behaviours, behaviours),
    stream=st.booleans(),
    speculate=st.booleans(),
    attempts=st.integers(2, 6),
)
@settings(max_examples=40, deadline=None)
def test_whatever_upstreams_do_there_is_one_answer_and_one_outcome_an_attempt(
    cascade_folder: Path, doing: tuple[str, str, str], *, stream: bool, speculate: bool, attempts: int
) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=stream))
        assert answered.status in {200, 400, 500, 502, 503, 504}
        assert b'"internal"' not in answered.body, "no defect of the gateway's own"
        if answered.status == 200:
            ended = answered.body.endswith(b"data: [DONE]\n\n") or b'"error"' in answered.body
            assert ended if stream else answered.json["choices"]
        assert 1 <= len(gateway.memory.intents) <= attempts
        assert [one.served for one in gateway.memory.outcomes].count(True) <= 1
        assert all((one.route_tier or "") in {"small", "large"} for one in gateway.memory.intents)
        if answered.status == 200 and answered.headers.get("x-tokenledger-check") in {"passed", "agreed"}:
            assert answered.headers["x-tokenledger-tier"] == "small"

    cascade = SECOND + f"attempts = {attempts}\ndeadline_ms = 400\n" + ("speculate = 0.0\n" if speculate else "")
    steps = dict(zip(("small", "small_b", "large"), (ANSWERS[one] for one in doing), strict=True))
    quick = "retries.longest_wait_ms = 0\ndrain.abandoned_ms = 300\n"
    play(scene, cascade_folder, cascade=cascade, more=quick, policy=POLICY, **steps)


@pytest.fixture(scope="module")
def cascade_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cascade")
