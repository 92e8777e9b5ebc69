"""Pairs → a model: ridge regression on strong − weak quality, calibrated on prompts held out of the fit. Pure.

The target is the difference, not whether the weak model fails: prompts that both fail are money thrown away.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.router.calibration import isotonic
from serving.router.features import BUCKETS, CHARS_FROM, Features, Floats
from serving.router.model import CLIPPED, Arrays, Card, Head, Model, cosines, score

Array = NDArray[np.float64]
Index = NDArray[np.int64]

COSINES: Final = 1024
"""Random Fourier features of the shape; more change the third digit of APGR."""
_SEED: Final = 7
"""Of the cosines' frequencies: a constant, so that the same pairs give the same model."""
_LEAST_SCALE: Final = 0.1
"""Smallest standard deviation a number of the shape is taken to have, in units of log(1 + value)."""
_SEEN_IN: Final = 2
"""An n-gram of fewer prompts tells nothing that holds for another prompt."""
_COMMON: Final = 0.5
"""An n-gram of a greater share of prompts tells nothing either."""
_TOLERANCE: Final = 1e-4
_STEPS: Final = 200
_LEAST_BLOCK: Final = 25
"""Pairs behind each step of a calibration, at least."""
LEAST_PAIRS: Final = 50
"""Fewer pairs train nothing worth having."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to train."""

    ridge: float = 30.0
    """Strength of the pull towards 0; each block of features has length 1."""
    folds: int = 5
    """Parts of the cross-fitting that calibrates."""


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """The features of many prompts, side by side."""

    buckets: NDArray[np.int32]
    """Buckets of all prompts, one after the other."""
    values: Floats
    """1 + log of how often each occurs."""
    rows: Index
    """The prompt of each bucket."""
    shapes: Floats
    """Prompt × number of the shape."""
    features: tuple[Features, ...]
    """The same, prompt by prompt."""


def corpus(features: Sequence[Features]) -> Corpus:
    """Side by side."""
    sizes = [len(one.buckets) for one in features]
    return Corpus(
        buckets=np.concatenate([one.buckets for one in features]),
        values=np.log(np.concatenate([one.counts for one in features])) + 1,
        rows=np.repeat(np.arange(len(sizes)), sizes),
        shapes=np.stack([one.shape for one in features]),
        features=tuple(features),
    )


def folds(pairs: int, parts: int, *, shuffle: int = 0) -> list[Index]:
    """Rows of each part: shuffled, so that neighbours in a file do not share one; the same for the same `shuffle`."""
    return np.array_split(np.random.Generator(np.random.PCG64(_SEED + shuffle)).permutation(pairs), parts)


def train(features: Sequence[Features], qualities: Array, *, tiers: tuple[str, ...], plan: Plan) -> Model:
    """A calibrated model; `qualities` is prompt × tier, the strongest tier last."""
    if len(features) < LEAST_PAIRS:
        raise ValueError(f"{len(features)} labelled pairs are too few; give at least {LEAST_PAIRS}")
    gains = qualities[:, -1:] - qualities[:, :-1]
    scores, strange = cross_fit(features, gains, plan=plan)
    arrays = fit(features, gains, ridge=plan.ridge)
    card = Card(
        tiers=tiers,
        heads=tuple(_head(tier, scores[:, at], gains[:, at]) for at, tier in enumerate(tiers[:-1])),
        strong_quality=float(qualities[:, -1].mean()),
        pairs=len(features),
        strangeness=tuple(tuple(np.quantile(kind, np.linspace(0, 1, 101)).tolist()) for kind in strange.T),
    )
    return Model(version=version_of(card, arrays), card=card, arrays=arrays)


def cross_fit(features: Sequence[Features], gains: Array, *, plan: Plan, shuffle: int = 0) -> tuple[Array, Array]:
    """Scores and strangeness of every prompt by a model that has not seen it."""
    scores, strange = np.zeros_like(gains), np.zeros((len(gains), 2))
    for held_out in folds(len(features), plan.folds, shuffle=shuffle):
        kept = np.setdiff1d(np.arange(len(features)), held_out)
        arrays = fit([features[row] for row in kept], gains[kept], ridge=plan.ridge)
        for row in held_out:
            scores[row], strange[row] = score(arrays, features[row])
    return scores, strange


def _head(tier: str, scores: Array, gains: Array) -> Head:
    worse = (gains > 0).astype(float)
    block = max(_LEAST_BLOCK, len(gains) // 50)
    return Head(
        tier=tier,
        gain=isotonic(scores, gains, rising=True, smallest_block=block),
        worse=isotonic(scores, worse, rising=True, smallest_block=block),
    )


def version_of(card: Card, arrays: Arrays) -> str:
    """Hash of the content: the same pairs and plan give the same version."""
    digest = hashlib.sha256(msgspec.json.encode(card))
    for name in arrays.__struct_fields__:
        digest.update(np.ascontiguousarray(getattr(arrays, name)).tobytes())
    return digest.hexdigest()[:16]


# The fit


class _Design(msgspec.Struct, frozen=True, kw_only=True):
    columns: NDArray[np.int32]
    values: Floats
    rows: Index
    dense: Floats
    kept: int

    def times(self, weights: Array) -> Array:
        """Design · weights."""
        sparse = np.bincount(self.rows, self.values * weights[self.columns], minlength=len(self.dense))
        return sparse + self.dense @ weights[self.kept :]

    def transposed_times(self, residuals: Array) -> Array:
        """Designᵀ · residuals."""
        sparse = np.bincount(self.columns, self.values * residuals[self.rows], minlength=self.kept)
        return np.concatenate((sparse, self.dense.T @ residuals))


def fit(features: Sequence[Features], gains: Array, *, ridge: float) -> Arrays:
    """Weights that predict the gains, not calibrated yet."""
    texts = corpus(features)
    blank = _prepared(texts, heads=gains.shape[1])
    design, kept = _design(texts, blank)
    mean = gains.mean(axis=0)
    solved = np.stack(
        [_solve(design, gains[:, head] - mean[head], ridge) for head in range(gains.shape[1])], axis=1
    ).astype(np.float32)
    weights = np.zeros((BUCKETS, gains.shape[1]), dtype=np.float32)
    weights[kept] = solved[: len(kept)]
    return msgspec.structs.replace(
        blank, weights=weights, cosine_weights=solved[len(kept) :], intercept=mean.astype(np.float32)
    )


def _prepared(texts: Corpus, *, heads: int) -> Arrays:
    """What does not depend on the labels."""
    prompts, numbers = texts.shapes.shape
    seen = np.bincount(texts.buckets, minlength=BUCKETS)
    kept = (seen >= _SEEN_IN) & (seen <= _COMMON * prompts)
    idf = np.where(kept, np.log(prompts / np.maximum(seen, 1)) + 1, 0)
    random = np.random.Generator(np.random.PCG64(_SEED))
    return Arrays(
        idf=idf.astype(np.float32),
        weights=np.empty((0, heads), dtype=np.float32),
        mean=texts.shapes.mean(axis=0),
        scale=np.maximum(texts.shapes.std(axis=0), _LEAST_SCALE).astype(np.float32),
        frequencies=random.normal(0, np.sqrt(2 / numbers), (numbers, COSINES)).astype(np.float32),
        phases=random.uniform(0, 2 * np.pi, COSINES).astype(np.float32),
        cosine_weights=np.empty((0, heads), dtype=np.float32),
        intercept=np.empty(0, dtype=np.float32),
    )


def _design(texts: Corpus, blank: Arrays) -> tuple[_Design, Index]:
    """Every prompt's three blocks, each of length 1, over the n-grams that are kept."""
    kept = np.flatnonzero(blank.idf)
    column_of = np.full(BUCKETS, -1, dtype=np.int32)
    column_of[kept] = np.arange(len(kept), dtype=np.int32)
    used = column_of[texts.buckets] >= 0
    buckets, rows = texts.buckets[used], texts.rows[used]
    values = texts.values[used] * blank.idf[buckets]
    block = rows * 2 + (buckets >= CHARS_FROM)
    lengths = np.sqrt(np.bincount(block, values * values, minlength=2 * len(texts.shapes)))
    away = np.clip((texts.shapes - blank.mean) / blank.scale, -CLIPPED, CLIPPED)
    dense = cosines(away, blank)
    return _Design(
        columns=column_of[buckets],
        values=(values / lengths[block]).astype(np.float32),
        rows=rows,
        dense=dense,
        kept=len(kept),
    ), kept


def _solve(design: _Design, targets: Array, ridge: float) -> Array:
    """Conjugate gradients on (XᵀX + ridge) w = Xᵀy."""
    residual = design.transposed_times(targets)
    solution, direction = np.zeros_like(residual), residual
    size = first = float(residual @ residual)
    for _ in range(_STEPS):
        if size <= _TOLERANCE**2 * first:
            break
        image = design.transposed_times(design.times(direction)) + ridge * direction
        step = size / float(direction @ image)
        solution = solution + step * direction
        residual = residual - step * image
        size, before = float(residual @ residual), size
        direction = residual + (size / before) * direction
    return solution
