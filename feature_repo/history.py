"""What was known at given instants: Feast's point-in-time join, with as many rows out as in.

Feast answers each (entity, instant) once and drops what its TTL forbids; here every question keeps its row, answered or
not. A value is joined by when it was known, so that none is seen before.
"""

import warnings
from collections.abc import Sequence
from typing import Final

import pandas as pd
from feast import FeatureStore

ASKED_AT: Final = "event_timestamp"
"""The column of the instant a question is about, with a time zone."""
_ROW: Final = "__row"


class LostRowsError(Exception):
    """The join did not give each question its one row."""


def as_known(store: FeatureStore, questions: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """The questions in their order with all their columns, and beside them `view__feature` as it was known then.

    `features` are `view:feature`, all of views with the same join keys. Raises ValueError for questions without them.
    """
    keys = _join_keys(store, features)
    if missing := [name for name in (*keys, ASKED_AT) if name not in questions.columns]:
        message = f"history: the questions lack the column {missing[0]!r}; needed are {', '.join((*keys, ASKED_AT))}"
        raise ValueError(message)
    asked = questions.copy()
    asked[_ROW] = range(len(questions))
    asked[ASKED_AT] = _instants(questions[ASKED_AT])
    different = asked[[*keys, ASKED_AT]].drop_duplicates()
    with warnings.catch_warnings():
        # Dask about its own use of pandas.
        warnings.simplefilter("ignore", FutureWarning)
        known = store.get_historical_features(different, list(features), full_feature_names=True).to_df()
    known[ASKED_AT] = _instants(known[ASKED_AT])
    try:
        joined = asked.merge(known, on=[*keys, ASKED_AT], how="left", validate="many_to_one")
    except pd.errors.MergeError as error:
        message = f"history: two answers to one question of {', '.join(features)}"
        raise LostRowsError(message) from error
    joined = joined.sort_values(_ROW, ignore_index=True)
    if list(joined[_ROW]) != list(range(len(questions))):
        message = f"history: {len(questions)} questions, {len(joined)} rows"
        raise LostRowsError(message)
    return joined.drop(columns=_ROW)


def _instants(column: "pd.Series[pd.Timestamp]") -> "pd.Series[pd.Timestamp]":
    return pd.to_datetime(column, utc=True).astype("datetime64[us, UTC]")


def _join_keys(store: FeatureStore, features: Sequence[str]) -> list[str]:
    views = {feature.partition(":")[0] for feature in features}
    keys = {tuple(store.get_feature_view(view).join_keys) for view in views}
    if len(keys) != 1:
        message = f"history: {', '.join(sorted(views))} have not the same join keys; ask for them one after the other"
        raise ValueError(message)
    return list(keys.pop())
