"""The simulator's configuration: what is wrong is said before anything listens; the packaged fleet has prices."""

from pathlib import Path

import pytest

from serving.simulator.__main__ import TIERS
from serving.simulator.config import load
from tokenledger.pricing.catalogue import packaged_catalogue

_TIER = '[[tiers]]\nname = "a"\nmodels = ["m"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiers = []", "there is none"),
        ("tiers = 3", "Expected `array`, got `int`"),
        ("[[tiers", "Expected ']]'"),
        (_TIER + "slotz = 3", "unknown field `slotz`"),
        (_TIER + "slots = 0", "slots is 0; it must be 1 or more"),
        (_TIER + "tpot_us_p50 = nan\n", "Expected `int`"),
        (_TIER + "ttft_sigma = nan\n", "ttft_sigma is nan"),
        (_TIER + "accuracy = 1.5", "accuracy is 1.5; it is a share"),
        (_TIER + "faults = {bogus = 1.0}", "Invalid enum value 'bogus'"),
        (_TIER + "faults = {server_error = 0.7, unavailable = 0.7}", "all together at most 1"),
        (_TIER + _TIER, "the name 'a' is given twice"),
        (_TIER + "port = 80\n" + _TIER.replace('"a"', '"b"') + "port = 80", "port 80 is given twice"),
        (_TIER.replace('["m"]', "[]"), "models is empty"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tiers.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=str(file)) as raised:
        load(file)
    assert said in str(raised.value)


def test_every_hosted_model_of_the_packaged_fleet_is_in_the_price_book() -> None:
    named = [model for tier in load(TIERS).tiers for model in tier.models]
    unpriced = [model for model in named if packaged_catalogue().find("openai", model) is None]
    assert unpriced == ["Qwen/Qwen2.5-7B-Instruct"]
