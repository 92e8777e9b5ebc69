"""Exact and near duplicates, as folds over sorted streams: however many rows there are, one head is held at a time.

Signatures and the number of bands are datasketch's; sorting is the caller's. Of rows that say the same, the earliest
stays, so a row that is there is not pushed out by one that comes later.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import numpy as np
from datasketch import MinHash
from datasketch.lsh import _optimal_param
from numpy.typing import NDArray

from dags.core.words import Shingles

Signature = NDArray[np.uint32]

_SEED: Final = 1
SCHEME: Final = "affine32"
"""How datasketch permutes; signatures of another scheme cannot be compared."""
_WEIGHT: Final = 0.5
"""False positives and negatives of the bands count the same; positives are compared again."""


def fingerprint(text: str) -> bytes:
    """Equal for equal normal texts."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16]


@cache
def permutations(length: int) -> Any:
    """Those of every signature of that length, made once."""
    return MinHash(num_perm=length, seed=_SEED, scheme=SCHEME).permutations


def _itself(value: int) -> int:
    return value


def signature(shingles: Shingles, length: int) -> Signature:
    """The MinHash signature."""
    made = MinHash(num_perm=length, seed=_SEED, hashfunc=_itself, permutations=permutations(length), scheme=SCHEME)
    made.update_batch(shingles)
    found: Signature = made.hashvalues
    return found


@cache
def bands(threshold: float, length: int) -> tuple[int, int]:
    """How many bands of how many rows find pairs from the threshold on."""
    count, rows = _optimal_param(threshold, length, _WEIGHT, 1 - _WEIGHT)
    return int(count), int(rows)


def buckets(found: Signature, threshold: float) -> list[int]:
    """One number a band: rows that share one may be duplicates. Signed, as Parquet likes it."""
    count, rows = bands(threshold, len(found))
    raw = found.tobytes()
    width = rows * found.itemsize
    return [
        int.from_bytes(
            hashlib.blake2b(raw[at * width : (at + 1) * width], digest_size=8, salt=at.to_bytes(4, "big")).digest(),
            "big",
            signed=True,
        )
        for at in range(count)
    ]


def similarity(one: Signature, other: Signature) -> float:
    """Estimated Jaccard similarity."""
    return float(np.mean(one == other))


def heads(members: Iterable[tuple[object, int]]) -> Iterator[tuple[int, int]]:
    """(head, other) of every bucket, from (bucket, row) sorted by bucket and then the order in which rows win."""
    bucket, head = None, None
    for current, row in members:
        if head is None or current != bucket:
            bucket, head = current, row
        elif row != head:
            yield head, row
