"""Columns of calls → histograms per tenant and feature, a batch at a time. What a bin is, the library says."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dags.core.findings import NUMBERS, WORDS, Counted
from tokenledger.drift import Bins

Key = tuple[str, str | None, str]
Counts = NDArray[np.int64]
Codes = NDArray[np.int64]

_ALL: Final = None


class Counting:
    """Adds up batches. Memory grows with tenants, features and bins, not with calls."""

    def __init__(self, bins_of: Callable[[Key], Bins | None]) -> None:
        self._bins_of = bins_of
        self._bins: dict[Key, Bins | None] = {}
        self._counts: dict[Key, Counts] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """One batch more."""
        tenants = batch.column("tenant_id").dictionary_encode()
        features = batch.column("feature").dictionary_encode()
        tenant_of = tenants.indices.to_numpy(zero_copy_only=False)
        feature_of = features.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        names = features.dictionary.to_pylist()
        for at, tenant_id in enumerate(tenants.dictionary.to_pylist()):
            of_tenant = np.flatnonzero(tenant_of == at)
            self._add_group(batch, (tenant_id, _ALL), rows=of_tenant)
            for number in np.unique(feature_of[of_tenant]):
                if number >= 0:
                    rows = of_tenant[feature_of[of_tenant] == number]
                    self._add_group(batch, (tenant_id, names[number]), rows=rows)

    def _add_group(self, batch: pa.RecordBatch, group: tuple[str, str | None], *, rows: Codes) -> None:
        taken = pa.array(rows)
        for column in NUMBERS:
            self._count((*group, column), batch.column(column).take(taken), codes=_number_codes)
        for column in WORDS:
            if column != "feature" or group[1] is _ALL:
                self._count((*group, column), batch.column(column).take(taken), codes=_word_codes)

    def _count(self, key: Key, values: pa.Array, *, codes: Callable[[Bins, pa.Array], Codes]) -> None:
        if key not in self._bins:
            self._bins[key] = self._bins_of(key)
        bins = self._bins[key]
        if bins is None:
            return
        size = len(bins.labels)
        before = self._counts.get(key, np.zeros(size, dtype=np.int64))
        self._counts[key] = before + np.bincount(codes(bins, values), minlength=size)

    def counted(self) -> list[Counted]:
        """Every column that has bins."""
        return [
            Counted(tenant_id=key[0], feature=key[1], column=key[2], bins=bins, counts=tuple(counts.tolist()))
            for key, counts in self._counts.items()
            if (bins := self._bins[key]) is not None
        ]


def _number_codes(bins: Bins, values: pa.Array) -> Codes:
    numbers: NDArray[np.float64] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    found = np.searchsorted(np.array(bins.edges or (), dtype=np.float64), numbers, side="right")
    codes: Codes = np.where(np.isnan(numbers), len(bins.labels) - 1, found).astype(np.int64)
    return codes


def _word_codes(bins: Bins, values: pa.Array) -> Codes:
    encoded = values.dictionary_encode()
    table: list[int] = [bins.bin_of(word) for word in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(len(table)).to_numpy(zero_copy_only=False)
    codes: Codes = np.array([*table, len(bins.labels) - 1], dtype=np.int64)[places]
    return codes


def count(batches: Iterable[pa.RecordBatch], bins: dict[Key, Bins]) -> list[Counted]:
    """The histograms of all batches, by these bins; a group without bins is only noted, with one row of nothing."""
    counting = Counting(bins.get)
    for batch in batches:
        counting.add(batch)
    return counting.counted()


def label(bins: Bins, value: Any) -> str:
    """The name of a value's bin, so that names sort as bins do."""
    number = bins.bin_of(value)
    return f"{number:02d} {bins.labels[number]}"
