"""What a router is worth on labelled pairs, beside baselines that need no learning, with intervals. Pure.

Every prompt is judged by a model that has seen neither it nor its calibration: folds outside, cross-fitting inside.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.router.edits import EDITS
from serving.router.features import Features, features
from serving.router.metrics import Curve, apgr, calibration_error, curve, interval
from serving.router.model import Model, estimate, score
from serving.router.pairs import Pair, qualities
from serving.router.training import Plan, cross_fit, folds, train

Array = NDArray[np.float64]

ROUTER: Final = "router"
RANDOM: Final = "random"
_SEED: Final = 11
_Z: Final = 1.96
"""Standard errors to either end of a 95 % interval."""
_EDITED: Final = 200
"""Prompts on which stability is measured."""
FLOORS: Final = (0.80, 0.85, 0.90, 0.95)
"""Quality floors at which the share per tier is stated."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How to evaluate."""

    tiers: tuple[str, ...]
    """Tiers, the strongest last; a router between the first and the last is judged."""
    plan: Plan = Plan()
    """How each fold's model is trained."""
    folds: int = 5
    """Parts of the pairs."""
    cost_ratio: float = 0.1
    """Price of a call of the first tier ÷ price of one of the last."""
    draws: int = 1000
    """Bootstrap draws."""
    shuffles: int = 0
    """Other divisions into folds on which the area is taken too."""
    familiarity: float = 0.02
    """As in a policy: stranger prompts go to the strongest tier."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One order of the prompts."""

    name: str
    """`router`, or the baseline."""
    curve: Curve
    """What it achieves."""
    intervals: dict[str, tuple[float, float]]
    """Per figure, the middle 95 % of the bootstrap."""
    ahead: float
    """Share of draws in which the router's APGR is greater than this one's."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What a quality floor makes of the pairs."""

    quality_floor: float
    """As in a policy."""
    strong_share: float
    """Share of prompts sent to the strongest tier."""
    recovered: float
    """Recovered part of the gap."""
    quality: float
    """Mean quality."""
    saved: float
    """Cost saved against all-strong."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an evaluation says."""

    pairs: int
    """Pairs."""
    weak_quality: float
    """Mean quality of the first tier."""
    strong_quality: float
    """Mean quality of the last."""
    gap_low: float
    """Lower end of the 95 % interval of how much better the last is; where it is not above 0, areas say nothing."""
    cost_ratio: float
    """Price of a call of the first tier ÷ the last."""
    lines: tuple[Line, ...]
    """The router, then the baselines."""
    shuffled: tuple[float, ...]
    """The router's area on other divisions into the same number of folds."""
    settings: tuple[Setting, ...]
    """Shares per tier, by quality floor."""
    gain_error: float
    """Calibration error (ECE) of the expected gain."""
    worse_error: float
    """Calibration error of the probability of being worse."""
    far_share: float
    """Share of prompts that are too unlike the training prompts and go to the strongest tier for that."""
    stable: dict[str, float]
    """Per edit: share of prompts on the same side of the median score."""


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    scores: Array
    gains: Array
    worse: Array
    familiarity: Array
    models: tuple[Model, ...]
    parts: tuple[NDArray[np.int64], ...]


def seen(pairs: Sequence[Pair]) -> list[Features]:
    """The prompts as the model reads them."""
    return [features(pair.prompt) for pair in pairs]


def evaluate(pairs: Sequence[Pair], terms: Terms) -> Report:
    """By folds, within the pairs."""
    texts = seen(pairs)
    wanted = qualities(pairs)
    parts = folds(len(pairs), terms.folds)
    models = []
    for part in parts:
        kept = np.setdiff1d(np.arange(len(pairs)), part)
        models.append(train([texts[row] for row in kept], wanted[kept], tiers=terms.tiers, plan=terms.plan))
    report = _report(pairs, _judged(texts, tuple(models), tuple(parts)), terms=terms, trained_on=None)
    return msgspec.structs.replace(report, shuffled=_shuffled(texts, wanted, terms=terms))


def _shuffled(texts: list[Features], wanted: Array, *, terms: Terms) -> tuple[float, ...]:
    """One division is one draw of many; without calibration, on which an area does not depend."""
    gains, plan = wanted[:, -1:] - wanted[:, :1], msgspec.structs.replace(terms.plan, folds=terms.folds)
    return tuple(
        apgr(cross_fit(texts, gains, plan=plan, shuffle=shuffle)[0][:, 0], gains[:, 0])
        for shuffle in range(1, terms.shuffles + 1)
    )


def transfer(model: Model, pairs: Sequence[Pair], *, terms: Terms) -> Report:
    """By a model that was trained on something else."""
    texts = seen(pairs)
    everything = np.arange(len(pairs))
    return _report(pairs, _judged(texts, (model,), (everything,)), terms=terms, trained_on=model)


def _judged(texts: Sequence[Features], models: tuple[Model, ...], parts: tuple[NDArray[np.int64], ...]) -> _Judged:
    told = np.zeros((len(texts), 4))
    for model, part in zip(models, parts, strict=True):
        for row in part:
            said = estimate(model, texts[row])
            told[row] = score(model.arrays, texts[row])[0][0], said.gains[0], said.worse[0], said.familiarity
    return _Judged(
        scores=told[:, 0], gains=told[:, 1], worse=told[:, 2], familiarity=told[:, 3], models=models, parts=parts
    )


def _report(pairs: Sequence[Pair], judged: _Judged, *, terms: Terms, trained_on: Model | None) -> Report:
    wanted = qualities(pairs)
    weak, strong = wanted[:, 0], wanted[:, -1]
    if strong.sum() <= weak.sum():
        raise ValueError(
            f"{terms.tiers[-1]} (mean quality {strong.mean():.3f}) is not better than {terms.tiers[0]} "
            f"({weak.mean():.3f}) on these pairs: there is no gap to recover; name the strongest tier last"
        )
    orders = {ROUTER: judged.scores} | baselines(pairs, terms.folds if trained_on is None else 0)
    gains = strong - weak
    return Report(
        pairs=len(pairs),
        weak_quality=float(weak.mean()),
        strong_quality=float(strong.mean()),
        gap_low=float(gains.mean() - _Z * gains.std() / math.sqrt(len(gains))),
        cost_ratio=terms.cost_ratio,
        lines=_lines(orders, weak, strong=strong, terms=terms),
        shuffled=(),
        settings=tuple(_setting(floor, judged, weak=weak, strong=strong, terms=terms) for floor in FLOORS),
        gain_error=calibration_error(judged.gains, gains),
        worse_error=calibration_error(judged.worse, (gains > 0).astype(float)),
        far_share=float((judged.familiarity < terms.familiarity).mean()),
        stable=_stability(pairs, judged),
    )


def baselines(pairs: Sequence[Pair], parts: int) -> dict[str, Array]:
    """Orders anybody can have: by lot, the longest first, and, where groups are named, by the group's mean gain."""
    found = {
        RANDOM: np.zeros(len(pairs)),
        "longest prompt": np.array([len(pair.prompt.text) for pair in pairs], dtype=float),
    }
    groups = np.array([pair.group for pair in pairs])
    if parts and len(set(groups.tolist())) > 1:
        found["group mean"] = _group_means(groups, qualities(pairs), folds(len(pairs), parts))
    return found


def _group_means(groups: NDArray[np.str_], wanted: Array, parts: list[NDArray[np.int64]]) -> Array:
    """The mean gain of the prompt's group, over the other folds."""
    gains = wanted[:, -1] - wanted[:, 0]
    names, group = np.unique(groups, return_inverse=True)
    means = np.zeros(len(gains))
    for part in parts:
        kept = np.setdiff1d(np.arange(len(gains)), part)
        counts = np.bincount(group[kept], minlength=len(names))
        sums = np.bincount(group[kept], gains[kept], minlength=len(names))
        means[part] = np.where(counts, sums / np.maximum(counts, 1), gains[kept].mean())[group[part]]
    return means


def _lines(orders: dict[str, Array], weak: Array, *, strong: Array, terms: Terms) -> tuple[Line, ...]:
    """All orders on the same draws, so that their differences are seen, not only their spreads."""
    drawn = _draws(orders, weak, strong=strong, terms=terms)
    whole = {name: curve(scores, weak, strong, cost_ratio=terms.cost_ratio) for name, scores in orders.items()}
    whole[RANDOM] = Curve(**{figure: float(values.mean()) for figure, values in drawn[RANDOM].items()})
    return tuple(
        Line(
            name=name,
            curve=whole[name],
            intervals={figure: interval(values) for figure, values in drawn[name].items()},
            ahead=float(np.mean(drawn[ROUTER]["apgr"] > drawn[name]["apgr"])),
        )
        for name in orders
    )


def _draws(orders: dict[str, Array], weak: Array, *, strong: Array, terms: Terms) -> dict[str, dict[str, Array]]:
    """Per order and figure, its value in every draw; the random order is drawn anew each time."""
    random = np.random.Generator(np.random.PCG64(_SEED))
    drawn: dict[str, list[Curve]] = {name: [] for name in orders}
    for _ in range(terms.draws):
        rows = random.integers(0, len(weak), len(weak))
        if strong[rows].sum() <= weak[rows].sum():
            continue
        for name, scores in orders.items():
            ranked = random.random(len(rows)) if name == RANDOM else scores[rows]
            drawn[name].append(curve(ranked, weak[rows], strong[rows], cost_ratio=terms.cost_ratio))
    return {
        name: {figure: np.array([getattr(one, figure) for one in curves]) for figure in Curve.__struct_fields__}
        for name, curves in drawn.items()
    }


def _setting(floor: float, judged: _Judged, *, weak: Array, strong: Array, terms: Terms) -> Setting:
    """As `decide` would choose by quality and familiarity alone; one call per prompt, every one paid."""
    to_strong = (judged.gains > (1 - floor) * strong.mean()) | (judged.familiarity < terms.familiarity)
    served = np.where(to_strong, strong, weak)
    return Setting(
        quality_floor=floor,
        strong_share=float(to_strong.mean()),
        recovered=float((served.sum() - weak.sum()) / (strong.sum() - weak.sum())),
        quality=float(served.mean()),
        saved=float((1 - to_strong.mean()) * (1 - terms.cost_ratio)),
    )


def _stability(pairs: Sequence[Pair], judged: _Judged) -> dict[str, float]:
    """Share of prompts that an edit leaves on their side of the median score."""
    middle = float(np.median(judged.scores))
    part, model = judged.parts[0], judged.models[0]
    kept: dict[str, float] = {}
    for name, edit in EDITS.items():
        same = [
            (_edited(model, pairs[row], edit(pairs[row].prompt.text)) > middle) == (judged.scores[row] > middle)
            for row in part[:_EDITED]
        ]
        kept[name] = float(np.mean(same))
    return kept


def _edited(model: Model, pair: Pair, text: str) -> float:
    return score(model.arrays, features(msgspec.structs.replace(pair.prompt, text=text)))[0][0]


def plain(report: Report) -> dict[str, Any]:
    """As it is written to JSON."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found
