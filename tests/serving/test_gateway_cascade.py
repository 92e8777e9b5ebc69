"""A cheap answer is served where it passes, and a stronger one where it does not; every attempt is on the bill."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import uvloop

from tests.serving.cascades import BUSY, SECOND, VERIFY, bill, content, later, play, says
from tests.serving.routes import EASY, HARD, ask, config, files
from tests.serving.running import (
    Request,
    Running,
    Step,
    Upstream,
    completion,
    hang,
    raw,
    reply,
    running,
    upstream,
)


def test_an_answer_that_passes_is_served_and_nothing_else_is_asked(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, content(answered)) == (200, "Paris")
        assert answered.headers["x-tokenledger-check"] == "passed"
        assert answered.headers["x-tokenledger-tier"] == "small"
        assert answered.headers["x-tokenledger-cost"] == "1234"
        assert servers["large"].received == []
        assert bill(gateway) == [("primary", None, True, None)]

    play(scene, tmp_path, small=says("Paris"), large=says("London"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says("I'm sorry, but I can't help with that."), "refusal"),
        (says(""), "empty"),
        (says("Paris", choices=[{"index": 0, "message": {"content": "Pa"}, "finish_reason": "length"}]), "cut"),
        (BUSY, "upstream_error"),
        (raw(close=True), "upstream_error"),
    ],
)
def test_an_answer_that_fails_is_escalated_and_on_the_house(tmp_path: Path, answer: Step, reason: str) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, content(answered)) == (200, "Paris")
        assert answered.headers["x-tokenledger-check"] == "strongest"
        *failed, last = bill(gateway)
        assert last == ("escalation", reason, True, None)
        assert all(served is not True for _, _, served, _ in failed)
        assert answered.headers["x-tokenledger-attempts"] == str(len(failed) + 1)

    play(scene, tmp_path, small=answer, large=says("Paris"))


def test_two_answers_that_agree_are_served_at_once(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert content(answered) == "The answer is 42."
        assert answered.headers["x-tokenledger-check"] == "agreed"
        assert answered.headers["x-tokenledger-cost"] == "2468", "both are on the bill"
        assert servers["large"].received == []
        assert sorted(bill(gateway)) == [("primary", None, True, None), ("verify", "second_opinion", False, None)]

    play(scene, tmp_path, cascade=SECOND, small=says("The answer is 42."), small_b=says("42"), large=says("7"))


def test_a_disagreement_is_settled_by_the_stronger_tier(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert content(answered) == "42"
        assert answered.headers["x-tokenledger-cost"] == str(3 * 1234)
        assert sorted(bill(gateway)) == [
            ("escalation", "disagreement", True, None),
            ("primary", None, False, None),
            ("verify", "second_opinion", False, None),
        ]

    play(scene, tmp_path, cascade=SECOND, small=says("41"), small_b=says("43"), large=says("42"))


@pytest.mark.parametrize(
    ("without", "tier", "check"), [("accept", "small", "passed"), ("escalate", "large", "strongest")]
)
@pytest.mark.parametrize("second", [BUSY, raw(close=True), reply(b"<html>")])
def test_a_second_opinion_that_fails_does_not_fail_the_call(
    tmp_path: Path, second: Step, *, without: str, tier: str, check: str
) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert answered.status == 200
        assert (answered.headers["x-tokenledger-tier"], answered.headers["x-tokenledger-check"]) == (tier, check)

    cascade = SECOND + f'without_second_opinion = "{without}"\n'
    play(scene, tmp_path, cascade=cascade, small=says("42"), small_b=second, large=says("42"))


def test_another_provider_of_the_tier_steps_in_for_one_that_is_down(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.headers["x-route"], answered.headers["x-tokenledger-tier"]) == ("small_b", "small")
        assert servers["large"].received == []
        assert bill(gateway)[-1] == ("fallback", "upstream_error", True, None)

    play(scene, tmp_path, small=BUSY, small_b=says("42"), large=says("42"))


def test_the_second_opinion_is_the_answer_where_the_first_has_none(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.headers["x-route"], content(answered)) == ("small_b", "42")
        assert ("verify", "second_opinion", True, None) in bill(gateway)

    cascade = SECOND + 'without_second_opinion = "accept"\n'
    play(scene, tmp_path, cascade=cascade, small=BUSY, small_b=says("42"), large=says("7"))


def test_a_speculation_that_is_not_needed_is_cancelled_and_on_the_bill(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert content(answered) == "Paris"
        assert len(servers["large"].received) == 1
        assert sorted(bill(gateway)) == [
            ("hedge", "speculation", None, "not_needed"),
            ("primary", None, True, None),
        ]
        hedge = next(one for one in gateway.memory.outcomes if one.error_type == "not_needed")
        assert (hedge.aborted, hedge.input_tokens_seen) == (True, 5), "the first answer's count of the same input"
        assert answered.headers["x-tokenledger-cost"] == "2468"

    play(scene, tmp_path, cascade=VERIFY + "speculate = 0.0\n", small=later(says("Paris"), 0.2), large=hang())


@pytest.mark.parametrize("stream", [False, True])
def test_a_speculation_that_is_needed_is_the_answer(tmp_path: Path, *, stream: bool) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=stream))
        said = "".join(one["choices"][0]["delta"].get("content") or "" for one in answered.events) if stream else ""
        assert (said or content(answered)) == "Paris it is"
        assert len(servers["large"].received) == 1
        assert sorted(bill(gateway)) == [("hedge", "speculation", True, None), ("primary", None, False, None)]

    play(scene, tmp_path, cascade=VERIFY + "speculate = 0.0\n", small=says(""), large=says("Paris it is"))


def test_a_streaming_caller_gets_the_checked_stream(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=True))
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert answered.headers["x-tokenledger-check"] == "passed"
        texts = [one["choices"][0]["delta"].get("content") for one in answered.events]
        assert texts == ["", "Paris ", "it ", "is", None], "and no usage, which nobody asked for"
        assert answered.body.endswith(b"data: [DONE]\n\n")
        [outcome] = gateway.memory.outcomes
        assert outcome.first_token_at_us is not None
        assert outcome.reply is not None
        assert msgspec.json.decode(outcome.reply)["usage"]["prompt_tokens"] == 5

    play(scene, tmp_path, small=says("Paris it is"), large=says("London"))


def test_a_streaming_caller_gets_the_strongest_tier_as_it_speaks(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=True))
        assert answered.headers["x-tokenledger-tier"] == "large"
        assert answered.body.endswith(b"data: [DONE]\n\n")
        assert bill(gateway) == [("primary", None, False, None), ("escalation", "refusal", None, None)]

    play(scene, tmp_path, small=says("I cannot help with that."), large=says("Paris it is"))


@pytest.mark.slow
def test_a_streaming_caller_hears_something_while_the_check_goes_on(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=True))
        assert answered.body.startswith(b": heartbeat\n\n")
        assert answered.body.endswith(b"data: [DONE]\n\n")
        assert [one["choices"][0]["delta"].get("content") for one in answered.events][1:-1] == ["Paris"]

    settings_of = "heartbeat_ms = 100\n"
    play(scene, tmp_path, more=settings_of, small=later(says("Paris"), 0.5), large=says("London"))


def test_a_stream_that_has_begun_ends_in_an_error_where_nothing_answers(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=True))
        assert answered.status == 200
        assert answered.events[-1]["error"]["message"]

    slow = later(BUSY, 0.4)
    play(scene, tmp_path, more="heartbeat_ms = 100\n", small=slow, large=BUSY)


def test_where_the_stronger_tier_is_down_the_best_answer_serves_on_the_house(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, content(answered)) == (200, "41")
        assert answered.headers["x-tokenledger-check"] == "disagreement"
        assert all(served is not True for _, _, served, _ in bill(gateway))

    play(scene, tmp_path, cascade=SECOND, small=says("41"), small_b=says("43"), large=BUSY)


def test_a_hard_prompt_goes_to_the_strongest_tier_unchecked(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(HARD))
        assert answered.headers["x-tokenledger-tier"] == "large"
        assert servers["small"].received == []
        assert bill(gateway) == [("primary", None, None, None)]

    play(scene, tmp_path, small=says("Paris"), large=says("I cannot help with that."))


def test_what_is_wrong_with_the_request_is_the_callers_to_hear_at_once(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (answered.status, answered.json["error"]["message"]) == (400, "no such role")
        assert servers["large"].received == []

    play(scene, tmp_path, small=reply({"error": {"message": "no such role"}}, status=400), large=says("Paris"))


def test_a_prompt_too_long_for_the_small_model_goes_to_the_stronger(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert content(answered) == "Paris"

    error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    play(scene, tmp_path, small=reply(error, status=400), large=says("Paris"))


def test_json_that_does_not_fit_its_schema_is_escalated(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        answered = await gateway.post(ask(EASY, response_format=wanted))
        assert content(answered) == '{"n":1}'
        assert bill(gateway)[-1][:2] == ("escalation", "schema")

    play(scene, tmp_path, small=says('{"n":"one"}'), large=says('{"n":1}'))


def test_several_choices_are_routed_and_not_held_back(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, n=2))
        assert "x-tokenledger-check" not in answered.headers
        decision = gateway.memory.intents[0].decision
        assert decision is not None
        assert decision.mode == "stream-now"

    play(scene, tmp_path, small=says("I cannot help with that."), large=says("42"))


@pytest.mark.parametrize("wanted", [False, True])
def test_log_probabilities_are_asked_for_and_shown_only_to_who_wants_them(tmp_path: Path, *, wanted: bool) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        more = {"logprobs": True} if wanted else {}
        answered = await gateway.post(ask(EASY, **more))
        assert servers["small"].received[0].json["logprobs"] is True
        assert ("logprobs" in answered.json["choices"][0]) == wanted
        unsure = await gateway.post(ask(EASY, **more))
        assert unsure.headers["x-tokenledger-tier"] == "large"
        assert bill(gateway)[-1][:2] == ("escalation", "low_logprob")

    def sure(logprob: float) -> Step:
        tokens = {"content": [{"token": "Paris", "logprob": logprob}]}
        choice = {"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}
        return reply(completion(choices=[choice | {"logprobs": tokens}]))

    steps = [sure(-0.1), sure(-3.0)]

    async def small(request: Request, writer: asyncio.StreamWriter) -> None:
        await steps.pop(0)(request, writer)

    lines = VERIFY + "checks.min_logprob = -1.0\n"
    section = files(tmp_path)

    async def all_of_it() -> None:
        async with upstream(small) as one, upstream(says("Paris")) as two:
            toml = config(section, lines, small=one.port, large=two.port)
            toml = toml.replace("[upstreams.small]\n", "[upstreams.small]\nlogprobs = true\n")
            async with running(toml) as gateway:
                await scene(gateway, {"small": one, "large": two})
                assert gateway.memory.settled_once()

    uvloop.run(all_of_it())
