"""A cascade of three tiers: the one between is checked like the first, and needs one earlier answer on its side."""

from pathlib import Path
from typing import Any

import pytest

from tests.serving.cascades import BUSY, SECOND, THREE, VERIFY, bill, content, play, says
from tests.serving.routes import EASY, ask
from tests.serving.running import Running, Step, Upstream

REFUSES = says("I'm sorry, but I can't help with that.")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("medium", "tier", "check", "roles"),
    [
        (says("43"), "medium", "agreed", ["primary", "verify", "escalation"]),
        (says("44"), "large", "strongest", ["primary", "verify", "escalation", "escalation"]),
        (REFUSES, "large", "strongest", ["primary", "verify", "escalation", "escalation"]),
    ],
)
def test_the_tier_between_is_served_where_it_sides_with_an_earlier_answer(
    tmp_path: Path, medium: Step, tier: str, *, check: str, roles: list[str], stream: bool
) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY, stream=stream))
        assert answered.headers["x-tokenledger-tier"] == tier
        if not (stream and tier == "large"):
            assert answered.headers["x-tokenledger-check"] == check
        assert sorted(role for role, *_ in bill(gateway)) == sorted(roles)

    steps: dict[str, Any] = {"small": says("41"), "small_b": says("43"), "medium": medium, "large": says("42")}
    play(scene, tmp_path, cascade=SECOND, policy=THREE, **steps)


def test_after_a_refusal_the_tier_between_only_has_to_pass(tmp_path: Path) -> None:
    async def scene(gateway: Running, servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (content(answered), answered.headers["x-tokenledger-check"]) == ("42", "passed")
        assert servers["large"].received == []
        assert bill(gateway)[-1] == ("escalation", "refusal", True, None)

    play(scene, tmp_path, policy=THREE, small=REFUSES, medium=says("42"), large=says("7"))


def test_a_tier_between_that_is_down_is_passed_over(tmp_path: Path) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert (content(answered), answered.headers["x-tokenledger-tier"]) == ("42", "large")
        assert bill(gateway)[-1][:2] == ("escalation", "upstream_error")

    play(scene, tmp_path, policy=THREE, small=REFUSES, medium=BUSY, large=says("42"))


@pytest.mark.parametrize(("allowed", "status"), [(False, 503), (True, 200)])
def test_a_weaker_tier_answers_only_where_the_route_allows_it(tmp_path: Path, *, allowed: bool, status: int) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert answered.status == status
        if allowed:
            assert answered.headers["x-tokenledger-tier"] == "small"
            assert bill(gateway)[-1][0] == "fallback"

    policy = THREE.replace('static_tier = "small"', 'static_tier = "medium"')
    cascade = VERIFY + f"weaker_fallback = {str(allowed).lower()}\n"
    steps: dict[str, Any] = {"small": says("41"), "medium": BUSY, "large": BUSY}
    play(scene, tmp_path, cascade=cascade, policy=policy, **steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "check"),
    [("France's capital city is Paris.", "agreed"), ("Bread is made of flour, water and yeast.", "strongest")],
)
def test_open_answers_are_compared_by_their_meaning_where_the_route_asks_for_it(
    tmp_path: Path, second: str, check: str
) -> None:
    async def scene(gateway: Running, _servers: dict[str, Upstream]) -> None:
        answered = await gateway.post(ask(EASY))
        assert answered.headers["x-tokenledger-check"] == check

    cascade = SECOND + 'agreement = "semantic"\nsimilarity = 0.8\n'
    first = "The capital of France is Paris."
    play(scene, tmp_path, cascade=cascade, small=says(first), small_b=says(second), large=says("Paris"))
