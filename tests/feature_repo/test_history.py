"""The history is few whole files, and a question about the past sees neither its future nor loses its row."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.history import ASKED_AT, as_known
from feature_repo.offline import FILES_OF_A_LEVEL, History, files_of, folder_of, schema_of
from feature_repo.rows import Row, storable
from tokenledger.records.features import VIEWS, TrafficFeatures

_VIEW = next(view for view in VIEWS if view.name == "model_traffic_1m")
_FIVE_MINUTES = next(view for view in VIEWS if view.name == "model_traffic_5m")
_BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FOR_EVER_DAYS = 100_000


def _us(minutes: float) -> int:
    return int((_BASE + timedelta(minutes=minutes)).timestamp() * 1e6)


def _row(minutes: float, calls: int, *, known_after_min: float = 0.0, model: str = "m") -> Row:
    return Row(_VIEW, ("openai", model), TrafficFeatures(calls=calls), _us(minutes), _us(minutes + known_after_min))


def _asked(folder: Path, *asked: tuple[str, float]) -> list[int | None]:
    """Calls as they were known of (model, minute)."""
    rows = [
        {"label": label, "provider": "openai", "model": model, ASKED_AT: _BASE + timedelta(minutes=minutes)}
        for label, (model, minutes) in enumerate(asked)
    ]
    questions = pd.DataFrame(rows, columns=["label", "provider", "model", ASKED_AT])
    answers = as_known(folder, questions, ["model_traffic_1m:calls"])
    assert list(answers["label"]) == list(range(len(asked)))
    return [None if pd.isna(value) else int(value) for value in answers["model_traffic_1m__calls"]]


def _history(folder: Path, *rows: Row, keep_days: int = _FOR_EVER_DAYS) -> History:
    history = History(folder, keep_days=keep_days)
    history.prepare()
    history.write(rows, now_us=_us(0))
    return history


def test_a_question_sees_nothing_that_was_true_or_known_later(tmp_path: Path) -> None:
    _history(tmp_path, _row(10, 1, known_after_min=0.5), _row(11, 2, known_after_min=0.5), _row(12, 3))

    assert _asked(tmp_path, ("m", 10.49), ("m", 10.5), ("m", 11.2), ("m", 11.5), ("m", 12.0)) == [None, 1, 1, 2, 3]


def test_it_answers_as_a_search_through_all_rows_does(tmp_path: Path) -> None:
    rng = random.Random(7)  # noqa: S311
    minutes = sorted(rng.sample(range(200), 60))
    rows = [_row(minute, number, known_after_min=rng.uniform(0, 0.9)) for number, minute in enumerate(minutes)]
    _history(tmp_path, *rows[::2])
    _history(tmp_path, *rows[1::2])
    instants = [rng.uniform(-5, 210) for _ in range(300)]

    expected = []
    for instant in instants:
        known = [row for row in rows if row.known_at_us <= _us(instant)]
        newest = max(known, key=lambda row: row.known_at_us, default=None)
        good = newest is not None and newest.event_at_us >= _us(instant) - _VIEW.ttl_us
        expected.append(newest.features.calls if good else None)  # type: ignore[union-attr]  # both records have calls
    assert _asked(tmp_path, *(("m", instant) for instant in instants)) == expected


def test_a_late_revision_is_seen_from_when_it_was_told(tmp_path: Path) -> None:
    _history(tmp_path, _row(10, 1), _row(10, 9, known_after_min=2))

    assert _asked(tmp_path, ("m", 11.9), ("m", 12.0)) == [1, 9]


def test_every_question_keeps_its_row_repeated_unknown_or_too_late(tmp_path: Path) -> None:
    """The TTL of the view is five minutes."""
    _history(tmp_path, _row(0, 4), _row(3, 5))

    asked = [("m", 4.0), ("m", 1.0), ("m", 4.0), ("other", 4.0), ("m", 200.0), ("m", 8.0), ("m", 8.01), ("m", 4.0)]
    assert _asked(tmp_path, *asked) == [5, 4, 5, None, None, 5, None, 5]
    assert _asked(tmp_path) == []


def test_whole_numbers_are_not_rounded_where_others_are_missing(tmp_path: Path) -> None:
    _history(tmp_path, _row(0, 2**63 - 1))

    assert _asked(tmp_path, ("m", 0.0), ("other", 0.0)) == [2**63 - 1, None]


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (["model_traffic_1m:nothing"], "no feature 'model_traffic_1m:nothing'"),
        (["calls"], "no feature 'calls'"),
        (["feature_spend:calls_month"], "lack the column 'tenant_id'; feature_spend needs tenant_id, feature"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(tmp_path: Path, features: list[str], says: str) -> None:
    questions = pd.DataFrame([{"provider": "openai", "model": "m", ASKED_AT: _BASE}])
    with pytest.raises(ValueError, match=says):
        as_known(tmp_path, questions, features)


def test_views_of_different_keys_answer_one_table(tmp_path: Path) -> None:
    said = TrafficFeatures(error_ratio=0.25)
    _history(tmp_path, _row(0, 4), Row(_FIVE_MINUTES, ("openai", "m"), said, _us(0), _us(0)))
    questions = pd.DataFrame([{"provider": "openai", "model": "m", "tenant_id": "t", "feature": "f", ASKED_AT: _BASE}])

    asked = ["model_traffic_1m:calls", "model_traffic_5m:error_ratio", "feature_spend:calls_month"]
    answers = as_known(tmp_path, questions, asked)

    [answer] = answers.to_dict("records")
    assert (answer["model_traffic_1m__calls"], answer["model_traffic_5m__error_ratio"]) == (4, 0.25)
    assert pd.isna(answer["feature_spend__calls_month"])


@pytest.mark.slow
@pytest.mark.slow
def test_files_stay_few_and_every_row_is_kept_once(tmp_path: Path) -> None:
    history = _history(tmp_path)
    writes = FILES_OF_A_LEVEL**2 + 3
    for minute in range(writes):
        history.write([_row(minute, minute)], now_us=_us(minute))

    files = files_of(tmp_path, _VIEW)
    assert len(files) < 2 * FILES_OF_A_LEVEL
    found = pa.concat_tables([pq.read_table(path) for path in files])
    assert sorted(found["calls"].to_pylist()) == list(range(writes))
    assert found.schema.equals(schema_of(_VIEW))


def test_what_is_older_than_is_kept_goes(tmp_path: Path) -> None:
    history = _history(tmp_path, keep_days=1)
    for minute in range(FILES_OF_A_LEVEL):
        history.write([_row(minute, 1)], now_us=_us(minute))

    history.write([_row(3 * 24 * 60, 2)], now_us=_us(3 * 24 * 60))

    assert [pq.read_table(path)["calls"].to_pylist() for path in files_of(tmp_path, _VIEW)] == [[2]]


def test_a_write_that_was_cut_off_leaves_nothing_a_reader_sees(tmp_path: Path) -> None:
    _history(tmp_path, _row(0, 4))
    left = folder_of(tmp_path, _VIEW) / ".0-1-2-abcdef01.parquet"
    left.write_bytes(b"PAR1 cut o")

    assert _asked(tmp_path, ("m", 0.0)) == [4]
    History(tmp_path, keep_days=1).prepare()
    assert not left.exists()


@pytest.mark.slow
def test_files_of_an_older_version_are_read_and_merged(tmp_path: Path) -> None:
    """One has a feature less, another one more, than the records have today."""
    history = _history(tmp_path)
    for minute in range(FILES_OF_A_LEVEL - 2):
        history.write([_row(minute, minute)], now_us=_us(minute))
    table = history._table(_VIEW.name, [_row(14, 14)])
    folder = folder_of(tmp_path, _VIEW)
    pq.write_table(table.drop_columns(["tpot_us_p50"]), folder / f"0-{_us(14)}-{_us(14)}-00000001.parquet")
    pq.write_table(table.append_column("gone", [[1.5]]), folder / f"0-{_us(14)}-{_us(14)}-00000002.parquet")

    assert _asked(tmp_path, ("m", 14.0)) == [14]
    history.write([_row(15, 15)], now_us=_us(15))
    assert _asked(tmp_path, ("m", 14.0), ("m", 15.0)) == [14, 15]
    assert len(files_of(tmp_path, _VIEW)) == 1


def test_numbers_no_reader_should_get_become_null() -> None:
    said = TrafficFeatures(calls=2**63, error_ratio=float("nan"), tokens_per_min=float("inf"), timeout_ratio=0.5)

    cleaned, refused = storable(said)

    assert refused == 3
    assert msgspec.structs.asdict(cleaned) == msgspec.structs.asdict(TrafficFeatures(timeout_ratio=0.5))
