"""A trained router: features of a prompt → what each cheaper tier is expected to lose against the strongest. Pure.

Three blocks of equal length feed one linear model: word n-grams, character n-grams, and the shape through fixed cosines
(random Fourier features of a Gaussian kernel), which let a linear model see how numbers of the shape act together.
"""

import math
from bisect import bisect_left
from typing import Final

import msgspec
import numpy as np

from serving.router.calibration import Isotonic
from serving.router.features import CHARS_FROM, Features, Floats

FORMAT: Final = 1
"""Version of what is stored; another is refused."""

CLIPPED: Final = 3.0
"""Standard deviations beyond which a number of the shape counts no more for the gain (for strangeness it does)."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one cheaper tier beside its weights."""

    tier: str
    """The tier."""
    gain: Isotonic
    """Score → expected quality that the strongest tier would add."""
    worse: Isotonic
    """Score → probability that the tier's answer is worse than the strongest tier's."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a model that is not an array."""

    format: int = FORMAT
    """Version of the files."""
    tiers: tuple[str, ...]
    """Tiers it knows, the strongest last."""
    heads: tuple[Head, ...]
    """One per tier but the strongest, in that order."""
    strong_quality: float
    """Mean quality of the strongest tier on the training pairs."""
    pairs: int
    """Training pairs."""
    strangeness: tuple[tuple[float, ...], ...]
    """Per kind of strangeness: quantiles 0, 1 %, … 100 % over training prompts that were held out."""


class Arrays(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a model."""

    idf: Floats
    """Per bucket: weight of its n-grams in a prompt, 0 for those that training did not keep."""
    weights: Floats
    """Per bucket and head: what it adds to the score, per unit of the prompt's n-grams."""
    mean: Floats
    """Mean of the shape."""
    scale: Floats
    """Its standard deviation, never 0."""
    frequencies: Floats
    """Per number of the shape and cosine: how the cosine turns with it."""
    phases: Floats
    """Where each cosine begins."""
    cosine_weights: Floats
    """Per cosine and head: what it adds to the score."""
    intercept: Floats
    """Score of a prompt that nothing is known of, per head."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the router's model."""

    version: str
    """Hash of its content."""
    card: Card
    """What it is."""
    arrays: Arrays
    """Its numbers."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the model says of one prompt."""

    gains: tuple[float, ...]
    """Expected quality that the strongest tier would add, per cheaper tier."""
    worse: tuple[float, ...]
    """Probability that the tier's answer is worse than the strongest tier's, per cheaper tier."""
    familiarity: float
    """Share of prompts like the training ones that are at least as strange: 0 is unlike any of them."""


def estimate(model: Model, features: Features) -> Estimate:
    """What to expect for this prompt."""
    scores, strange = score(model.arrays, features)
    heads = model.card.heads
    return Estimate(
        gains=tuple(head.gain(value) for head, value in zip(heads, scores, strict=True)),
        worse=tuple(head.worse(value) for head, value in zip(heads, scores, strict=True)),
        familiarity=min(
            _share_beyond(quantiles, value) for quantiles, value in zip(model.card.strangeness, strange, strict=True)
        ),
    )


def score(arrays: Arrays, features: Features) -> tuple[list[float], tuple[float, float]]:
    """Score per head, and how strange the words and the shape are."""
    buckets = features.buckets
    split = int(buckets.searchsorted(CHARS_FROM))
    idf = arrays.idf.take(buckets)
    weighted = (np.log(features.counts) + 1) * idf
    weights = arrays.weights.take(buckets, axis=0)
    total = arrays.intercept.copy()
    for part in (slice(0, split), slice(split, None)):
        if length := math.sqrt(weighted[part] @ weighted[part]):
            total += weighted[part] @ weights[part] / length
    away = (features.shape - arrays.mean) / arrays.scale
    total += cosines(np.clip(away, -CLIPPED, CLIPPED), arrays) @ arrays.cosine_weights
    unseen = 1 - np.count_nonzero(idf[:split]) / split if split else 1.0
    return total.tolist(), (unseen, math.sqrt(away @ away / len(away)))


def cosines(away: Floats, arrays: Arrays) -> Floats:
    """The shape's numbers, acting together; a vector of length near 1."""
    turned: Floats = np.cos(away @ arrays.frequencies + arrays.phases)
    turned *= np.float32(np.sqrt(2 / len(arrays.phases)))
    return turned


def _share_beyond(quantiles: tuple[float, ...], value: float) -> float:
    """By the quantiles, the share of held-out prompts at least so strange; 0 beyond the last."""
    if value > quantiles[-1]:
        return 0.0
    return 1 - bisect_left(quantiles, value) / (len(quantiles) - 1)
