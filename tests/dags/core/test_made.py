"""From an operation to a row: what it says, what it is left out for, and that every operation is accounted for."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.core.attempts import Attempt, Score, read
from dags.core.checks import NAMES
from dags.core.left_out import Reason, Whose, without_consent
from dags.core.made import CHAT, EVAL, PAIR, PREFERENCE, Candidate, Left, made
from dags.core.recipe import Consent, Recipe
from dags.core.router_pairs import header
from tests.dags.captured import attempt, escalated, rules

SFT = rules("[preferences]")
roles = st.sampled_from(["primary", "retry", "escalation", "verify", "hedge", None])
attempts = st.lists(
    st.builds(
        attempt,
        st.integers(0, 50),
        attempt_no=st.none() | st.integers(1, 4),
        attempt_role=roles,
        said=st.none() | st.text(max_size=30),
        route_tier=st.sampled_from(["small", "large", None]),
        finish_reason=st.sampled_from(["stop", "length", None]),
        score=st.none() | st.builds(Score, failed=st.just(()), judge=st.none() | st.floats(1, 5)),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda one: one.text.event_key,
)


def only(operation: list[Attempt], recipe: Recipe, kind: str) -> Candidate | Left:
    """What it gave of that kind."""
    [found] = [one for one in made(operation, recipe) if one.kind == kind]
    return found


def pair(
    cheap: str = "no", strong: str = "yes", *, scores: tuple[Score | None, Score | None] = (None, None)
) -> list[Attempt]:
    """An escalated operation, read."""
    texts = escalated(1, asked="Is it?", cheap=cheap, strong=strong)
    found = [read(text, score) for text, score in zip(texts, scores, strict=True)]
    return [one for one in found if isinstance(one, Attempt)]


@pytest.mark.slow
@given(attempts)
def test_an_operation_gives_one_row_or_one_reason_of_each_kind_in_any_order(operation: list[Attempt]) -> None:
    recipe = rules("[preferences]\n[router]\ntiers = ['small', 'large']")
    for kind, kinds in (("finetune", [CHAT, PREFERENCE]), ("eval", [EVAL]), ("router_pairs", [PAIR])):
        own = Recipe(**{name: getattr(recipe, name) for name in recipe.__struct_fields__} | {"kind": kind})

        found = list(made(operation, own))

        assert [one.kind for one in found] == kinds
        assert [type(one) for one in made(operation[::-1], own)] == [type(one) for one in found]


def test_a_chat_is_what_the_providers_take_for_fine_tuning() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    found = only([attempt(1, asked="Look?", said="Here.", tools=json.dumps(tools))], SFT, CHAT)

    assert isinstance(found, Candidate)
    assert json.loads(found.line) == {
        "messages": [{"role": "user", "content": "Look?"}, {"role": "assistant", "content": "Here."}],
        "tools": tools,
    }


def test_of_an_escalated_operation_the_strong_answer_is_taught() -> None:
    found = only(pair(), SFT, CHAT)

    assert isinstance(found, Candidate)
    assert json.loads(found.line)["messages"][-1]["content"] == "yes"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "openai",
            {
                "input": {"messages": [{"role": "user", "content": "Is it?"}]},
                "preferred_output": [{"role": "assistant", "content": "yes"}],
                "non_preferred_output": [{"role": "assistant", "content": "no"}],
            },
        ),
        (
            "trl",
            {
                "prompt": [{"role": "user", "content": "Is it?"}],
                "chosen": [{"role": "assistant", "content": "yes"}],
                "rejected": [{"role": "assistant", "content": "no"}],
            },
        ),
    ],
)
def test_cheap_wrong_and_strong_right_make_a_preference_pair(form: str, expected: dict[str, object]) -> None:
    found = only(pair(), rules(f'[preferences]\nformat = "{form}"'), PREFERENCE)

    assert isinstance(found, Candidate)
    assert json.loads(found.line) == expected
    assert found.about.event_keys == ("app#3", "app#2")


def test_both_rows_of_an_operation_are_on_one_side() -> None:
    found = [one for one in made(pair(), SFT) if isinstance(one, Candidate)]

    assert len({one.side for one in found}) == 1
    assert len({one.about.row_id for one in found}) == 2


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ([attempt(1)], Reason.NOT_ESCALATED),
        (pair("Yes ", "yes"), Reason.SAME_ANSWER),
        (pair(scores=(Score(judge=4), Score(judge=4))), Reason.CHEAP_NOT_WORSE),
        (pair(scores=(Score(judge=4), None)), Reason.CHEAP_NOT_WORSE),
    ],
)
def test_what_is_no_lesson_is_no_preference_pair(operation: list[Attempt], reason: Reason) -> None:
    assert only(operation, SFT, PREFERENCE) == Left(kind=PREFERENCE, reason=reason)


def test_a_judge_that_thinks_less_of_the_cheap_answer_lets_the_pair_through() -> None:
    assert isinstance(only(pair(scores=(Score(judge=2), Score(judge=5))), SFT, PREFERENCE), Candidate)


@pytest.mark.parametrize(
    ("lines", "facts", "reason"),
    [
        ("features = ['mail']", {}, Reason.OTHER_FEATURE),
        ("tiers = ['large']", {}, Reason.OTHER_TIER),
        ("models = ['large-1']", {}, Reason.OTHER_MODEL),
        ("", {"finish_reason": "length"}, Reason.CUT_OFF),
        ("", {"finish_reason": None}, Reason.CUT_OFF),
        ("", {"said": ""}, Reason.TOO_SHORT),
        ("most_chars = 10", {}, Reason.TOO_LONG),
        ("checks = ['refusal']", {}, Reason.NOT_SCORED),
        ("checks = ['refusal']", {"score": Score(checked=("refusal",), failed=("refusal",))}, Reason.FAILED_CHECK),
        ("least_judge = 4", {"score": Score()}, Reason.NOT_SCORED),
        ("least_judge = 4", {"score": Score(judge=3.0)}, Reason.LOW_SCORE),
        ("", {"said": None}, Reason.NO_ANSWER),
    ],
)
def test_an_answer_that_is_not_good_enough_is_left_out_for_one_reason(
    lines: str, facts: dict[str, Any], reason: Reason
) -> None:
    assert only([attempt(1, **facts)], rules(f"[filters]\n{lines}"), CHAT) == Left(kind=CHAT, reason=reason)


def test_a_check_that_does_not_apply_keeps_no_answer_out() -> None:
    """A chat without tools has no tool call that could be wrong; the page's own recipe asks for both."""
    score = Score(checked=("answered", "refusal"))

    found = only([attempt(1, score=score)], rules("[filters]\nchecks = ['refusal', 'tool_calls']"), CHAT)

    assert isinstance(found, Candidate)


def test_a_recipe_may_ask_for_the_checks_there_are_and_no_others() -> None:
    assert rules(f"[filters]\nchecks = {list(NAMES)}").filters.checks == tuple(NAMES)
    with pytest.raises(ValueError, match=r"filters\.checks has refusals; known: answered, "):
        rules("[filters]\nchecks = ['refusals']")


def test_an_answer_that_meets_every_wish_is_in() -> None:
    score = Score(checked=("refusal", "length"), judge=4.5)
    recipe = rules("[filters]\nfeatures=['chat']\ntiers=['small']\nchecks=['refusal', 'length']\nleast_judge = 4")

    assert isinstance(only([attempt(1, score=score)], recipe, CHAT), Candidate)


@pytest.mark.slow
@given(
    st.builds(
        Consent,
        tenants=st.lists(st.sampled_from(["acme", "globex"])).map(tuple),
        features=st.dictionaries(st.sampled_from(["acme", "globex"]), st.just(("chat",))),
        refused_users=st.lists(st.sampled_from(["ann", "bob"])).map(tuple),
    ),
    st.builds(
        Whose,
        st.sampled_from(["acme", "globex", "initech"]),
        st.sampled_from(["chat", "mail", None]),
        st.sampled_from(["ann", "bob", None]),
    ),
    st.sets(st.tuples(st.sampled_from(["acme", "globex"]), st.sampled_from(["ann", "bob"]))),
)
def test_nothing_is_used_that_anybody_refused(consent: Consent, whose: Whose, erased: set[tuple[str, str]]) -> None:
    allowed = without_consent(whose, consent, erased=erased) is None

    agreed = whose.tenant_id in consent.tenants
    of_feature = whose.tenant_id not in consent.features or whose.feature in consent.features[whose.tenant_id]
    refused = whose.user_hash in consent.refused_users or (whose.tenant_id, whose.user_hash) in erased
    assert allowed == (agreed and of_feature and not refused)


# Evaluation sets


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ([attempt(1)], {"difficulty": "easy", "failure": "none", "period": "2026-W47", "feature": "chat"}),
        (pair(), {"difficulty": "hard", "failure": "none"}),
        ([attempt(1, route_tier="large")], {"difficulty": "unknown", "failure": "none"}),
        ([attempt(1, said=None)], {"difficulty": "unknown", "failure": "no_answer"}),
        ([attempt(1, finish_reason="length")], {"failure": "cut_off"}),
        ([attempt(1, score=Score(failed=("schema", "refusal")))], {"failure": "refusal"}),
    ],
)
def test_a_question_says_how_hard_it_was_and_what_went_wrong(
    operation: list[Attempt], expected: dict[str, str]
) -> None:
    found = only(operation, rules("[strata]\ncheap_tiers = ['small']", kind="eval"), EVAL)

    assert isinstance(found, Candidate)
    line = json.loads(found.line)
    assert expected.items() <= line.items()
    assert ("reference" in line) == (line["failure"] == "none")
    assert found.about.group == "/".join(line[name] for name in ("feature", "difficulty", "period", "failure"))


# Pairs for the router


def row_of(operation: list[Attempt]) -> dict[str, str] | Reason:
    """The CSV row, read by the standard library."""
    recipe = rules("[router]\ntiers = ['small', 'large']", kind="router_pairs")
    found = only(operation, recipe, PAIR)
    if isinstance(found, Left):
        return found.reason
    [row] = csv.DictReader(io.StringIO((header(recipe.router) + b"\n" + found.line).decode()))
    return row


def test_an_escalated_operation_says_that_the_cheap_tier_failed_and_the_strong_did_not() -> None:
    row = row_of(pair())

    assert row == {"prompt": "Is it?", "tools": "0", "turns": "1", "group": "chat", "small": "0", "large": "1"}


def test_a_judge_decides_before_what_was_served_does() -> None:
    row = row_of(pair(scores=(Score(judge=3), Score(judge=5))))

    assert isinstance(row, dict)
    assert (row["small"], row["large"]) == ("0.5", "1")


def test_a_shadow_that_failed_a_check_is_worth_nothing_and_one_that_nobody_judged_is_not_known() -> None:
    shadow: dict[str, Any] = {"attempt_role": "shadow", "route_tier": "large", "attempt_no": 2, "operation_id": "o"}
    own = attempt(1, attempt_role="primary", attempt_no=1, operation_id="o")

    failed = row_of([own, attempt(2, score=Score(checked=("schema",), failed=("schema",)), **shadow)])
    unknown = row_of([own, attempt(2, **shadow)])

    assert isinstance(failed, dict)
    assert (failed["small"], failed["large"]) == ("1", "0")
    assert unknown is Reason.QUALITY_UNKNOWN


def test_one_tier_alone_makes_no_pair() -> None:
    assert row_of([attempt(1)]) is Reason.QUALITY_UNKNOWN
