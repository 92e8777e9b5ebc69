"""What was known at given instants: a point-in-time join over the history, with as many rows out as in.

A value is joined by when it was known, so that none is seen before, and is past its TTL by when it was true: at any
instant it is what the online reader would have said then. Feast is not needed for it; a test holds it against the SDK.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.offline import EVENT_AT, KNOWN_AT, files_of, schema_of
from tokenledger.records.features import VIEWS, FeatureView

ASKED_AT: Final = "event_timestamp"
"""The column of the instant a question is about, with a time zone."""
_ROW: Final = "__row"
_TRIES: Final = 3


class LostRowsError(Exception):
    """The join did not give each question its one row."""


def as_known(folder: Path, questions: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """The questions in their order with all their columns, and beside them `view__feature` as it was known then.

    `features` are `view:feature`. Raises ValueError for a feature that does not exist and for questions that lack a
    join key or the instant; LostRowsError should the join ever not keep every row.
    """
    answers = questions.copy()
    for view, names in _asked(features).items():
        needed = (*view.join_keys, ASKED_AT)
        if missing := [name for name in needed if name not in questions.columns]:
            message = f"history: the questions lack the column {missing[0]!r}; {view.name} needs {', '.join(needed)}"
            raise ValueError(message)
        for name, column in _answers(folder, questions, view=view, names=names).items():
            answers[f"{view.name}__{name}"] = column.to_numpy() if column.dtype == "float64" else column.array
    return answers


def _asked(features: Sequence[str]) -> dict[FeatureView, list[str]]:
    views = {view.name: view for view in VIEWS}
    asked: dict[FeatureView, list[str]] = {}
    for feature in features:
        view_name, _, name = feature.partition(":")
        view = views.get(view_name)
        if view is None or name not in view.record.__struct_fields__:
            message = f"history: no feature {feature!r}; it is `view:feature`, and docs/features.md has them all"
            raise ValueError(message)
        asked.setdefault(view, []).append(name)
    return asked


def _answers(folder: Path, questions: pd.DataFrame, *, view: FeatureView, names: list[str]) -> pd.DataFrame:
    keys = list(view.join_keys)
    asked = questions[[*keys, ASKED_AT]].copy()
    asked[ASKED_AT] = pd.to_datetime(asked[ASKED_AT], utc=True).astype("datetime64[us, UTC]")
    asked[_ROW] = range(len(asked))
    known = _known(folder, view, names=names, until=asked[ASKED_AT].max()).sort_values(KNOWN_AT, kind="stable")
    joined = pd.merge_asof(
        asked.sort_values(ASKED_AT, kind="stable"), known, left_on=ASKED_AT, right_on=KNOWN_AT, by=keys
    ).sort_values(_ROW, ignore_index=True)
    if list(joined[_ROW]) != list(range(len(questions))):
        message = f"history: {len(questions)} questions, {len(joined)} answers from {view.name}"
        raise LostRowsError(message)
    good = joined[ASKED_AT] - joined[EVENT_AT] <= pd.Timedelta(microseconds=view.ttl_us)
    return joined[names].where(good)


def _known(folder: Path, view: FeatureView, *, names: list[str], until: pd.Timestamp) -> pd.DataFrame:
    """The view's rows that were known by then. A file that was merged into another meanwhile is looked for again."""
    columns = [*view.join_keys, *names, EVENT_AT, KNOWN_AT]
    schema = pa.schema([schema_of(view).field(name) for name in columns])
    for attempt in range(_TRIES):
        try:
            tables = [_read(path, schema) for path in files_of(folder, view)]
            break
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
    table = pa.concat_tables([schema.empty_table(), *tables])
    if not pd.isna(until):
        table = table.filter(pc.field(KNOWN_AT) <= pa.scalar(until.to_pydatetime(), schema.field(KNOWN_AT).type))
    # Whole numbers with gaps stay whole numbers: as floats they would be rounded.
    found: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return found


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    """The columns of one file; one that an older version did not know is null."""
    there = set(pq.read_schema(path).names)
    table = pq.read_table(path, columns=[name for name in schema.names if name in there])
    return pa.table([table[f.name] if f.name in there else pa.nulls(len(table), f.type) for f in schema], schema=schema)
