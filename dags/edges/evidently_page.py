"""Evidently's page on two samples, over the bins of the reference, so that its figures are those of the report."""

import os
import warnings
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("DO_NOT_TRACK", "1")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

import pandas as pd
import pyarrow as pa

from dags.edges.counting import label
from tokenledger.drift import Bins

_THRESHOLD: Final = 0.2


def draw(path: Path, before: pa.Table, *, now: pa.Table, columns: dict[str, Bins]) -> dict[str, float]:
    """Write the page; column → PSI as Evidently has it."""
    frames = [_binned(table, columns) for table in (before, now)]
    names = [name for name in columns if all(frame[name].nunique() for frame in frames)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definition = DataDefinition(categorical_columns=names)
        old, new = (Dataset.from_pandas(frame[names], data_definition=definition) for frame in frames)
        metrics: list[Any] = [ValueDrift(column=name, method="psi", threshold=_THRESHOLD) for name in names]
        snapshot = Report(metrics).run(new, old)
        snapshot.save_html(str(path))
        found = snapshot.dict()["metrics"]
    return {name: float(metric["value"]) for name, metric in zip(names, found, strict=True)}


def _binned(table: pa.Table, columns: dict[str, Bins]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: [label(bins, value) for value in table.column(name).to_pylist()] for name, bins in columns.items()}
    )
