"""All of the cache together, with the real encoder, by what went wrong in others' caches."""

import asyncio
import random
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from serving.cache.configuration import CacheSettings, RouteCache
from serving.cache.embedding import Worker
from serving.cache.exact import Purge
from serving.cache.front import Caches
from serving.cache.minilm import Model, NoModelError
from serving.cache.records import Hit, Miss
from serving.cache.store import Store
from tests.serving.cache.questions import NOW_US, asked, question, reply, settled, text_of, with_cache

pytestmark = pytest.mark.slow

EAGER = RouteCache(semantic=True, error_budget=0.5, confidence=0.5, least_similarity=0.5)
"""Serves after five checked pairs: here it is shown what keeps even such a cache from serving."""

ROOT = "How do I reset my password"


def purge_all(folder: Path) -> None:
    """As `tokenledger cache purge --tenant acme` does."""
    with closing(Store(folder)) as store:
        store.purge(Purge("acme", None, None, NOW_US))


async def taught(cache: Caches, answer: str = "Click on it.", **changed: object) -> None:
    """A cache that has learned that near questions have one answer, of an app of its own."""
    for number in range(12):
        await asked(cache, question(f"{ROOT}{'?' * number}", **changed), answer)


def test_a_question_in_other_words_is_answered_once_that_was_learned(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        before = await cache.look_up(question(f"{ROOT}, please?"))
        await taught(cache)
        after = await cache.look_up(question(f"{ROOT}, please?"))

        assert isinstance(before, Miss)
        assert isinstance(after, Hit)
        assert (after.kind, text_of(after)) == ("semantic", "Click on it.")
        assert after.similarity is not None
        assert after.similarity > 0.9

    with_cache(tmp_path, scenario, rules=EAGER)


NEVER = {
    "negated": "How do I not reset my password?",
    "another language": "Wie kann ich mein Passwort zurücksetzen und wo ist das?",
    "another number": "How do I reset my 2 passwords?",
    "another unit": "How do I reset my password in days?",
    "another date": "How do I reset my password on Monday?",
    "another name": "How do I reset my Netflix password?",
    "the opposite": "How do I reset my password after I delete it?",
    "another question": "When do I reset my password?",
    "far away": "What is the capital of France?",
}


@pytest.mark.parametrize("name", NEVER)
def test_an_eager_cache_still_does_not_answer_a_question_that_differs_in_what_matters(
    name: str, tmp_path: Path
) -> None:
    """GPTCache#694 and semantic-router#36: negations and single digits clear 0.8 to 0.99 in every encoder."""

    async def scenario(cache: Caches) -> None:
        await taught(cache)
        assert isinstance(await cache.look_up(question(NEVER[name])), Miss)

    with_cache(tmp_path, scenario, rules=EAGER)


def test_turned_round_questions_and_one_digit_more_are_never_answered_for_each_other(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        await taught(cache)
        await asked(cache, question("Convert 100 usd to eur"), "92")
        for other in ("Convert 100 eur to usd", "Convert 101 usd to eur", "Convert 100 usd to gbp"):
            assert isinstance(await cache.look_up(question(other)), Miss)

    with_cache(tmp_path, scenario, rules=EAGER)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"tenant_id": "umbrella"},
        {"app": "shop/web"},
        {"model_policy": "v2"},
        {"wish": b"knowledge=v2"},
        {"temperature": 1},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "system", "content": "Be rude."}, {"role": "user", "content": f"{ROOT}, please?"}]},
        {"messages": [
            {"role": "user", "content": "I mean that of my bank."}, {"role": "assistant", "content": "Fine."},
            {"role": "user", "content": f"{ROOT}, please?"},
        ]},
    ],
    ids=str,
)  # fmt: skip
def test_the_canary_of_one_place_is_never_seen_in_another(elsewhere: dict[str, object], tmp_path: Path) -> None:
    """semantic-router#2134: a tenant that was only in the embedding leaked at 0.9085; #3423: prompt, tools, format."""

    async def scenario(cache: Caches) -> None:
        await taught(cache, "canary-7")
        here = await cache.look_up(question(f"{ROOT}, please?"))
        there = await cache.look_up(question(f"{ROOT}, please?", **elsewhere))

        assert isinstance(here, Hit)
        assert isinstance(there, Miss)

    with_cache(tmp_path, scenario, rules=EAGER)


def test_a_callers_threshold_may_only_tighten(tmp_path: Path) -> None:
    """Bifrost let callers lower it until PR #5769."""

    async def scenario(cache: Caches) -> None:
        await taught(cache)
        near, strict = f"{ROOT}, please?", msgspec.structs.replace(EAGER, least_similarity=0.999)

        assert isinstance(await cache.look_up(question(near)), Hit)
        assert isinstance(await cache.look_up(question(near, wish=b"min-similarity=0.5")), Hit)
        assert isinstance(await cache.look_up(question(near, wish=b"min-similarity=0.9999")), Miss)
        cache.adopt({"chat": strict})
        assert isinstance(await cache.look_up(question(near, wish=b"min-similarity=0.1")), Miss)

    with_cache(tmp_path, scenario, rules=EAGER)


def test_different_questions_of_one_form_do_not_share_an_answer(tmp_path: Path) -> None:
    """litellm#12234, GPTCache#651, langchain#25161: every question got the first one's answer."""

    async def scenario(cache: Caches) -> None:
        await taught(cache)
        wrong = 0
        for animal in ("dogs", "cats", "cows", "bees", "owls", "ants", "seals", "goats", "frogs", "crows"):
            found = await asked(cache, question(f"What do {animal} eat?"), f"{animal} food")
            wrong += isinstance(found, Hit) and text_of(found) != f"{animal} food"
        assert wrong <= 1

    with_cache(tmp_path, scenario, rules=EAGER)


def test_two_long_questions_with_one_beginning_are_two_questions(tmp_path: Path) -> None:
    """The encoder reads 256 tokens; what stands after them it cannot see."""
    beginning = "x y z " * 100

    async def scenario(cache: Caches) -> None:
        await taught(cache)
        await asked(cache, question(f"{beginning} and say yes"), "yes")
        other = await cache.look_up(question(f"{beginning} and say no"))
        same = await cache.look_up(question(f"{beginning} and say yes"))

        assert isinstance(other, Miss)
        assert other.reason == "too_long"
        assert isinstance(same, Hit)
        assert same.kind == "exact"

    with_cache(tmp_path, scenario, rules=EAGER)


def test_with_the_default_budget_a_few_lucky_pairs_are_not_enough(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        await taught(cache)
        found = await cache.look_up(question(f"{ROOT}, please?"))
        assert isinstance(found, Miss)
        assert found.reason == "unsure"

    with_cache(tmp_path, scenario, rules=RouteCache(semantic=True))


def test_a_checked_hit_that_was_wrong_shows_in_the_rate(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        await taught(cache)
        draws = iter([1.0, 0.0] * 10)
        cache.draw_with(lambda: next(draws))
        one = question(f"{ROOT}, please?")
        hit = await cache.look_up(one)
        assert isinstance(hit, Hit)
        assert hit.verify
        cache.verified(one, hit, reply=reply("Call us."))
        await settled(cache)
        rate = cache.rates()["acme", "chat"]
        assert (rate.checked, rate.wrong) == (1, 1)

    with_cache(tmp_path, scenario, rules=EAGER)


# Time, bounds, purge, crash


def test_an_answer_grows_too_old_by_the_operators_or_the_callers_measure(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        await asked(cache, question(), "A program.")
        later = NOW_US + 50 * 1_000_000
        assert isinstance(await cache.look_up(question(at_us=later)), Hit)
        assert isinstance(await cache.look_up(question(at_us=later, wish=b"max-age=49")), Miss)
        assert isinstance(await cache.look_up(question(at_us=later, wish=b"max-age=999999")), Hit)
        assert isinstance(await cache.look_up(question(at_us=later + 51 * 1_000_000, wish=b"max-age=999999")), Miss)

    with_cache(tmp_path, scenario, rules=RouteCache(ttl_s=100))


def test_a_purge_by_the_command_reaches_a_gateway_that_runs(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        await taught(cache)
        await asked(cache, question(tenant_id="umbrella"), "A program.")
        await asyncio.sleep(0.5)  # written
        purge_all(tmp_path)
        for _ in range(200):
            if isinstance(await cache.look_up(question(f"{ROOT}?")), Miss):
                break
            await asyncio.sleep(0.05)
        await settled(cache)

        assert isinstance(await cache.look_up(question(f"{ROOT}?")), Miss)
        assert isinstance(await cache.look_up(question(f"{ROOT}, please?")), Miss)
        assert isinstance(await cache.look_up(question(tenant_id="umbrella")), Hit)

    with_cache(tmp_path, scenario, rules=EAGER, refresh_ms=50)


def test_an_answer_under_way_when_its_tenant_was_purged_is_not_kept(tmp_path: Path) -> None:
    async def scenario(cache: Caches) -> None:
        missed = await cache.look_up(question())
        assert isinstance(missed, Miss)
        purge_all(tmp_path)
        await asyncio.sleep(0.4)
        cache.offer(missed, reply(), provider="openai", model="gpt-4o")
        assert isinstance(await cache.look_up(question()), Miss)

    with_cache(tmp_path, scenario, refresh_ms=50)


def test_all_that_was_kept_and_learned_is_there_in_the_next_life_and_in_another_process(tmp_path: Path) -> None:
    async def first(cache: Caches) -> None:
        await taught(cache)

    async def second(cache: Caches) -> None:
        found = await cache.look_up(question(f"{ROOT}, please?"))
        again = await cache.look_up(question(f"{ROOT}?"))
        assert isinstance(found, Hit)
        assert found.kind == "semantic"
        assert isinstance(again, Hit)
        assert again.kind == "exact"

    with_cache(tmp_path, first, rules=EAGER)
    with_cache(tmp_path, second, rules=EAGER)


def test_without_the_model_the_other_caches_go_on(tmp_path: Path) -> None:
    def absent() -> Model:
        raise NoModelError("not installed")

    async def scenario() -> None:
        worker = Worker(load=absent)
        cache = Caches(CacheSettings(folder=str(tmp_path)), {"chat": EAGER}, worker=worker)
        await cache.start()
        await cache.loaded()
        missed = await cache.look_up(question())
        assert isinstance(missed, Miss)
        assert missed.reason == "no_model"
        cache.offer(missed, reply(), provider="openai", model="gpt-4o")
        assert isinstance(await cache.look_up(question()), Hit)
        await cache.close()

    asyncio.run(scenario())


def test_a_slow_encoder_costs_the_semantic_answer_and_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = Worker()
        cache = Caches(CacheSettings(folder=str(tmp_path), look_up_ms=1), {"chat": EAGER}, worker=worker)
        await cache.start()
        missed = await cache.look_up(question())
        assert isinstance(missed, Miss)
        assert missed.reason == "too_late"
        await cache.close()
        worker.close()

    asyncio.run(scenario())


def test_no_tenant_ever_meets_another_ones_answer_in_random_traffic(tmp_path: Path) -> None:
    """Answers name their tenant. Fewer trials than in benchmarks/cache.py, which makes a million."""
    draw = random.Random(17)  # noqa: S311 - a workload

    async def scenario(cache: Caches) -> None:
        hits = 0
        for _ in range(5_000):
            tenant_id = f"t{draw.randrange(20)}"
            one = question(f"Question {draw.randrange(25)}?", tenant_id=tenant_id)
            found = await cache.look_up(one)
            if isinstance(found, Hit):
                hits += 1
                assert text_of(found) == f"of {tenant_id}"
            else:
                cache.offer(found, reply(f"of {tenant_id}"), provider="openai", model="gpt-4o")
        assert hits > 4_000

    with_cache(tmp_path, scenario)
