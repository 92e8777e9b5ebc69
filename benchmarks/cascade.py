"""What a cascade costs and how right it is, every call paid, beside simpler policies; on made or your own questions.

Run: `uv run python -m benchmarks.cascade [FILE.csv … --tier small-a=COLUMN … --tier frontier-a=COLUMN]`. Nothing is
sent: answers, tokens, times and prices are those the simulator's tiers would give (serving/simulator/cascade.toml). The
router is trained on one half of the questions and judged, like everything, on the other. Of a file, tiers that it does
not name play no part, but for the second opinion, which is made up.
"""

import argparse
import json
import math
import random
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.router.decide import NOTHING_KNOWN, decide
from serving.router.features import Prompt, features
from serving.router.model import Model
from serving.router.policy import policy
from serving.router.training import Plan, train
from serving.simulator import answering, asking, config, labelled, questions
from serving.simulator.answering import Label
from serving.simulator.config import Tier
from tokenledger.pricing import packaged_book, price_call
from tokenledger.records import Call

Array = NDArray[np.float64]

HERE: Final = Path(config.__file__).parent
TIERS: Final = ("small-a", "small-b", "medium-a", "frontier-a")
SMALL, OTHER, MEDIUM, FRONTIER = range(4)
PROVIDERS: Final = {"ministral-8b": "mistral_ai"}
SYSTEM: Final = (
    "You are a careful clerk. Work step by step in silence and say only the result, in the form asked for. " * 2
)
_ROUTED: Final = {"small": SMALL, "medium": MEDIUM, "frontier": FRONTIER}
_ALONE: Final = 0.95
"""Quality floor of a router whose choice is final."""
_CHECKED: Final = 0.88
"""The same where answers are checked."""
_ALL: Final = (SMALL, MEDIUM, FRONTIER)
_COUNT: Final = 6_000
_DRAWS: Final = 1_000
_AT_US: Final = 1_790_000_000_000_000


class World(NamedTuple):
    """Every question put to every tier: question × tier."""

    said: list[tuple[str, ...]]
    right: Array
    usd: Array
    seconds: Array
    prompts: list[str]


class Served(NamedTuple):
    """What one policy came to, question by question."""

    usd: Array
    right: Array
    seconds: Array
    tier: NDArray[np.int64]


# The world


def world(labels: Sequence[Label], tiers: Sequence[Tier]) -> World:
    """All answers."""
    known = {label.prompt: label for label in labels}
    said, right, usd, seconds = [], [], [], []
    for label in labels:
        rows = [_answered(label, tier, known=known) for tier in tiers]
        said.append(tuple(row[0] for row in rows))
        right.append([row[1] for row in rows])
        usd.append([row[2] for row in rows])
        seconds.append([row[3] for row in rows])
    prompts = [label.prompt for label in labels]
    return World(said, np.array(right, dtype=float), np.array(usd), np.array(seconds), prompts)


def _answered(label: Label, tier: Tier, *, known: dict[str, Label]) -> tuple[str, bool, float, float]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": label.prompt}]
    chat = asking.read_chat(json.dumps({"model": tier.models[0], "messages": messages}).encode())
    given = answering.answers(chat, tier, labels=known)
    counts = answering.counts(chat, tier, given=given, seen_before=False)
    chance = random.Random(f"{tier.name}\x1f{label.prompt}")
    first = tier.ttft_us_p50 * math.exp(tier.ttft_sigma * chance.gauss(0, 1))
    token = tier.tpot_us_p50 * math.exp(tier.tpot_sigma * chance.gauss(0, 1))
    seconds = (
        first + counts.prompt_tokens / 1000 * tier.prefill_us_per_1k_tokens + counts.completion_tokens * token
    ) / 1e6
    rates = rates_of(tier.models[0])
    usd = (counts.prompt_tokens * rates[0] + counts.completion_tokens * rates[1]) / 1e12
    return given[0].text, bool(given[0].correct), usd, seconds


@cache
def rates_of(model: str) -> tuple[int, int]:
    """Pico-USD per token of input and of output, by the packaged book."""
    provider = PROVIDERS.get(model, "openai")
    found = []
    for meter in ("input.text", "output.text"):
        call = Call(
            "t", "e", "e", provider, {meter: 1_000_000}, _AT_US, "started_at", api="chat", request_model=model,
            input_tokens=1_000_000 if meter == "input.text" else 0, usage_source="reported",
        )  # fmt: skip
        cost = price_call(call, packaged_book()).cost_usd_pico
        assert cost is not None, f"no price for {model}"
        found.append(cost // 1_000_000)
    return found[0], found[1]


# The policies


def alone(made: World, tier: int) -> Served:
    """One tier for everything."""
    return chosen(made, np.full(len(made.prompts), tier))


def chosen(made: World, tier: NDArray[np.int64]) -> Served:
    """One call a question, of the tier named for it."""
    rows = np.arange(len(tier))
    return Served(made.usd[rows, tier], made.right[rows, tier], made.seconds[rows, tier], tier)


def checked(made: World, start: NDArray[np.int64], *, rungs: tuple[int, ...]) -> Served:
    """Form and refusal are checked; what fails goes up by one rung."""
    return _climb(
        made,
        start,
        rungs=rungs,
        do=lambda row, tier, _asked: _well_formed(made.said[row][tier], made.said[row][FRONTIER]),
    )


def agreed(
    made: World, start: NDArray[np.int64], *, rungs: tuple[int, ...], opinion: int, later: bool = False
) -> Served:
    """Beside the first call a second opinion is asked in parallel; an answer that does not agree goes up.

    `later` holds an escalated answer of a middle tier against those already paid for, too.
    """

    def do(row: int, tier: int, asked: list[int]) -> bool:
        said = made.said[row]
        if not _well_formed(said[tier], said[FRONTIER]):
            return False
        others = [one for one in asked if one != tier]
        if len(asked) > 2 and not later:
            return True
        return any(_same(said[tier], said[one]) for one in others)

    return _climb(made, start, rungs=rungs, do=do, opinion=opinion)


def _climb(
    made: World,
    start: NDArray[np.int64],
    *,
    rungs: tuple[int, ...],
    do: Callable[[int, int, list[int]], bool],
    opinion: int | None = None,
) -> Served:
    """From the start upwards until an answer will do; the last rung's serves as it is. All calls are paid."""
    usd, right, seconds, served = [], [], [], []
    for row, first in enumerate(start):
        asked, spent, took = [], 0.0, 0.0
        tier = int(first)
        for tier in rungs[rungs.index(int(first)) :]:
            asked.append(tier)
            wait = made.seconds[row, tier]
            if opinion is not None and len(asked) == 1 and tier != rungs[-1]:
                asked.append(opinion)
                spent += made.usd[row, opinion]
                wait = max(wait, made.seconds[row, opinion])
            spent += made.usd[row, tier]
            took += wait
            if tier == rungs[-1] or do(row, tier, asked):
                break
        usd.append(spent)
        right.append(made.right[row, tier])
        seconds.append(took)
        served.append(tier)
    return Served(np.array(usd), np.array(right), np.array(seconds), np.array(served))


def _well_formed(said: str, like: str) -> bool:
    """As the gateway checks: no refusal, and JSON where JSON was asked for (where the strong model gives it)."""
    if said.startswith("I'm sorry"):
        return False
    return not like.startswith("{") or _json(said) is not None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _same(one: str, other: str) -> bool:
    parsed = _json(one)
    return parsed == _json(other) if isinstance(parsed, dict) else one.casefold() == other.casefold()


def trained(made: World, rungs: tuple[int, ...] = _ALL) -> Model:
    """A router that has seen how these questions went."""
    tiers = tuple(tier for tier, rung in _ROUTED.items() if rung in rungs)
    labels = made.right[:, list(rungs)]
    return train([features(Prompt(text=one)) for one in made.prompts], labels, tiers=tiers, plan=Plan())


def routed(model: Model, judged: World, *, floor: float) -> NDArray[np.int64]:
    """The tier the router chooses for each question at a quality floor; nothing is explored."""
    text = (HERE / "cascade_router.toml").read_text(encoding="utf-8").replace("explore = 0.02", "explore = 0.0")
    text = re.sub(r"quality_floor = [0-9.]+", f"quality_floor = {floor}", text)
    rules = policy(re.sub(r"(?m)^tiers = .*$", f"tiers = {json.dumps(model.card.tiers)}", text))
    found = [
        decide(Prompt(text=one), route="chat", policy=rules, model=model, online=NOTHING_KNOWN, operation_id=one).tier
        for one in judged.prompts
    ]
    return np.array([_ROUTED[tier] for tier in found])


def policies(made: World, judged: World, *, rungs: tuple[int, ...] = _ALL) -> dict[str, Served]:
    """Every policy on the same questions; those of the middle tier only where there is one."""
    count = len(judged.prompts)
    model = trained(made, rungs)
    route, start = (routed(model, judged, floor=floor) for floor in (_ALONE, _CHECKED))
    from_small = np.full(count, SMALL)
    from_medium = np.full(count, MEDIUM)
    share = float((route == FRONTIER).mean())
    strongest_first = np.random.Generator(np.random.PCG64(1)).permutation(count)
    longest_first = np.argsort([-len(prompt) for prompt in judged.prompts], kind="stable")
    short = (SMALL, FRONTIER)
    found = {
        "all frontier": alone(judged, FRONTIER),
        "all small": alone(judged, SMALL),
        "random, as many frontier calls as the router": chosen(judged, _first(strongest_first, share)),
        "longest prompts to frontier, as many": chosen(judged, _first(longest_first, share)),
        "router: the prompt alone": chosen(judged, route),
        "cascade from the router's tier, no agreement": checked(judged, start, rungs=rungs),
        "cascade from small, no agreement": checked(judged, from_small, rungs=rungs),
        "cascade from small, two must agree, else frontier": agreed(judged, from_small, rungs=short, opinion=OTHER),
        "cascade from the router's tier, two must agree": agreed(judged, start, rungs=rungs, opinion=OTHER, later=True),
    }
    if MEDIUM not in rungs:
        return found
    return found | {
        "all medium": alone(judged, MEDIUM),
        "the same, else medium, then frontier": agreed(judged, from_small, rungs=rungs, opinion=OTHER, later=True),
        "medium and small must agree, else frontier": agreed(
            judged, from_medium, rungs=(MEDIUM, FRONTIER), opinion=SMALL
        ),
    }


def _first(order: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    tiers = np.full(len(order), SMALL)
    tiers[order[: round(share * len(order))]] = FRONTIER
    return tiers


# The table


def rows(found: dict[str, Served]) -> list[str]:
    """A line a policy, with 95 % bootstrap intervals over the same draws of questions."""
    best = found["all frontier"]
    drawn = np.random.Generator(np.random.PCG64(7)).integers(0, len(best.usd), (_DRAWS, len(best.usd)))
    lines = [
        "| policy | USD per 1,000 | ÷ all frontier | right | p50, p99 s | served by small, medium, frontier |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        cost = _interval(one.usd[drawn].sum(1) / best.usd[drawn].sum(1))
        right = _interval(one.right[drawn].mean(1))
        shares = [float((one.tier == tier).mean()) for tier in (SMALL, MEDIUM, FRONTIER)]
        middle, late = np.quantile(one.seconds, (0.5, 0.99))
        lines.append(
            f"| {name} | {one.usd.mean() * 1000:.4f} | {one.usd.sum() / best.usd.sum():.3f} ({cost}) "
            f"| {one.right.mean():.4f} ({right}) | {middle:.2f}, {late:.2f} "
            f"| {', '.join(f'{share:.0%}' for share in shares)} |"
        )
    return lines


def _interval(values: Array) -> str:
    low, high = np.quantile(values, (0.025, 0.975))
    return f"{low:.3f}-{high:.3f}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cascade", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="labelled pairs instead of made questions")
    parser.add_argument("--tier", action="append", default=[], help="NAME=COLUMN; names: " + ", ".join(TIERS))
    parser.add_argument("--count", type=int, default=_COUNT, help="made questions")
    asked = parser.parse_args()
    fleet = {tier.name: tier for tier in config.load(HERE / "cascade.toml").tiers}
    if asked.files:
        labels = [label for file in asked.files for label in labelled.read(file, asked.tier)]
    else:
        made = questions.questions(asked.count, seed=11)
        labels = [label for label in questions.labels(made) if label.prompt == label.same_as]
    random.Random(3).shuffle(labels)
    whole = [world(part, [fleet[name] for name in TIERS]) for part in (labels[::2], labels[1::2])]
    print(f"{len(whole[1].prompts):,} questions, the router trained on {len(whole[0].prompts):,} others\n")
    named = {one.partition("=")[0] for one in asked.tier}
    rungs = tuple(rung for rung in _ALL if not named or TIERS[rung] in named)
    print("\n".join(rows(policies(*whole, rungs=rungs))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
