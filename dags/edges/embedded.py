"""Whether prompts speak of something else: Evidently's drift methods on embeddings of some prompts of each tenant.

The methods are called directly: Evidently's metric would first draw a picture that takes a minute. An edge.
"""

import hashlib
import heapq
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dags import io
from dags.core import words
from dags.core.attempts import Attempt, read
from dags.core.findings import Spoken

Vectors = NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]

PROMPTS: Final = 200
"""Prompts of each tenant that are embedded: those with the smallest hashes, so the same ones each time."""
_LEAST: Final = 50
_MOST_CHARS: Final = 2_000
_AT_ONCE: Final = 8


def embedded(lake: Path, *, window: io.Window, embed: Embed) -> dict[str, Vectors]:
    """Tenant → embeddings of some of its prompts in that time."""
    drawn: dict[str, list[tuple[int, str]]] = {}
    for text in io.texts(lake, tenants=None, window=window):
        attempt = read(text)
        if isinstance(attempt, Attempt):
            mark = hashlib.sha256(f"{text.tenant_id}\0{text.event_key}".encode()).digest()
            entry = (-int.from_bytes(mark[:8], "big"), words.prompt(attempt.messages)[:_MOST_CHARS])
            held = drawn.setdefault(text.tenant_id, [])
            (heapq.heappush if len(held) < PROMPTS else heapq.heappushpop)(held, entry)
    return {tenant: _all([prompt for _, prompt in sorted(held)], embed) for tenant, held in sorted(drawn.items())}


def _all(prompts: list[str], embed: Embed) -> Vectors:
    """A few at a time: what a model holds meanwhile grows with the square of the longest."""
    return np.concatenate([embed(prompts[at : at + _AT_ONCE]) for at in range(0, len(prompts), _AT_ONCE)])


def save(path: Path, found: dict[str, Vectors]) -> None:
    """Keep them: numbers, no texts."""
    np.savez_compressed(path, allow_pickle=False, tenants=np.array(list(found), dtype=np.str_), **_named(found))


def _named(found: dict[str, Vectors]) -> dict[str, Vectors]:
    return {f"vectors{number}": vectors for number, vectors in enumerate(found.values())}


def load(path: Path) -> dict[str, Vectors]:
    """What was kept."""
    with np.load(path, allow_pickle=False) as stored:
        return {str(tenant): stored[f"vectors{number}"] for number, tenant in enumerate(stored["tenants"])}


def spoken(before: dict[str, Vectors], now: dict[str, Vectors]) -> tuple[Spoken, ...]:
    """What Evidently makes of the tenants that have enough prompts in both."""
    both = (tenant for tenant in sorted(before.keys() & now.keys()))
    return tuple(
        _spoken(tenant, before[tenant], now=now[tenant])
        for tenant in both
        if min(len(before[tenant]), len(now[tenant])) >= _LEAST
    )


def _spoken(tenant: str, before: Vectors, *, now: Vectors) -> Spoken:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.legacy.metrics.data_drift.embedding_drift_methods import distance, model

        methods = (distance(dist="cosine"), model(bootstrap=False))
        far, told_apart = (method(_frame(now), _frame(before))[0] for method in methods)
    return Spoken(
        tenant_id=tenant,
        reference_rows=len(before),
        current_rows=len(now),
        distance=float(far),
        told_apart=float(told_apart),
    )


def _frame(vectors: Vectors) -> pd.DataFrame:
    return pd.DataFrame(vectors, columns=[f"d{number}" for number in range(vectors.shape[1])])
