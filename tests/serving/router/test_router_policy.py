"""A policy file is right as a whole, or refused with what would be right."""

import re
from pathlib import Path

import msgspec
import pytest

from serving.router.policy import PolicyError, RoutePolicy, Tier, policy
from tests.serving.router.made import rules

TIER = '[tiers.a]\nprovider = "p"\nmodel = "m"\ninput_usd_pico_per_token = 1\noutput_usd_pico_per_token = 2\n'


def test_a_route_without_a_static_tier_falls_back_to_its_strongest() -> None:
    assert rules().routes["chat"].static == "large"
    assert rules(static_tier="small").routes["chat"].static == "small"


def test_the_version_changes_with_the_text() -> None:
    assert rules().version == rules().version
    assert rules().version != rules(quality_floor=0.9).version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiers = 3", "tiers"),
        ("[routes", "Expected ']'"),
        (TIER, "routes"),
        (TIER + '[routes.r]\ntiers = ["a", "b"]', "names 'b'; tiers are: a"),
        (TIER + '[routes.r]\ntiers = ["a", "a"]', "names one twice"),
        (TIER + "[routes.r]\ntiers = []", "tiers"),
        (TIER + '[routes.r]\ntiers = ["a"]\nstatic_tier = "z"', "static_tier is 'z'"),
        (TIER + '[routes.r]\ntiers = ["a"]\nquality_flor = 0.9', "quality_flor"),
        (TIER + '[routes.r]\ntiers = ["a"]\nquality_floor = 1.5', "quality_floor"),
        (TIER + '[routes.r]\ntiers = ["a"]\nexplore = 0.5', "explore"),
        (TIER + '[routes.r]\ntiers = ["a"]\nttft_ms = 0', "ttft_ms"),
        (TIER + '[routes.r]\ntiers = ["a"]\nwithout_features = "guess"', "without_features"),
        (TIER + 'region = "eu"\n[routes.r]\ntiers = ["a"]', "region"),
        (TIER.replace("= 1\n", "= -1\n") + '[routes.r]\ntiers = ["a"]', "input_usd_pico_per_token"),
    ],
)
def test_a_bad_policy_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=r"router policy") as refused:
        policy(text)
    assert said in str(refused.value)


def test_the_page_shows_a_policy_that_is_right_and_names_every_field() -> None:
    page = (Path(__file__).parents[3] / "docs" / "routing.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown
    assert policy(shown.group(1)).routes["chat"].tiers == ("small", "large")
    fields = [field.name for section in (Tier, RoutePolicy) for field in msgspec.structs.fields(section)]
    assert [name for name in fields if f"`{name}`" not in page and f"{name} =" not in page] == []
