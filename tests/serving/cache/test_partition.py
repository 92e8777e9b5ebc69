"""What an answer depends on beside the question is a key: nothing else may find it."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.asking import around
from serving.cache.configuration import RouteCache
from serving.cache.partition import exact_key, semantic_key
from serving.cache.records import Question
from tests.serving.cache.questions import question

RULES = RouteCache()


def semantic(one: Question, rules: RouteCache = RULES, knowledge: str = "") -> bytes:
    """The key of a question's partition."""
    return semantic_key(one, rules, knowledge=knowledge, around=around(one.members["messages"]))


def _said(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


OTHERS: dict[str, Question] = {
    "tenant": question(tenant_id="umbrella"),
    "app": question(app="support/mail"),
    "route": question(route="other"),
    "model policy": question(model_policy="v2"),
    "system prompt": question(messages=_said(("system", "You are a pirate."), ("user", "What is a quine?"))),
    "history": question(
        messages=_said(("user", "Hello"), ("assistant", "Hello."), ("user", "What is a quine?")),
    ),
    "tools": question(tools=[{"type": "function", "function": {"name": "search"}}]),
    "response format": question(response_format={"type": "json_object"}),
    "temperature": question(temperature=0.7),
    "top_p": question(top_p=0.5),
    "seed": question(seed=7),
    "length": question(max_tokens=5),
    "a member nobody thought of": question(reasoning_effort="high"),
    "the speaker's name": question(messages=[{"role": "user", "content": "What is a quine?", "name": "ada"}]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_words_elsewhere_are_another_question(name: str) -> None:
    assert exact_key(OTHERS[name], RULES) != exact_key(question(), RULES)
    assert semantic(OTHERS[name]) != semantic(question())


@pytest.mark.parametrize(
    "same",
    [
        question(stream=True),
        question(stream_options={"include_usage": True}),
        question(user="u-1"),
        question(metadata={"a": "b"}),
        question(operation_id="another"),
        question(at_us=7),
    ],
)
def test_how_an_answer_is_delivered_makes_no_difference(same: Question) -> None:
    assert exact_key(same, RULES) == exact_key(question(), RULES)
    assert semantic(same) == semantic(question())


def test_other_words_are_another_request_in_the_same_partition() -> None:
    other = question("What is a monad?")

    assert exact_key(other, RULES) != exact_key(question(), RULES)
    assert semantic(other) == semantic(question())


def test_another_version_of_the_knowledge_is_another_cache() -> None:
    newer = RouteCache(knowledge_version="2026-11")

    assert exact_key(question(), newer) != exact_key(question(), RULES)
    assert exact_key(question(), RULES, knowledge="v3") != exact_key(question(), RULES)
    assert semantic(question(), RULES, "v3") != semantic(question())


def test_users_have_caches_of_their_own_where_the_operator_says_so() -> None:
    apart = RouteCache(scope="user")

    assert exact_key(question(user="ada"), apart) != exact_key(question(user="bob"), apart)
    assert exact_key(question(user="ada"), apart) == exact_key(question(user="ada"), apart)


def test_answers_kept_under_laxer_rules_are_not_found_under_stricter_ones() -> None:
    strict = RouteCache(time_words=False, highest_temperature=0.2)

    assert exact_key(question(), strict) != exact_key(question(), RouteCache(time_words=True))


@pytest.mark.slow
@given(st.lists(st.text(max_size=6), min_size=2, max_size=4), st.data())
def test_text_moved_from_one_part_to_the_next_changes_the_key(parts: list[str], data: st.DataObject) -> None:
    """A tenant `ab` with app `c` must not be tenant `a` with app `bc`."""
    joined = "".join(parts)
    cut = data.draw(st.integers(0, len(joined)))
    one = question(tenant_id=parts[0], app="".join(parts[1:]))
    other = question(tenant_id=joined[:cut], app=joined[cut:])

    same = (one.tenant_id, one.app) == (other.tenant_id, other.app)
    assert (exact_key(one, RULES) == exact_key(other, RULES)) is same


@pytest.mark.slow
def test_no_key_of_another_partition_is_met_in_many_random_trials() -> None:
    """Fewer than in `benchmarks/cache.py`, which makes a million."""
    draw = random.Random(11)  # noqa: S311 - a workload
    keys: dict[bytes, tuple[Any, ...]] = {}
    for _ in range(20_000):
        place = (
            f"tenant {draw.randrange(40)}", f"app {draw.randrange(4)}", f"policy {draw.randrange(3)}",
            f"You are {draw.randrange(5)}.", draw.choice([0, 0.5, 1]), f"question {draw.randrange(30)}",
        )  # fmt: skip
        tenant_id, app, policy, system, temperature, text = place
        one = question(
            tenant_id=tenant_id, app=app, model_policy=policy, temperature=temperature,
            messages=_said(("system", system), ("user", text)),
        )  # fmt: skip
        assert keys.setdefault(exact_key(one, RULES), place) == place


def test_the_key_does_not_depend_on_the_order_of_members() -> None:
    one = question()
    turned = msgspec.structs.replace(one, members=dict(reversed(one.members.items())))

    assert exact_key(turned, RULES) == exact_key(one, RULES)
