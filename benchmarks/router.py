"""CPU of one routing decision, and, given labelled pairs, what the router is worth beside its baselines.

Run: `uv run python -m benchmarks.router [FILE.csv … --tier NAME=COLUMN --tier NAME=COLUMN]`; the options are those of
`tokenledger router evaluate`. Without files only the decision is timed, on made prompts of 2,000 characters.
"""

import random
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from serving.router.decide import Online, decide, features_hash
from serving.router.features import Features, Prompt, features
from serving.router.model import Model, estimate
from serving.router.policy import policy
from serving.router.training import Plan, train
from tokenledger.cli import main as command
from tokenledger.records.features import TrafficFeatures

_CHARS = 2_000
_PROMPTS, _ROUNDS = 200, 15
_REACH_MS = 1.0
_TIERS = ("small", "large")
_POLICY = policy(
    "".join(
        f'[tiers.{tier}]\nprovider = "p"\nmodel = "{tier}"\n'
        "input_usd_pico_per_token = 100_000\noutput_usd_pico_per_token = 400_000\n"
        for tier in _TIERS
    )
    + '[routes.chat]\ntiers = ["small", "large"]\n'
)
_ONLINE = Online(tiers={tier: TrafficFeatures(calls=100, error_ratio=0.01, ttft_us_p95=300_000) for tier in _TIERS})


def made(count: int, *, seed: int) -> list[Prompt]:
    """Sentences of words of a Zipf-like vocabulary, with numbers and marks, cut to the length."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 9))) for _ in range(5_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    prompts = []
    for _ in range(count):
        drawn = draw.choices(words, weights, k=_CHARS // 4)
        drawn = [
            word + "." if n % 17 == 16 else str(draw.randint(1, 999)) if n % 23 == 0 else word
            for n, word in enumerate(drawn)
        ]
        prompts.append(Prompt(text=" ".join(drawn)[:_CHARS].ljust(_CHARS, "x")))
    return prompts


def cpu_ms(work: Callable[[int], object], calls: int) -> tuple[float, float]:
    """Least and median over the rounds of the CPU of a call; the machine is shared, so the least is the code's own."""
    rounds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for number in range(calls):
            work(number)
        rounds.append((time.process_time() - start) / calls * 1e3)
    return min(rounds), median(rounds)


def _model(texts: list[Features]) -> Model:
    draw = np.random.Generator(np.random.PCG64(1))
    weak = (draw.random(len(texts)) < 0.6).astype(float)
    return train(texts, np.stack((weak, np.ones(len(texts))), axis=1), tiers=_TIERS, plan=Plan(folds=2))


def timed() -> None:
    """The parts of a decision."""
    prompts = made(_PROMPTS, seed=1)
    texts = [features(prompt) for prompt in prompts]
    model = _model([features(prompt) for prompt in made(_PROMPTS, seed=1)])

    def whole(number: int) -> object:
        return decide(
            prompts[number], route="chat", policy=_POLICY, model=model, online=_ONLINE, operation_id=str(number)
        )

    parts: tuple[tuple[str, Callable[[int], object]], ...] = (
        ("features", lambda number: features(prompts[number])),
        ("estimate", lambda number: estimate(model, texts[number])),
        ("hash", lambda number: features_hash(texts[number], _ONLINE)),
        ("decide, all of it", whole),
    )
    print(f"prompt of {_CHARS} characters        least ms  median ms   reach")
    for name, work in parts:
        least, middle = cpu_ms(work, _PROMPTS)
        print(f"{name:<34}{least:9.3f}{middle:11.3f}   {f'≤ {_REACH_MS:g}' if 'all' in name else ''}")


def main(arguments: list[str]) -> int:
    """Judge, if there is something to judge on; then time."""
    status = command(["router", "evaluate", *arguments]) if arguments else 0
    timed()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
