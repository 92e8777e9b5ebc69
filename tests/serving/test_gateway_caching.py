"""A real gateway with a real cache: hits as one ledger row each, streamed and plain, checked behind the caller."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.configuration import CacheSettings
from serving.cache.embedding import Worker
from serving.cache.front import Caches
from serving.gateway.caching import Seat, app_of, rules_of
from serving.gateway.configuration import ConfigurationError, configuration_of
from serving.gateway.envelopes import raw_event
from tests.serving.running import CHAT, STREAM, Running, Upstream, completion, config, reply, streamed, with_upstream
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

EXACT = '[cache]\nfolder = "unused"\n[routes.m.cache]\n'
SEMANTIC = f"{EXACT}semantic = true\nerror_budget = 0.5\nconfidence = 0.5\nleast_similarity = 0.5\n"
Scenario = Callable[[Running, Upstream, Caches], Awaitable[None]]


def run(folder: Path, scenario: Scenario, *script: Any, rules: str = EXACT, provider: str = "vllm") -> None:
    """Run a scenario with a gateway before one upstream and a cache in a folder."""

    async def cached(gateway: Running, server: Upstream) -> None:
        settings = CacheSettings(folder=str(folder), look_up_ms=60_000, faq_folder=str(folder / "faq"), refresh_ms=50)
        cache = Caches(settings, rules_of(gateway.gateway.configuration), worker=Worker(), draw=lambda: 1.0)
        await cache.start()
        await cache.loaded()
        seat = gateway.gateway.caching = Seat(cache)
        try:
            await scenario(gateway, server, cache)
        finally:
            await seat.close()
            await cache.close()
            cache.worker.close()

    with_upstream(cached, *script, after=rules, provider=provider)


def told(gateway: Running, place: int) -> PricedCall:
    """The ledger's record of the gateway's outcome at a place."""
    outcome = gateway.memory.outcomes[place]
    intent = next(one for one in gateway.memory.intents if one.event_id == outcome.event_id)
    priced = process(raw_event(intent, outcome, epoch="e1"), default_context())
    assert isinstance(priced, PricedCall)
    return priced


def priced_model(**more: Any) -> Any:
    """A reply of a model that the catalogue knows."""
    return reply(completion("hi", model="gpt-4o-2024-08-06") | more)


def test_the_same_request_is_answered_once_by_the_model_and_then_from_the_cache(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        first = await gateway.post(CHAT)
        second = await gateway.post(CHAT)

        assert len(server.received) == 1
        assert first.headers["x-tokenledger-cache"] == "miss; reason=unknown"
        assert second.headers["x-tokenledger-cache"].startswith("hit; kind=exact; entry=")
        assert second.headers["x-tokenledger-cost"] == "0"
        assert second.json["choices"] == first.json["choices"]
        assert second.json["usage"] == first.json["usage"]
        assert second.json["id"] != first.json["id"]

    run(tmp_path, scenario, priced_model())


def test_a_hit_is_one_call_of_the_ledger_that_cost_nothing_and_says_what_it_saved(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _server: Upstream, _cache: Caches) -> None:
        await gateway.post(CHAT)
        hit = await gateway.post(CHAT, headers="x-tokenledger-session: s-1\r\n")
        made, again = told(gateway, 0), told(gateway, 1)

        assert again.call.cache_hit is True
        assert (again.price_status, again.cost_usd_pico, again.chargeable_usd_pico) == ("not_billable", 0, 0)
        assert again.lines == ()
        assert again.saved_usd_pico == made.cost_usd_pico
        # gpt-4o: 2.50 and 10 USD a million tokens; 5 in, 2 out.
        assert again.saved_usd_pico == 5 * 2_500_000 + 2 * 10_000_000
        assert made.saved_usd_pico is None
        assert again.call.usage == made.call.usage
        assert again.call.event_id == hit.headers["x-tokenledger-event"]
        assert again.call.response_id != made.call.response_id
        assert (again.call.deployment_id, again.call.replica_id) == ("cache", "exact")
        assert again.call.session_id == "s-1"
        assert again.latency is not None
        assert again.latency.cache_us is not None
        assert gateway.memory.settled_once()

    run(tmp_path, scenario, priced_model(), provider="openai")


def test_a_stream_is_kept_and_given_again_streamed_and_plain(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        asked = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
        first = await gateway.post(asked)
        await asyncio.sleep(0.1)
        again = await gateway.post(asked)
        plain = await gateway.post(CHAT)

        assert len(server.received) == 1
        assert b"data: [DONE]" in again.body
        said = ["".join(part["choices"][0]["delta"].get("content") or "" for part in one.events if part["choices"])
                for one in (first, again)]  # fmt: skip
        assert said == ["hello", "hello"]
        assert again.events[-1]["usage"] == first.events[-1]["usage"]
        assert plain.json["choices"][0]["message"]["content"] == "hello"
        assert plain.json["object"] == "chat.completion"
        assert told(gateway, 1).call.cache_hit is True
        assert told(gateway, 1).call.stream is True
        assert told(gateway, 2).call.stream is False

    run(tmp_path, scenario, streamed(*STREAM))


@pytest.mark.parametrize(
    "events",
    [
        STREAM[:3],
        (*STREAM[:2], b'data: {"error": {"message": "boom"}}\n\n'),
        (*STREAM[:3], STREAM[3].replace(b'"stop"', b'"length"'), *STREAM[4:]),
    ],
)
def test_a_stream_that_broke_or_was_cut_is_never_kept(tmp_path: Path, events: tuple[bytes, ...]) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        for _ in range(2):
            await gateway.post(CHAT | {"stream": True})
        assert len(server.received) == 2
        assert not any(intent.cache_hit for intent in gateway.memory.intents)

    run(tmp_path, scenario, streamed(*events, end=events != STREAM[:3]))


def test_an_error_is_never_kept(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        statuses = [(await gateway.post(CHAT)).status for _ in range(3)]
        assert statuses == [400, 200, 200]
        assert len(server.received) == 2

    run(tmp_path, scenario, reply({"error": {"message": "no"}}, 400), reply(completion()))


def test_two_tenants_with_one_canary_never_see_each_other(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        gateway.memory.keys[b"Bearer other"] = "umbrella"
        mine = [await gateway.post(CHAT) for _ in range(2)]
        theirs = [await gateway.post(CHAT, headers="authorization: Bearer other\r\n") for _ in range(2)]

        assert [one.json["choices"][0]["message"]["content"] for one in mine] == ["canary-7", "canary-7"]
        assert [one.json["choices"][0]["message"]["content"] for one in theirs] == ["theirs", "theirs"]
        assert len(server.received) == 2

    run(tmp_path, scenario, reply(completion("canary-7")), reply(completion("theirs")))


@given(st.tuples(st.text("a/%2F5", max_size=4), st.text("a/%2F5", max_size=4)), st.data())
def test_no_two_pairs_of_project_and_feature_are_one_app(pair: tuple[str, str], data: st.DataObject) -> None:
    whole = "/".join(pair)
    cut = data.draw(st.sampled_from([at for at, one in enumerate(whole) if one == "/"]))
    other = whole[:cut], whole[cut + 1 :]
    assert (app_of(*pair) == app_of(*other)) is (pair == other)


def test_an_app_is_named_by_its_project_and_feature() -> None:
    assert (app_of("support", "bot"), app_of(None, "a/b"), app_of("a/b", None)) == ("support/bot", "/a/b", "a%2Fb/")


def test_a_key_that_is_refused_gets_no_answer_from_the_cache(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _server: Upstream, _cache: Caches) -> None:
        await gateway.post(CHAT)
        assert (await gateway.post(CHAT, headers="authorization: Bearer bad\r\n")).status == 401

    run(tmp_path, scenario, reply(completion()))


def test_a_caller_may_keep_out_of_the_cache(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        await gateway.post(CHAT, headers="x-tokenledger-cache: no-store\r\n")
        await gateway.post(CHAT)
        await gateway.post(CHAT, headers="x-tokenledger-cache: no-cache\r\n")
        assert len(server.received) == 3
        await gateway.post(CHAT)
        assert len(server.received) == 3

    run(tmp_path, scenario, reply(completion()))


def test_a_full_outbox_refuses_a_hit_as_it_refuses_a_call(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _server: Upstream, _cache: Caches) -> None:
        await gateway.post(CHAT)
        gateway.memory.full = True
        refused = await gateway.post(CHAT)
        assert (refused.status, refused.error["code"]) == (503, "outbox_full")

    run(tmp_path, scenario, reply(completion()))


def test_a_written_answer_needs_no_model(tmp_path: Path) -> None:
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "tenant.toml").write_text(
        '[[answers]]\nid = "greeting"\nroutes = ["m"]\nquestions = ["Hello!"]\nanswer = "Good day."\n'
    )

    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        await asyncio.sleep(0.2)
        found = await gateway.post(CHAT)
        assert found.json["choices"][0]["message"]["content"] == "Good day."
        assert found.headers["x-tokenledger-cache"] == "hit; kind=static; entry=greeting"
        assert server.received == []
        row = told(gateway, 0)
        assert (row.call.cache_hit, row.cost_usd_pico, row.saved_usd_pico) == (True, 0, None)

    run(tmp_path, scenario, reply(completion()), rules=f"{EXACT}static = true\n")


def _asked(text: str) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "user", "content": text}]}


@pytest.mark.slow
def test_other_words_get_the_answer_once_it_is_learned_and_a_drawn_hit_is_checked(tmp_path: Path) -> None:
    """Pairs are learned from answers of the model; a drawn hit asks the model as well, on the cache's account."""

    async def scenario(gateway: Running, server: Upstream, cache: Caches) -> None:
        for number in range(12):
            await gateway.post(_asked("How do I reset my password" + "?" * number))
            await cache.worker.run([], lambda _none: None)
        asked_before = len(server.received)
        cache.draw_with(lambda: 0.04)  # explored from 0.02 down, checked from 0.05 down
        found = await gateway.post(_asked("How do I reset my password, please?"))

        assert found.headers["x-tokenledger-cache"].startswith("hit; kind=semantic; entry=")
        assert "similarity=0.9" in found.headers["x-tokenledger-cache"]
        await gateway.settled(len(gateway.memory.outcomes) + (len(server.received) == asked_before))
        await gateway.pools_empty()
        check = gateway.memory.intents[-1]
        assert (check.attempt_role, check.attempt_reason, check.attempt_no) == ("verify", "cache_hit", 2)
        assert check.operation_id == gateway.memory.intents[-2].operation_id
        assert gateway.memory.intents[-2].cache_hit
        await cache.worker.run([], lambda _none: None)
        rate = cache.rates()["tenant", "m"]
        assert (rate.checked, rate.wrong) == (1, 0)

    run(tmp_path, scenario, reply(completion("Click on it.")), rules=SEMANTIC)


def test_a_route_with_a_cache_needs_the_table_of_the_cache() -> None:
    with pytest.raises(ConfigurationError, match=r"routes\.m\.cache needs \[cache\]"):
        configuration_of(config(up=1) + "[routes.m.cache]\nexact = true\n")
    made = configuration_of(config(up=1) + EXACT)
    assert rules_of(made)["m"].ttl_s == 86_400


def test_what_chooses_the_model_is_part_of_the_key(tmp_path: Path) -> None:
    async def scenario(gateway: Running, server: Upstream, _cache: Caches) -> None:
        await gateway.post(CHAT)
        other = config(up=server.port).replace('provider = "vllm"', 'provider = "vllm"\nmodel = "better"')
        gateway.gateway.adopt(configuration_of(other + EXACT))
        await gateway.post(CHAT)
        assert [msgspec.json.decode(one.body)["model"] for one in server.received] == ["m", "better"]

    run(tmp_path, scenario, reply(completion()))
