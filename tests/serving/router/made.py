"""Labelled pairs made by a rule that the test knows, and a model trained on them."""

import random
from functools import cache

import numpy as np

from serving.router.features import Prompt, features
from serving.router.model import Model
from serving.router.pairs import Pair, qualities
from serving.router.policy import Policy, policy
from serving.router.training import Plan, train
from tokenledger.records.features import TrafficFeatures

TIERS = ("small", "large")
EASY = ("capital", "colour", "greeting", "synonym", "spelling")
HARD = ("integral", "proof", "theorem", "eigenvalue", "recursion")
FILLERS = (
    *("about", "river", "garden", "window", "music", "letter", "bridge"),
    *("market", "winter", "table", "story", "animal", "paper", "village"),
)
PLAN = Plan(folds=3)


def pairs(count: int, *, seed: int, signal: float) -> list[Pair]:
    """The large tier is always right; the small one fails on hard words with probability 0.5 + signal/2, else less."""
    draw = random.Random(seed)  # noqa: S311  (a workload, not a secret)
    made = []
    for number in range(count):
        hard = draw.random() < 0.5
        words = [draw.choice(HARD if hard else EASY), *draw.sample(FILLERS, 6)]
        fails = draw.random() < 0.5 + (signal / 2 if hard else -signal / 2)
        text = f"Tell me the {words[0]} {' '.join(words[1:])}, case {number}?"
        made.append(Pair(prompt=Prompt(text=text), qualities=(0.0 if fails else 1.0, 1.0), group="made"))
    return made


@cache
def trained(seed: int = 1) -> Model:
    """On 400 pairs with a strong signal."""
    found = pairs(400, seed=seed, signal=0.9)
    return train([features(one.prompt) for one in found], np.array(qualities(found)), tiers=TIERS, plan=PLAN)


POLICY_TEXT = """
[tiers.small]
provider = "vllm"
model = "small-8b"
input_usd_pico_per_token = 100_000
output_usd_pico_per_token = 400_000

[tiers.large]
provider = "openai"
model = "gpt-4o"
input_usd_pico_per_token = 2_500_000
output_usd_pico_per_token = 10_000_000

[routes.chat]
tiers = ["small", "large"]
"""


def rules(**changes: object) -> Policy:
    """A route `chat` of two tiers."""
    return policy(POLICY_TEXT + "\n".join(f"{name} = {_toml(value)}" for name, value in changes.items()))


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def traffic(**changes: object) -> TrafficFeatures:
    """A tier that is well and much used."""
    return TrafficFeatures(**({"calls": 500, "error_ratio": 0.0} | changes))  # type: ignore[arg-type]
