"""What the pages on cascades show is taken by the gateway as it stands there."""

import re
import tomllib

from infra.local.place import REPO
from serving.gateway.cascade import AGREED, PASSED, STRONGEST
from serving.gateway.configuration import configuration_of
from serving.gateway.routing import idle, misfit
from serving.gateway.verifying import Reason
from serving.router.policy import policy


def blocks(page: str) -> list[str]:
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_cascade_that_is_shown_is_taken_and_fits_its_policy() -> None:
    gateway, rules, experiment = blocks("cascade.md")
    made = configuration_of(gateway + experiment)
    assert misfit(made, policy(rules)) is None
    assert idle(made, policy(rules)) == []
    assert made.routes["chat"].experiment is not None


def test_a_provider_and_a_tier_are_added_as_shown() -> None:
    gateway, rules, _ = blocks("cascade.md")
    provider, tier, upstream = blocks("adding_a_model.md")
    gateway = gateway.replace('"api.openai.com"]', '"api.openai.com", "api.groq.com"]')
    with_provider = gateway.replace('"small-b", "large-a"]', '"small-b", "small-c", "large-a"]') + provider
    assert misfit(configuration_of(with_provider), policy(rules)) is None
    with_tier = gateway.replace('"small-b", "large-a"]', '"small-b", "medium-a", "large-a"]') + upstream
    assert idle(configuration_of(with_tier), policy(rules)) != [], "first the upstream"
    both = (rules + tier).replace('tiers = ["small", "large"]', 'tiers = ["small", "medium", "large"]')
    assert misfit(configuration_of(with_tier), policy(both)) is None
    assert misfit(configuration_of(gateway), policy(both)) is not None, "a tier nobody serves is refused"


def test_every_reason_and_every_check_is_explained() -> None:
    page = (REPO / "docs" / "cascade.md").read_text(encoding="utf-8")
    assert [word for word in (PASSED, AGREED, STRONGEST) if f"`{word}`" not in page] == []
    assert [one.value for one in Reason if one is not Reason.SPECULATION and f"`{one.value}`" not in page] == []


def test_the_policy_on_the_routing_page_is_taken() -> None:
    [shown] = blocks("routing.md")
    assert policy(shown).routes.keys() == tomllib.loads(shown)["routes"].keys()
