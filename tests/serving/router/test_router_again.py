"""A logged decision is enough to judge another policy by: what was logged gives the choice that was made, exactly."""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.router import again
from serving.router.decide import NOTHING_KNOWN, Online, decide
from serving.router.features import Prompt
from tests.serving.router.made import EASY, FILLERS, HARD, rules, traffic, trained
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures, TrafficFeatures

_SHARES = st.floats(0, 1)
_traffic = st.none() | st.builds(
    lambda calls, errors, ttft, tokens: traffic(
        calls=calls, error_ratio=errors, ttft_us_p95=ttft, output_tokens_per_call=tokens
    ),
    st.integers(0, 100),
    _SHARES,
    st.none() | st.integers(0, 2_000_000),
    st.none() | st.floats(0, 4_000),
)


def _online(small: TrafficFeatures | None, large: TrafficFeatures | None, *, spent: int | None, age_us: int) -> Online:
    known = {name: one for name, one in (("small", small), ("large", large)) if one is not None}
    spend = None if spent is None else SpendFeatures(known_cost_usd_pico_month=spent)
    return Online(tiers=known, spend=spend, age_us=age_us if known else 0)


_onlines = st.builds(
    _online, _traffic, _traffic, spent=st.none() | st.integers(0, 900), age_us=st.integers(0, 600_000_000)
)


@dataclass(frozen=True)
class Case:
    """A request and a policy."""

    words: list[str]
    online: Online
    policy: dict[str, object]


_policies = st.fixed_dictionaries(
    {"quality_floor": _SHARES, "confidence": _SHARES, "familiarity": st.floats(0, 0.1), "explore": st.floats(0, 0.1)},
    optional={
        "cost_ceiling_usd_pico": st.integers(1, 5_000_000_000),
        "month_ceiling_usd_pico": st.integers(1, 1_000),
        "ttft_ms": st.integers(1, 2_000),
        "without_features": st.sampled_from(["static", "prompt"]),
    },
)
_cases = st.builds(Case, st.lists(st.sampled_from((*EASY, *HARD, *FILLERS)), min_size=1), _onlines, _policies)


def logged(case: Case) -> RouteDecision:
    """The decision as the ledger has it."""
    prompt = Prompt(text=f"Tell me the {' '.join(case.words)}?", context_chars=40, turns=3)
    made = decide(
        prompt, route="chat", policy=rules(**case.policy), model=trained(), online=case.online, operation_id="op"
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=RouteDecision)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(_cases)
def test_the_same_policy_chooses_the_same_with_the_same_probabilities(case: Case) -> None:
    made = logged(case)
    assert again.propensities(made, rules(**case.policy)) == pytest.approx(made.propensities)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(_cases, _policies)
def test_another_policy_chooses_as_it_would_have_with_the_prompt_before_it(
    case: Case, other: dict[str, object]
) -> None:
    with_prompt = logged(Case(words=case.words, online=case.online, policy=other))
    assert again.propensities(logged(case), rules(**other)) == pytest.approx(with_prompt.propensities)


def test_a_tier_that_was_not_there_cannot_be_judged() -> None:
    made = logged(Case(words=["sum"], online=NOTHING_KNOWN, policy={}))
    known = msgspec.structs.replace(made, propensities={"small": 1.0})
    with pytest.raises(ValueError, match="tier 'large' was not there"):
        again.propensities(known, rules())
