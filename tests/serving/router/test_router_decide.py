"""Laws of a decision: the same again, never cheaper under a stricter policy, careful where it does not know."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.router.decide import NOTHING_KNOWN, Online, Reason, decide
from serving.router.features import Prompt
from serving.router.policy import Policy
from tests.serving.router.made import EASY, FILLERS, HARD, rules, traffic, trained
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures, TrafficFeatures

WELL = Online(tiers={"small": traffic(), "large": traffic()})
EASY_PROMPT = Prompt(text=f"Tell me the {EASY[0]} {' '.join(FILLERS[:6])}, case 7?")
HARD_PROMPT = Prompt(text=f"Tell me the {HARD[0]} {' '.join(FILLERS[:6])}, case 7?")
LENIENT: dict[str, object] = {"quality_floor": 0.8, "explore": 0.0, "familiarity": 0.0}
CAREFUL: dict[str, object] = LENIENT | {"familiarity": 0.02}

prompts = st.builds(
    lambda first, rest, number: Prompt(text=f"Tell me the {first} {' '.join(rest)}, case {number}?"),
    st.sampled_from((*EASY, *HARD, "sonnet")),
    st.lists(st.sampled_from(FILLERS), min_size=1, max_size=9),
    st.integers(0, 10_000),
)


def choose(prompt: Prompt, policy: Policy, online: Online = WELL, *, operation_id: str = "op-1") -> RouteDecision:
    return decide(prompt, route="chat", policy=policy, model=trained(), online=online, operation_id=operation_id)


def test_what_looks_easy_goes_to_the_small_tier_and_what_looks_hard_does_not() -> None:
    easy, hard = choose(EASY_PROMPT, rules(**LENIENT)), choose(HARD_PROMPT, rules(**LENIENT))
    assert (easy.tier, easy.reason) == ("small", Reason.GOOD_ENOUGH)
    assert (hard.tier, hard.reason) == ("large", Reason.QUALITY_FLOOR)
    assert easy.confidence is not None
    assert easy.confidence > 0.8
    assert easy.expected_cost_usd_pico < easy.strongest_cost_usd_pico
    assert hard.expected_cost_usd_pico == hard.strongest_cost_usd_pico


@given(prompts, st.text(max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_same_request_is_decided_the_same(prompt: Prompt, operation_id: str) -> None:
    policy = rules(explore=0.1)
    assert choose(prompt, policy, operation_id=operation_id) == choose(prompt, policy, operation_id=operation_id)


@pytest.mark.slow
@given(prompts, *[st.tuples(*[st.floats(0, 1)] * 2).map(sorted)] * 3)
@settings(max_examples=80, deadline=None)
def test_a_stricter_policy_never_chooses_a_cheaper_tier(
    prompt: Prompt, floors: list[float], confidences: list[float], strangeness: list[float]
) -> None:
    lax, strict = (
        choose(prompt, rules(quality_floor=floors[n], confidence=confidences[n], familiarity=strangeness[n])).best_tier
        for n in (0, 1)
    )
    assert (lax, strict) != ("large", "small")


@pytest.mark.slow
@given(prompts, st.floats(0, 0.1), st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_propensities_sum_to_one_and_name_the_chosen_tiers_own(prompt: Prompt, explore: float, lot: str) -> None:
    made = choose(prompt, rules(**LENIENT | {"explore": explore}), operation_id=lot)
    assert sum(made.propensities.values()) == pytest.approx(1)
    assert made.propensity == made.propensities[made.tier] > 0
    assert made.propensities[made.best_tier] >= 1 - explore


@pytest.mark.slow
def test_the_lot_falls_as_often_as_it_says() -> None:
    """10 % over two tiers: 5 % to the other one. 4,000 lots: 200, five standard deviations are 69."""
    policy = rules(**LENIENT | {"explore": 0.1})
    drawn = Counter(choose(EASY_PROMPT, policy, operation_id=f"op-{number}").reason for number in range(4000))
    assert set(drawn) == {Reason.GOOD_ENOUGH, Reason.EXPLORED}
    assert abs(drawn[Reason.EXPLORED] - 200) < 69


@pytest.mark.parametrize(
    ("online", "policy", "reason"),
    [
        (NOTHING_KNOWN, {}, Reason.FEATURES_MISSING),
        (Online(tiers={"small": traffic()}), {}, Reason.FEATURES_MISSING),
        (Online(tiers={"small": traffic(), "large": TrafficFeatures()}), {}, Reason.FEATURES_MISSING),
        (WELL, {"month_ceiling_usd_pico": 10}, Reason.FEATURES_MISSING),
        (WELL, {"escalation_ratio": 0.5}, Reason.FEATURES_MISSING),
        (msgspec.structs.replace(WELL, age_us=400_000_000), {}, Reason.FEATURES_OLD),
    ],
)
def test_without_features_the_static_tier_serves_and_the_reason_says_so(
    online: Online, policy: dict[str, object], reason: Reason
) -> None:
    for static in ("small", "large"):
        made = choose(HARD_PROMPT, rules(static_tier=static, explore=0.1, **policy), online)
        assert (made.tier, made.reason, made.propensity) == (static, reason, 1)


def test_a_route_may_judge_by_the_prompt_alone() -> None:
    policy = rules(**LENIENT, without_features="prompt")
    assert choose(EASY_PROMPT, policy, NOTHING_KNOWN).tier == "small"
    assert choose(HARD_PROMPT, policy, NOTHING_KNOWN).tier == "large"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM t; -- {\"a\": [1,2]} => λx. x + 1 == 2; def f(): return {'k': 3}" * 20,
        "Wie viele Äpfel hat Änne, wenn sie drei verschenkt und dafür fünf größere bekommt?",
        "x",
        "",
    ],
)
def test_a_prompt_unlike_the_training_prompts_goes_to_the_strongest_tier(text: str) -> None:
    made = choose(Prompt(text=text), rules(**CAREFUL))
    assert (made.tier, made.reason) == ("large", Reason.FAR_FROM_TRAINING)


def test_tools_that_training_never_saw_are_far() -> None:
    made = choose(msgspec.structs.replace(EASY_PROMPT, tools=8, turns=30), rules(**CAREFUL))
    assert made.reason == Reason.FAR_FROM_TRAINING


def test_without_a_model_or_with_one_of_other_tiers_the_static_tier_serves() -> None:
    card = msgspec.structs.replace(trained().card, tiers=("tiny", "huge"))
    for model in (None, msgspec.structs.replace(trained(), card=card)):
        made = decide(EASY_PROMPT, route="chat", policy=rules(), model=model, online=WELL, operation_id="1")
        assert (made.tier, made.reason, made.confidence) == ("large", Reason.NO_MODEL, None)


def test_a_tier_that_fails_or_is_slow_is_left_out() -> None:
    slow = Online(tiers={"small": traffic(ttft_us_p95=900_000), "large": traffic(ttft_us_p95=400_000)})
    failing = Online(tiers={"small": traffic(error_ratio=0.8), "large": traffic()})
    for online in (slow, failing):
        made = choose(EASY_PROMPT, rules(**LENIENT, ttft_ms=500), online)
        assert (made.tier, made.left_out) == ("large", ("small",))
    assert choose(EASY_PROMPT, rules(**LENIENT, ttft_ms=900), slow).tier == "small"


def test_where_the_strongest_fails_the_next_one_serves_even_what_is_hard() -> None:
    online = Online(tiers={"small": traffic(), "large": traffic(error_ratio=0.9)})
    made = choose(HARD_PROMPT, rules(**LENIENT), online)
    assert (made.tier, made.left_out) == ("small", ("large",))


def test_a_few_failures_say_nothing() -> None:
    online = Online(tiers={"small": traffic(calls=5, error_ratio=1.0), "large": traffic()})
    assert choose(EASY_PROMPT, rules(**LENIENT), online).tier == "small"


def test_where_no_tier_is_well_all_may_serve() -> None:
    online = Online(tiers={"small": traffic(error_ratio=0.9), "large": traffic(error_ratio=0.9)})
    assert choose(EASY_PROMPT, rules(**LENIENT), online).tier == "small"


def test_the_cost_ceiling_and_the_months_ceiling_choose_cheaper() -> None:
    """On the large tier: a token for four characters begun, and an answer of 300 tokens."""
    cost = (len(HARD_PROMPT.text) // 4 + 1) * 2_500_000 + 300 * 10_000_000
    assert choose(HARD_PROMPT, rules(**LENIENT, cost_ceiling_usd_pico=cost)).tier == "large"
    dear = choose(HARD_PROMPT, rules(**LENIENT, cost_ceiling_usd_pico=cost - 1))
    assert (dear.tier, dear.reason) == ("small", Reason.COST_CEILING)
    spent = msgspec.structs.replace(WELL, spend=SpendFeatures(known_cost_usd_pico_month=500))
    over = choose(HARD_PROMPT, rules(**LENIENT, month_ceiling_usd_pico=500), spent)
    assert (over.tier, over.reason) == ("small", Reason.SPEND_CEILING)
    assert choose(HARD_PROMPT, rules(**LENIENT, month_ceiling_usd_pico=501), spent).tier == "large"


def test_a_lot_never_passes_the_cost_ceiling() -> None:
    policy = rules(quality_floor=0.8, explore=0.1, familiarity=0.0, cost_ceiling_usd_pico=1_000_000_000)
    assert {choose(EASY_PROMPT, policy, operation_id=str(n)).tier for n in range(200)} == {"small"}


def test_where_cheap_answers_are_escalated_often_the_strongest_is_asked_at_once() -> None:
    online = msgspec.structs.replace(WELL, feature=traffic(escalation_ratio=0.6))
    made = choose(EASY_PROMPT, rules(**LENIENT, escalation_ratio=0.5), online)
    assert (made.tier, made.reason) == ("large", Reason.ESCALATES_OFTEN)
    assert choose(EASY_PROMPT, rules(**LENIENT, escalation_ratio=0.7), online).tier == "small"


def test_the_cost_follows_the_answers_the_stream_has_seen() -> None:
    online = Online(tiers={"small": traffic(output_tokens_per_call=1000.4), "large": traffic()})
    made = choose(EASY_PROMPT, rules(**LENIENT), online)
    assert made.expected_cost_usd_pico == (len(EASY_PROMPT.text) // 4 + 1) * 100_000 + 1000 * 400_000


def test_a_decision_holds_no_text_and_survives_the_wire() -> None:
    made = choose(Prompt(text=EASY_PROMPT.text + " Zanzibar"), rules())
    wire = msgspec.json.encode(made)
    assert msgspec.json.decode(wire, type=RouteDecision) == made
    assert b"anzibar" not in wire


def test_a_decisions_id_depends_on_the_operation_and_on_what_was_known() -> None:
    policy = rules()
    ids = {
        choose(EASY_PROMPT, policy).decision_id,
        choose(EASY_PROMPT, policy, operation_id="op-2").decision_id,
        choose(HARD_PROMPT, policy).decision_id,
        choose(EASY_PROMPT, policy, msgspec.structs.replace(WELL, age_us=5)).decision_id,
    }
    assert len(ids) == 4
